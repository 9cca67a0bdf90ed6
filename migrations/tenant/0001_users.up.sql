CREATE SCHEMA identity;

CREATE TABLE identity.users (
    user_id             uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    email               text        NOT NULL CHECK (email <> '' AND email = btrim(email)),
    display_name        text        NOT NULL,
    role                text        NOT NULL CHECK (role IN ('admin', 'member')),
    -- Null until the person chose a password, by way of an invitation.
    password_hash       text,
    must_reset_password boolean     NOT NULL DEFAULT true,
    is_active           boolean     NOT NULL DEFAULT true,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX users_email_key ON identity.users (lower(email));
