CREATE TABLE identity.tenant_audit (
    -- without gaps: given out under a lock, in the order of the chain
    audit_id         bigint PRIMARY KEY,
    event_type       text NOT NULL,
    tenant_id        uuid,
    slug             text NOT NULL DEFAULT '',
    platform_user_id uuid,
    actor            text NOT NULL,
    job_id           uuid,
    details          jsonb NOT NULL DEFAULT '{}',
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the hash of the row before, and of this row with it
    prev_hash        bytea NOT NULL,
    hash             bytea NOT NULL
);
CREATE INDEX tenant_audit_slug ON identity.tenant_audit (slug, audit_id);
CREATE INDEX tenant_audit_tenant ON identity.tenant_audit (tenant_id, event_type);
CREATE INDEX tenant_audit_event ON identity.tenant_audit (event_type, audit_id);

-- The last link, so that rows missing at the end are noticed too.
CREATE TABLE identity.audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    audit_id bigint NOT NULL,
    hash     bytea NOT NULL
);
INSERT INTO identity.audit_head (audit_id, hash) VALUES (0, '\x');

-- What a row's hash covers: every column, in a form that no setting changes.
CREATE FUNCTION identity.audit_hash(r identity.tenant_audit) RETURNS bytea LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog AS $$
    SELECT sha256(r.prev_hash || convert_to(jsonb_build_array(
        r.audit_id, r.event_type, r.tenant_id, r.slug, r.platform_user_id, r.actor, r.job_id, r.details,
        to_char(r.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'))::text, 'UTF8'))
$$;

-- Links each new row to the last one. The lock on the head makes audit rows of
-- concurrent transactions wait for each other until commit, so a transaction
-- writes its audit row last.
CREATE FUNCTION identity.link_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
BEGIN
    SELECT h.audit_id + 1, h.hash INTO NEW.audit_id, NEW.prev_hash FROM identity.audit_head h FOR UPDATE;
    NEW.hash := identity.audit_hash(NEW);
    UPDATE identity.audit_head SET audit_id = NEW.audit_id, hash = NEW.hash;
    RETURN NEW;
END
$$;
CREATE TRIGGER tenant_audit_link BEFORE INSERT ON identity.tenant_audit
    FOR EACH ROW EXECUTE FUNCTION identity.link_audit();

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
