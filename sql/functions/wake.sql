-- wake: tells an idle worker that a job of this queue is due, or will be in so many seconds.
-- I9: a hint. Nothing is sent when nobody waits (NOTIFY makes commits queue up behind one another), nor when the
-- server's notification queue is filling (a full one would abort the caller's commit).
create or replace function pgjobs.wake(p_queue text, p_in double precision default 0) returns void
language plpgsql volatile
as $$
begin
    if pg_notification_queue_usage() < 0.5 and pgjobs.waits(p_queue) then
        perform pg_notify('pgjobs', pgjobs.message(p_queue, p_in));
    end if;
end
$$;

comment on function pgjobs.wake(text, double precision) is 'Tell an idle worker that a job of this queue is due in so many seconds.';

-- message: that a job of this queue is due in so many seconds; if now, to one worker that waits, by its place.
create or replace function pgjobs.message(p_queue text, p_in double precision) returns text
language sql volatile
as $$
    select json_strip_nulls(json_build_object(
        'queue', p_queue, 'in', p_in, 'to', case when p_in <= 0 then pgjobs.place_of_one(p_queue) end))::text
$$;

comment on function pgjobs.message(text, double precision) is 'What workers are told of a job of this queue that is due in so many seconds.';
