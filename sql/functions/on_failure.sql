-- on_failure: the job to be enqueued because this one died, as a row to insert; no row if its task wants none.
-- p_next: by task, {"task", "queue", "priority", "version"}: what the worker that ran the dead job knows (workers.on_failure).
-- The new job has one argument, "failed", which says what happened. Its metadata name the dead job, and of what carries
-- that name nobody is told when it dies itself: no death sets off a chain.
create or replace function pgjobs.on_failure(p_dead pgjobs.dead_letters, p_next jsonb)
returns table (queue text, task text, payload jsonb, metadata jsonb, priority smallint, version smallint)
language sql stable
as $$
    select n.next ->> 'queue', n.next ->> 'task',
           jsonb_build_object('failed', jsonb_build_object(
               'job_id', p_dead.id, 'run', p_dead.run, 'task', p_dead.task, 'queue', p_dead.queue, 'payload', p_dead.payload,
               'metadata', p_dead.metadata, 'reason', p_dead.reason, 'error', p_dead.error, 'attempts', p_dead.attempts,
               'crashes', p_dead.crashes, 'enqueued_at', p_dead.enqueued_at, 'failed_at', p_dead.failed_at)),
           jsonb_build_object('on_failure_of', p_dead.id), (n.next ->> 'priority')::smallint,
           (n.next ->> 'version')::smallint
    from (select p_next -> p_dead.task as next) n
    where n.next is not null and not coalesce(p_dead.metadata ? 'on_failure_of', false)
$$;

comment on function pgjobs.on_failure(pgjobs.dead_letters, jsonb) is
    'The job to be enqueued because a job died: with one argument, failed, which says what happened.';
