-- resign: a worker leaves; what it still holds is given back, not counted.
-- Returns how many jobs it still holds (locked ones), in which case it is still registered and should ask again.
-- Locks: the advisory lock of the worker, for which it may wait; jobs by id, skipping locked ones; then its own row.
create or replace function pgjobs.resign_v1(p_worker integer) returns integer
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
    v_ids  bigint[];
    v_runs integer[];
    v_left integer;
begin
    -- Waits for a claim of this worker's that is under way, and keeps the next one out: its jobs would be nobody's (I2).
    perform pg_advisory_xact_lock('pgjobs.workers'::regclass::oid::int, p_worker);
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
