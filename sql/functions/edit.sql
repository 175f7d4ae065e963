-- edit: changes a job that does not run: it is ready, scheduled, or waits in a line. What is null stays as it is.
-- Raises PJ002 when there is no such job, PJ006 when it runs, is finished or dead.
-- p_version: the version of the payload, where that is another now.
-- I5: a delay counts from now. I8: a job that gets another queue, priority or time is due now at the earliest; one that
-- keeps them keeps its place, and its key, which is the one case where an old key is written anew. Either is announced,
-- since claimers have gone past the row while it was locked.
-- Locks: the job, for which it may wait: until a claim under way has it, or not. Cost: one update by primary key.
create or replace function pgjobs.edit_v1(
    p_id bigint, p_priority integer, p_queue text, p_delay interval, p_available_at timestamptz, p_payload jsonb,
    p_metadata jsonb, p_max_attempts integer, p_timeout interval, p_version integer)
returns void
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
    v_now    timestamptz;
    v_job    pgjobs.jobs;
    v_status text;
    v_queue  text;
    v_at     timestamptz;
begin
    select j.* into v_job from pgjobs.jobs j where j.id = p_id for update;
    if v_job.status is null then
        v_status := (select a.status from pgjobs.all_jobs a where a.id = p_id);
        if v_status is null then
            raise exception 'There is no job with the id %: it never was, or it was pruned.', p_id using errcode = 'PJ002';
        end if;
    elsif v_job.status = 'running' then
        v_status := 'running';
    end if;
    if v_status is not null then
        raise exception 'Job % is % and cannot be changed any more: only a job that waits can.', p_id, v_status using errcode = 'PJ006';
    end if;
    v_queue := coalesce(p_queue, v_job.queue);
    perform pgjobs.check_job(
        v_job.task, coalesce(p_payload, v_job.payload), v_queue, coalesce(p_priority, v_job.priority), p_delay,
        p_available_at, coalesce(p_max_attempts, v_job.max_attempts), coalesce(p_timeout, v_job.timeout),
        coalesce(p_metadata, v_job.metadata), coalesce(p_version, v_job.version));

    v_now := pgjobs.now();  -- the lock may have been waited for
    v_at := case
        when p_delay is not null or p_available_at is not null then greatest(v_now, coalesce(p_available_at, v_now + p_delay))
        when p_queue is not null or p_priority is not null then greatest(v_now, v_job.available_at)
        else v_job.available_at
    end;
    update pgjobs.jobs j
    set priority = coalesce(p_priority, j.priority), rank = coalesce(p_priority, j.rank), queue = v_queue,
        available_at = v_at, payload = coalesce(p_payload, j.payload), metadata = coalesce(p_metadata, j.metadata),
        max_attempts = coalesce(p_max_attempts, j.max_attempts), timeout = coalesce(p_timeout, j.timeout),
        version = coalesce(p_version, j.version)
    where j.id = p_id;
    if v_job.status = 'ready' then
        perform pgjobs.announce_again(v_queue, v_at);
    end if;
end
$$;

comment on function pgjobs.edit_v1(bigint, integer, text, interval, timestamptz, jsonb, jsonb, integer, interval, integer) is
    'Change a job that does not run, as clients call it; people use pgjobs.edit().';

create or replace function pgjobs.edit(
    id bigint, priority integer default null, queue text default null, delay interval default null,
    available_at timestamptz default null, payload jsonb default null, metadata jsonb default null,
    max_attempts integer default null, timeout interval default null, version integer default null)
returns void
language sql volatile
as $$
    select pgjobs.edit_v1(id, priority, queue, delay, available_at, payload, metadata, max_attempts, timeout, version)
$$;

comment on function pgjobs.edit(bigint, integer, text, interval, timestamptz, jsonb, jsonb, integer, interval, integer) is
    'Change a job that does not run; what is not named stays: select pgjobs.edit(42, priority => -1, delay => ''5 minutes'').';
