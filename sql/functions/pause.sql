-- pause, resume: nothing of a paused queue is claimed; what runs, runs on. A flag that the claim reads.
create or replace function pgjobs.pause(queue text) returns void
language sql volatile
as $$
    insert into pgjobs.queues (name, paused_at) values (queue, pgjobs.now())
    on conflict (name) do update set paused_at = coalesce(queues.paused_at, excluded.paused_at)
$$;

comment on function pgjobs.pause(text) is 'Nothing of this queue is claimed until pgjobs.resume(queue).';

create or replace function pgjobs.resume(queue text) returns void
language plpgsql volatile
as $$
begin
    update pgjobs.queues set paused_at = null where name = queue;
    perform pgjobs.wake(queue);
end
$$;

comment on function pgjobs.resume(text) is 'A paused queue runs again.';
