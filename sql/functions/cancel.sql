-- cancel: jobs that wait are finished with status cancelled; of jobs that run, the present run is asked to stop.
-- Returns what was done with each that is live: 'cancelled', 'asked', or 'locked' (somebody has its row for a moment: ask
-- again). Nothing is returned for ids that are finished, dead or unknown.
--
-- A request belongs to a run (I3): it is kept in the running row, and ends with the run. Its worker is told at once, and asks
-- by itself about once a second (I9). Whatever such a run comes to, a failure, a retry, a snooze, a release, a rescue, ends in
-- the history as cancelled, with the reason; only one that completes all the same is completed. The first request stands.
-- I1: one statement moves them. Locks: jobs by id, skipping locked ones.
create or replace function pgjobs.cancel(ids bigint[], reason text default null)
returns table (id bigint, status text)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
declare
    v_now       timestamptz := pgjobs.now();
    v_cancelled bigint[];
    v_asked     bigint[];
    v_workers   integer[];
    v_worker    integer;
begin
    with chosen as materialized (
        select j.tid, j.runs
        from (select distinct i from unnest(ids) i order by i) g(id)
        cross join lateral (
            -- Not status = 'ready', which would let the planner walk the ready index (I2: the same).
            select j.ctid as tid, j.worker is not null as runs from pgjobs.jobs j where j.id = g.id limit 1 for update skip locked
        ) j
    ), gone as (
        delete from pgjobs.jobs j using chosen c where j.ctid = c.tid and not c.runs returning j.*
    ), finished as (
        insert into pgjobs.job_history (slot, id, enqueued_at, finished_at, run, attempts, max_attempts, crashes, priority,
                                        status, queue, task, payload, metadata, version, reason, errors)
        select pgjobs.history_slot(v_now), g.id, g.enqueued_at, v_now, g.run, g.attempts, g.max_attempts, g.crashes, g.priority,
               'cancelled', g.queue, g.task, g.payload, g.metadata, g.version, cancel.reason,
               case when g.run > 0 then pgjobs.errors_of(g.id) end
        from gone g
    ), forgotten as (
        delete from pgjobs.attempts a using gone g where a.job_id = g.id
    ), asked as (
        update pgjobs.jobs j
        set cancel_reason = case when j.cancel_asked_at is null then cancel.reason else j.cancel_reason end,
            cancel_asked_at = coalesce(j.cancel_asked_at, v_now)
        from chosen c
        where j.ctid = c.tid and c.runs
        returning j.id, j.worker
    )
    select (select array_agg(g.id) from gone g), array_agg(a.id), array_agg(distinct a.worker)
    into v_cancelled, v_asked, v_workers
    from asked a;

    foreach v_worker in array coalesce(v_workers, '{}') loop
        if pg_notification_queue_usage() < 0.5 then
            perform pg_notify('pgjobs', json_build_object('cancel', v_worker)::text);
        end if;
    end loop;
    return query
        select o.id, o.status
        from (
            select unnest(v_cancelled), 'cancelled'
            union all select unnest(v_asked), 'asked'
            union all
            -- Not with exists: that the planner may answer by hashing the whole table.
            select i, 'locked' from (select distinct i from unnest(ids) i) g
            where i <> all (coalesce(v_cancelled || v_asked, v_cancelled, v_asked, '{}'))
              and (select j.id from pgjobs.jobs j where j.id = i) is not null
        ) o(id, status)
        order by o.id;
end
$$;

comment on function pgjobs.cancel(bigint[], text) is
    'Cancel jobs: select * from pgjobs.cancel(array[42, 43], ''ordered twice''). Those that wait are cancelled, those that run are asked to stop.';

-- cancel_asked: which runs of a worker are asked to stop, and why. Asked when told, and about once a second while it runs
-- something. Cost: what it returns, and under a held snapshot the requests that this worker has had since.
create or replace function pgjobs.cancel_asked_v1(p_worker integer, p_limit integer)
returns table (id bigint, run integer, reason text)
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
begin
    return query
        select j.id, j.run, j.cancel_reason from pgjobs.jobs j
        where j.worker = p_worker and j.cancel_asked_at is not null
        limit p_limit;
end
$$;

comment on function pgjobs.cancel_asked_v1(integer, integer) is 'Which runs of a worker are asked to stop, and why.';
