-- hold: a session begins to stand for workers, as a supervisor or as the keeper of one worker, under a new id.
-- It holds the advisory lock on (supervisor_ids, id) until it ends, which is how others see that it is there; see rescue.
-- Always a new id, so that it never waits for the lock of a session before, which the server may think alive.
create or replace function pgjobs.hold_v1() returns integer
language plpgsql volatile
as $$
declare
    v_id integer;
begin
    loop
        v_id := nextval('pgjobs.supervisor_ids');
        exit when pg_try_advisory_lock('pgjobs.supervisor_ids'::regclass::oid::int, v_id);
    end loop;
    perform set_config('pgjobs.supervisor', v_id::text, false);  -- its own lock a session would always find free
    return v_id;
end
$$;

comment on function pgjobs.hold_v1() is 'Take the lock that shows who renews for workers to be there; returns the id of the supervisor.';
