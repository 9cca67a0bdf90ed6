-- Databases prepared ahead on tenant servers, one row each, written before there is
-- anything of it. Their names follow from the id.
CREATE TABLE identity.warm_database (
    warm_database_id uuid PRIMARY KEY,
    db_server_id     uuid NOT NULL REFERENCES identity.db_server,
    -- what it is a copy of; the name has a digest of the migration files
    template         text NOT NULL,
    state            text NOT NULL DEFAULT 'warming'
        CHECK (state IN ('warming', 'ready', 'claimed', 'retired')),
    -- who claimed it
    job_id           uuid REFERENCES identity.job,
    created_at       timestamptz NOT NULL DEFAULT now(),
    ready_at         timestamptz,
    CHECK (state <> 'claimed' OR job_id IS NOT NULL)
);
CREATE UNIQUE INDEX warm_database_one_a_job ON identity.warm_database (job_id) WHERE state = 'claimed';
-- The oldest is claimed first.
CREATE INDEX warm_database_ready ON identity.warm_database (db_server_id, template, created_at) WHERE state = 'ready';
