-- flag_wake: whether a row with this key is the one that announces its queue at commit; remembers it if so.
-- True for the first row of a queue in a transaction, and for one that is due before all flagged so far: going back
-- to the lowest key finds all later ones. The memory is a transaction-local setting, so a savepoint that is rolled
-- back takes its own flags along.
-- Cost: inlined where it is asked; for the first row of a transaction nothing is read as JSON.
create or replace function pgjobs.flag_wake(p_queue text, p_available_at timestamptz) returns boolean
language sql volatile
as $$
    select case
        when coalesce(current_setting('pgjobs.flags', true), '') = ''
        then set_config('pgjobs.flags', jsonb_build_object(p_queue, p_available_at)::text, true) <> ''
        when (current_setting('pgjobs.flags')::jsonb ->> p_queue)::timestamptz <= p_available_at then false
        else set_config('pgjobs.flags',
                        (current_setting('pgjobs.flags')::jsonb || jsonb_build_object(p_queue, p_available_at))::text, true) <> ''
        end
$$;

comment on function pgjobs.flag_wake(text, timestamptz) is
    'Whether a row with this key must announce its queue at commit; once per queue and transaction.';
