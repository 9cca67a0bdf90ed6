package emulator_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

func TestEverythingSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, emulator.Config{DataDir: dir})
	c := client(t, first)
	made := set(t, c, "kept", "one")
	set(t, c, "kept", "two")
	set(t, c, "gone", "v")
	if err := doDelete(t.Context(), c, "gone"); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(first.CAFile())
	if err != nil {
		t.Fatal(err)
	}

	// The first server is not closed: what it leaves is what a kill leaves.
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	// So is half of a change that was never answered, or that a machine lost.
	cut, err := os.OpenFile(filepath.Join(copied, "secrets.json"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cut.WriteString(`{"name":"kept","state":"li` + "\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if err := cut.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, emulator.Config{DataDir: copied})
	after, err := os.ReadFile(second.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ca, after) {
		t.Error("the authority changed")
	}
	c = client(t, second)
	got := []string{get(t, c, "kept", made.ID.Version()), get(t, c, "kept", "")}
	if diff := cmp.Diff([]string{"one", "two"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := doRecover(t.Context(), c, "gone"); err != nil {
		t.Errorf("the deleted secret: %v", err)
	}
}

func TestEarlierFilesAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const earlier = `{"format":1,"secrets":[{"name":"Kept","state":"live","versions":[{"id":"0a","value":"one","enabled":true,"created":1,"updated":1}]}]}`
	if err := os.WriteFile(filepath.Join(dir, "secrets.json"), []byte(earlier), 0o600); err != nil {
		t.Fatal(err)
	}
	first := start(t, emulator.Config{DataDir: dir})
	set(t, client(t, first), "kept", "two")
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := client(t, start(t, emulator.Config{DataDir: dir}))
	if diff := cmp.Diff([]string{"one", "two"}, []string{get(t, c, "kept", "0a"), get(t, c, "kept", "")}); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTheFileDoesNotGrowForEver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := client(t, start(t, emulator.Config{DataDir: dir}))
	value := strings.Repeat("v", 20_000)
	const versions = 50 // each change repeats those before it: 25 MB of changes
	for range versions {
		set(t, c, "s", value)
	}
	info, err := os.Stat(filepath.Join(dir, "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(5_000_000); info.Size() < versions*20_000 || info.Size() > most {
		t.Errorf("%d bytes, want %d at most", info.Size(), most)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if got := get(t, client(t, start(t, emulator.Config{DataDir: copied})), "s", ""); got != value {
		t.Errorf("%d bytes are left of the value", len(got))
	}
}

func TestFilesAreForTheirOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set(t, client(t, start(t, emulator.Config{DataDir: dir})), "s", "v")
	got := map[string]os.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		got[entry.Name()] = info.Mode()
	}
	want := map[string]os.FileMode{"secrets.json": 0o600, "ca-key.pem": 0o600, "ca.pem": 0o644}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhatCannotBeKeptDoesNotHappen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, emulator.Config{DataDir: dir})
	c := client(t, s)
	set(t, c, "kept", "one")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err := c.SetSecret(t.Context(), "kept", azsecrets.SetSecretParameters{Value: ptr("two")}, nil)
	if got := refused(t, err); got.Status != 500 {
		t.Errorf("set: %v", got)
	}
	if got := refused(t, doSet(t.Context(), c, "new")); got.Status != 500 {
		t.Errorf("set: %v", got)
	}
	if got := get(t, c, "kept", ""); got != "one" {
		t.Errorf("is now %q", got)
	}
	if got := refused(t, doGet(t.Context(), c, "new")); got.Status != 404 {
		t.Errorf("get: %v", got)
	}
}

func TestTemporaryDirectoryIsRemoved(t *testing.T) {
	t.Parallel()
	s := start(t, emulator.Config{})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(s.CAFile())); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if err := <-s.Served(); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Served: %v", err)
	}
}

func TestStartRefusesAForeignFile(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"garbage": "hello", "newer": `{"format":99}`, "no secret in it": `{"format":2}{"name":"a"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "secrets.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := emulator.Start(emulator.Config{DataDir: dir}); err == nil {
				t.Error("started")
			}
		})
	}
}

func TestRequestsOutsideTheRules(t *testing.T) {
	t.Parallel()
	s := start(t, emulator.Config{})
	c := httpClient(t, s)
	const version = "?api-version=2026-04-01"
	tags := make([]string, 16)
	for i := range tags {
		tags[i] = fmt.Sprintf(`"t%d":""`, i)
	}
	for name, test := range map[string]struct {
		method, path, body string
		want               int
	}{
		"fine":              {"PUT", "/secrets/s" + version, `{"value":"v"}`, 200},
		"older version":     {"PUT", "/secrets/s?api-version=7.4", `{"value":"v"}`, 200},
		"longest value":     {"PUT", "/secrets/s" + version, `{"value":"` + strings.Repeat("v", 25*1024) + `"}`, 200},
		"health":            {"GET", "/healthz", "", 200},
		"no version":        {"GET", "/secrets/s", "", 400},
		"unknown version":   {"GET", "/secrets/s?api-version=tomorrow", "", 400},
		"underscore":        {"PUT", "/secrets/a_b" + version, `{"value":"v"}`, 400},
		"long name":         {"PUT", "/secrets/" + strings.Repeat("a", 128) + version, `{"value":"v"}`, 400},
		"no value":          {"PUT", "/secrets/s" + version, `{}`, 400},
		"no JSON":           {"PUT", "/secrets/s" + version, `value`, 400},
		"long value":        {"PUT", "/secrets/s" + version, `{"value":"` + strings.Repeat("v", 25*1024+1) + `"}`, 400},
		"huge body":         {"PUT", "/secrets/s" + version, `{"value":"` + strings.Repeat("v", 300*1024) + `"}`, 413},
		"too many tags":     {"PUT", "/secrets/s" + version, `{"value":"v","tags":{` + strings.Join(tags, ",") + `}}`, 400},
		"long tag":          {"PUT", "/secrets/s" + version, `{"value":"v","tags":{"t":"` + strings.Repeat("v", 513) + `"}}`, 400},
		"too many results":  {"GET", "/secrets" + version + "&maxresults=26", "", 400},
		"bad token":         {"GET", "/secrets" + version + "&%24skiptoken=%21", "", 400},
		"unknown operation": {"POST", "/secrets/s/backup" + version, "", 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), test.method, s.URL()+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer any")
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != test.want {
				t.Errorf("%s %.60s: %d, want %d", test.method, test.path, resp.StatusCode, test.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	type counts struct{ Sets, Versions int }
	for name, test := range map[string]struct {
		fault emulator.Fault
		want  counts // the client tries again and succeeds
	}{
		"throttled":     {emulator.Fault{Status: 429, RetryAfter: time.Second}, counts{2, 1}},
		"unavailable":   {emulator.Fault{Status: 503}, counts{2, 1}},
		"dropped":       {emulator.Fault{Drop: true}, counts{2, 1}},
		"reply dropped": {emulator.Fault{DropReply: true}, counts{2, 2}},
		"slow":          {emulator.Fault{Delay: time.Minute}, counts{2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, emulator.Config{})
			s.Fail(func(op emulator.Op) *emulator.Fault {
				if op.Kind == emulator.OpSet && op.Nth == 1 {
					return &test.fault
				}
				return nil
			})
			c := client(t, s)
			ctx := t.Context()
			if test.fault.Delay > 0 {
				ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{TryTimeout: 500 * time.Millisecond, RetryDelay: time.Millisecond})
			}
			began := time.Now()
			if err := doSet(ctx, c, "S"); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited < test.fault.RetryAfter {
				t.Errorf("tried again after %v, before Retry-After", waited)
			}
			got := counts{Sets: s.Count(emulator.OpSet, "s")}
			page, err := c.NewListSecretPropertiesVersionsPager("s", nil).NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got.Versions = len(page.Value)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestValuesAreNotLogged(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	s := start(t, emulator.Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	c := client(t, s)
	set(t, c, "a-name", "hunter2")
	get(t, c, "a-name", "")
	if err := doDelete(t.Context(), c, "a-name"); err != nil {
		t.Fatal(err)
	}
	_ = doSet(t.Context(), c, "a-name")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "a-name") {
		t.Errorf("log:\n%s", got)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
