-- worker_overview: the workers that live, and whether they are heard of.
create or replace view pgjobs.worker_overview as
    select w.id, w.name, w.host, w.pid, w.version, w.queues, w.concurrency, w.running, w.started_at, w.renewed_at, w.lapses_at,
           case when w.lapses_at <= pgjobs.now() then 'lost' when w.suspected_at is not null then 'suspected' when w.stopping then 'stopping' else 'alive' end as state
    from pgjobs.workers w
    order by w.id;

comment on view pgjobs.worker_overview is 'Workers: alive, stopping, suspected (nobody holds the lock of who renews for them), or lost (their lease has lapsed and their jobs are being taken back).';
