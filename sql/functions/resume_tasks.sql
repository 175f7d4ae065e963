-- resume_tasks: goes on with what resume began, up to p_limit jobs; run by all workers at once (I12). Returns how many jobs.
-- A resume is over when its line is empty and can no longer be added to. A claim parks under a shared advisory lock on
-- (tasks, name) and reads under it that the task is paused; so whoever has that lock exclusively, which is tried here,
-- sees in the line all that was ever parked.
-- Not called by resume itself: the task must be seen by others as not paused before the last look, hence committed.
-- Locks: as take_back; then the advisory lock of the task, tried. Never waits.
create or replace function pgjobs.resume_tasks_v1(p_limit integer) returns integer
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
    v_task text;
    v_done integer := 0;
    v_left boolean;
begin
    for v_task in select t.name from pgjobs.tasks t where t.resuming is not null order by t.name loop
        v_done := v_done + pgjobs.take_back(v_task, p_limit - v_done);
        exit when v_done >= p_limit;
        continue when not pg_try_advisory_xact_lock('pgjobs.tasks'::regclass::oid::int, hashtext(v_task));
        -- Locked ones count: whoever has them may let go of them as they were.
        v_left := (select true from pgjobs.jobs j where j.status = 'waiting' and j.line = 'task/' || v_task limit 1);
        update pgjobs.tasks t set resuming = case when v_left then 0 end
        where t.name = (
            select n.name from pgjobs.tasks n where n.name = v_task and n.resuming is not null for update skip locked);
    end loop;
    return v_done;
end
$$;

comment on function pgjobs.resume_tasks_v1(integer) is
    'Jobs in the lines of tasks that are being resumed become ready again, so many at most; returns how many.';
