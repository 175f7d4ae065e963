-- resume: a paused queue, or a paused task, runs again.
-- A task does so at once; those of its jobs that wait in line come back in portions, the first here, the others by the
-- upkeep of any worker (resume_tasks), so the caller may die and nothing takes long.
-- Locks: the row of the queue or the task; then as take_back.
create or replace function pgjobs.resume(queue text default null, task text default null) returns void
language plpgsql volatile
as $$
begin
    if (queue is null) = (task is null) then
        raise exception 'Say what to resume: a queue or a task.' using errcode = 'PJ001';
    elsif queue is not null then
        update pgjobs.queues q set paused_at = null where q.name = queue;
        perform pgjobs.wake(queue);
    else
        update pgjobs.tasks t set paused_at = null, resuming = 0 where t.name = task and t.paused_at is not null;
        perform pgjobs.take_back(task, 1000);
    end if;
end
$$;

comment on function pgjobs.resume(text, text) is
    'A paused queue or task runs again: select pgjobs.resume(''ocr''), pgjobs.resume(task => ''read_letter'').';
