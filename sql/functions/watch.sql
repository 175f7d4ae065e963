-- watch: which of these jobs are over, and how; and the locks by which this session says that it waits (tell_finished).
-- p_take, p_let_go: numbers to take and to let go the shared lock on. They are taken before the look, so that a job that
-- finishes after it is told about, unless it was being settled at that very moment, which the next look finds.
-- Returns a row for each job that is over; status is null for one that is nowhere: never was, pruned, or nothing is kept.
-- I1: one statement, one snapshot: a job on its way from one table to another is seen in one of them.
-- Locks: shared session advisory locks; an exclusive one is held only for an instant by who asks (is_awaited).
-- Cost: per job that is not over, one look-up by primary key; per other, up to 17 more.
create or replace function pgjobs.watch_v1(p_ids bigint[], p_take integer[], p_let_go integer[])
returns table (id bigint, status text, result text, reason text, error text)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
#variable_conflict use_column
begin
    perform pg_advisory_lock_shared('pgjobs.job_history'::regclass::oid::int, n) from unnest(p_take) n;
    perform pg_advisory_unlock_shared('pgjobs.job_history'::regclass::oid::int, n) from unnest(p_let_go) n;
    return query
        select g.id, coalesce(d.status, h.status), h.result, coalesce(d.reason, h.reason), d.error
        from unnest(p_ids) g(id)
        left join lateral (select true as lives from pgjobs.jobs j where j.id = g.id limit 1) j on true
        left join lateral (
            select 'dead' as status, d.reason, d.error from pgjobs.dead_letters d
            where d.id = g.id and j.lives is null limit 1
        ) d on true
        left join lateral (
            select h.status, h.result::text as result, h.reason from pgjobs.job_history h
            where h.id = g.id and j.lives is null and d.status is null limit 1
        ) h on true
        where j.lives is null;
end
$$;

comment on function pgjobs.watch_v1(bigint[], integer[], integer[]) is
    'Which of these jobs are over, and how; takes and lets go the locks that say that this session waits for jobs.';
