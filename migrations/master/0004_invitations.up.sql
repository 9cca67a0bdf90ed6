-- Requests to mail an invitation. The row is the truth; the mail task only says
-- that there is one. The token is made when the mail is, and its hash is kept
-- in the tenant's own database.
CREATE TABLE identity.invitation (
    invitation_id uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL REFERENCES identity.tenant ON DELETE CASCADE,
    job_id        uuid NOT NULL REFERENCES identity.job,
    status        text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sent', 'failed', 'superseded')),
    requested_by  uuid REFERENCES identity.platform_user,
    actor         text NOT NULL,
    failures      integer NOT NULL DEFAULT 0,
    last_error    text NOT NULL DEFAULT '',
    -- not to be tried before; a sender claims it and pushes this ahead
    run_after     timestamptz NOT NULL DEFAULT now(),
    claimed       boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    sent_at       timestamptz
);
CREATE UNIQUE INDEX invitation_one_queued_a_tenant ON identity.invitation (tenant_id) WHERE status = 'queued';
CREATE INDEX invitation_queued ON identity.invitation (run_after) WHERE status = 'queued';
