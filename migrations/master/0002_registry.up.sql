CREATE TABLE identity.db_server (
    db_server_id     uuid PRIMARY KEY,
    name             text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9.-]{0,62}$'),
    host             text NOT NULL CHECK (host <> ''),
    port             integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    region           text NOT NULL DEFAULT '',
    admin_secret_ref text NOT NULL CHECK (admin_secret_ref ~ '^[0-9a-zA-Z-]{1,127}$'),
    -- NULL means without limit
    capacity_hint    integer CHECK (capacity_hint >= 0),
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now()
);

-- Ids have a default so that a server can be registered with plain SQL too.
ALTER TABLE identity.db_server ALTER COLUMN db_server_id SET DEFAULT gen_random_uuid();

CREATE TABLE identity.tenant (
    tenant_id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug           text NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9-]{2,39}$'),
    display_name   text NOT NULL,
    status         text NOT NULL
        CHECK (status IN ('provisioning', 'active', 'read_only', 'suspended', 'offboarding')),
    db_server_id   uuid NOT NULL REFERENCES identity.db_server,
    db_name        text NOT NULL,
    db_secret_ref  text NOT NULL,
    schema_version text NOT NULL DEFAULT '',
    -- the job that made it
    job_id         uuid,
    -- while offboarding: what it was before, and when it may be purged
    status_before  text NOT NULL DEFAULT '',
    purge_after    timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (db_server_id, db_name)
);
-- Placement counts the tenants of each server that are not offboarding.
CREATE INDEX tenant_load ON identity.tenant (db_server_id) WHERE status <> 'offboarding';
