-- progress: what runs say of how far they are, set-wise, each only if its lease still stands.
-- p_progress: a JSON array in the order of p_ids and p_runs, each {"done", "total", "message"}.
-- Returns the leases whose rows somebody has locked for a moment (send it again); what is said under a lease that is over
-- is dropped.
-- I3: only (id, run, worker) as claimed is written. Locks: jobs by id, skipping locked ones.
-- Cost: per job one lookup by primary key and one update, of a row that is in no index that changes.
create or replace function pgjobs.progress_v1(p_worker integer, p_ids bigint[], p_runs integer[], p_progress jsonb)
returns table (verb text, id bigint, run integer)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
declare
    v_written bigint[];
begin
    with locked as materialized (
        select j.tid, g.ord
        from (
            select g.id, g.run, g.ord from rows from (unnest(p_ids), unnest(p_runs)) with ordinality as g(id, run, ord) order by g.id
        ) g
        cross join lateral (
            select j.ctid as tid from pgjobs.jobs j
            where j.id = g.id and j.run = g.run and j.worker = p_worker
            limit 1
            for update skip locked
        ) j
    ), written as (
        update pgjobs.jobs j set progress = p_progress -> (l.ord - 1)::integer from locked l where j.ctid = l.tid returning l.ord
    )
    select array_agg(w.ord) into v_written from written w;
    if cardinality(v_written) is distinct from cardinality(p_ids) then
        return query select * from pgjobs.unsettled(p_worker, p_ids, p_runs, v_written) u where u.verb = 'locked';
    end if;
end
$$;

comment on function pgjobs.progress_v1(integer, bigint[], integer[], jsonb) is
    'Write what runs say of their progress, each only if its lease still stands; returns those that are locked for a moment.';
