-- check_job: refuses a job that makes no sense, in a sentence, before a constraint would in jargon.
-- Returns true or raises, so that it can stand in a where clause.
create or replace function pgjobs.check_job(
    p_task text, p_payload jsonb, p_queue text, p_priority integer, p_delay interval, p_available_at timestamptz,
    p_max_attempts integer, p_timeout interval, p_metadata jsonb, p_version integer)
returns boolean
language plpgsql immutable
as $$
begin
    if not pgjobs.is_name(p_task) then
        raise exception 'The name of a task must have 1 to 200 characters, none of them a control character.' using errcode = 'PJ001';
    elsif not pgjobs.is_name(p_queue) then
        raise exception 'The name of a queue must have 1 to 200 characters, none of them a control character.' using errcode = 'PJ001';
    elsif p_payload is null or jsonb_typeof(p_payload) <> 'object' then
        raise exception 'The payload of a job must be a JSON object: the arguments of the task by name.' using errcode = 'PJ001';
    elsif p_priority is null or p_priority not between -2 and 2 then
        raise exception 'The priority of a job must be one of -2, -1, 0, 1, 2, not %.', p_priority using errcode = 'PJ001';
    elsif p_delay is not null and p_available_at is not null then
        raise exception 'A job has a delay or an available_at, not both.' using errcode = 'PJ001';
    elsif p_delay > interval '100 years' then
        raise exception 'A delay may be a century at most, not %.', p_delay using errcode = 'PJ001';
    elsif p_available_at >= timestamptz '9999-12-31 00:00+00' then
        raise exception 'available_at must be before the end of the year 9999, not %.', p_available_at using errcode = 'PJ001';
    elsif p_max_attempts not between 1 and 32767 then
        raise exception 'max_attempts must be from 1 to 32767, not %.', p_max_attempts using errcode = 'PJ001';
    elsif p_timeout <= interval '0' then
        raise exception 'A timeout must be longer than nothing, not %.', p_timeout using errcode = 'PJ001';
    elsif p_timeout > interval '100 years' then
        raise exception 'A timeout may be a century at most, not %.', p_timeout using errcode = 'PJ001';
    elsif jsonb_typeof(p_metadata) <> 'object' then
        raise exception 'The metadata of a job must be a JSON object.' using errcode = 'PJ001';
    elsif p_version not between 1 and 32767 then
        raise exception 'The version of a payload must be from 1 to 32767, not %.', p_version using errcode = 'PJ001';
    end if;
    return true;
end
$$;

comment on function pgjobs.check_job(text, jsonb, text, integer, interval, timestamptz, integer, interval, jsonb, integer) is
    'Refuse a job that makes no sense (SQLSTATE PJ001).';
