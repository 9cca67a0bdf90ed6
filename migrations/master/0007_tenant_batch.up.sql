-- Tenants that were asked for together. What becomes of a row is its job's status;
-- a batch has none of its own.
CREATE TABLE identity.tenant_batch (
    batch_id        uuid PRIMARY KEY,
    dry_run         boolean NOT NULL,
    requested_by    uuid REFERENCES identity.platform_user,
    actor           text NOT NULL,
    request_id      text NOT NULL DEFAULT '',
    -- as in identity.idempotency_key, but kept for as long as the batch; NULL for none
    principal       text NOT NULL,
    idempotency_key text,
    request_hash    bytea NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (principal, idempotency_key)
);

CREATE TABLE identity.tenant_batch_row (
    batch_id      uuid NOT NULL REFERENCES identity.tenant_batch ON DELETE CASCADE,
    -- where the row stands in the file that was sent
    line          integer NOT NULL,
    -- as they were sent, even if no tenant can have them
    slug          text NOT NULL,
    display_name  text NOT NULL,
    -- the row's job, or why there is none
    job_id        uuid UNIQUE REFERENCES identity.job ON DELETE CASCADE,
    error_code    text NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '',
    PRIMARY KEY (batch_id, line),
    CHECK ((job_id IS NULL) = (error_code <> ''))
);
