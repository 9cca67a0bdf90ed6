#!/bin/bash
# Runs once, in the master server's container, when its data directory is new.
# The role owns nothing; `tenantctl migrate --grant-to` gives it its privileges.
# psql takes the password from the environment: everyone can read argv.
psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password TENANTRY_SERVICE_PASSWORD
CREATE ROLE tenantry_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SQL
