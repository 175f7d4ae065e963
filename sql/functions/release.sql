-- release: gives jobs back that were claimed and not started, as if they had not been claimed; see settle.
create or replace function pgjobs.release_v1(p_worker integer, p_ids bigint[], p_runs integer[])
returns table (verb text, id bigint, run integer)
language sql volatile
as $$
    select s.verb, s.id, s.run
    from pgjobs.settle_others(p_worker, (
        select coalesce(jsonb_agg(jsonb_build_object('id', g.id, 'run', g.run, 'outcome', 'release')), '[]')
        from rows from (unnest(p_ids), unnest(p_runs)) as g(id, run))) s
$$;

comment on function pgjobs.release_v1(integer, bigint[], integer[]) is
    'Give jobs back unstarted and uncounted, first in their queue; returns what could not be given back.';
