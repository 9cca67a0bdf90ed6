#!/bin/sh
# A tenant the way many begin: one step after the other, by psql and the migrate
# command. PSQL, MIGRATE, MIGRATIONS and REGISTRY (a database on the server that
# PGHOST and PGPORT name) come from the environment; passwords are in PGPASSFILE.
set -eu
slug=$1
database=tenant_$slug
owner=${database}_owner
app=${database}_app
psql() { "$PSQL" -X -q -v ON_ERROR_STOP=1 "$@"; }

password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
psql -d postgres <<SQL
CREATE ROLE $owner NOLOGIN;
CREATE ROLE $app LOGIN PASSWORD '$password';
SQL

psql -d postgres -c "CREATE DATABASE $database OWNER $owner TEMPLATE template0"

"$MIGRATE" -path "$MIGRATIONS" \
	-database "pgx5://$PGUSER@$PGHOST:$PGPORT/$database?sslmode=disable" up

psql -d "$database" <<SQL
REVOKE ALL ON DATABASE $database FROM PUBLIC;
GRANT CONNECT ON DATABASE $database TO $app;
GRANT USAGE ON SCHEMA public TO $app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO $app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO $app;
SQL

psql -d "$database" -c "INSERT INTO app_user (email, name, role) VALUES ('admin@$slug.example', 'Admin', 'admin')"

psql -d "$REGISTRY" -c "INSERT INTO tenant (slug, database) VALUES ('$slug', '$database')"
