DELETE FROM identity.invitation WHERE kind = 'password_reset';

DROP INDEX identity.invitation_reset_age;
DROP INDEX identity.invitation_reset_address;
DROP INDEX identity.invitation_one_queued_reset;
DROP INDEX identity.invitation_one_queued_a_tenant;
CREATE UNIQUE INDEX invitation_one_queued_a_tenant ON identity.invitation (tenant_id) WHERE status = 'queued';

ALTER TABLE identity.invitation
    DROP CONSTRAINT invitation_status_check,
    ADD CONSTRAINT invitation_status_check CHECK (status IN ('queued', 'sent', 'failed', 'superseded')),
    DROP COLUMN kind,
    DROP COLUMN email;
