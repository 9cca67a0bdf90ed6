DROP TABLE identity.tenant;
DROP TABLE identity.db_server;
