package devplane

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// envParent turns the test binary into a parent that starts servers in the
// named directory, prints their process ids and waits to be killed.
const envParent = "TENANTRY_DEVPLANE_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envParent); dir != "" {
		beParent(dir)
	}
	os.Exit(RunTests(m, Needs{Master: true, TenantServers: 1, Redis: true}))
}

func beParent(dir string) {
	ctx := context.Background()
	p, err := StartPostgres(ctx, PostgresConfig{Name: "orphan", DataDir: dir + "/pg", Fast: true})
	if err != nil {
		panic(err)
	}
	r, err := StartRedis(ctx, RedisConfig{DataDir: dir + "/redis"})
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(strconv.Itoa(p.proc.cmd.Process.Pid) + " " + strconv.Itoa(r.proc.cmd.Process.Pid) + "\n")
	select {}
}

// openDir is a temporary directory that other users may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tenantry-devplane-") //nolint:usetesting // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func exec1(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if strings.HasPrefix(sql, "SELECT") {
		var got string
		if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return got
	}
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return ""
}

// eventually waits until ok reports true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		case <-tick.C:
		}
	}
}

func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	// A zombie that init has not reaped yet is gone for our purposes.
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestPostgresKeepsItsDataAndPassword(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	first, err := StartPostgres(t.Context(), PostgresConfig{Name: "kept", DataDir: dir + "/pg", Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Kill() })
	exec1(t, first.URL(), "CREATE TABLE kept AS SELECT 'here'::text AS v")
	pid := first.proc.cmd.Process.Pid
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Errorf("process %d is alive after Stop", pid)
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Errorf("second Stop: %v", err)
	}

	second, err := StartPostgres(t.Context(), PostgresConfig{Name: "kept", DataDir: dir + "/pg", Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Kill() })
	if diff := cmp.Diff(first.Password(), second.Password()); diff != "" {
		t.Errorf("password changed:\n%s", diff)
	}
	if got := exec1(t, second.URL(), "SELECT v FROM kept"); got != "here" {
		t.Errorf("kept.v = %q", got)
	}

	if err := second.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err != nil {
		t.Fatalf("Start after Kill: %v", err)
	}
	if got := exec1(t, second.URL(), "SELECT v FROM kept"); got != "here" {
		t.Errorf("kept.v after a crash = %q", got)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresRefusesStrangers(t *testing.T) {
	t.Parallel()
	p := Master(t)
	_, err := pgx.Connect(t.Context(), strings.Replace(p.URL(), p.Password(), "wrong", 1))
	if err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("connecting with a wrong password: %v, want 28P01", err)
	}
	if info, err := os.Stat(p.cfg.DataDir + "/password"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v, %v; want mode 0600", info, err)
	}
}

func TestPostgresStopEndsSessions(t *testing.T) {
	t.Parallel()
	p, err := StartPostgres(t.Context(), PostgresConfig{Name: "busy", DataDir: openDir(t) + "/pg", Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill() })
	conn, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	backend := int(conn.PgConn().PID())
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT pg_sleep(600)")
		ended <- err
	}()
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the session outlived the server")
	}
	if alive(backend) {
		t.Errorf("backend %d is alive after Stop", backend)
	}
}

func TestStartReportsWhyItFailed(t *testing.T) {
	t.Parallel()
	_, err := StartPostgres(t.Context(), PostgresConfig{Name: "second", DataDir: openDir(t) + "/pg", Port: Master(t).Port()})
	if err == nil || !strings.Contains(err.Error(), "cannot start Postgres second") || !strings.Contains(err.Error(), "could not bind") {
		t.Errorf("starting on a taken port: %v", err)
	}
}

func TestServersDieWithTheirParent(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envParent+"="+openDir(t))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, field := range strings.Fields(string(buf[:n])) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
		eventually(t, "the end of process "+field, func() bool { return !alive(pid) })
	}
}

func TestRedisRestart(t *testing.T) {
	t.Parallel()
	for _, appendOnly := range []bool{false, true} {
		r, err := StartRedis(t.Context(), RedisConfig{DataDir: t.TempDir(), AppendOnly: appendOnly})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Kill() })
		before := r.URL()
		pid := r.proc.cmd.Process.Pid
		redisCommand(t, r, "SET k v", "+OK")
		if err := r.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if alive(pid) {
			t.Errorf("process %d is alive after Restart", pid)
		}
		if diff := cmp.Diff(before, r.URL()); diff != "" {
			t.Errorf("URL changed:\n%s", diff)
		}
		want := ":0"
		if appendOnly {
			want = ":1"
		}
		redisCommand(t, r, "EXISTS k", want)
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewDatabaseCopiesItsTemplate(t *testing.T) {
	t.Parallel()
	p := TenantServer(t, 0)
	template := "template_" + randomHex(4)
	exec1(t, p.URL(), "CREATE DATABASE "+template)
	t.Cleanup(func() {
		if err := p.asSuperuser(context.Background(), func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "DROP DATABASE "+template)
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	exec1(t, p.DatabaseURL(template), "CREATE TABLE copied AS SELECT 'yes'::text AS v")
	var url string
	t.Run("copy", func(t *testing.T) {
		url = NewDatabase(t, p, template)
		if got := exec1(t, url, "SELECT v FROM copied"); got != "yes" {
			t.Errorf("copied.v = %q", got)
		}
	})
	if _, err := pgx.Connect(t.Context(), url); err == nil || !strings.Contains(err.Error(), "3D000") {
		t.Errorf("connecting after the test: %v, want 3D000", err)
	}
	exec1(t, NewDatabase(t, p, ""), "SELECT 'empty'")
}
