-- renew_many: the leases of several workers run on from now; what a supervisor calls for all of its own, see register.
-- Parallel arrays, one element a worker: how many jobs it runs; since when it holds claims (null: unknown, unchanged);
-- whether it is stopping. p_supervisor: whose lock (see hold) this session has; null without one. A suspicion is over.
-- Returns the workers that are gone or that rescue has begun to take jobs from: they hold nothing any more.
-- Locks: their rows, by id, for each of which it may wait for a rescue at work. Cost: one probe and one write a worker.
create or replace function pgjobs.renew_many_v1(
    p_supervisor integer, p_workers integer[], p_running integer[], p_claims_since timestamptz[], p_stopping boolean[])
returns setof integer
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
    v_now timestamptz := pgjobs.now();
    v_one record;
    v_gen integer;
begin
    for v_one in
        select g.id, g.running, g.claims_since, g.stopping
        from rows from (unnest(p_workers), unnest(p_running), unnest(p_claims_since), unnest(p_stopping))
             as g(id, running, claims_since, stopping)
        order by g.id
    loop
        -- Locked first: of two renewals at once, the second goes on from what the first wrote.
        select w.gen into v_gen from pgjobs.workers w where w.id = v_one.id order by w.gen desc limit 1 for update;
        update pgjobs.workers w
        set gen = w.gen + 1, renewed_at = v_now, lapses_at = v_now + w.lease, running = v_one.running, stopping = v_one.stopping,
            claims_since = coalesce(v_one.claims_since, w.claims_since), suspected_at = null, supervisor = p_supervisor,
            server_started_at = case when p_supervisor is not null then pg_postmaster_start_time() end
        where w.id = v_one.id and w.gen = v_gen and not w.lost;
        if not found then
            return next v_one.id;
        end if;
    end loop;
end
$$;

comment on function pgjobs.renew_many_v1(integer, integer[], integer[], timestamptz[], boolean[]) is
    'Renew the leases of several workers; returns those whose lease has lapsed.';
