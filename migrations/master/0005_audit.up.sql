CREATE TABLE identity.tenant_audit (
    audit_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type       text NOT NULL,
    tenant_id        uuid,
    slug             text NOT NULL DEFAULT '',
    platform_user_id uuid,
    actor            text NOT NULL,
    job_id           uuid,
    details          jsonb NOT NULL DEFAULT '{}',
    at               timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX tenant_audit_slug ON identity.tenant_audit (slug, audit_id);
CREATE INDEX tenant_audit_event ON identity.tenant_audit (event_type, audit_id);

-- Append-only: by privilege for the services and for the owner, and by trigger
-- for whoever holds more.
REVOKE UPDATE, DELETE, TRUNCATE ON identity.tenant_audit FROM PUBLIC, CURRENT_USER;

CREATE FUNCTION identity.refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'identity.tenant_audit is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER tenant_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON identity.tenant_audit
    FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_audit_change();
