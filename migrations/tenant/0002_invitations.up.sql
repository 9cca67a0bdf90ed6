CREATE TABLE identity.invitations (
    invitation_id uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id       uuid        NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    -- SHA-256 of the token in the link; the token itself is nowhere.
    token_hash    bytea       NOT NULL UNIQUE,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    accepted_at   timestamptz,
    revoked_at    timestamptz
);

-- A user has at most one invitation that can still be accepted.
CREATE UNIQUE INDEX invitations_open_key ON identity.invitations (user_id)
    WHERE accepted_at IS NULL AND revoked_at IS NULL;

CREATE INDEX invitations_user_id_idx ON identity.invitations (user_id);
