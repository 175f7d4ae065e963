-- leases: what a worker holds, oldest claims first, up to a limit.
-- Asked after a doubtful error: a lost reply is not a lost job. Cost: what it returns, and what it claimed and settled
-- since its oldest lease, where a held snapshot keeps vacuum from removing that.
create or replace function pgjobs.leases_v1(p_worker integer, p_limit integer)
returns table (id bigint, run integer)
language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off
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
