ALTER TABLE identity.platform_user
    -- who the person is at an OpenID Connect provider
    ADD COLUMN oidc_issuer       text NOT NULL DEFAULT '',
    ADD COLUMN oidc_subject      text NOT NULL DEFAULT '',
    -- the second factor's shared secret in base32; it counts once confirmed
    ADD COLUMN totp_secret       text NOT NULL DEFAULT '',
    ADD COLUMN totp_confirmed_at timestamptz,
    -- the time step of the last code taken: a code works once
    ADD COLUMN totp_last_step    bigint NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX platform_user_oidc ON identity.platform_user (oidc_issuer, oidc_subject) WHERE oidc_subject <> '';

CREATE TABLE identity.recovery_code (
    platform_user_id uuid NOT NULL REFERENCES identity.platform_user ON DELETE CASCADE,
    -- SHA-256 of the code, which is random
    code_hash        bytea NOT NULL,
    PRIMARY KEY (platform_user_id, code_hash)
);

CREATE TABLE identity.platform_session (
    session_id       uuid PRIMARY KEY,
    -- SHA-256 of the token in the cookie
    token_hash       bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    platform_user_id uuid NOT NULL REFERENCES identity.platform_user ON DELETE CASCADE,
    -- the role at sign-in: a session ends when the user's is another
    role             text NOT NULL,
    -- whether a second factor was shown
    second_factor    boolean NOT NULL DEFAULT false,
    address          text NOT NULL DEFAULT '',
    user_agent       text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL DEFAULT now(),
    authenticated_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL
);
CREATE INDEX platform_session_user ON identity.platform_session (platform_user_id);
CREATE INDEX platform_session_age ON identity.platform_session (expires_at);

-- Attempts to sign in: on an account from an address, on an account from
-- anywhere, and from an address, whether or not the account exists. The subject
-- is hashed: it is whatever somebody typed.
CREATE TABLE identity.sign_in_attempt (
    -- '' for the platform, else the tenant
    scope         text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('account', 'account_address', 'address')),
    subject       bytea NOT NULL,
    attempts      integer NOT NULL,
    last_at       timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL,
    PRIMARY KEY (scope, kind, subject)
);
CREATE INDEX sign_in_attempt_age ON identity.sign_in_attempt (last_at);
