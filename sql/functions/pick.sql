-- pick: locks up to p_limit live jobs that fit all conditions, and returns their ids, smallest first; for move, cancel_where.
-- p_status: ready (due), scheduled, waiting or running; null: all that do not run. p_older, p_newer: enqueued longer ago, or less
-- long ago. p_metadata: is contained in the job's. p_after: only ids above it, so that a loop goes through all once and
-- meets neither what it did nor the dead entries of it again (I8, I12).
-- Locks: jobs by id, skipping locked ones (I11). Cost: a walk over live jobs from p_after to the last that is returned.
create or replace function pgjobs.pick(
    p_ids bigint[], p_queue text, p_task text, p_status text, p_older interval, p_newer interval, p_metadata jsonb,
    p_limit integer, p_after bigint)
returns bigint[]
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
    v_now  timestamptz := pgjobs.now();
    v_live text := case when p_status = 'scheduled' then 'ready' else p_status end;
    v_from timestamptz := case when p_status = 'scheduled' then v_now else '-infinity' end;
    v_to   timestamptz := case when p_status = 'ready' then v_now else 'infinity' end;
    v_ids  bigint[];
begin
    if p_status not in ('ready', 'scheduled', 'waiting', 'running') then
        raise exception 'Live jobs are ready, scheduled, waiting or running, not %.', p_status using errcode = 'PJ001';
    end if;
    -- One branch for each way to the rows: by their ids, or through all of them in order.
    if p_ids is not null then
        v_ids := array(
            select j.id
            from (select distinct i from unnest(p_ids) i where i > p_after order by i) g(id)
            cross join lateral (
                select j.id from pgjobs.jobs j
                where j.id = g.id
                  and (case when v_live is null then j.status <> 'running' else j.status = v_live end)
                  and j.available_at > v_from and j.available_at <= v_to
                  and (p_queue is null or j.queue = p_queue)
                  and (p_task is null or j.task = p_task)
                  and (p_older is null or j.enqueued_at < v_now - p_older)
                  and (p_newer is null or j.enqueued_at >= v_now - p_newer)
                  and (p_metadata is null or j.metadata @> p_metadata)
                limit 1
                for update skip locked
            ) j
            limit p_limit);
    else
        v_ids := array(
            select j.id from pgjobs.jobs j
            where j.id > p_after
              and (case when v_live is null then j.status <> 'running' else j.status = v_live end)
              and j.available_at > v_from and j.available_at <= v_to
              and (p_queue is null or j.queue = p_queue)
              and (p_task is null or j.task = p_task)
              and (p_older is null or j.enqueued_at < v_now - p_older)
              and (p_newer is null or j.enqueued_at >= v_now - p_newer)
              and (p_metadata is null or j.metadata @> p_metadata)
            order by j.id
            limit p_limit
            for update skip locked);
    end if;
    return v_ids;
end
$$;

comment on function pgjobs.pick(bigint[], text, text, text, interval, interval, jsonb, integer, bigint) is
    'Lock live jobs that fit all conditions, so many at most, and return their ids.';
