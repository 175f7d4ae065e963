-- claim: gives a worker up to p_limit jobs that are due, each with a new run, under the worker's lease.
-- Where outcomes are due too, it settles them first, in the same round trip and commit; see settle.
--
-- p_queues, p_ranks, p_after_at, p_after_id are parallel arrays, one element per queue and rank in the order to scan;
-- (after_at, after_id) is the cursor: nothing at or before it is looked at, so dead index entries behind it cost nothing.
-- p_overlap: how far before this scan the next one must begin, because transactions commit later than their keys.
-- p_idle: true takes the idle locks (session; see begin_waiting) before it looks, so that what commits after the look wakes
-- the worker; false lets them go; null leaves them as they are. A claim that reaches its limit lets them go by itself.
--
-- Returns what settle returns, and then rows that say what happened; what the next claim needs to know comes first:
--   place     which place the worker waits at: queue, id (null: none was free); once, when it takes the idle locks
--   soon      somebody commits jobs just now and may not say so: look again in a moment
--   paused    a queue that was left out: its cursors must begin at the head when it runs again
--   cursor    the entry (queue, rank) at which the limit was reached, and where its next scan begins
--   scanned   always: run = how many entries were scanned to their end; at = where their next scan begins;
--             seconds = until the next job falls due (null if none does within ten minutes, or if the limit was reached)
--   claimed   a job, in the order it should be started: as the entries were given, by available_at and id in each
--
-- I2: one lease per job; FOR UPDATE SKIP LOCKED lets two claimers never meet. I4: run rises by one.
-- I5: due is what the clock of the database says. A cursor ahead of that clock is ignored (the clock was set back).
-- I8: cost depends on p_limit and the number of entries, on what changed in the last moments, and not on dead,
--     future, foreign or lower rows.
-- Jobs of a paused task are not started: they are parked, once, in the line task/NAME and leave the ready index (I8), their
--     run as it was. Parking under a shared advisory lock on (tasks, name), tried, that whoever ends a resume takes
--     exclusively: nobody parks a job behind the last look into the line (docs/adr/0010).
-- I11: never waits. The shared advisory lock on the worker is tried; rescue holds it exclusively while it takes the
--     worker's jobs back, so no job can be claimed for a worker that is being given up.
create or replace function pgjobs.settle_and_claim_v1(
    p_worker integer, p_ids bigint[], p_runs integer[], p_results jsonb, p_keep boolean[], p_others jsonb,
    p_limit integer, p_queues text[], p_ranks smallint[], p_after_at timestamptz[], p_after_id bigint[],
    p_overlap interval, p_idle boolean)
returns table (verb text, id bigint, run integer, queue text, rank smallint, at text, task text, payload text,
               priority smallint, attempts smallint, crashes smallint, max_attempts smallint, seconds double precision,
               enqueued_at text, metadata text, version smallint)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
declare
    v_now   timestamptz;
    v_leased boolean;
    v_since timestamptz;
    v_tids  tid[];
    v_ord   bigint;       -- the last entry that gave a job
    v_at    timestamptz;  -- and the last key it gave
    v_id    bigint;
    v_full  boolean := false;
    v_due   timestamptz;
    v_paused text[];
    v_stopped text[];     -- tasks that are paused
    v_parks text[];       -- those of them whose jobs we may park
    v_waits boolean;
begin
    -- Outcomes first, so that the slots they free can be filled.
    if p_ids is not null or p_others is not null then
        for verb, id, run in select s.verb, s.id, s.run
                             from pgjobs.settle_v1(p_worker, p_ids, p_runs, p_results, p_keep, p_others) s loop
            return next;
        end loop;
    end if;

    -- Before the idle locks: they are the session's, and an error does not give them back.
    -- First the lock and then the row: what a rescue did that had the lock before is seen.
    if pg_try_advisory_xact_lock_shared('pgjobs.workers'::regclass::oid::int, p_worker) then
        v_now := pgjobs.now();
        select not w.lost and w.lapses_at > v_now, w.claims_since into v_leased, v_since
        from pgjobs.workers w where w.id = p_worker order by w.gen desc limit 1;
    end if;
    if v_leased is distinct from true then
        raise exception 'The lease of worker % has lapsed.', p_worker using errcode = 'PJ004';
    end if;

    if p_idle then
        verb := 'place'; run := null;
        for queue, id in select * from pgjobs.begin_waiting(p_queues) loop
            return next;
        end loop;
    elsif not p_idle then
        perform pgjobs.end_waiting();
    end if;
    v_waits := coalesce(current_setting('pgjobs.places', true), '') <> '';
    if v_waits and pgjobs.is_under_way(p_queues) then
        verb := 'soon'; queue := null; id := null; run := null;
        return next;
    end if;

    -- After the idle locks: whoever commits after this look must have seen them.
    v_now := pgjobs.now();
    v_paused := array(select q.name from pgjobs.queues q where q.paused_at is not null and q.name = any (p_queues));
    v_stopped := array(select t.name from pgjobs.tasks t where t.paused_at is not null);
    if v_stopped <> '{}' then
        -- Again under the locks: a resume that went before is seen, one that comes now waits for our commit with its last look.
        v_parks := array(
            select s from unnest(v_stopped) s
            where pg_try_advisory_xact_lock_shared('pgjobs.tasks'::regclass::oid::int, hashtext(s)));
        v_stopped := array(select t.name from pgjobs.tasks t where t.paused_at is not null);
    end if;

    if p_limit > 0 then
        with entries as materialized (
            select c.queue, c.rank, case when c.after_at > v_now then '-infinity' else c.after_at end as after_at,
                   c.after_id, c.ord
            from rows from (unnest(p_queues), unnest(p_ranks), unnest(p_after_at), unnest(p_after_id))
                 with ordinality as c(queue, rank, after_at, after_id, ord)
            where c.queue <> all (v_paused)
        ), picked as (
            -- Lazy to the last row: what is not returned is not locked.
            select j.tid, e.ord
            from entries e
            cross join lateral (
                select j.ctid as tid
                from pgjobs.jobs j
                where j.status = 'ready' and j.queue = e.queue and j.rank = e.rank and j.available_at <= v_now
                  and (j.available_at, j.id) > (e.after_at, e.after_id)
                order by j.available_at, j.id
                limit p_limit
                for update skip locked
            ) j
            limit p_limit
        )
        select array_agg(p.tid), max(p.ord) into v_tids, v_ord from picked p;
        v_full := coalesce(cardinality(v_tids), 0) = p_limit;
        if v_full then
            select j.available_at, j.id into v_at, v_id from pgjobs.jobs j where j.ctid = v_tids[p_limit];
            -- This worker has no slot left, and there may be more: then it is another's turn.
            if v_waits then
                perform pgjobs.end_waiting();
            end if;
            perform pgjobs.wake(p_queues[v_ord]);
        end if;
    end if;

    if v_tids is not null and v_stopped <> '{}' then
        -- The update below does not see the rows parked here: their new versions are elsewhere.
        update pgjobs.jobs j
        set status = 'waiting', line = 'task/' || j.task, wake = false
        where j.ctid = any (v_tids) and j.task = any (v_stopped) and j.task = any (v_parks);
        if not v_parks @> v_stopped then
            -- Paused a moment ago, or its resume is being ended: left as they are, to be met again from the head.
            select v_paused || coalesce(array_agg(distinct j.queue), '{}') into v_paused
            from pgjobs.jobs j
            where j.ctid = any (v_tids) and j.task = any (v_stopped) and j.task <> all (v_parks);
            v_tids := array(select j.ctid from pgjobs.jobs j where j.ctid = any (v_tids) and j.task <> all (v_stopped));
        end if;
    end if;

    verb := 'paused'; id := null; run := null;
    foreach queue in array v_paused loop
        return next;
    end loop;
    if v_full then
        verb := 'cursor'; queue := p_queues[v_ord]; rank := p_ranks[v_ord];
        at := least(v_at, v_now - p_overlap)::text;
        id := case when v_at <= v_now - p_overlap then v_id else 0 end;
        return next;
    end if;
    verb := 'scanned'; queue := null; rank := null; id := null;
    at := (v_now - p_overlap)::text;
    run := case when p_limit <= 0 then 0 when v_full then v_ord - 1 else cardinality(p_queues) end;
    if p_limit > 0 and not v_full then
        -- Ten minutes are more than any poll: what lies further off, cancelled or not, is not walked (I8).
        select min(j.available_at) into v_due
        from rows from (unnest(p_queues), unnest(p_ranks)) as c(queue, rank)
        cross join lateral (
            select j.available_at from pgjobs.jobs j
            where j.status = 'ready' and j.queue = c.queue and j.rank = c.rank
              and j.available_at > v_now and j.available_at <= v_now + interval '10 minutes'
            order by j.available_at, j.id limit 1
        ) j;
        seconds := extract(epoch from v_due - v_now);
    end if;
    return next;

    if v_tids is not null then
        -- Row by row in the order they were picked, which is the order of a nested loop: nothing is sorted or kept aside.
        return query
            update pgjobs.jobs j
            set status = 'running', run = j.run + 1, worker = p_worker,
                claimed_at = greatest(v_now, v_since)  -- where leases and rescue look, also when the clock was set back
            from unnest(v_tids) picked(tid)
            where j.ctid = picked.tid
            returning 'claimed', j.id, j.run, j.queue, j.rank, null::text, j.task, j.payload::text, j.priority,
                      j.attempts, j.crashes, j.max_attempts, extract(epoch from j.timeout)::double precision,
                      j.enqueued_at::text, j.metadata::text, j.version;
    end if;
end
$$;

comment on function pgjobs.settle_and_claim_v1(integer, bigint[], integer[], jsonb, boolean[], jsonb, integer, text[],
    smallint[], timestamptz[], bigint[], interval, boolean) is
    'Settle what a worker has finished, and claim up to so many due jobs for it, starting at its cursors.';

-- The same with nothing to settle.
create or replace function pgjobs.claim_v1(
    p_worker integer, p_limit integer, p_queues text[], p_ranks smallint[],
    p_after_at timestamptz[], p_after_id bigint[], p_overlap interval, p_idle boolean)
returns table (verb text, id bigint, run integer, queue text, rank smallint, at text, task text, payload text,
               priority smallint, attempts smallint, crashes smallint, max_attempts smallint, seconds double precision,
               enqueued_at text, metadata text, version smallint)
language sql volatile
as $$
    select * from pgjobs.settle_and_claim_v1(
        p_worker, null, null, null, null, null, p_limit, p_queues, p_ranks, p_after_at, p_after_id, p_overlap, p_idle)
$$;

comment on function pgjobs.claim_v1(integer, integer, text[], smallint[], timestamptz[], bigint[], interval, boolean) is
    'Claim up to so many due jobs for a worker, starting at its cursors.';
