-- errors_of: the failed attempts of a job as one JSON array, oldest first; null if there are none.
create or replace function pgjobs.errors_of(p_id bigint) returns jsonb
language sql stable
as $$
    select jsonb_agg(jsonb_build_object(
               'run', a.run, 'attempt', a.attempt, 'worker', a.worker, 'started_at', a.started_at, 'failed_at', a.failed_at,
               'error', a.error, 'message', a.message, 'traceback', a.traceback) order by a.run)
    from pgjobs.attempts a
    where a.job_id = p_id
$$;

comment on function pgjobs.errors_of(bigint) is 'The failed attempts of a job, oldest first, as one JSON array.';
