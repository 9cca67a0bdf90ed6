DROP TABLE identity.users;
DROP SCHEMA identity;
