package tenantdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Backup writes a custom-format dump of the tenant's database to dir/name, which
// appears whole or not at all, and checks that pg_restore can read it. found is
// false if there is no database. The pg_dump used is the oldest at hand that is
// not older than the server.
func (s *Servers) Backup(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, dir, name string) (b tenancy.Backup, found bool, err error) {
	err = s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		// A database that an interrupted drop left holds nothing to read.
		if !f.database.exists || f.invalid {
			return nil
		}
		found = true
		// An earlier drop may have shut the door already.
		open := "ALTER DATABASE " + quote(f.database.name) + " ALLOW_CONNECTIONS true"
		if err := w.tolerate(ctx, open, pgerr.InvalidCatalogName); err != nil {
			return failed(ctx, err, "cannot open database "+f.database.name+on(server))
		}
		b, err = w.dump(ctx, f, filepath.Join(dir, name))
		return err
	})
	return b, found, err
}

func (w *work) dump(ctx context.Context, f facts, path string) (tenancy.Backup, error) {
	bin, err := clientBinaries(ctx, f.version/10000)
	if err != nil {
		return tenancy.Backup{}, err
	}
	if err := removeParts(path); err != nil {
		return tenancy.Backup{}, unwritable(err)
	}
	// A file of this try's own: an earlier one's pg_dump may live on.
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // mode 0600
	if err != nil {
		return tenancy.Backup{}, unwritable(err)
	}
	defer file.Close()
	part := file.Name()
	defer func() { _ = os.Remove(part) }() // gone once it was renamed
	cfg := w.configFor("")
	args := []string{
		"--format=custom", "--no-password", "--file=" + part, "--host=" + cfg.Host, "--port=" + strconv.Itoa(int(cfg.Port)),
		"--username=" + cfg.User, "--dbname=" + cfg.Database,
	}
	if !w.superuser() && f.ownerRole.exists {
		err := w.insideAsOwner(ctx, func(_ *pgx.Conn, owner string) error {
			args = append(args, "--role="+owner)
			return nil
		})
		if err != nil {
			return tenancy.Backup{}, failed(ctx, err, "cannot look up whose the objects are in database "+cfg.Database+on(w.server))
		}
	}
	// The password goes through the environment, which only our own user can see.
	env := append(os.Environ(), "PGPASSWORD="+cfg.Password)
	env = append(env, w.pool.sslEnv()...)
	// What goes wrong is mostly the connection or the disk, so it is tried again.
	if err := runClient(ctx, env, filepath.Join(bin, "pg_dump"), args...); err != nil {
		return tenancy.Backup{}, tenancy.Unavailable(err, "cannot dump database "+cfg.Database+on(w.server))
	}
	if err := runClient(ctx, os.Environ(), filepath.Join(bin, "pg_restore"), "--list", part); err != nil {
		return tenancy.Backup{}, tenancy.Unavailable(err, "the dump of database "+cfg.Database+on(w.server)+" cannot be read back")
	}
	sum, size, err := digest(part)
	if err == nil {
		// Another worker's dump may be in its place already.
		if err := tenancy.CheckFence(ctx); err != nil {
			return tenancy.Backup{}, err
		}
		err = keep(part, path)
	}
	if err != nil {
		return tenancy.Backup{}, unwritable(err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return tenancy.Backup{Server: w.server.Name, Host: host, File: path, SHA256: sum, Bytes: size}, nil
}

// removeParts removes what workers left that were killed while they dumped to
// path. The caller holds the slug, so it is nobody's.
func removeParts(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base+".") || !strings.HasSuffix(e.Name(), ".part") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// keep renames a file that is whole, so that it survives a crash of the machine:
// the database is dropped on the strength of it.
func keep(part, path string) error {
	for _, name := range []string{part, filepath.Dir(path)} {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		if name == part {
			if err := os.Rename(part, path); err != nil {
				return err
			}
		}
	}
	return nil
}

func unwritable(err error) error {
	return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err, "The final dump cannot be written to BACKUP_DIR.")
}

// CheckBackup fails unless Backup has what it needs here: a pg_dump for the server
// and a directory to write to.
func (s *Servers) CheckBackup(ctx context.Context, server tenancy.DBServer, dir string) error {
	conn, _, err := s.acquire(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Release()
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return failed(ctx, err, "cannot look up the version"+on(server))
	}
	if _, err := clientBinaries(ctx, version/10000); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return unwritable(err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return unwritable(err)
	}
	return nil
}

// sslEnv hands the admin URL's TLS settings to a client program.
func (p *adminPool) sslEnv() []string {
	u, err := url.Parse(p.url)
	if err != nil {
		return nil
	}
	var env []string
	for _, name := range []string{"sslmode", "sslrootcert", "sslcert", "sslkey"} {
		if value := u.Query().Get(name); value != "" {
			env = append(env, "PG"+strings.ToUpper(name)+"="+value)
		}
	}
	return env
}

// runClient runs a Postgres client program. What it says goes into the cause,
// for the log: it may name objects of the tenant.
func runClient(ctx context.Context, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, said[:min(len(said), 1000)])
	}
	return nil
}

// clientBinaries returns the directory of the oldest pg_dump that is not older
// than the server: pg_dump refuses newer servers.
func clientBinaries(ctx context.Context, major int) (string, error) {
	best, dir := 0, ""
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump") // the pattern is well formed
	if path, err := exec.LookPath("pg_dump"); err == nil {
		candidates = append(candidates, path)
	}
	for _, path := range candidates {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			continue
		}
		fields := strings.Fields(string(out)) // pg_dump (PostgreSQL) 15.18 …
		if len(fields) < 3 {
			continue
		}
		number, _, _ := strings.Cut(fields[2], ".")
		version, err := strconv.Atoi(number)
		if err == nil && version >= major && (best == 0 || version < best) {
			best, dir = version, filepath.Dir(path)
		}
	}
	if best == 0 {
		return "", tenancy.Wrap(tenancy.CodeDependencyUnavailable, errors.New("no such pg_dump"),
			fmt.Sprintf("No pg_dump of version %d or later is installed here for the final dump.", major))
	}
	return dir, nil
}

func digest(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err = io.Copy(hash, f)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}
