-- enqueue_many: puts many jobs into their queues in one statement, in the caller's transaction.
-- Each element of p_jobs: {"task", "payload", "queue", "priority", "delay" (seconds), "available_at", "max_attempts",
-- "timeout" (seconds), "metadata", "version"}; what is absent means what it means for one job. Ids come in the order given.
-- I1, I5 as for one. Cost: one insert per job; one announcement per queue and transaction.
create or replace function pgjobs.enqueue_many_v1(p_jobs jsonb, p_notify boolean)
returns table (id bigint, created boolean)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    v_now timestamptz := pgjobs.now();
begin
    return query
        with given as materialized (
            select g.ord, g.task, coalesce(g.payload, '{}') as payload, coalesce(g.queue, 'default') as queue, coalesce(g.priority, 0) as priority,
                   -- As for one: check_job looks at what is not plain.
                   case when num_nonnulls(g.delay, g.available_at, g.max_attempts, g.timeout, g.metadata, g.version, g.payload) = 1
                             and jsonb_typeof(g.payload) = 'object' and pgjobs.is_name(g.task)
                             and pgjobs.is_name(coalesce(g.queue, 'default')) and coalesce(g.priority, 0) between -2 and 2
                             or pgjobs.check_job(g.task, coalesce(g.payload, '{}'), coalesce(g.queue, 'default'), coalesce(g.priority, 0),
                                              make_interval(secs => g.delay), g.available_at, g.max_attempts,
                                              make_interval(secs => g.timeout), nullif(g.metadata, 'null'), g.version)
                        then greatest(v_now, coalesce(g.available_at, v_now + make_interval(secs => g.delay))) end as available_at,
                   g.max_attempts, make_interval(secs => g.timeout) as timeout, nullif(g.metadata, 'null') as metadata, g.version
            from rows from (jsonb_to_recordset(p_jobs) as (
                task text, payload jsonb, queue text, priority integer, delay double precision,
                available_at timestamptz, max_attempts integer, timeout double precision, metadata jsonb, version integer)
            ) with ordinality as g(task, payload, queue, priority, delay, available_at, max_attempts, timeout, metadata, version, ord)
        ), flagged as materialized (
            select f.ord
            from (select distinct on (g.queue) g.queue, g.available_at, g.ord
                  from given g order by g.queue, g.available_at, g.ord) f
            where p_notify and pgjobs.flag_wake(f.queue, f.available_at)
        )
        insert into pgjobs.jobs (queue, task, payload, priority, rank, available_at, enqueued_at,
                                 max_attempts, timeout, metadata, version, wake)
        select g.queue, g.task, g.payload, g.priority, g.priority, g.available_at, v_now,
               g.max_attempts, g.timeout, g.metadata, g.version, g.ord in (select f.ord from flagged f)
        from given g
        order by g.ord
        returning jobs.id, true;
end
$$;

comment on function pgjobs.enqueue_many_v1(jsonb, boolean) is
    'Enqueue many jobs in one statement: an array of objects with the settings of pgjobs.enqueue() by name.';
