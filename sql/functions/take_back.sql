-- take_back: of a task that is being resumed, up to p_limit of the jobs that wait in its line become ready again.
-- They keep their rank and stand behind what was due before, in the order of their ids. The next portion begins after the
-- last job of this one, so that it does not walk the dead entries of those before (I8). Returns how many; also less
-- than p_limit where jobs were locked.
-- I8: available_at is not before now. I12: bounded. Locks: the row of the task, then the jobs, skipping locked ones (I11).
create or replace function pgjobs.take_back(p_task text, p_limit integer) returns integer
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now    timestamptz := pgjobs.now();
    v_after  bigint;
    v_last   bigint;
    v_count  integer;
    v_queue  text;
    v_queues text[];
begin
    select t.resuming into v_after from pgjobs.tasks t where t.name = p_task and t.resuming is not null for update skip locked;
    if not found then
        return 0;  -- it is not being resumed, or somebody is at it
    end if;
    with locked as materialized (
        select j.ctid as tid from pgjobs.jobs j
        where j.status = 'waiting' and j.line = 'task/' || p_task and j.id > v_after
        order by j.id
        limit p_limit
        for update skip locked
    ), again as (
        update pgjobs.jobs j
        set status = 'ready', line = null, wake = false, available_at = greatest(j.available_at, v_now)
        from locked l
        where j.ctid = l.tid
        returning j.id, j.queue
    )
    select count(*), max(a.id), array_agg(distinct a.queue) into v_count, v_last, v_queues from again a;
    if v_count > 0 then
        update pgjobs.tasks t set resuming = v_last where t.name = p_task;
    end if;
    foreach v_queue in array coalesce(v_queues, '{}') loop
        perform pgjobs.announce_again(v_queue, v_now);
    end loop;
    return v_count;
end
$$;

comment on function pgjobs.take_back(text, integer) is
    'Jobs that waited in the line of a task that is being resumed become ready again, so many at most; returns how many.';
