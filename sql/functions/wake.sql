-- wake: tells idle workers that a job of this queue is due, or will be in so many seconds.
-- I9: a hint. Nothing is sent when nobody waits (NOTIFY makes commits queue up behind one another), nor when the
-- server's notification queue is filling (a full one would abort the caller's commit).
create or replace function pgjobs.wake(p_queue text, p_in double precision default 0) returns void
language plpgsql volatile
as $$
begin
    if pg_notification_queue_usage() < 0.5 and pgjobs.waits(p_queue) then
        perform pg_notify('pgjobs', json_build_object('queue', p_queue, 'in', p_in)::text);
    end if;
end
$$;

comment on function pgjobs.wake(text, double precision) is 'Tell idle workers that a job of this queue is due in so many seconds.';
