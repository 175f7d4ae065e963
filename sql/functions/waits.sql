-- place_of_one: the place of a worker that waits for jobs of this queue, or null. Who waits holds it exclusively; who asks, shared.
create or replace function pgjobs.place_of_one(p_queue text) returns integer
language sql volatile
as $$
    select k from generate_series(0, 15) k
    where case
        when pg_try_advisory_lock_shared('pgjobs.queues_pkey'::regclass::oid::int, hashtext(p_queue) # k)
        then not pg_advisory_unlock_shared('pgjobs.queues_pkey'::regclass::oid::int, hashtext(p_queue) # k)
        else true end
    limit 1
$$;

comment on function pgjobs.place_of_one(text) is 'The place of a worker that waits for jobs of this queue.';

-- waits: whether some worker waits idle for jobs of this queue.
-- An idle worker holds a shared session advisory lock on the queue; whoever cannot have it exclusively knows of one, or meets
-- somebody who asks as well, and was stopped in the middle of it: thirty who enqueue at once would tell of many jobs for
-- nothing. Who waits has a place besides, for which enqueuers ask without barring each other, or the lock of those without.
-- The locks are let go in the same expression. Two who ask for the same two at once may hear "yes" for nothing (I9).
-- Locks: none kept. Cost: two calls of the lock manager; where the first is refused, two more for each place that is free
-- before the first that is taken; no table is read.
create or replace function pgjobs.waits(p_queue text) returns boolean
language sql volatile
as $$
    select case
        when pg_try_advisory_lock('pgjobs.queues'::regclass::oid::int, hashtext(p_queue))
        then not pg_advisory_unlock('pgjobs.queues'::regclass::oid::int, hashtext(p_queue))
        when pgjobs.place_of_one(p_queue) is not null then true
        when pg_try_advisory_lock('pgjobs.queues_pkey'::regclass::oid::int, hashtext(p_queue) # 16)
        then not pg_advisory_unlock('pgjobs.queues_pkey'::regclass::oid::int, hashtext(p_queue) # 16)
        else true end
$$;

comment on function pgjobs.waits(text) is 'Whether a worker waits idle for jobs of this queue.';

-- begin_waiting: this session's worker waits for jobs of these queues from now on, until end_waiting.
-- Beside the lock that says that somebody waits, it takes in each queue the first free place of 16, so that whoever has one
-- job to tell of can wake one worker; where all are taken, the shared lock of those without. Returns its places, null for none.
-- The session remembers them (pgjobs.places).
-- Locks: session advisory locks. The shared ones wait for the moment in which an enqueuer asks; a place is tried.
create or replace function pgjobs.begin_waiting(p_queues text[]) returns table (queue text, place integer)
language plpgsql volatile
as $$
#variable_conflict use_column
begin
    perform set_config('pgjobs.places', '{}', false);
    for queue in select distinct q from unnest(p_queues) q loop
        perform pg_advisory_lock_shared('pgjobs.queues'::regclass::oid::int, hashtext(queue));
        place := (
            select k from generate_series(0, 15) k
            where pg_try_advisory_lock('pgjobs.queues_pkey'::regclass::oid::int, hashtext(queue) # k) limit 1);
        if place is null then
            perform pg_advisory_lock_shared('pgjobs.queues_pkey'::regclass::oid::int, hashtext(queue) # 16);
        end if;
        perform set_config(
            'pgjobs.places', (current_setting('pgjobs.places')::jsonb || jsonb_build_object(queue, place))::text, false);
        return next;
    end loop;
end
$$;

comment on function pgjobs.begin_waiting(text[]) is 'The worker of this session waits for jobs of these queues; returns its places.';

create or replace function pgjobs.end_waiting() returns void
language plpgsql volatile
as $$
begin
    perform pg_advisory_unlock_shared('pgjobs.queues'::regclass::oid::int, hashtext(p.key)),
            case when p.value is not null
                 then pg_advisory_unlock('pgjobs.queues_pkey'::regclass::oid::int, hashtext(p.key) # p.value::integer)
                 else pg_advisory_unlock_shared('pgjobs.queues_pkey'::regclass::oid::int, hashtext(p.key) # 16) end
    from jsonb_each_text(nullif(current_setting('pgjobs.places', true), '')::jsonb) p;
    perform set_config('pgjobs.places', '', false);
end
$$;

comment on function pgjobs.end_waiting() is 'The worker of this session waits no more.';

-- speaks: of transactions that commit at the same time, which have something to tell a waiting worker of this queue, one does.
-- NOTIFY makes commits go one after the other, each with its flush. So whoever finds another about to speak is silent, and
-- leaves word that it is under way: a lock until its end (jobs), as the one who speaks holds the voice (jobs_pkey) until then.
-- Nobody is missed: a commit is visible before its locks are free, and its NOTIFY goes out after that. Whoever was silent is
-- either visible to the claim that follows the NOTIFY, or seen to be under way by it (is_under_way), and looked for again.
-- Whoever comes later finds the voice free, or held by one whose NOTIFY is still to come.
-- Locks: two of the transaction, advisory, tried; none is waited for.
create or replace function pgjobs.speaks(p_queue text) returns boolean
language sql volatile
as $$
    select case
        when pg_try_advisory_xact_lock_shared('pgjobs.jobs'::regclass::oid::int, hashtext(p_queue))
        then pg_try_advisory_xact_lock('pgjobs.jobs_pkey'::regclass::oid::int, hashtext(p_queue))
        else true end
$$;

comment on function pgjobs.speaks(text) is
    'Whether this transaction is the one that tells a waiting worker of this queue; others that commit now are silent.';

-- is_under_way: whether a transaction that was silent, or speaks, is about to commit jobs of these queues. Asked before a look.
-- Cost: two calls of the lock manager for each queue, as often as it comes after another; no query.
create or replace function pgjobs.is_under_way(p_queues text[]) returns boolean
language plpgsql volatile
as $$
declare
    v_class constant integer := 'pgjobs.jobs'::regclass::oid::int;
    v_queue text;
    v_last  text;
begin
    foreach v_queue in array p_queues loop
        if v_queue is distinct from v_last then
            if not pg_try_advisory_lock(v_class, hashtext(v_queue)) then
                return true;
            end if;
            perform pg_advisory_unlock(v_class, hashtext(v_queue));
            v_last := v_queue;
        end if;
    end loop;
    return false;
end
$$;

comment on function pgjobs.is_under_way(text[]) is 'Whether somebody is about to commit jobs of these queues, and may not say so.';

-- is_told: whether there is somebody to tell of a key that is committed now; p_in is how long from now on it is due.
--   late    more than 0.15 s ago: claimers have scanned past it, so their cursors must go back to it, whether a worker is
--           idle or not (claimers look back 0.2 s by themselves, I8);
--   due     now or within the poll interval of two seconds: if a worker waits, and nobody else is about to tell it;
--   later   nobody: a poll will find it.
-- Cost: inlined where it is asked.
create or replace function pgjobs.is_told(p_queue text, p_in interval) returns boolean
language sql volatile
as $$
    select case
        when p_in < interval '-0.15 s' then true
        when p_in > interval '2 s' then false
        when not pgjobs.waits(p_queue) then false
        else pgjobs.speaks(p_queue) end
$$;

comment on function pgjobs.is_told(text, interval) is
    'Whether workers are to be told of a key of this queue that is due so long from now.';
