-- prune: empties the next slot of the history ring before its turn comes; one slot a call (I12).
-- What is emptied finished at least seven days ago. Returns whether it emptied something.
-- Locks: ACCESS EXCLUSIVE on that one partition, which nobody writes to; tried, never waited for, because whoever
-- waits for such a lock makes all readers wait behind it.
create or replace function pgjobs.prune_v1() returns boolean
language plpgsql volatile
as $$
declare
    v_slot  smallint := (pgjobs.history_slot(pgjobs.now()) + 1) & 15;
    v_name  text := format('pgjobs.job_history_%s', lpad(v_slot::text, 2, '0'));
    v_found boolean;
begin
    execute format('lock table only %s in access share mode nowait', v_name);
    execute format('select exists (select from %s)', v_name) into v_found;
    if not v_found then
        return false;
    end if;
    execute format('lock table only %s in access exclusive mode nowait', v_name);
    execute format('truncate only %s', v_name);
    return true;
exception
    when lock_not_available then
        return false;  -- somebody reads it; the slot has twelve hours until its turn
end
$$;

comment on function pgjobs.prune_v1() is 'Empty the next slot of job_history before its turn comes.';
