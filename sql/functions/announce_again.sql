-- announce_again: tell the workers of a key in the ready index that an update wrote: resume, edit, move.
-- Claimers may be past it: they skipped the row while it was locked, and the transaction may commit long after its key.
-- The message is heard at commit and says how far cursors must go back. It is sent whether a worker is idle or not, since
-- that is known only at commit; these verbs are rare enough for it, unlike enqueue (see announce).
-- I9: a hint; the sweep from the head finds what was never announced.
create or replace function pgjobs.announce_again(p_queue text, p_available_at timestamptz) returns void
language plpgsql volatile
as $$
begin
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify('pgjobs', json_build_object('queue', p_queue, 'since', p_available_at)::text);
    end if;
end
$$;

comment on function pgjobs.announce_again(text, timestamptz) is
    'Tell workers, at commit, that a job of this queue was made ready, or changed, with this key.';
