-- running_jobs: what runs now, where, and for how long.
create or replace view pgjobs.running_jobs as
    select j.id, j.queue, j.task, j.payload, j.run, j.attempts, j.claimed_at, pgjobs.now() - j.claimed_at as running_for,
           j.worker, w.name as worker_name, w.host, w.pid, j.progress, j.cancel_asked_at
    from pgjobs.jobs j
    left join pgjobs.workers w on w.id = j.worker
    where j.status = 'running'
    order by j.claimed_at;

comment on view pgjobs.running_jobs is 'What runs now, on which worker, and for how long; what it says of its progress.';
