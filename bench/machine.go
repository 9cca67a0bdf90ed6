package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// describe says what the numbers were taken on and with.
func describe(ctx context.Context, p *plane) ([]string, error) {
	var postgres, fsync string
	err := p.servers[0].QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync')`).Scan(&postgres, &fsync)
	if err != nil {
		return nil, err
	}
	postgres, _, _ = strings.Cut(postgres, " ")
	redisVersion := "unknown"
	if out, err := exec.CommandContext(ctx, "redis-server", "--version").Output(); err == nil {
		for _, field := range strings.Fields(string(out)) {
			if v, ok := strings.CutPrefix(field, "v="); ok {
				redisVersion = v
			}
		}
	}
	schema, err := describeSchema(ctx, p)
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		"Go " + strings.TrimPrefix(runtime.Version(), "go"),
		"PostgreSQL " + postgres + " with fsync " + fsync,
		"Redis " + redisVersion,
		schema,
	}, nil
}

// describeSchema is the size of a tenant's database.
func describeSchema(ctx context.Context, p *plane) (string, error) {
	cfg, err := pgx.ParseConfig(p.ready.DBServers[0].AdminURL)
	if err != nil {
		return "", err
	}
	err = p.servers[0].QueryRow(ctx, `SELECT datname FROM pg_database WHERE starts_with(datname::text, 'tenant_tenant_') LIMIT 1`).Scan(&cfg.Database)
	if err != nil {
		return "", err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var tables, indexes, files int
	var megabytes float64
	err = conn.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE c.relkind = 'r'), count(*) FILTER (WHERE c.relkind = 'i'),
		       pg_database_size(current_database()) / 1e6,
		       (SELECT count(*) FROM pg_database d, pg_ls_dir('base/' || d.oid) WHERE d.datname = current_database())
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')`).Scan(&tables, &indexes, &megabytes, &files)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("a tenant: 40 migrations of an application and the built-in ones, %d tables, %d indexes, %.0f MB, %d files",
		tables, indexes, megabytes, files), nil
}
