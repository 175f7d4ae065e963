-- move: jobs that do not run go into another queue, up to p_limit; which ones, see pick. Returns their ids, smallest first.
-- They keep priority and time; what is due is due now, behind what was due there before (I8), and they are announced there.
-- I1: one statement. Locks: as pick. Cost: the pick, and one update a job.
create or replace function pgjobs.move_v1(
    p_to text, p_ids bigint[], p_queue text, p_task text, p_status text, p_older interval, p_newer interval,
    p_metadata jsonb, p_limit integer, p_after bigint)
returns setof bigint
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now timestamptz;
    v_ids bigint[];
begin
    if not pgjobs.is_name(p_to) then
        raise exception 'The name of a queue must have 1 to 200 characters, none of them a control character.' using errcode = 'PJ001';
    elsif p_status = 'running' then
        raise exception 'A job that runs cannot be moved.' using errcode = 'PJ001';
    end if;
    v_ids := pgjobs.pick(p_ids, p_queue, p_task, p_status, p_older, p_newer, p_metadata, p_limit, p_after);
    v_now := pgjobs.now();
    update pgjobs.jobs j set queue = p_to, available_at = greatest(j.available_at, v_now)
    where j.id = any (v_ids) and j.queue <> p_to;
    if found then
        perform pgjobs.announce_again(p_to, v_now);
    end if;
    return query select i from unnest(v_ids) i;
end
$$;

comment on function pgjobs.move_v1(text, bigint[], text, text, text, interval, interval, jsonb, integer, bigint) is
    'Jobs that do not run go into another queue, as clients call it; people use pgjobs.move().';

create or replace function pgjobs.move(
    queue text, to_queue text, task text default null, status text default null, older interval default null,
    newer interval default null, metadata jsonb default null, "limit" integer default 1000)
returns setof bigint
language sql volatile
as $$
    select pgjobs.move_v1(to_queue, null, queue, task, status, older, newer, metadata, "limit", 0)
$$;

comment on function pgjobs.move(text, text, text, text, interval, interval, jsonb, integer) is
    'Jobs that do not run go into another queue: select pgjobs.move(''ocr'', ''ocr_slow'', task => ''read_book''). Returns their ids; 1000 at most unless "limit" says more.';
