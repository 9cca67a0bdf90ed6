#!/bin/sh
# A tenant the way many begin: one step after the other, by psql and the migrate
# command, with the files that tenantry runs. PSQL, MIGRATE, BUILTIN, MIGRATIONS,
# REGISTRY (a database on the server that PGHOST and PGPORT name), VAULT, VAULT_CA and
# VAULT_TOKEN come from the environment; passwords are in PGPASSFILE.
set -eu
slug=$1
database=tenant_$slug
owner=${database}_owner
app=${database}_app
psql() { "$PSQL" -X -q -v ON_ERROR_STOP=1 "$@"; }

room=$(psql -d "$REGISTRY" -Atc "SELECT count(*) < 10000 FROM tenant")
taken=$(psql -d postgres -Atc "SELECT 1 FROM pg_database WHERE datname = '$database' UNION ALL SELECT 1 FROM pg_roles WHERE rolname IN ('$owner', '$app')")
[ "$room" = t ] && [ -z "$taken" ]

password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
printf '{"value": "postgres://%s:%s@%s:%s/%s"}' "$app" "$password" "$PGHOST" "$PGPORT" "$database" |
	curl -sS --fail --cacert "$VAULT_CA" -o /dev/null -X PUT -H "Authorization: Bearer $VAULT_TOKEN" \
		-H 'Content-Type: application/json' --data-binary @- "$VAULT/secrets/shell-db-$slug?api-version=7.4"

psql -d postgres <<SQL
CREATE ROLE $owner NOLOGIN;
CREATE ROLE $app LOGIN PASSWORD '$password';
SQL

psql -d postgres -c "CREATE DATABASE $database OWNER $owner TEMPLATE template0"

url="pgx5://$PGUSER@$PGHOST:$PGPORT/$database?sslmode=disable"
"$MIGRATE" -path "$BUILTIN" -database "$url&x-migrations-table=builtin_migrations" up
"$MIGRATE" -path "$MIGRATIONS" -database "$url" up

psql -d "$database" <<SQL
REVOKE ALL ON DATABASE $database FROM PUBLIC;
GRANT CONNECT ON DATABASE $database TO $app;
GRANT USAGE ON SCHEMA public, identity, settings, audit TO $app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, identity, settings, audit TO $app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public, identity, settings, audit TO $app;
SQL

psql -d "$database" -c "INSERT INTO identity.users (email, display_name, role) VALUES ('admin@$slug.example', 'Admin', 'admin')"

psql -d "$REGISTRY" -c "INSERT INTO tenant (slug, database) VALUES ('$slug', '$database')"
