-- renew: the lease of a worker runs on from now.
-- The life of a worker is register, renew, resign. A lease lapses by its worker's row; no renewal touches a job. Rows are keyed
-- (id, gen) and every write raises gen: reading the newest costs the same however many dead versions there are (I8).
-- p_running: how many jobs it runs; p_claims_since: it holds nothing claimed before (null: unknown, unchanged).
-- Raises PJ004 when the worker is gone or rescue has begun to take its jobs back: then it holds nothing any more.
-- Locks: its own row, for which it may wait for a rescue at work.
create or replace function pgjobs.renew_v1(p_worker integer, p_running integer, p_claims_since timestamptz, p_stopping boolean)
returns void
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
    v_now timestamptz := pgjobs.now();
    v_gen integer;
begin
    -- Locked first: of two renewals at once, the second goes on from what the first wrote.
    select w.gen into v_gen from pgjobs.workers w where w.id = p_worker order by w.gen desc limit 1 for update;
    update pgjobs.workers w
    set gen = w.gen + 1, renewed_at = v_now, lapses_at = v_now + w.lease, running = p_running, stopping = p_stopping,
        claims_since = coalesce(p_claims_since, w.claims_since)
    where w.id = p_worker and w.gen = v_gen and not w.lost;
    if not found then
        raise exception 'The lease of worker % has lapsed.', p_worker using errcode = 'PJ004';
    end if;
end
$$;

comment on function pgjobs.renew_v1(integer, integer, timestamptz, boolean) is 'Renew the lease of a worker.';
