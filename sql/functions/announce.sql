-- announce: at commit, tell the workers about the jobs that this transaction enqueued.
-- It runs as a deferred constraint trigger for the one row per queue that enqueue flagged (wake), because what is to be
-- said is known only at commit: a worker may have gone idle since the insert, and a key may have grown old (is_told).
-- I9: all of it is a hint; the sweep from the head finds what was never announced.
create or replace function pgjobs.announce() returns trigger
language plpgsql
as $$
declare
    v_in interval := new.available_at - pgjobs.now();
begin
    if pgjobs.is_told(new.queue, v_in) then
        perform pgjobs.tell(new.queue, new.available_at, v_in);
    end if;
    return null;
end
$$;

comment on function pgjobs.announce() is 'Commit-time announcement of enqueued jobs, for the rows flagged wake.';

-- tell: what they are told, of a late key how far to go back, else when it is due; unless the server's notification queue
-- is filling (a full one would abort the caller's commit).
create or replace function pgjobs.tell(p_queue text, p_available_at timestamptz, p_in interval) returns void
language plpgsql volatile
as $$
begin
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify('pgjobs', case
            when p_in < interval '-0.15 s' then json_build_object('queue', p_queue, 'since', p_available_at)::text
            else pgjobs.message(p_queue, greatest(extract(epoch from p_in), 0)::double precision) end);
    end if;
end
$$;

comment on function pgjobs.tell(text, timestamptz, interval) is 'Tell workers of a key of this queue that is due so long from now.';

do $$
begin
    if not exists (select from pg_trigger where tgrelid = 'pgjobs.jobs'::regclass and tgname = 'announce') then
        create constraint trigger announce after insert on pgjobs.jobs
            deferrable initially deferred for each row when (new.wake) execute function pgjobs.announce();
    end if;
end
$$;
