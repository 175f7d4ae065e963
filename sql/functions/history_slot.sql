-- history_slot: which partition of the ring a moment belongs to.
-- Periods of twelve hours, 16 of them: the next one is emptied ahead of its turn, so what finished is kept for seven days at least.
create or replace function pgjobs.history_slot(p_at timestamptz) returns smallint
language sql immutable parallel safe
as 'select (floor(extract(epoch from p_at) / 43200)::bigint & 15)::smallint';

comment on function pgjobs.history_slot(timestamptz) is 'The slot of job_history for a job that finished at this time.';
