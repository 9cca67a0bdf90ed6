CREATE SCHEMA IF NOT EXISTS identity;
REVOKE ALL ON SCHEMA identity FROM PUBLIC;

CREATE TABLE identity.platform_user (
    platform_user_id uuid PRIMARY KEY,
    email            text NOT NULL CHECK (email <> ''),
    display_name     text NOT NULL,
    role             text NOT NULL CHECK (role IN ('PLATFORM_ADMIN', 'PLATFORM_SUPPORT', 'PLATFORM_READONLY')),
    -- argon2id in its encoded form; NULL for those who cannot sign in with a password
    password_hash    text,
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX platform_user_email ON identity.platform_user (lower(email));

CREATE TABLE identity.api_token (
    token_id         uuid PRIMARY KEY,
    platform_user_id uuid NOT NULL REFERENCES identity.platform_user,
    name             text NOT NULL,
    -- SHA-256 of the token, which has 256 random bits of its own
    token_hash       bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz,
    last_used_at     timestamptz,
    revoked_at       timestamptz
);
CREATE INDEX api_token_user ON identity.api_token (platform_user_id);
