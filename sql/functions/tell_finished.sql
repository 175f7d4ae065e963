-- tell_finished: says which of these jobs are over, to processes that wait for one (app.wait_for).
-- A process that waits holds shared session advisory locks: on 0, which says that somebody waits at all, and for each
-- job on 1 + the last eight bits of its id. Whoever cannot have a lock exclusively knows of one who holds it.
-- I9: a hint. A job that is not over yet may be among them: who hears of it looks. Nothing is sent when nobody waits
-- (NOTIFY makes commits queue up behind one another), nor when the server's notification queue is filling.
-- Locks: none kept. Cost: two calls of the lock manager when nobody waits, two more a job when somebody does; no table is
-- read.
create or replace function pgjobs.tell_finished(p_ids bigint[]) returns void
language plpgsql volatile
as $$
declare
    v_awaited text[];
begin
    if not pgjobs.is_awaited(0) or pg_notification_queue_usage() >= 0.5 then
        return;
    end if;
    v_awaited := array(select distinct i.id::text from unnest(p_ids) i(id) where pgjobs.is_awaited(1 + (i.id & 255)::integer));
    -- A message holds 8,000 bytes at most: 300 ids and their commas.
    for v_first in 1 .. cardinality(v_awaited) by 300 loop
        perform pg_notify('pgjobs_finished', array_to_string(v_awaited[v_first : v_first + 299], ','));
    end loop;
end
$$;

comment on function pgjobs.tell_finished(bigint[]) is 'Say which of these jobs are over, to processes that wait for one.';

-- Whether some process waits for a job with this number; see above.
create or replace function pgjobs.is_awaited(p_number integer) returns boolean
language sql volatile
as $$
    select case
        when pg_try_advisory_lock('pgjobs.job_history'::regclass::oid::int, p_number)
        then not pg_advisory_unlock('pgjobs.job_history'::regclass::oid::int, p_number)
        else true end
$$;

comment on function pgjobs.is_awaited(integer) is 'Whether some process waits for a job with this number; see tell_finished.';

-- Jobs that end otherwise than completed are told about at their commit, whichever verb ended them. (Completed ones are
-- many: settle tells about all of a call at once.)
create or replace function pgjobs.tell_ended() returns trigger
language plpgsql
as $$
begin
    perform pgjobs.tell_finished(array[new.id]);
    return null;
end
$$;

comment on function pgjobs.tell_ended() is 'Commit-time word of a job that was cancelled or is dead, to processes that wait for it.';

do $$
begin
    if not exists (select from pg_trigger where tgrelid = 'pgjobs.dead_letters'::regclass and tgname = 'tell_ended') then
        create constraint trigger tell_ended after insert on pgjobs.dead_letters
            deferrable initially deferred for each row execute function pgjobs.tell_ended();
    end if;
    if not exists (select from pg_trigger where tgrelid = 'pgjobs.job_history'::regclass and tgname = 'tell_ended') then
        create constraint trigger tell_ended after insert on pgjobs.job_history
            deferrable initially deferred for each row when (new.status <> 'completed') execute function pgjobs.tell_ended();
    end if;
end
$$;
