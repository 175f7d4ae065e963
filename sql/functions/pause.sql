-- pause: nothing of a queue, or of a task, is started; what runs, runs on. A flag that the claim reads.
-- The jobs of a paused task that a claim meets are parked in a line of their own, where no claim walks over them (I8).
-- Locks: the row of the queue or the task.
create or replace function pgjobs.pause(queue text default null, task text default null) returns void
language plpgsql volatile
as $$
begin
    if (queue is null) = (task is null) then
        raise exception 'Say what to pause: a queue or a task.' using errcode = 'PJ001';
    elsif not pgjobs.is_name(coalesce(queue, task)) then
        raise exception 'The name of a queue or task must have 1 to 200 characters, none of them a control character.' using errcode = 'PJ001';
    elsif queue is not null then
        insert into pgjobs.queues (name, paused_at) values (queue, pgjobs.now())
        on conflict (name) do update set paused_at = coalesce(queues.paused_at, excluded.paused_at);
    else
        insert into pgjobs.tasks (name, paused_at) values (task, pgjobs.now())
        on conflict (name) do update set paused_at = coalesce(tasks.paused_at, excluded.paused_at), resuming = null;
    end if;
end
$$;

comment on function pgjobs.pause(text, text) is
    'Start nothing of a queue, or of a task, until it is resumed: select pgjobs.pause(''ocr''), pgjobs.pause(task => ''read_letter'').';
