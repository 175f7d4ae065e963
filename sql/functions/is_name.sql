-- is_name: whether this can be the name of a queue or a task: 1 to 200 characters that every terminal and log can show.
-- Cost: none of its own, it is inlined where it is asked.
create or replace function pgjobs.is_name(p_name text) returns boolean
language sql immutable
as $$
    select p_name is not null and length(p_name) between 1 and 200 and p_name !~ '[\u0001-\u001f\u007f-\u009f]'
$$;

comment on function pgjobs.is_name(text) is
    'Whether this can be the name of a queue or task: 1 to 200 characters, none of them a control character.';
