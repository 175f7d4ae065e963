-- now: the one clock of pgjobs.
-- I5: time is the database's and never the start of a transaction: in one that is an hour old a delay of five
-- minutes must not be over already. Functions read it once, into a variable. Tests replace this function to move time.
-- Cost: inlined to clock_timestamp(), nothing more.
create or replace function pgjobs.now() returns timestamptz
language sql volatile parallel safe
as 'select clock_timestamp()';

comment on function pgjobs.now() is 'The clock that every decision of pgjobs is made by.';
