-- register: a new worker, with a lease of so long from now.
-- The life of a worker is register, renew, resign. A lease lapses by its worker's row; no renewal touches a job. Rows are keyed
-- (id, gen) and every write raises gen: reading the newest costs the same however many dead versions there are (I8).
create or replace function pgjobs.register_v1(
    p_name text, p_host text, p_pid integer, p_version text, p_queues text[], p_concurrency integer, p_lease interval)
returns integer
language plpgsql volatile
as $$
declare
    v_now timestamptz := pgjobs.now();
    v_id  integer;
begin
    insert into pgjobs.workers (name, host, pid, version, queues, concurrency, lease, started_at, renewed_at, lapses_at, claims_since)
    values (p_name, p_host, p_pid, p_version, p_queues, p_concurrency, p_lease, v_now, v_now, v_now + p_lease, v_now)
    returning id into v_id;
    return v_id;
end
$$;

comment on function pgjobs.register_v1(text, text, integer, text, text[], integer, interval) is
    'Register a worker; returns its id.';
