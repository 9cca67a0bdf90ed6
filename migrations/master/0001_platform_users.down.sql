DROP TABLE identity.api_token;
DROP TABLE identity.platform_user;
DROP SCHEMA identity;
