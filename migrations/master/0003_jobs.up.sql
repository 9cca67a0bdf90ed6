CREATE TABLE identity.job (
    job_id            uuid PRIMARY KEY,
    kind              text NOT NULL CHECK (kind IN ('provision', 'offboard')),
    status            text NOT NULL
        CHECK (status IN ('queued', 'running', 'rolling_back', 'complete', 'failed', 'cancelled')),
    slug              text NOT NULL,
    tenant_id         uuid NOT NULL,
    display_name      text NOT NULL,
    admin_email       text NOT NULL,
    dry_run           boolean NOT NULL DEFAULT false,
    requested_server  text NOT NULL DEFAULT '',
    -- what an offboard job is to do
    options           jsonb NOT NULL DEFAULT '{}',

    -- placement: where the tenant goes, and whether this job still holds the place
    db_server_id      uuid REFERENCES identity.db_server,
    capacity_reserved boolean NOT NULL DEFAULT false CHECK (NOT capacity_reserved OR db_server_id IS NOT NULL),

    phase             text NOT NULL DEFAULT '',
    attempt           integer NOT NULL DEFAULT 1,
    failures          integer NOT NULL DEFAULT 0,
    cancel_requested  boolean NOT NULL DEFAULT false,

    error_code        text NOT NULL DEFAULT '',
    error_message     text NOT NULL DEFAULT '',
    error_phase       text NOT NULL DEFAULT '',
    rolled_back       boolean NOT NULL DEFAULT false,
    residue           text[] NOT NULL DEFAULT '{}',

    requested_by      uuid REFERENCES identity.platform_user,
    actor             text NOT NULL,
    request_id        text NOT NULL DEFAULT '',

    -- the lease, by this database's clock, and its fencing token
    lease_owner       text NOT NULL DEFAULT '',
    lease_until       timestamptz,
    lease_epoch       bigint NOT NULL DEFAULT 0,
    -- not to be tried again before
    run_after         timestamptz NOT NULL DEFAULT now(),
    -- the doorbell last rung, '' for a job that runs in its own process
    queue             text NOT NULL DEFAULT '',
    task_id           text NOT NULL DEFAULT '',

    created_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    version           bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX job_one_unsettled_a_slug ON identity.job (slug)
    WHERE status IN ('queued', 'running', 'rolling_back');
CREATE INDEX job_unsettled ON identity.job (run_after)
    WHERE status IN ('queued', 'running', 'rolling_back');
CREATE INDEX job_reservation ON identity.job (db_server_id) WHERE capacity_reserved;
CREATE INDEX job_slug ON identity.job (slug, job_id);
CREATE INDEX job_tenant ON identity.job (tenant_id, job_id);

CREATE TABLE identity.job_phase (
    job_id        uuid NOT NULL REFERENCES identity.job,
    position      integer NOT NULL,
    name          text NOT NULL,
    status        text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'done', 'failed', 'undone', 'skipped')),
    started_at    timestamptz,
    finished_at   timestamptz,
    undone_at     timestamptz,
    detail        jsonb NOT NULL DEFAULT '{}',
    error_code    text NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '',
    PRIMARY KEY (job_id, position),
    UNIQUE (job_id, name)
);

-- Doorbells not yet rung. A row is written in the transaction of the change it
-- announces and removed once Redis has the task.
CREATE TABLE identity.outbox (
    outbox_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_type  text NOT NULL,
    queue      text NOT NULL,
    task_id    text NOT NULL UNIQUE,
    job_id     uuid NOT NULL REFERENCES identity.job,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE identity.idempotency_key (
    -- who sent it: keys of different callers never meet
    principal    text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    -- deferred: the key is taken first, so that of two equal requests one waits
    job_id       uuid NOT NULL REFERENCES identity.job DEFERRABLE INITIALLY DEFERRED,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_key_age ON identity.idempotency_key (created_at);
