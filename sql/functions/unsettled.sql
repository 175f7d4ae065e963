-- unsettled: of leases that could not be settled, which are over (fenced) and which are only locked for a moment.
-- p_settled: the places, counted from 1, of those that were settled.
-- A lease that stands cannot be taken away and given back, for run never falls (I4): not to be seen is to be over.
create or replace function pgjobs.unsettled(p_worker integer, p_ids bigint[], p_runs integer[], p_settled bigint[])
returns table (verb text, id bigint, run integer)
language sql stable
as $$
    -- Not with exists: that the planner may answer by hashing the whole table.
    select coalesce((select 'locked' from pgjobs.jobs j where j.id = g.id and j.run = g.run and j.worker = p_worker), 'fenced'),
           g.id, g.run
    from rows from (unnest(p_ids), unnest(p_runs)) as g(id, run)
    where (g.id, g.run) not in (select p_ids[s], p_runs[s] from unnest(p_settled) s)
$$;

comment on function pgjobs.unsettled(integer, bigint[], integer[], bigint[]) is
    'Of leases that were not settled: which are over (fenced), which are locked for a moment.';
