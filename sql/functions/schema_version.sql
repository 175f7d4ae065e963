-- schema_version: what this schema is, and the oldest client it still serves.
-- A worker asks it once at its start, without Alembic. Cost: a constant.
create or replace function pgjobs.schema_version(out version integer, out serves_from integer)
language sql immutable parallel safe
as 'select 1, 1';

comment on function pgjobs.schema_version() is
    'Version of the functions in this schema, and the oldest version of pgjobs whose calls they still answer.';
