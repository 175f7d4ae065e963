-- The life of a worker: register, renew, resign.
-- A lease lapses by its worker's row; no renewal touches a job. Rows are keyed (id, gen) and every write raises gen, so
-- reading the newest (order by gen desc limit 1) costs the same however many dead versions there are (I8).

-- register: a new worker, with a lease of so long from now.
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

-- renew: the lease of a worker runs on from now.
-- p_running: how many jobs it runs; p_claims_since: it holds nothing claimed before (null: unknown, unchanged).
-- Raises PJ004 when the worker is gone or rescue has begun to take its jobs back: then it holds nothing any more.
-- Locks: its own row, for which it may wait for a rescue at work.
create or replace function pgjobs.renew_v1(p_worker integer, p_running integer, p_claims_since timestamptz, p_stopping boolean)
returns void
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
    v_now timestamptz := pgjobs.now();
begin
    update pgjobs.workers w
    set gen = w.gen + 1, renewed_at = v_now, lapses_at = v_now + w.lease, running = p_running, stopping = p_stopping,
        claims_since = coalesce(p_claims_since, w.claims_since)
    where w.id = p_worker and not w.lost
      and w.gen = (select n.gen from pgjobs.workers n where n.id = p_worker order by n.gen desc limit 1);
    if not found then
        raise exception 'The lease of worker % has lapsed.', p_worker using errcode = 'PJ004';
    end if;
end
$$;

comment on function pgjobs.renew_v1(integer, integer, timestamptz, boolean) is 'Renew the lease of a worker.';

-- leases: what a worker holds, oldest claims first, up to a limit.
-- Asked after a doubtful error: a lost reply is not a lost job. Cost: what it returns, and what it claimed and settled
-- since its oldest lease, where a held snapshot keeps vacuum from removing that.
create or replace function pgjobs.leases_v1(p_worker integer, p_limit integer)
returns table (id bigint, run integer)
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_since timestamptz := (select w.claims_since from pgjobs.workers w where w.id = p_worker order by w.gen desc limit 1);
begin
    return query
        select j.id, j.run from pgjobs.jobs j
        where j.status = 'running' and j.worker = p_worker and j.claimed_at >= coalesce(v_since, '-infinity')
        order by j.claimed_at
        limit p_limit;
end
$$;

comment on function pgjobs.leases_v1(integer, integer) is 'The leases that a worker holds.';

-- resign: a worker leaves; what it still holds is given back, not counted.
-- Locks: jobs by id, skipping locked ones; then its own row. Returns how many jobs it still holds (locked ones), in
-- which case it is still registered and should ask again.
create or replace function pgjobs.resign_v1(p_worker integer) returns integer
language plpgsql volatile
as $$
declare
    v_ids  bigint[];
    v_runs integer[];
    v_left integer;
begin
    select array_agg(l.id), array_agg(l.run) into v_ids, v_runs from pgjobs.leases_v1(p_worker, 10000) l;
    perform pgjobs.release_v1(p_worker, v_ids, v_runs);
    select count(*) into v_left from pgjobs.leases_v1(p_worker, 10000);
    if v_left = 0 then
        delete from pgjobs.workers w where w.id = p_worker;
    end if;
    return v_left;
end
$$;

comment on function pgjobs.resign_v1(integer) is 'A worker leaves and gives back what it holds.';
