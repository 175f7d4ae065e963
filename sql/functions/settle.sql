-- settle: writes the outcomes of runs, set-wise, each only if its lease still stands.
--
-- p_ids, p_runs: the completed ones; p_results: their results, a JSON array in the same order (null: none has one);
-- p_keep: whether each goes into the history (null: all do).
-- p_others: the rest, an array of {"id", "run", "outcome", "delay" (seconds), "error", "message", "traceback",
-- "reason", "max_attempts", "give_up_after" (seconds)} with the outcomes
--   retry    a failed attempt; tried again after delay, or dead when it was the last of max_attempts ("exhausted"), or
--            when again would be later than give_up_after from the start of its first failed run ("gave_up")
--   fail     a failed attempt; dead at once ("failed")
--   snooze   again after delay, not counted
--   release  given back as if it had not been claimed: first in its queue, not counted
--   cancel   finished, with a reason
-- A run that somebody asked to cancel ends as cancelled whatever comes of it, unless it completes; see cancel.
--
-- When a job dies, the job that its task wants then (workers.on_failure) is enqueued by the same statement.
--
-- Returns rows only for what was not settled, and for failures that ended their job:
--   fenced     the lease is over: somebody took the job back, and the outcome is void
--   locked     somebody has the row locked for a moment: send it again with the next call
--   dead       it was settled, and is a dead letter now
--   cancelled  it was settled, and is cancelled now: it failed, and somebody had asked to cancel it
--
-- I1: each statement moves whole rows. I3: only (id, run, worker) as claimed is written. I5: the clock is the database's.
-- I11: rows are locked by id, locked ones are skipped; a settle never waits.
-- Cost: per job one lookup by primary key, one delete or update, one insert where it is kept.
create or replace function pgjobs.settle_v1(
    p_worker integer, p_ids bigint[], p_runs integer[], p_results jsonb, p_keep boolean[], p_others jsonb)
returns table (verb text, id bigint, run integer)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
declare
    v_now   timestamptz := pgjobs.now();
    v_slot  smallint := pgjobs.history_slot(v_now);
    v_ids   bigint[];   -- what was settled
    v_runs  integer[];
    v_more_ids  bigint[];
    v_more_runs integer[];
    v_failed bigint[];  -- those of them that may have rows in attempts
begin
    if p_ids is not null and cardinality(p_ids) > 0 then
        if p_keep is null or true = any (p_keep) then
            with given as (
                select g.id, g.run, g.ord
                from rows from (unnest(p_ids), unnest(p_runs), unnest(p_keep)) with ordinality as g(id, run, keep, ord)
                where coalesce(g.keep, true)
            ), locked as materialized (
                -- Row by row through the primary key, also where the planner believes the table to be empty: a subquery with
                -- a limit is not turned around.
                select j.tid, g.ord
                from (select * from given order by id) g
                cross join lateral (
                    select j.ctid as tid from pgjobs.jobs j
                    where j.id = g.id and j.run = g.run and j.worker = p_worker
                    limit 1
                    for update skip locked
                ) j
            ), gone as (
                delete from pgjobs.jobs j using locked l where j.ctid = l.tid
                returning j.id, j.enqueued_at, j.claimed_at, j.worker, j.run, j.attempts, j.max_attempts, j.crashes, j.priority,
                          j.queue, j.task, j.payload, j.metadata, j.version, j.progress, l.ord
            ), kept as (
                insert into pgjobs.job_history as h (slot, id, enqueued_at, claimed_at, finished_at, worker, run, attempts,
                                                max_attempts, crashes, priority, status, queue, task, payload, metadata,
                                                version, progress, result, errors)
                select v_slot, g.id, g.enqueued_at, g.claimed_at, v_now, g.worker, g.run, g.attempts,
                       g.max_attempts, g.crashes, g.priority, 'completed', g.queue, g.task, g.payload, g.metadata,
                       g.version, g.progress, nullif(p_results -> (g.ord - 1)::integer, 'null'),
                       case when g.run > 1 then pgjobs.errors_of(g.id) end
                from gone g
                returning h.id, h.run
            )
            select array_agg(k.id), array_agg(k.run) into v_ids, v_runs from kept k;
        end if;
        if p_keep is not null and false = any (p_keep) then
            -- The same for those of which nothing is kept.
            with given as (
                select g.id, g.run
                from rows from (unnest(p_ids), unnest(p_runs), unnest(p_keep)) as g(id, run, keep)
                where not g.keep
            ), locked as materialized (
                select j.tid
                from (select * from given order by id) g
                cross join lateral (
                    select j.ctid as tid from pgjobs.jobs j
                    where j.id = g.id and j.run = g.run and j.worker = p_worker
                    limit 1
                    for update skip locked
                ) j
            ), gone as (
                -- By an array and not row by row: each row by itself would ask how long the table is.
                delete from pgjobs.jobs j where j.ctid = any (array(select l.tid from locked l))
                returning j.id, j.run
            )
            select array_agg(g.id), array_agg(g.run) into v_more_ids, v_more_runs from gone g;
            v_ids := v_ids || v_more_ids;
            v_runs := v_runs || v_more_runs;
        end if;
        -- Any earlier run may have failed, also before a retry of the dead letter, which counts attempts anew.
        v_failed := array(select s.id from rows from (unnest(v_ids), unnest(v_runs)) as s(id, run) where s.run > 1);
        if v_failed <> '{}' then
            delete from pgjobs.attempts a where a.job_id = any (v_failed);
        end if;
        perform pgjobs.tell_finished(p_ids);
        if cardinality(v_ids) is distinct from cardinality(p_ids) then
            return query select * from pgjobs.unsettled(p_worker, p_ids, p_runs, array(
                select g.ord from rows from (unnest(p_ids), unnest(p_runs)) with ordinality as g(id, run, ord)
                where (g.id, g.run) in (select s.id, s.run from rows from (unnest(v_ids), unnest(v_runs)) as s(id, run))));
        end if;
    end if;

    if p_others is not null then
        return query select * from pgjobs.settle_others(p_worker, p_others);
    end if;
end
$$;

comment on function pgjobs.settle_v1(integer, bigint[], integer[], jsonb, boolean[], jsonb) is
    'Write the outcomes of runs, each only if its lease still stands; returns what was not settled, and what failed for good.';
