-- rescue: takes back the jobs of lost workers, up to p_limit of them. Run by whoever looks.
--
-- Lost is a worker
--   whose lease has lapsed;
--   that is named in p_dead: its supervisor, or whoever started it, saw its process end. While a claim of it is still under
--   way, and when p_limit did not reach to it, it is reported as suspected: name it again;
--   that has been under suspicion for a second. Who renews for a worker holds the advisory lock on (supervisor_ids, id). When
--   it is free, its session is over, and so may be its process: the worker is suspected, and reported as such. A second later
--   it is lost, unless it has renewed, which clears it. After a restart or failover of the server all locks are free: only
--   the server on which the last renewal was made can say that its session is over.
--
-- A job goes back to the head of its queue (rank -3) with one more crash; at the third crash it is a poison pill and
-- goes to the dead letters, and the job that its task wants then is enqueued, as its worker's row says (workers.on_failure).
-- A run that was asked to cancel is cancelled. The worker's row goes when nothing is left of it.
--
-- I1, I2. I3: the successor of a rescued run has a higher run, and until it is claimed nobody holds the job, so the
-- rescued run can settle nothing. I12: bounded; called again when it was full.
-- Locks (I11): the advisory lock of the worker, tried, exclusively, so that no claim for it is under way; its row and
-- its jobs, skipping locked ones; the lock of its supervisor, tried, shared, so that two who look do not hide it from each
-- other. Never waits.
-- Cost: one probe per live worker, by its key, newest version first, and one lock per supervisor; per rescued job one
-- update or move.
create or replace function pgjobs.rescue_v1(p_limit integer, p_dead integer[] default '{}')
returns table (worker integer, rescued integer, dead integer, suspected boolean)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now   timestamptz := pgjobs.now();
    v_next  jsonb;  -- which jobs to enqueue for what dies
    v_left  integer := p_limit;
    v_at    integer := 2147483647;
    v_row   record;
    v_queue text;
    v_queues text[];
    v_cancelled bigint[];
    v_server timestamptz := pg_postmaster_start_time();
    v_own   constant integer := nullif(current_setting('pgjobs.supervisor', true), '')::integer;
    v_tried integer;  -- the supervisor whose lock was tried last, and whether it was free
    v_free  boolean := false;
    v_is_ours boolean;  -- whether nobody else has the worker in hand
    v_suspected_before constant timestamptz := v_now - interval '1 second';
begin
    loop
        -- Downwards, so that each probe meets the newest version of the next worker first.
        select w.id, w.gen, w.lapses_at, w.claims_since, w.supervisor, w.server_started_at, w.suspected_at into v_row
        from pgjobs.workers w where w.id < v_at order by w.id desc, w.gen desc limit 1;
        exit when not found;
        if v_left <= 0 then
            return query select distinct w.id, 0, 0, true from pgjobs.workers w where w.id < v_at and w.id = any (p_dead);
            exit;
        end if;
        v_at := v_row.id;
        suspected := false;
        if v_row.lapses_at > v_now and v_row.id <> all (p_dead) then
            -- Its own lock this session would always find free; see hold.
            continue when v_row.supervisor is null or v_row.supervisor = v_own or v_row.server_started_at is distinct from v_server;
            if v_row.supervisor is distinct from v_tried then
                v_tried := v_row.supervisor;
                v_free := pg_try_advisory_xact_lock_shared('pgjobs.supervisor_ids'::regclass::oid::int, v_tried);
            end if;
            continue when not v_free;
            if v_row.suspected_at is null or v_row.suspected_at > v_suspected_before then
                if v_row.suspected_at is null then
                    perform from pgjobs.workers w where w.id = v_row.id and w.gen = v_row.gen for update skip locked;
                    continue when not found;  -- it renews at this moment
                    update pgjobs.workers w set gen = w.gen + 1, suspected_at = v_now where w.id = v_row.id and w.gen = v_row.gen;
                end if;
                worker := v_row.id;
                rescued := 0;
                dead := 0;
                suspected := true;
                return next;
                continue;
            end if;
        end if;
        v_is_ours := pg_try_advisory_xact_lock('pgjobs.workers'::regclass::oid::int, v_row.id);
        if v_is_ours then
            -- Again under the lock: it may have renewed since.
            select w.on_failure into v_next from pgjobs.workers w
            where w.id = v_row.id
              and (w.lapses_at <= v_now or w.suspected_at <= v_suspected_before or w.id = any (p_dead)) and w.gen = (
                select n.gen from pgjobs.workers n where n.id = v_row.id order by n.gen desc limit 1)
            for update skip locked;
            v_is_ours := found;
        end if;
        if not v_is_ours then
            -- A claim that a dead worker sent outlives it for a moment, and what it takes is still to be taken back. Who
            -- reported the death is told, since nobody else would come upon it before the lease lapses.
            if v_row.id = any (p_dead) then
                worker := v_row.id;
                rescued := 0;
                dead := 0;
                suspected := true;
                return next;
            end if;
            continue;
        end if;

        with locked as materialized (
            select j.ctid as tid, j.id, j.enqueued_at, j.claimed_at, j.worker, j.run, j.attempts, j.max_attempts, j.crashes + 1 as crashes,
                   j.priority, j.queue, j.task, j.payload, j.timeout, j.metadata, j.version, j.progress, j.cancel_reason,
                   case when j.cancel_asked_at is not null then 'cancelled' when j.crashes >= 2 then 'dead' end as ending
            from pgjobs.jobs j
            where j.status = 'running' and j.worker = v_row.id and j.claimed_at >= v_row.claims_since
            order by j.claimed_at
            limit v_left
            for update skip locked
        ), gone as (
            delete from pgjobs.jobs j using locked l where j.ctid = l.tid and l.ending is not null
            returning l.*
        ), again as (
            update pgjobs.jobs j
            set status = 'ready', worker = null, claimed_at = null, crashes = l.crashes, rank = -3, available_at = v_now, wake = false,
                progress = null
            from locked l
            where j.ctid = l.tid and l.ending is null
            returning l.*
        ), written as materialized (
            -- I1: all else goes by what was written; see settle_others.
            select * from gone union all select * from again
        ), buried as (
            insert into pgjobs.dead_letters as d (id, enqueued_at, claimed_at, failed_at, worker, run, attempts, max_attempts, crashes,
                                             priority, queue, task, payload, timeout, metadata, version, progress, reason, error)
            select w.id, w.enqueued_at, w.claimed_at, v_now, w.worker, w.run, w.attempts, w.max_attempts, w.crashes,
                   w.priority, w.queue, w.task, w.payload, w.timeout, w.metadata, w.version, w.progress, 'crashed',
                   'WorkerLost: its worker died or fell silent ' || w.crashes || ' times while it ran'
            from written w where w.ending = 'dead'
            returning d as letter
        ), told as (
            insert into pgjobs.jobs (queue, task, payload, metadata, version, priority, rank, available_at, enqueued_at, wake)
            select f.queue, f.task, f.payload, f.metadata, f.version, f.priority, f.priority, v_now, v_now, pgjobs.flag_wake(f.queue, v_now)
            from buried b
            cross join lateral pgjobs.on_failure(b.letter, v_next) f
        ), cancelled as (
            insert into pgjobs.job_history (slot, id, enqueued_at, claimed_at, finished_at, worker, run, attempts, max_attempts,
                                            crashes, priority, status, queue, task, payload, metadata, version, progress, reason, errors)
            select pgjobs.history_slot(v_now), w.id, w.enqueued_at, w.claimed_at, v_now, w.worker, w.run, w.attempts, w.max_attempts,
                   w.crashes, w.priority, 'cancelled', w.queue, w.task, w.payload, w.metadata, w.version, w.progress, w.cancel_reason,
                   case when w.run > 1 then pgjobs.errors_of(w.id) end
            from written w where w.ending = 'cancelled'
        )
        select count(*) filter (where w.ending is null), count(*) filter (where w.ending = 'dead'),
               array_agg(distinct w.queue) filter (where w.ending is null), array_agg(w.id) filter (where w.ending = 'cancelled')
        into rescued, dead, v_queues, v_cancelled
        from written w;

        worker := v_row.id;
        v_left := v_left - rescued - dead - coalesce(cardinality(v_cancelled), 0);
        delete from pgjobs.attempts a where a.job_id = any (v_cancelled);
        if exists (select from pgjobs.leases_v1(v_row.id, 1)) then
            update pgjobs.workers w set gen = w.gen + 1, lost = true, lapses_at = least(w.lapses_at, v_now)
            where w.id = v_row.id and not w.lost
              and w.gen = (select n.gen from pgjobs.workers n where n.id = v_row.id order by n.gen desc limit 1);
        else
            delete from pgjobs.workers w where w.id = v_row.id;
        end if;
        foreach v_queue in array coalesce(v_queues, '{}') loop
            perform pgjobs.wake(v_queue);
        end loop;
        return next;
    end loop;
end
$$;

comment on function pgjobs.rescue_v1(integer, integer[]) is
    'Take back the jobs of lost workers; one row per worker: how many go on, how many went to the dead letters; or that it is suspected, and to be looked at again.';
