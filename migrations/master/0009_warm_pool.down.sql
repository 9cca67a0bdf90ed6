DROP TABLE identity.warm_database;
