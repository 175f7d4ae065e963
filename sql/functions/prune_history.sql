-- prune_history: of one slot of the history ring, what finished more than so long ago goes for good.
-- A slot whose last period is over for so long is emptied by TRUNCATE; else, and where somebody reads it, up to p_limit rows with
-- ids above p_after are deleted. Returns how many went, whether by TRUNCATE, and the last id deleted (null when the slot
-- has nothing more): where the next call for this slot begins (I8, I12).
-- Locks: ACCESS EXCLUSIVE on the slot, tried, never waited for (see prune); or rows, skipping locked ones.
create or replace function pgjobs.prune_history_v1(p_older interval, p_slot integer, p_limit integer, p_after bigint)
returns table (pruned bigint, emptied boolean, last bigint)
language plpgsql volatile
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now    timestamptz := pgjobs.now();
    v_before timestamptz := v_now - greatest(p_older, interval '0');
    v_name   text := format('pgjobs.job_history_%s', lpad(p_slot::text, 2, '0'));
    v_period bigint := floor(extract(epoch from v_now) / 43200);
begin
    pruned := 0; emptied := false; last := null;
    -- The end of the last period, this one at the latest, that wrote into the slot.
    v_period := v_period - ((v_period - p_slot) & 15) + 1;
    if to_timestamp(v_period * 43200) <= v_before then
        execute format('select count(*) from only %s', v_name) into pruned;  -- before the lock, which keeps readers out
        if pruned = 0 then
            return next;
            return;
        end if;
        begin
            execute format('lock table only %s in access exclusive mode nowait', v_name);
            execute format('truncate only %s', v_name);
            emptied := true;
            return next;
            return;
        exception
            when lock_not_available then null;  -- somebody reads it: row by row, then
        end;
    end if;
    execute format(
        'with old as materialized (
             select h.ctid as tid from only %1$s h where h.id > $1 and h.finished_at < $2 order by h.id limit $3 for update skip locked
         ), gone as (
             delete from only %1$s h using old where h.ctid = old.tid returning h.id
         )
         select count(*), max(g.id) from gone g', v_name)
    into pruned, last using p_after, v_before, p_limit;
    return next;
end
$$;

comment on function pgjobs.prune_history_v1(interval, integer, integer, bigint) is
    'Of one slot of job_history, what finished longer ago than this goes, so many rows at most unless all of the slot goes.';

create or replace function pgjobs.prune(older_than interval default '7 days', "limit" integer default 100000)
returns bigint
language plpgsql volatile
as $$
declare
    v_count bigint := 0;
begin
    for v_slot in 0 .. 15 loop
        v_count := v_count + (
            select p.pruned from pgjobs.prune_history_v1(older_than, v_slot, greatest("limit" - v_count, 0)::integer, 0) p);
    end loop;
    return v_count;
end
$$;

comment on function pgjobs.prune(interval, integer) is
    'Finished jobs older than this go for good: select pgjobs.prune(''1 day''). Returns how many. Whole slots go at once, of others "limit" rows at most.';
