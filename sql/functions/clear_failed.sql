-- clear_failed: dead letters are deleted for good, with their attempts, up to p_limit. Which ones, and p_after: as in retry_failed.
-- Ids that are named must all be there, or nothing is deleted (PJ002). Returns the ids, smallest first.
-- I1: one statement. I12: bounded. Locks: the dead letters, by id, skipping locked ones.
create or replace function pgjobs.clear_failed_v1(
    p_ids bigint[], p_queue text, p_task text, p_error text, p_since timestamptz, p_limit integer, p_after bigint)
returns setof bigint
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_missing bigint;
    v_tids    tid[];
    v_ids     bigint[];
begin
    -- Not with exists: that the planner may answer by hashing the whole table.
    select min(i) into v_missing from unnest(p_ids) i where (select d.id from pgjobs.dead_letters d where d.id = i) is null;
    if v_missing is not null then
        raise exception 'There is no dead letter with the id %; nothing was deleted.', v_missing using errcode = 'PJ002';
    end if;
    -- One branch for each way to the rows: by their ids, or through all of them in order.
    if p_ids is not null then
        v_tids := array(
            select d.tid
            from (select distinct i from unnest(p_ids) i where i > p_after order by i) g(id)
            cross join lateral (
                select d.ctid as tid from pgjobs.dead_letters d
                where d.id = g.id
                  and (p_queue is null or d.queue = p_queue)
                  and (p_task is null or d.task = p_task)
                  and (p_error is null or position(lower(p_error) in lower(d.error)) > 0)
                  and (p_since is null or d.failed_at >= p_since)
                limit 1
                for update skip locked
            ) d
            limit p_limit);
    else
        v_tids := array(
            select d.ctid from pgjobs.dead_letters d
            where d.id > p_after
              and (p_queue is null or d.queue = p_queue)
              and (p_task is null or d.task = p_task)
              and (p_error is null or position(lower(p_error) in lower(d.error)) > 0)
              and (p_since is null or d.failed_at >= p_since)
            order by d.id
            limit p_limit
            for update skip locked);
    end if;
    with gone as (
        delete from pgjobs.dead_letters d where d.ctid = any (v_tids) returning d.id
    )
    select array_agg(g.id order by g.id) into v_ids from gone g;
    delete from pgjobs.attempts a where a.job_id = any (v_ids);
    return query select i from unnest(v_ids) i;
end
$$;

comment on function pgjobs.clear_failed_v1(bigint[], text, text, text, timestamptz, integer, bigint) is
    'Delete dead letters for good, as clients call it; people use pgjobs.clear_failed().';

create or replace function pgjobs.clear_failed(
    id bigint default null, queue text default null, task text default null, error text default null,
    since timestamptz default null, "limit" integer default 1000)
returns setof bigint
language sql volatile
as $$
    select pgjobs.clear_failed_v1(case when id is not null then array[id] end, queue, task, error, since, "limit", 0)
$$;

comment on function pgjobs.clear_failed(bigint, text, text, text, timestamptz, integer) is
    'Delete dead letters for good: select pgjobs.clear_failed(queue => ''ocr''), or id => 42. Returns their ids.';
