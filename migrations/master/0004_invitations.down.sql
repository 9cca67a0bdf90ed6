DROP TABLE identity.invitation;
