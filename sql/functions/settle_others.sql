-- settle_others: the outcomes other than completed; see settle. Same invariants, same locks.
create or replace function pgjobs.settle_others(p_worker integer, p_others jsonb)
returns table (verb text, id bigint, run integer)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
declare
    v_now     timestamptz := pgjobs.now();
    v_settled bigint[];
    v_failed  bigint[];
    v_queue   text;
    v_queues  text[];
    v_ended   jsonb;
begin
    select (o ->> 'outcome') into v_queue from jsonb_array_elements(p_others) o
    where coalesce(o ->> 'outcome', '') not in ('retry', 'fail', 'snooze', 'release', 'cancel') limit 1;
    if found then
        raise exception 'There is no outcome %.', coalesce(quote_literal(v_queue), 'null') using errcode = 'PJ001';
    end if;

    with given as (
        select distinct on (g.id, g.run) g.*
        from rows from (jsonb_to_recordset(p_others) as (
            id bigint, run integer, outcome text, delay double precision, error text, message text, traceback text,
            reason text, max_attempts integer, give_up_after double precision)
        ) with ordinality as g(id, run, outcome, delay, error, message, traceback, reason, max_attempts, give_up_after, ord)
        order by g.id, g.run, g.ord
    ), locked as materialized (
        select j.tid, j.id, j.run, j.queue, j.task, j.payload, j.metadata, j.timeout, j.enqueued_at, j.claimed_at, j.worker,
               j.crashes, j.priority, j.max_attempts, j.version, j.progress, g.ord, g.outcome, g.error, g.message, g.traceback,
               coalesce(g.reason, j.cancel_reason) as reason,
               j.attempts + (g.outcome in ('retry', 'fail'))::integer as attempts,
               -- A century at most: a time beyond the year 9999 no client could read.
               v_now + make_interval(secs => least(greatest(g.delay, 0), 3155760000)) as again_at,
               case when g.outcome in ('retry', 'fail') then coalesce(j.failing_since, j.claimed_at) else j.failing_since end
                   as failing_since,
               case
                   when g.outcome = 'cancel' or j.cancel_asked_at is not null then 'cancelled'
                   when g.outcome = 'fail' then 'failed'
                   when g.outcome = 'retry' and j.attempts + 1 >= coalesce(j.max_attempts, g.max_attempts, 1) then 'exhausted'
                   -- By the clock that decides, and counted from the start of the first run that failed.
                   when g.outcome = 'retry' and v_now + make_interval(secs => least(greatest(g.delay, 0), 3155760000))
                        > coalesce(j.failing_since, j.claimed_at) + make_interval(secs => least(g.give_up_after, 3155760000)) then 'gave_up'
               end as ending
        from given g
        cross join lateral (
            select j.ctid as tid, j.id, j.run, j.queue, j.task, j.payload, j.metadata, j.timeout, j.enqueued_at, j.claimed_at,
                   j.worker, j.crashes, j.priority, j.max_attempts, j.attempts, j.failing_since, j.version, j.progress, j.cancel_asked_at,
                   j.cancel_reason
            from pgjobs.jobs j
            where j.id = g.id and j.run = g.run and j.worker = p_worker
            limit 1
            for update skip locked
        ) j
    ), gone as (
        delete from pgjobs.jobs j using locked l where j.ctid = l.tid and l.ending is not null
        returning l.*
    ), again as (
        update pgjobs.jobs j
        set status = 'ready', worker = null, claimed_at = null, attempts = l.attempts, failing_since = l.failing_since, wake = false,
            progress = null,
            rank = case when l.outcome = 'release' then -3 else j.priority end,
            available_at = case when l.outcome = 'release' then v_now else l.again_at end
        from locked l
        where j.ctid = l.tid and l.ending is null
        returning l.*
    ), written as materialized (
        -- I1: all else goes by what was written. A row that somebody wrote between our snapshot and our lock is locked
        -- in a version that this statement does not see; it is not written now, and comes back as locked.
        select * from gone union all select * from again
    ), recorded as (
        insert into pgjobs.attempts (job_id, run, attempt, worker, started_at, failed_at, error, message, traceback)
        select w.id, w.run, w.attempts, w.worker, w.claimed_at, v_now,
               coalesce(w.error, 'Error'), coalesce(w.message, ''), w.traceback
        from written w
        where w.outcome in ('retry', 'fail') and w.ending is distinct from 'cancelled'
    ), dead as (
        insert into pgjobs.dead_letters as d (id, enqueued_at, claimed_at, failed_at, worker, run, attempts, max_attempts, crashes,
                                         priority, queue, task, payload, timeout, metadata, version, progress, reason, error)
        select w.id, w.enqueued_at, w.claimed_at, v_now, w.worker, w.run, w.attempts, w.max_attempts, w.crashes,
               w.priority, w.queue, w.task, w.payload, w.timeout, w.metadata, w.version, w.progress, w.ending,
               concat_ws(': ', coalesce(w.error, 'Error'), nullif(w.message, ''))
        from written w
        where w.ending in ('failed', 'exhausted', 'gave_up')
        returning d as letter
    ), told as (
        -- In the statement that buries it, so once for every death.
        insert into pgjobs.jobs (queue, task, payload, metadata, version, priority, rank, available_at, enqueued_at, wake)
        select f.queue, f.task, f.payload, f.metadata, f.version, f.priority, f.priority, v_now, v_now, pgjobs.flag_wake(f.queue, v_now)
        from dead d
        cross join lateral pgjobs.on_failure(d.letter, (
            select w.on_failure from pgjobs.workers w where w.id = p_worker order by w.gen desc limit 1)) f
    ), cancelled as (
        insert into pgjobs.job_history (slot, id, enqueued_at, claimed_at, finished_at, worker, run, attempts,
                                        max_attempts, crashes, priority, status, queue, task, payload, metadata,
                                        version, progress, reason, errors)
        select pgjobs.history_slot(v_now), w.id, w.enqueued_at, w.claimed_at, v_now, w.worker, w.run, w.attempts,
               w.max_attempts, w.crashes, w.priority, 'cancelled', w.queue, w.task, w.payload, w.metadata,
               w.version, w.progress, w.reason,
               case
                   -- What it failed with when it was asked to stop: this statement would not see its row in attempts.
                   when w.outcome in ('retry', 'fail') then
                       coalesce(pgjobs.errors_of(w.id), '[]') || jsonb_build_array(jsonb_build_object(
                           'run', w.run, 'attempt', w.attempts, 'worker', w.worker, 'started_at', w.claimed_at, 'failed_at', v_now,
                           'error', coalesce(w.error, 'Error'), 'message', coalesce(w.message, ''), 'traceback', w.traceback))
                   when w.run > 1 then pgjobs.errors_of(w.id)
               end
        from written w
        where w.ending = 'cancelled'
    )
    select array_agg(w.ord), array_agg(w.id) filter (where w.ending = 'cancelled' and w.run > 1),
           array_agg(distinct w.queue) filter (where w.outcome = 'release' and w.ending is null),
           jsonb_agg(jsonb_build_array(w.id, w.run, case w.ending when 'cancelled' then 'cancelled' else 'dead' end))
               filter (where w.ending is not null and w.outcome in ('retry', 'fail'))
    into v_settled, v_failed, v_queues, v_ended
    from written w;

    if v_failed is not null then
        delete from pgjobs.attempts a where a.job_id = any (v_failed);
    end if;
    foreach v_queue in array coalesce(v_queues, '{}') loop
        perform pgjobs.wake(v_queue);  -- what this worker gave back, another may take at once
    end loop;
    if v_ended is not null then
        return query select e ->> 2, (e -> 0)::bigint, (e -> 1)::integer from jsonb_array_elements(v_ended) e;
    end if;
    if cardinality(v_settled) is distinct from jsonb_array_length(p_others) then
        return query
            select u.* from pgjobs.unsettled(
                p_worker,
                array(select (o ->> 'id')::bigint from jsonb_array_elements(p_others) with ordinality e(o, ord) order by ord),
                array(select (o ->> 'run')::integer from jsonb_array_elements(p_others) with ordinality e(o, ord) order by ord),
                v_settled) u;
    end if;
end
$$;

comment on function pgjobs.settle_others(integer, jsonb) is 'The part of settle for outcomes other than completed.';
