-- task_overview: one line per task that is paused or being resumed, and how many of its jobs wait in line meanwhile.
create or replace view pgjobs.task_overview as
    select t.name as task, t.paused_at, t.resuming is not null as resuming,
           (select count(*) from pgjobs.jobs j where j.status = 'waiting' and j.line = 'task/' || t.name) as waiting
    from pgjobs.tasks t
    where t.paused_at is not null or t.resuming is not null
    order by t.name;

comment on view pgjobs.task_overview is
    'One line per task that is paused or being resumed: since when, and how many of its jobs wait in its line.';
