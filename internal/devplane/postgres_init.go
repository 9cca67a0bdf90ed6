package devplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// postgresBinaries returns the paths of initdb and postgres: from PATH, or else
// from the newest version where Debian and Homebrew keep them.
func postgresBinaries() (initdb, postgres string, err error) {
	initdb, err1 := exec.LookPath("initdb")
	postgres, err2 := exec.LookPath("postgres")
	if err1 == nil && err2 == nil {
		return initdb, postgres, nil
	}
	best := -1
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			version := majorVersion(filepath.Base(filepath.Dir(dir)))
			if version > best && isExecutable(filepath.Join(dir, "initdb")) && isExecutable(filepath.Join(dir, "postgres")) {
				best, initdb, postgres = version, filepath.Join(dir, "initdb"), filepath.Join(dir, "postgres")
			}
		}
	}
	if best < 0 {
		return "", "", errors.New("cannot find PostgreSQL's initdb and postgres, neither in PATH nor in /usr/lib/postgresql/*/bin: install the PostgreSQL server (Debian: apt-get install postgresql)")
	}
	return initdb, postgres, nil
}

// majorVersion reads the digits at the end of "15", "pgsql-15" or "postgresql@15".
func majorVersion(dir string) int {
	n, err := strconv.Atoi(dir[strings.LastIndexAny(dir, "@-")+1:])
	if err != nil {
		return 0
	}
	return n
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// prepareDir makes the data directory and, when Postgres runs as another user,
// lets that user reach the cluster inside it.
func (p *Postgres) prepareDir() error {
	dir, err := filepath.Abs(p.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("cannot use data directory %s: %w", p.cfg.DataDir, err)
	}
	p.cfg.DataDir = dir
	if err := os.MkdirAll(p.clusterDir(), 0o700); err != nil {
		return fmt.Errorf("cannot make data directory %s: %w", dir, err)
	}
	if p.cred == nil {
		return nil
	}
	if err := os.Chown(p.clusterDir(), int(p.cred.Uid), int(p.cred.Gid)); err != nil {
		return fmt.Errorf("cannot give %s to user %s: %w", p.clusterDir(), p.userName, err)
	}
	// Search permission on our own directory is ours to give. What lies above
	// is not: a directory closed to others is named, not opened.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("cannot open %s to user %s: %w", dir, p.userName, err)
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return fmt.Errorf("cannot use data directory %s: %w", dir, err)
		}
		if info.Mode()&0o001 == 0 && !ownedBy(info, p.cred.Uid) {
			return fmt.Errorf("cannot use data directory %s: Postgres runs as user %s, who may not enter %s; choose another directory", dir, p.userName, parent)
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

func ownedBy(info os.FileInfo, uid uint32) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uid
}

// initCluster runs initdb unless the directory already holds a cluster, and
// settles the superuser's password either way. The password is kept beside the
// cluster, readable to the caller alone, so that a later run can connect.
//
// Several clusters are best started at the same time: with two cores initdb
// --no-sync takes 0.5 s, little more than copying an initialised tree.
func (p *Postgres) initCluster(ctx context.Context) error {
	passwordFile := filepath.Join(p.cfg.DataDir, "password")
	if _, err := os.Stat(filepath.Join(p.clusterDir(), "PG_VERSION")); err == nil {
		kept, err := os.ReadFile(passwordFile)
		switch {
		case p.cfg.Password != "":
		case err != nil:
			return fmt.Errorf("cannot reuse data directory %s: its password is unknown: %w", p.cfg.DataDir, err)
		default:
			p.cfg.Password = strings.TrimSpace(string(kept))
		}
		return nil
	}
	if p.cfg.Password == "" {
		p.cfg.Password = randomHex(16)
	}
	if err := os.WriteFile(passwordFile, []byte(p.cfg.Password+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot keep the password of Postgres %s: %w", p.cfg.Name, err)
	}
	// initdb reads the password as the server's user, so it gets a file of its own.
	forInitdb := filepath.Join(p.cfg.DataDir, "password.initdb")
	defer func() { _ = os.Remove(forInitdb) }()
	err := os.WriteFile(forInitdb, []byte(p.cfg.Password+"\n"), 0o600)
	if err == nil && p.cred != nil {
		err = os.Chown(forInitdb, int(p.cred.Uid), int(p.cred.Gid))
	}
	if err != nil {
		return fmt.Errorf("cannot hand the password of Postgres %s to initdb: %w", p.cfg.Name, err)
	}
	cmd := p.command(ctx, p.initdb, "--no-sync", "--username=postgres", "--auth=scram-sha-256",
		"--pwfile="+forInitdb, "--encoding=UTF8", "--locale="+clusterLocale(), "--pgdata="+p.clusterDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		// Half a cluster must not be taken for a whole one by the next run.
		_ = os.RemoveAll(p.clusterDir())
		return fmt.Errorf("cannot initialise Postgres %s in %s: %w\n%s", p.cfg.Name, p.cfg.DataDir, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func clusterLocale() string {
	if runtime.GOOS == "linux" {
		return "C.UTF-8"
	}
	return "C"
}

// command returns a command run as the server's user, without any of the
// caller's PG… variables.
func (p *Postgres) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = p.clusterDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	return cmd
}
