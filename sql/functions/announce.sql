-- announce: at commit, tell the workers about the jobs that this transaction enqueued.
-- It runs as a deferred constraint trigger for the one row per queue that enqueue flagged (wake), because what is to be
-- said is known only at commit: a worker may have gone idle since the insert, and a key may have grown old.
--   late    the key is more than 0.15 s old: claimers have scanned past it, so their cursors must go back to it,
--           whether a worker is idle or not (claimers look back 0.2 s by themselves, I8);
--   due     now or within the poll interval of two seconds: an idle worker is woken, once per queue and transaction;
--   later   nothing: a poll will find it.
-- I9: all of it is a hint; the sweep from the head finds what was never announced.
create or replace function pgjobs.announce() returns trigger
language plpgsql
as $$
declare
    v_in interval := new.available_at - pgjobs.now();
begin
    if v_in < interval '-0.15 s' then
        if pg_notification_queue_usage() < 0.5 then
            perform pg_notify('pgjobs', json_build_object('queue', new.queue, 'since', new.available_at)::text);
        end if;
    elsif v_in <= interval '2 s' and pgjobs.waits(new.queue) then
        perform pgjobs.wake(new.queue, greatest(extract(epoch from v_in), 0)::double precision);
    end if;
    return null;
end
$$;

comment on function pgjobs.announce() is 'Commit-time announcement of enqueued jobs, for the rows flagged wake.';

do $$
begin
    if not exists (select from pg_trigger where tgrelid = 'pgjobs.jobs'::regclass and tgname = 'announce') then
        create constraint trigger announce after insert on pgjobs.jobs
            deferrable initially deferred for each row when (new.wake) execute function pgjobs.announce();
    end if;
end
$$;
