-- enqueue: puts one job into a queue, in the caller's transaction. Returns its id.
-- I1: the row is in jobs when, and only when, the transaction commits. I5: available_at is never before now.
-- p_alone: nothing else is done in this transaction. Then what the trigger would do at commit (announce) is done here, at
-- its end, for less. Who says so in a transaction that goes on is told nothing wrong, but too early (I9).
-- Locks: none but the row's own. Cost: one insert; two indexes; at commit one trigger for the first row of a queue.
-- In a transaction with one enqueue every expression is made ready once for one use, which is what it costs: hence few of
-- them, and a plain number as the result, which needs no place to collect rows in.
create or replace function pgjobs.enqueue_v1(
    p_task text, p_payload jsonb, p_queue text, p_priority integer, p_delay interval, p_available_at timestamptz,
    p_max_attempts integer, p_timeout interval, p_metadata jsonb, p_notify boolean, p_version integer,
    p_alone boolean, out id bigint)
language plpgsql volatile
as $$
declare
    v_now timestamptz := pgjobs.now();
    v_at  timestamptz := greatest(v_now, coalesce(p_available_at, v_now + p_delay));
    v_in  interval;
begin
    -- What is plain is seen to be right at once; what is not, check_job looks at, which has a sentence for each fault.
    if (num_nonnulls(p_delay, p_available_at, p_max_attempts, p_timeout, p_metadata, p_version) = 0
        and pgjobs.is_name(p_task) and pgjobs.is_name(p_queue)
        and jsonb_typeof(p_payload) = 'object' and p_priority between -2 and 2) is not true
    then
        perform pgjobs.check_job(p_task, p_payload, p_queue, p_priority, p_delay, p_available_at, p_max_attempts, p_timeout, p_metadata, p_version);
    end if;
    insert into pgjobs.jobs (queue, task, payload, priority, rank, available_at, enqueued_at,
                             max_attempts, timeout, metadata, version, wake)
    values (p_queue, p_task, p_payload, p_priority, p_priority, v_at, v_now,
            p_max_attempts, p_timeout, p_metadata, p_version,
            p_notify and not p_alone and pgjobs.flag_wake(p_queue, v_at))
    returning jobs.id into enqueue_v1.id;
    if p_notify and p_alone then
        v_in := v_at - pgjobs.now();
        if pgjobs.is_told(p_queue, v_in) then
            perform pgjobs.tell(p_queue, v_at, v_in);
        end if;
    end if;
end
$$;

comment on function pgjobs.enqueue_v1(text, jsonb, text, integer, interval, timestamptz, integer, interval, jsonb, boolean, integer, boolean) is
    'Enqueue one job, as clients call it; people use pgjobs.enqueue().';

-- The same for people. A null or absent setting means "as the task says". A null or absent version means 1: SQL that was
-- written before the task had versions goes on to work, through the task's upcasters.
create or replace function pgjobs.enqueue(
    task text, payload jsonb default '{}', queue text default 'default', priority integer default 0,
    delay interval default null, available_at timestamptz default null, max_attempts integer default null,
    timeout interval default null, metadata jsonb default null, notify boolean default true,
    version integer default null)
returns bigint
language sql volatile
as $$
    select pgjobs.enqueue_v1(task, payload, coalesce(queue, 'default'), coalesce(priority, 0), delay, available_at,
                             max_attempts, timeout, metadata, coalesce(notify, true), version, false)
$$;

comment on function pgjobs.enqueue(text, jsonb, text, integer, interval, timestamptz, integer, interval, jsonb, boolean, integer) is
    'Enqueue one job in this transaction: select pgjobs.enqueue(''read_letter'', ''{"letter_id": 7}'', queue => ''ocr'', priority => -1). Returns its id. notify => false for transactions that will be prepared; version => 2 for a payload as version 2 of the task takes it.';
