-- cancel_where: cancels live jobs that fit all conditions, up to p_limit; which ones, see pick; what becomes of each, see cancel.
-- Only with the status running are jobs chosen that run. Returns what was done with each, smallest id first.
-- Locks and cost: as pick, then as cancel.
create or replace function pgjobs.cancel_where_v1(
    p_reason text, p_ids bigint[], p_queue text, p_task text, p_status text, p_older interval, p_newer interval,
    p_metadata jsonb, p_limit integer, p_after bigint)
returns table (id bigint, status text)
language sql volatile
as $$
    select c.id, c.status
    from pgjobs.cancel(
        pgjobs.pick(p_ids, p_queue, p_task, p_status, p_older, p_newer, p_metadata, p_limit, p_after), p_reason) c
$$;

comment on function pgjobs.cancel_where_v1(text, bigint[], text, text, text, interval, interval, jsonb, integer, bigint) is
    'Cancel live jobs that fit all conditions, as clients call it; people use pgjobs.cancel_where().';

create or replace function pgjobs.cancel_where(
    queue text default null, task text default null, status text default null, older interval default null,
    newer interval default null, metadata jsonb default null, reason text default null, "limit" integer default 1000)
returns setof bigint
language plpgsql volatile
as $$
begin
    if queue is null and task is null and status is null and older is null and newer is null and metadata is null then
        raise exception 'Say which jobs: at least one of queue, task, status, older, newer, metadata.' using errcode = 'PJ001';
    end if;
    return query
        select c.id from pgjobs.cancel_where_v1(reason, null, queue, task, status, older, newer, metadata, "limit", 0) c;
end
$$;

comment on function pgjobs.cancel_where(text, text, text, interval, interval, jsonb, text, integer) is
    'Cancel live jobs that fit all conditions: select pgjobs.cancel_where(queue => ''ocr'', older => ''1 day''). Those that run only with status => ''running'': they are asked to stop. Returns their ids; 1000 at most unless "limit" says more.';
