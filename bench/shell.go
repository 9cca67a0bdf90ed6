package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed shell.sh
var shellScript []byte

// migrateCommand is golang-migrate's own, at the version that go.mod has.
const migrateCommand = "github.com/golang-migrate/migrate/v4/cmd/migrate"

// shell is a tenant by shell script, on the first server of the plane without a
// pool. psql is the one beside the server's own program: Debian's in PATH is a
// wrapper that takes longer.
func (b *bench) shell(ctx context.Context) (*cell, error) {
	p := b.cold
	var bin string
	if err := p.servers[0].QueryRow(ctx, `SELECT setting FROM pg_config WHERE name = 'BINDIR'`).Scan(&bin); err != nil {
		return nil, fmt.Errorf("cannot find psql: %w", err)
	}
	admin, err := url.Parse(p.ready.DBServers[0].AdminURL)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(admin.Host)
	if err != nil {
		return nil, err
	}
	password, _ := admin.User.Password()
	files := map[string][]byte{
		"shell.sh": shellScript,
		"pgpass":   []byte(strings.Join([]string{host, port, "*", admin.User.Username(), password}, ":") + "\n"),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(b.dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	if _, err := p.servers[0].Exec(ctx, "CREATE DATABASE bench_registry"); err != nil {
		return nil, err
	}
	env := append(inherited(),
		"PGHOST="+host, "PGPORT="+port, "PGUSER="+admin.User.Username(), "PGPASSFILE="+filepath.Join(b.dir, "pgpass"),
		"PSQL="+filepath.Join(bin, "psql"), "MIGRATE="+filepath.Join(b.dir, "migrate"), "BUILTIN=migrations/tenant", "MIGRATIONS="+b.migrations,
		"REGISTRY=bench_registry", "VAULT="+p.ready.KeyVaultURL, "VAULT_CA="+p.ready.KeyVaultCA,
		"VAULT_TOKEN=any") // the development vault takes whatever it is given
	command := func(ctx context.Context, name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, out)
		}
		return nil
	}
	err = command(ctx, filepath.Join(bin, "psql"), "-X", "-q", "-d", "bench_registry",
		"-c", "CREATE TABLE tenant (slug text PRIMARY KEY, database text NOT NULL)")
	if err != nil {
		return nil, err
	}
	count := 0
	return &cell{what: "the shell way", plane: p, run: func(ctx context.Context) (time.Duration, bool, error) {
		count++
		began := time.Now()
		err := command(ctx, "sh", filepath.Join(b.dir, "shell.sh"), fmt.Sprintf("shell%05d", count))
		return time.Since(began), true, err
	}}, nil
}
