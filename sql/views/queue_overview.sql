-- queue_overview: one line per queue, for a person who asks how things stand. It counts, so it costs what it counts.
create or replace view pgjobs.queue_overview as
    with live as (
        select j.queue,
               count(*) filter (where j.status = 'ready' and j.available_at <= c.now) as ready,
               count(*) filter (where j.status = 'ready' and j.available_at > c.now) as scheduled,
               count(*) filter (where j.status = 'running') as running,
               count(*) filter (where j.status = 'waiting') as waiting,
               max(c.now) - min(j.available_at) filter (where j.status = 'ready' and j.available_at <= c.now) as waiting_for
        from pgjobs.jobs j cross join (select pgjobs.now() as now) c
        group by j.queue  -- and not by the clock: parallel workers of one query read it at different moments
    ), dead as (
        select d.queue, count(*) as dead from pgjobs.dead_letters d group by d.queue
    )
    select n.queue, coalesce(l.ready, 0) as ready, coalesce(l.scheduled, 0) as scheduled, coalesce(l.running, 0) as running,
           coalesce(d.dead, 0) as dead, l.waiting_for, q.paused_at is not null as paused, coalesce(l.waiting, 0) as waiting
    from (select queue from live union select queue from dead union select name from pgjobs.queues) n
    left join live l on l.queue = n.queue
    left join dead d on d.queue = n.queue
    left join pgjobs.queues q on q.name = n.queue
    order by n.queue;

comment on view pgjobs.queue_overview is
    'One line per queue: jobs that are due (ready), wait for their time (scheduled) or in a line (waiting), run, are dead; how long the first that is due has waited.';
