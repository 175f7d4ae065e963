-- waits: whether some worker waits idle for jobs of this queue.
-- An idle worker holds a shared session advisory lock on the queue; whoever cannot have it exclusively knows of one.
-- The lock is let go in the same expression. Two who ask at once may both hear "yes": then one NOTIFY is for nothing (I9).
-- Locks: none kept. Cost: two calls of the lock manager, no table is read.
create or replace function pgjobs.waits(p_queue text) returns boolean
language sql volatile
as $$
    select case
        when pg_try_advisory_lock('pgjobs.queues'::regclass::oid::int, hashtext(p_queue))
        then not pg_advisory_unlock('pgjobs.queues'::regclass::oid::int, hashtext(p_queue))
        else true end
$$;

comment on function pgjobs.waits(text) is 'Whether a worker waits idle for jobs of this queue.';

-- is_told: whether there is somebody to tell of a key that is committed now; p_in is how long from now on it is due.
--   late    more than 0.15 s ago: claimers have scanned past it, so their cursors must go back to it, whether a worker is
--           idle or not (claimers look back 0.2 s by themselves, I8);
--   due     now or within the poll interval of two seconds: if a worker waits;
--   later   nobody: a poll will find it.
-- Cost: inlined where it is asked.
create or replace function pgjobs.is_told(p_queue text, p_in interval) returns boolean
language sql volatile
as $$
    select p_in < interval '-0.15 s' or p_in <= interval '2 s' and pgjobs.waits(p_queue)
$$;

comment on function pgjobs.is_told(text, interval) is
    'Whether workers are to be told of a key of this queue that is due so long from now.';
