DROP TABLE identity.sign_in_attempt;
DROP TABLE identity.platform_session;
DROP TABLE identity.recovery_code;
DROP INDEX identity.platform_user_oidc;
ALTER TABLE identity.platform_user
    DROP COLUMN oidc_issuer, DROP COLUMN oidc_subject,
    DROP COLUMN totp_secret, DROP COLUMN totp_confirmed_at, DROP COLUMN totp_last_step;
