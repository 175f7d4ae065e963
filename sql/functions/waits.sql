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
