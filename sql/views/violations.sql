-- violations: every breach of an invariant that rows can show. Empty, or something is badly wrong.
-- It compares whole tables: for tests, benches and pgjobs doctor, not for a busy dashboard.
create or replace view pgjobs.violations as
    select 'I1' as invariant, j.id as job, 'is in jobs and in job_history' as breach
    from pgjobs.jobs j join pgjobs.job_history h on h.id = j.id
    union all
    select 'I1', j.id, 'is in jobs and in dead_letters' from pgjobs.jobs j join pgjobs.dead_letters d on d.id = j.id
    union all
    select 'I1', d.id, 'is in dead_letters and in job_history'
    from pgjobs.dead_letters d join pgjobs.job_history h on h.id = d.id
    union all
    select 'I1', h.id, 'is in job_history ' || count(*) || ' times' from pgjobs.job_history h group by h.id having count(*) > 1
    union all
    select 'I1', a.job_id, 'has an attempt but is neither live nor dead'
    from pgjobs.attempts a
    where not exists (select from pgjobs.jobs j where j.id = a.job_id)
      and not exists (select from pgjobs.dead_letters d where d.id = a.job_id)
    union all
    select 'I1', j.id, 'waits in the line of a task that is neither paused nor being resumed'
    from pgjobs.jobs j
    where j.status = 'waiting' and j.line like 'task/%'
      and not exists (select from pgjobs.tasks t
                      where 'task/' || t.name = j.line and (t.paused_at is not null or t.resuming is not null))
    union all
    select 'I2', j.id, 'is ' || j.status || ' but its lease columns say otherwise'
    from pgjobs.jobs j
    where (j.status = 'running') is distinct from (j.worker is not null and j.claimed_at is not null)
    union all
    select 'I2', j.id, 'is leased to worker ' || j.worker || ', which does not exist'
    from pgjobs.jobs j
    where j.status = 'running' and j.worker is not null and not exists (select from pgjobs.workers w where w.id = j.worker)
    union all
    select 'I2', j.id, 'was claimed before the time since which its worker says it holds claims'
    from pgjobs.jobs j join pgjobs.workers w on w.id = j.worker
    where j.status = 'running' and j.claimed_at < w.claims_since
    union all
    select 'I3', j.id, 'is ' || j.status || ' but holds what a run was asked or said'
    from pgjobs.jobs j
    where j.status <> 'running' and (j.cancel_asked_at is not null or j.cancel_reason is not null or j.progress is not null)
    union all
    select 'I2', null, 'worker ' || w.id || ' has ' || count(*) || ' rows' from pgjobs.workers w group by w.id having count(*) > 1
    union all
    select 'I4', j.id, 'has an attempt of run ' || max(a.run) || ' but is at run ' || j.run
    from pgjobs.jobs j join pgjobs.attempts a on a.job_id = j.id
    group by j.id, j.run having max(a.run) > j.run
    union all
    select 'I3', j.id, 'counts ' || j.attempts || ' attempts and has only ' || count(a.run) || ' rows of them'
    from pgjobs.jobs j left join pgjobs.attempts a on a.job_id = j.id
    group by j.id, j.attempts having count(a.run) < j.attempts;

comment on view pgjobs.violations is 'Every breach of an invariant that rows can show: empty, or something is badly wrong.';
