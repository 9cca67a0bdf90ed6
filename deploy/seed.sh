#!/bin/sh
# Registers the two tenant servers of docker-compose.yml and makes the first
# platform admin with an API token, both shown once, on stdout. Safe to run again.
set -eu

# The exit code of tenantctl for what exists already.
conflict=3

# add_server NAME ADMIN_URL. The URL goes through stdin, not through argv.
add_server() {
	status=0
	printf '%s\n' "$2" | tenantctl add-db-server \
		--name "$1" --host "$1" --port 5432 --region local --capacity 20 \
		--admin-secret-ref "db-admin-$1" --admin-url-file - || status=$?
	if [ "$status" -ne 0 ] && [ "$status" -ne "$conflict" ]; then
		exit "$status"
	fi
}

add_server pg-a "$PG_A_ADMIN_URL"
add_server pg-b "$PG_B_ADMIN_URL"

status=0
tenantctl bootstrap-admin --email "$ADMIN_EMAIL" -o json || status=$?
case $status in
0)
	tenantctl create-api-token --email "$ADMIN_EMAIL" --name compose -o json
	;;
"$conflict")
	echo "Another token: docker compose run --rm tenantctl create-api-token --email $ADMIN_EMAIL --name NAME" >&2
	;;
*)
	exit "$status"
	;;
esac
