"""What steering, supervision and policies need: waiting jobs, cancel requests, progress, paused tasks, supervised workers.

Frozen: a revision never reads a live file. The text has no colon before a letter and no percent sign, which Alembic
would take for parameters.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
alter table pgjobs.jobs
    add column line            text collate "C",
    add column failing_since   timestamptz,
    add column cancel_asked_at timestamptz,
    add column cancel_reason   text,
    add column progress        jsonb,
    add column version         smallint,
    drop constraint jobs_status_known,
    add constraint jobs_status_known check (status in ('ready', 'running', 'waiting')),
    add constraint jobs_waiting_iff_in_line check ((status = 'waiting') = (line is not null)),
    add constraint jobs_i3_cancel_asked_of_a_run check (cancel_asked_at is null or status = 'running'),
    add constraint jobs_version_positive check (version >= 1),
    add constraint jobs_names_are_plain check (queue !~ '[\\u0001-\\u001f\\u007f-\\u009f]' and task !~ '[\\u0001-\\u001f\\u007f-\\u009f]');

-- What is taken out of a line again, in order.
create index jobs_waiting on pgjobs.jobs (line, id) where status = 'waiting';
-- What a worker asks now and then: which of its runs are to be cancelled. Empty but for those.
create index jobs_cancel_asked on pgjobs.jobs (worker) where cancel_asked_at is not null;

alter table pgjobs.job_history add column progress jsonb, add column version smallint;
alter table pgjobs.dead_letters add column progress jsonb, add column version smallint;
alter table pgjobs.dead_letters
    drop constraint dead_letters_reason_known,
    add constraint dead_letters_reason_known check (reason in ('exhausted', 'gave_up', 'failed', 'crashed'));

create table pgjobs.tasks (
    name       text collate "C" not null,
    paused_at  timestamptz,
    resuming   bigint,
    constraint tasks_pkey primary key (name),
    constraint tasks_named check (length(name) between 1 and 200),
    constraint tasks_paused_or_resuming check (paused_at is null or resuming is null)
);
-- What every claim asks, and what the upkeep asks. Empty but for those.
create index tasks_paused on pgjobs.tasks (name) where paused_at is not null;
create index tasks_resuming on pgjobs.tasks (name) where resuming is not null;

create sequence pgjobs.supervisor_ids as integer cycle;

alter table pgjobs.workers
    add column supervisor         integer,
    add column server_started_at  timestamptz,
    add column suspected_at       timestamptz,
    add column on_failure         jsonb;
"""

COMMENTS = """
comment on table pgjobs.jobs is
    'Live jobs only: ready, running or waiting. A finished job moves to job_history, a hopeless one to dead_letters (I1).';
comment on column pgjobs.jobs.status is
    'ready, running, or waiting in a line; a job that waits for its time only is ready with a later available_at.';
comment on column pgjobs.jobs.line is 'What a waiting job waits for, e.g. task/NAME, a paused task; null unless waiting.';
comment on column pgjobs.jobs.failing_since is
    'When the first of its failed runs began, since it was enqueued or retried from the dead letters.';
comment on column pgjobs.jobs.cancel_asked_at is 'When somebody asked for its present run to be cancelled (I3); null unless running.';
comment on column pgjobs.jobs.cancel_reason is 'Why its present run is to be cancelled.';
comment on column pgjobs.jobs.progress is 'What its current run last said of its progress, with done, total and message.';
comment on column pgjobs.jobs.version is 'Version of the payload, as the task counted when it was enqueued; null means 1.';
comment on column pgjobs.job_history.progress is 'What its last run said of its progress.';
comment on column pgjobs.job_history.version is 'Version of the payload; null means 1.';
comment on column pgjobs.dead_letters.reason is
    'exhausted, no attempts left; gave_up, a retry would come too late; failed, its handler or task said so; crashed, its workers died.';
comment on column pgjobs.dead_letters.progress is 'What its last run said of its progress.';
comment on column pgjobs.dead_letters.version is 'Version of the payload; null means 1.';
comment on table pgjobs.tasks is 'Settings of tasks; a task without a row here has the defaults.';
comment on column pgjobs.tasks.paused_at is 'Since when no job of it is started; null means it runs.';
comment on column pgjobs.tasks.resuming is
    'While its jobs are taken out of line again, up to which id that is done; null otherwise.';
comment on sequence pgjobs.supervisor_ids is
    'Ids of supervisors. While it lives, each holds a session advisory lock on (this sequence, its id).';
comment on column pgjobs.workers.supervisor is
    'Who renewed for it last, a supervisor or its own keeper, and has held a lock on (supervisor_ids, this) since; null without a lock.';
comment on column pgjobs.workers.server_started_at is
    'When the server had started on which that lock is held. On another one, after a restart or failover, a free lock says nothing.';
comment on column pgjobs.workers.suspected_at is 'When somebody saw that its supervisor had let go of its lock; null again when it renews.';
comment on column pgjobs.workers.on_failure is
    'By task, the job to enqueue when a job of it dies (task, queue, priority), for whoever buries the jobs of this worker.';
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(COMMENTS)
