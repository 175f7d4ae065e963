-- renew: the lease of a worker runs on from now.
-- The life of a worker is register, renew, resign. A lease lapses by its worker's row; no renewal touches a job. Rows are keyed
-- (id, gen) and every write raises gen: reading the newest costs the same however many dead versions there are (I8).
-- p_running: how many jobs it runs; p_claims_since: it holds nothing claimed before (null: unknown, unchanged).
-- Raises PJ004 when the worker is gone or rescue has begun to take its jobs back: then it holds nothing any more.
-- Locks: its own row, for which it may wait for a rescue at work.
create or replace function pgjobs.renew_v1(p_worker integer, p_running integer, p_claims_since timestamptz, p_stopping boolean)
returns void
language plpgsql volatile
set jit = off
as $$
begin
    if exists (select from pgjobs.renew_many_v1(null, array[p_worker], array[p_running], array[p_claims_since], array[p_stopping])) then
        raise exception 'The lease of worker % has lapsed.', p_worker using errcode = 'PJ004';
    end if;
end
$$;

comment on function pgjobs.renew_v1(integer, integer, timestamptz, boolean) is 'Renew the lease of a worker.';
