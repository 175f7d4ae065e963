-- retry_failed: dead letters become jobs again, with their attempts and crashes counted anew.
-- All filters must fit; error is a part of the text of the last error, in any case of letters; since: died after.
-- Ids that are named must all be there, or nothing is retried (PJ002). Returns the ids, smallest first; p_limit at most,
-- those after p_after, so that a loop can go through all without meeting the dead again (I8, I12).
-- I1: one statement moves them. I4: run goes on from where it was. I5: available_at is now.
-- Locks: the dead letters, by id, skipping locked ones.
create or replace function pgjobs.retry_failed_v1(
    p_ids bigint[], p_queue text, p_task text, p_error text, p_since timestamptz, p_limit integer, p_after bigint)
returns setof bigint
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now     timestamptz := pgjobs.now();
    v_missing bigint;
    v_tids    tid[];
begin
    -- Not with exists: that the planner may answer by hashing the whole table.
    select min(i) into v_missing from unnest(p_ids) i where (select d.id from pgjobs.dead_letters d where d.id = i) is null;
    if v_missing is not null then
        raise exception 'There is no dead letter with the id %; nothing was retried.', v_missing using errcode = 'PJ002';
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
    return query
        with chosen as (
            delete from pgjobs.dead_letters d where d.ctid = any (v_tids) returning d.*
        ), flagged as materialized (
            select c.queue, min(c.id) as id from chosen c group by c.queue
        )
        insert into pgjobs.jobs (id, queue, task, payload, priority, rank, available_at, enqueued_at, run,
                                 max_attempts, timeout, metadata, version, wake)
        select c.id, c.queue, c.task, c.payload, c.priority, c.priority, v_now, c.enqueued_at, c.run,
               c.max_attempts, c.timeout, c.metadata, c.version,
               c.id = (select f.id from flagged f where f.queue = c.queue) and pgjobs.flag_wake(c.queue, v_now)
        from chosen c
        order by c.id
        returning jobs.id;
end
$$;

comment on function pgjobs.retry_failed_v1(bigint[], text, text, text, timestamptz, integer, bigint) is
    'Dead letters become jobs again, as clients call it; people use pgjobs.retry_failed().';

create or replace function pgjobs.retry_failed(
    id bigint default null, queue text default null, task text default null, error text default null,
    since timestamptz default null, "limit" integer default 1000)
returns setof bigint
language sql volatile
as $$
    select pgjobs.retry_failed_v1(case when id is not null then array[id] end, queue, task, error, since, "limit", 0)
$$;

comment on function pgjobs.retry_failed(bigint, text, text, text, timestamptz, integer) is
    'Dead letters become jobs again: select pgjobs.retry_failed(queue => ''ocr''), or id => 42. Returns their ids.';
