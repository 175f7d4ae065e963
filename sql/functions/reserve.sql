-- reserve: hands out ids for jobs that the caller then writes by COPY, in the same transaction, with what it is told here.
-- p_kinds: an array with an object for each kind of job among them: the settings as for enqueue_many, with the latest delay
-- or available_at of its jobs, and the earliest one as first_delay (seconds) or first_available_at.
-- Returns one row:
--   at      what time it is, in microseconds since 1970: enqueued_at, and available_at of what is due at once or before
--   ids     the ids, as the literal of an array: the first and the last of each range, ascending
--   flags   the queues, as a JSON array, whose earliest job is to be written with wake = true
-- or none when the caller cannot write them itself: it may not insert, or row security is on, which COPY does not know.
-- I5: keys are not before this moment. COPY and commit take their time after it; what commits late is announced (announce).
-- Locks: none. Cost: a number of the sequence for each job.
create or replace function pgjobs.reserve_v1(p_count integer, p_kinds jsonb, p_notify boolean)
returns table (at bigint, ids text, flags text)
language plpgsql volatile
as $$
declare
    v_now    timestamptz := pgjobs.now();
    v_jobs   oid := 'pgjobs.jobs'::regclass;
    v_ids    oid := 'pgjobs.jobs_id_seq'::regclass;
    v_ranges bigint[] := '{}';
    v_first  bigint;
    v_last   bigint;
    v_id     bigint;
begin
    if not (has_table_privilege(v_jobs, 'insert') and has_sequence_privilege(v_ids, 'usage')) or row_security_active(v_jobs) then
        return;
    end if;
    perform pgjobs.check_job(k.task, k.payload, k.queue, k.priority, make_interval(secs => k.delay), k.available_at,
                             k.max_attempts, make_interval(secs => k.timeout), k.metadata, k.version)
    from jsonb_to_recordset(p_kinds) as k(
        task text, payload jsonb, queue text, priority integer, delay double precision, available_at timestamptz,
        max_attempts integer, timeout double precision, metadata jsonb, version integer);
    -- Others may take numbers meanwhile.
    for n in 1..p_count loop
        v_id := nextval(v_ids);
        if v_id <> v_last + 1 then
            v_ranges := v_ranges || array[v_first, v_last];
            v_first := null;
        end if;
        v_first := coalesce(v_first, v_id);
        v_last := v_id;
    end loop;
    at := extract(epoch from v_now) * 1000000;
    ids := (v_ranges || array[v_first, v_last])::text;
    select coalesce(json_agg(q.queue), '[]')::text into flags
    from (
        select k.queue, min(greatest(v_now, coalesce(k.first_available_at, v_now + make_interval(secs => k.first_delay)))) as key
        from jsonb_to_recordset(p_kinds) as k(queue text, first_delay double precision, first_available_at timestamptz)
        group by k.queue order by k.queue
    ) q
    where p_notify and pgjobs.flag_wake(q.queue, q.key);
    return next;
end
$$;

comment on function pgjobs.reserve_v1(integer, jsonb, boolean) is
    'Hand out ids for jobs that a client writes into pgjobs.jobs by COPY in this transaction; no row if it may not.';
