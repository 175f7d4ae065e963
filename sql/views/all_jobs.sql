-- all_jobs: every job wherever it is (I1), with one set of columns. A lookup by id costs 18 index probes at most, and the
-- newest few are merged from the ends of the primary keys. That needs the same types and collations in all branches.
create or replace view pgjobs.all_jobs as
    select j.id, j.queue, j.task, j.status, j.priority, j.payload, j.attempts, j.max_attempts, j.crashes, j.run, j.worker,
           j.enqueued_at, j.available_at, j.claimed_at, null::timestamptz as finished_at,
           null::jsonb as result, null::text collate "C" as reason, null::jsonb as errors, j.metadata, j.version, j.progress, j.line
    from pgjobs.jobs j
    union all
    select d.id, d.queue, d.task, 'dead'::text collate "C", d.priority, d.payload, d.attempts, d.max_attempts, d.crashes, d.run, d.worker,
           d.enqueued_at, null::timestamptz, d.claimed_at, d.failed_at, null::jsonb,
           (d.reason || ': ' || d.error) collate "C", null::jsonb, d.metadata, d.version, d.progress, null::text collate "C"
    from pgjobs.dead_letters d
    union all
    select h.id, h.queue, h.task, h.status, h.priority, h.payload, h.attempts, h.max_attempts, h.crashes, h.run, h.worker,
           h.enqueued_at, null::timestamptz, h.claimed_at, h.finished_at, h.result, h.reason collate "C", h.errors, h.metadata, h.version, h.progress, null::text collate "C"
    from pgjobs.job_history h;

comment on view pgjobs.all_jobs is
    'Every job: live, finished or dead. errors holds those of finished jobs; for others see pgjobs.errors_of(id).';
