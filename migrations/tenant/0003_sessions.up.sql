CREATE TABLE identity.sessions (
    -- SHA-256 of the token in the cookie.
    token_hash   bytea       PRIMARY KEY,
    user_id      uuid        NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX sessions_user_id_idx ON identity.sessions (user_id);
CREATE INDEX sessions_expires_at_idx ON identity.sessions (expires_at);
