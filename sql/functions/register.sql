-- register: a new worker, with a lease of so long from now.
-- p_on_failure: for each task that has one, the job to enqueue when a job of it dies; for whoever has to bury this worker's jobs.
-- The life of a worker is register, renew, resign. A lease lapses by its worker's row; no renewal touches a job. Rows are keyed
-- (id, gen) and every write raises gen: reading the newest costs the same however many dead versions there are (I8).
create or replace function pgjobs.register_v1(
    p_name text, p_host text, p_pid integer, p_version text, p_queues text[], p_concurrency integer, p_lease interval,
    p_on_failure jsonb)
returns integer
language plpgsql volatile
as $$
declare
    v_now timestamptz := pgjobs.now();
    v_id  integer;
begin
    insert into pgjobs.workers (name, host, pid, version, queues, concurrency, lease, started_at, renewed_at, lapses_at, claims_since,
                                on_failure)
    values (p_name, p_host, p_pid, p_version, p_queues, p_concurrency, p_lease, v_now, v_now, v_now + p_lease, v_now,
            p_on_failure)
    returning id into v_id;
    return v_id;
end
$$;

comment on function pgjobs.register_v1(text, text, integer, text, text[], integer, interval, jsonb) is
    'Register a worker; returns its id.';
