-- cancel: jobs that wait are finished with status cancelled; they will not run.
-- Returns the ids that were cancelled: not those that run already, are finished, or are locked by somebody.
-- I1: one statement moves them. Locks: jobs by id, skipping locked ones.
create or replace function pgjobs.cancel(ids bigint[], reason text default null)
returns setof bigint
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
declare
    v_now timestamptz := pgjobs.now();
begin
    return query
        with chosen as materialized (
            select j.tid
            from (select distinct i from unnest(ids) i order by i) g(id)
            cross join lateral (
                -- Not status = 'ready', which would let the planner walk the ready index (I2: the same).
                select j.ctid as tid from pgjobs.jobs j where j.id = g.id and j.worker is null limit 1 for update skip locked
            ) j
        ), gone as (
            delete from pgjobs.jobs j using chosen c where j.ctid = c.tid returning j.*
        ), finished as (
            insert into pgjobs.job_history (slot, id, enqueued_at, finished_at, run, attempts, max_attempts, crashes, priority,
                                            status, queue, task, payload, metadata, version, reason, errors)
            select pgjobs.history_slot(v_now), g.id, g.enqueued_at, v_now, g.run, g.attempts, g.max_attempts, g.crashes, g.priority,
                   'cancelled', g.queue, g.task, g.payload, g.metadata, g.version, cancel.reason,
                   case when g.run > 0 then pgjobs.errors_of(g.id) end
            from gone g
        ), forgotten as (
            delete from pgjobs.attempts a using gone g where a.job_id = g.id
        )
        select g.id from gone g order by g.id;
end
$$;

comment on function pgjobs.cancel(bigint[], text) is
    'Cancel jobs that wait: select pgjobs.cancel(array[42, 43], ''ordered twice''). Returns the ids that were cancelled.';
