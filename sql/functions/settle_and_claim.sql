-- settle_and_claim: settle and claim in one round trip and one commit, for when both are due.
-- Outcomes first, so that the slots they free can be filled. Everything else as in settle and in claim.
create or replace function pgjobs.settle_and_claim_v1(
    p_worker integer, p_ids bigint[], p_runs integer[], p_results jsonb, p_keep boolean[], p_others jsonb,
    p_limit integer, p_queues text[], p_ranks smallint[], p_after_at timestamptz[], p_after_id bigint[],
    p_overlap interval, p_idle boolean)
returns table (verb text, id bigint, run integer, queue text, rank smallint, at text, task text, payload text,
               priority smallint, attempts smallint, crashes smallint, max_attempts smallint, seconds double precision,
               enqueued_at text, metadata text, version smallint)
language plpgsql volatile
set jit = off
as $$
#variable_conflict use_column
begin
    for verb, id, run in select s.verb, s.id, s.run
                         from pgjobs.settle_v1(p_worker, p_ids, p_runs, p_results, p_keep, p_others) s loop
        return next;
    end loop;
    return query select * from pgjobs.claim_v1(p_worker, p_limit, p_queues, p_ranks, p_after_at, p_after_id, p_overlap, p_idle);
end
$$;

comment on function pgjobs.settle_and_claim_v1(integer, bigint[], integer[], jsonb, boolean[], jsonb, integer, text[],
    smallint[], timestamptz[], bigint[], interval, boolean) is 'Settle and claim in one round trip.';
