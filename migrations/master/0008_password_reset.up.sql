-- Somebody who forgot the password is mailed a link too. What they typed is
-- recorded without looking whether anybody has the address; the worker that
-- sends the mail finds out, and drops the request if nobody does.
ALTER TABLE identity.invitation
    ADD COLUMN kind  text NOT NULL DEFAULT 'invitation' CHECK (kind IN ('invitation', 'password_reset')),
    ADD COLUMN email text NOT NULL DEFAULT '',
    ADD CONSTRAINT invitation_reset_has_email CHECK ((kind = 'password_reset') = (email <> '')),
    DROP CONSTRAINT invitation_status_check,
    ADD CONSTRAINT invitation_status_check CHECK (status IN ('queued', 'sent', 'failed', 'superseded', 'dropped'));

DROP INDEX identity.invitation_one_queued_a_tenant;
CREATE UNIQUE INDEX invitation_one_queued_a_tenant ON identity.invitation (tenant_id)
    WHERE status = 'queued' AND kind = 'invitation';
CREATE UNIQUE INDEX invitation_one_queued_reset ON identity.invitation (tenant_id, lower(email))
    WHERE status = 'queued' AND kind = 'password_reset';
-- How many an address had within the hour.
CREATE INDEX invitation_reset_address ON identity.invitation (tenant_id, lower(email), created_at)
    WHERE kind = 'password_reset';
-- What is old enough to be forgotten.
CREATE INDEX invitation_reset_age ON identity.invitation (created_at) WHERE kind = 'password_reset';
