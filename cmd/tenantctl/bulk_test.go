package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// batchAPI is as much of the API as bulk-provision needs. A batch is complete when
// it was asked for twice; slugs with bad in them are
// rejected.
type batchAPI struct {
	*httptest.Server
	// broken, if not nil, answers a request in the API's place and reports so.
	broken func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	batches  map[string]*batchOfAPI // by key
	requests []string
	slugs    map[string]int
}

type batchOfAPI struct {
	id    string
	rows  []map[string]string
	asked int
}

func startBatchAPI(t *testing.T) *batchAPI {
	t.Helper()
	a := &batchAPI{batches: map[string]*batchOfAPI{}, slugs: map[string]int{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *batchAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r.Method+" "+r.URL.Path)
	if a.broken != nil && a.broken(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer good-token" {
		writeProblem(w, http.StatusUnauthorized, tenancy.CodeUnauthenticated)
		return
	}
	switch {
	case r.Method == http.MethodPost:
		a.create(w, r)
	case r.URL.Path == "/platform/db-servers":
		fmt.Fprint(w, `{"items":[{"name":"pg-a","isActive":true,"capacityHint":12,"tenantCount":1,"reserved":1,"headroom":10}],"nextCursor":null}`)
	default:
		for _, b := range a.batches {
			if strings.HasSuffix(r.URL.Path, "/"+b.id) {
				b.asked++
				w.Header().Set("ETag", fmt.Sprint(min(b.asked, 2)))
				b.write(w, http.StatusOK)
				return
			}
		}
		writeProblem(w, http.StatusNotFound, tenancy.CodeNotFound)
	}
}

func (a *batchAPI) create(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Rows         []map[string]string
		ValidateOnly bool
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || len(req.Rows) > tenancy.MaxBatchRows {
		writeProblem(w, http.StatusUnprocessableEntity, tenancy.CodeInvalidRequest)
		return
	}
	if req.ValidateOnly {
		b := &batchOfAPI{rows: req.Rows, asked: -1}
		b.write(w, http.StatusOK)
		return
	}
	key := r.Header.Get("Idempotency-Key")
	b := a.batches[key]
	if b == nil {
		b = &batchOfAPI{id: fmt.Sprintf("batch-%d", len(a.batches)+1), rows: req.Rows}
		a.batches[key] = b
		for _, row := range req.Rows {
			a.slugs[row["slug"]]++
		}
	}
	b.write(w, http.StatusAccepted)
}

func (b *batchOfAPI) write(w http.ResponseWriter, status int) {
	rows := make([]map[string]any, len(b.rows))
	for i, r := range b.rows {
		row := map[string]any{"line": i + 1, "slug": r["slug"], "displayName": r["displayName"], "status": "queued", "jobId": "job-" + r["slug"], "error": nil}
		switch {
		case r["slug"] == "" || strings.Contains(r["slug"], "bad"):
			row["status"], row["jobId"] = "rejected", nil
			row["error"] = map[string]any{"code": "E_INVALID_SLUG", "message": "no slug"}
		case b.asked < 0:
			row["status"], row["jobId"] = "valid", nil
		case b.asked < 2:
		case strings.Contains(r["slug"], "fail"):
			row["status"] = "failed"
			row["error"] = map[string]any{"code": "E_NO_CAPACITY", "message": "all full"}
		default:
			row["status"] = "complete"
		}
		rows[i] = row
	}
	answer := map[string]any{"batchId": b.id, "status": "running", "rows": rows, "pollAfterMs": 1, "warnings": []string{"There is little room."}}
	if b.asked >= 2 {
		answer["status"] = "complete"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func writeProblem(w http.ResponseWriter, status int, code tenancy.Code) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"detail":"because of %s"}`, code, code)
}

// bulk runs bulk-provision on a file of its own.
type bulk struct {
	file, token string
}

func newBulk(t *testing.T, content string) bulk {
	t.Helper()
	dir := t.TempDir()
	b := bulk{file: filepath.Join(dir, "tenants.csv"), token: filepath.Join(dir, "token")}
	for file, data := range map[string]string{b.file: content, b.token: "good-token\n"} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b bulk) writeToken(t *testing.T, token string) {
	t.Helper()
	if err := os.WriteFile(b.token, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b bulk) run(ctx context.Context, api string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	args = append([]string{"bulk-provision", b.file, "--api", api, "--token-file", b.token}, args...)
	code = run(ctx, args, func(string) string { return "" }, &out, &errs)
	return code, out.String(), errs.String()
}

const bulkHeader = "slug,displayName,adminEmail\n"

func bulkRow(slug string) string { return slug + ",Tenant,canary@" + slug + ".example\n" }

func bulkRows(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(bulkRow(fmt.Sprintf("%s-%d", prefix, i)))
	}
	return b.String()
}

func readResult(t *testing.T, file string) [][]string {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the result's mode: %v, %v", info.Mode(), err)
	}
	records, err := csv.NewReader(in).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// A file of any length goes in chunks; every line of the output is one of the file.
func TestBulkProvisionSendsAFileInChunks(t *testing.T) {
	t.Parallel()
	a := startBatchAPI(t)
	b := newBulk(t, bulkHeader+"bad-0,\"Bad\nName\",canary@x.example\n"+bulkRows("t", 2100)+
		bulkRow("fail-1")+"short,line\n"+bulkRow("t-5")+bulkRow("bad-2")+",,canary@y.example\n"+"long"+strings.Repeat("bad", 1000)+",L,canary@z.example\n")
	code, stdout, stderr := b.run(t.Context(), a.URL, "-o", "json")
	if code != exitJobFailed {
		t.Errorf("exit %d: %s", code, stderr)
	}
	var shown struct {
		BatchIDs []string
		Counts   map[string]int
		Rows     []struct {
			Line                int
			Slug, Status, JobID string
			Error               struct{ Code, Message string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &shown); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if diff := cmp.Diff([]string{"batch-1", "batch-2", "batch-3"}, shown.BatchIDs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"total": 2107, "complete": 2100, "rejected": 6, "failed": 1, "cancelled": 0}, shown.Counts); diff != "" {
		t.Error(diff)
	}
	var got []string
	for _, r := range shown.Rows {
		got = append(got, fmt.Sprintf("%d %.6s %s %s %s", r.Line, r.Slug, r.Status, r.JobID, r.Error.Code))
	}
	want := []string{
		"2 bad-0 rejected  E_INVALID_SLUG", "2104 fail-1 failed job-fail-1 E_NO_CAPACITY", "2105 short rejected  E_INVALID_REQUEST",
		"2106 t-5 rejected  E_INVALID_REQUEST", "2107 bad-2 rejected  E_INVALID_SLUG", "2108  rejected  E_INVALID_SLUG",
		"2109 longba rejected  E_INVALID_SLUG",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range a.batches {
		if len(c.rows) > tenancy.MaxBatchRows {
			t.Errorf("a chunk of %d rows", len(c.rows))
		}
	}
	records := readResult(t, b.file+".result.csv")
	if len(records) != 2108 || cmp.Diff([]string{"line", "slug", "status", "jobId", "errorCode", "message"}, records[0]) != "" ||
		cmp.Diff([]string{"2104", "fail-1", "failed", "job-fail-1", "E_NO_CAPACITY", "all full"}, records[2102]) != "" {
		t.Errorf("%d records: %v, %v", len(records), records[0], records[2102])
	}
	result, err := os.ReadFile(b.file + ".result.csv")
	if err != nil || strings.Contains(string(result)+stdout+stderr, "canary") {
		t.Errorf("an address is shown (%v)", err)
	}
	if !strings.Contains(stderr, "of 2107 rows are done") || !strings.Contains(stderr, "batch-3/retry") {
		t.Errorf("stderr: %s", stderr)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(b.file), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}

	// Once more: the same batches, and nothing twice.
	if code, _, stderr := b.run(t.Context(), a.URL); code != exitJobFailed {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for slug, n := range a.slugs {
		if n != 1 {
			t.Errorf("%s was asked for %d times", slug, n)
		}
	}
	// Other options are another request.
	b.run(t.Context(), a.URL, "--dry-run")
	if len(a.batches) != 6 {
		t.Errorf("%d batches", len(a.batches))
	}
}

func TestBulkProvisionOfAGoodFile(t *testing.T) {
	t.Parallel()
	a := startBatchAPI(t)
	b := newBulk(t, bulkHeader+bulkRows("t", 3))
	result := filepath.Join(t.TempDir(), "result.csv")
	code, stdout, stderr := b.run(t.Context(), a.URL+"/", "--result", result)
	if code != exitOK || stdout != "3 rows: 3 complete\n" {
		t.Errorf("exit %d: %s %s", code, stdout, stderr)
	}
	if records := readResult(t, result); len(records) != 4 {
		t.Errorf("%v", records)
	}
}

func TestBulkProvisionValidates(t *testing.T) {
	t.Parallel()
	a := startBatchAPI(t)
	b := newBulk(t, bulkHeader+bulkRows("t", 3)+bulkRow("bad-1"))
	code, stdout, stderr := b.run(t.Context(), a.URL, "--validate")
	want := "LINE  SLUG   STATUS    JOB  CODE            MESSAGE\n5     bad-1  rejected  -    E_INVALID_SLUG  no slug\n\n4 rows: 3 valid, 1 rejected\n"
	if diff := cmp.Diff(want, stdout); code != exitJobFailed || diff != "" || !strings.Contains(stderr, "warning: There is little room.") {
		t.Errorf("exit %d: %s\n%s", code, stderr, diff)
	}
	// Several chunks are weighed together.
	b = newBulk(t, bulkHeader+bulkRows("t", 1005))
	code, _, stderr = b.run(t.Context(), a.URL, "--validate")
	if code != exitOK || !strings.Contains(stderr, "Rows that need a place: 1005. All active servers together have room for 10.") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if len(a.batches) != 0 {
		t.Errorf("%d batches were recorded", len(a.batches))
	}
}

// The API may be away, and come back.
func TestBulkProvisionOutlivesTheAPI(t *testing.T) {
	t.Parallel()
	a := startBatchAPI(t)
	b := newBulk(t, bulkHeader+bulkRows("t", 3))
	trouble := 0
	var limited time.Time
	a.broken = func(w http.ResponseWriter, r *http.Request) bool {
		trouble++
		switch trouble {
		case 1:
			writeProblem(w, http.StatusServiceUnavailable, tenancy.CodeDependencyUnavailable)
		case 2: // the batch is recorded, and the answer lost
			a.create(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 3:
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "<html>a proxy</html>")
		case 5:
			limited = time.Now()
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusTooManyRequests, tenancy.CodeRateLimited)
		case 6:
			if after := time.Since(limited); after < time.Second {
				t.Errorf("Retry-After was not heeded: %s", after)
			}
			return false
		default:
			return false
		}
		return true
	}
	code, stdout, stderr := b.run(t.Context(), a.URL)
	if code != exitOK || stdout != "3 rows: 3 complete\n" || len(a.batches) != 1 {
		t.Errorf("exit %d, %d batches: %s %s", code, len(a.batches), stdout, stderr)
	}
	if strings.Count(stderr, "trying on") != 2 || strings.Count(stderr, "answers again") != 2 {
		t.Errorf("stderr: %s", stderr)
	}
}

func TestBulkProvisionGivesUp(t *testing.T) {
	t.Parallel()
	a := startBatchAPI(t)
	b := newBulk(t, bulkHeader+bulkRows("t", 3))
	a.broken = func(w http.ResponseWriter, _ *http.Request) bool {
		writeProblem(w, http.StatusServiceUnavailable, tenancy.CodeDependencyUnavailable)
		return true
	}
	code, _, stderr := b.run(t.Context(), a.URL, "--patience", "600ms")
	if code != exitUnavailable || !strings.Contains(stderr, "same command") || len(a.requests) < 2 {
		t.Errorf("exit %d after %d requests: %s", code, len(a.requests), stderr)
	}
	a.Close()
	if code, _, stderr := b.run(t.Context(), a.URL, "--patience", "0s"); code != exitUnavailable {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// What will not pass by itself ends the command at once.
func TestBulkProvisionIsRefused(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the token went elsewhere") }))
	t.Cleanup(other.Close)
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   int
	}{
		"unauthenticated": {func(w http.ResponseWriter) { writeProblem(w, 401, tenancy.CodeUnauthenticated) }, exitForbidden},
		"forbidden":       {func(w http.ResponseWriter) { writeProblem(w, 403, tenancy.CodeForbidden) }, exitForbidden},
		"by a proxy":      {func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }, exitForbidden},
		"no such route":   {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, exitNotFound},
		"invalid":         {func(w http.ResponseWriter) { writeProblem(w, 422, tenancy.CodeInvalidRequest) }, exitUsage},
		"without a vault": {func(w http.ResponseWriter) { writeProblem(w, 503, tenancy.CodeProvisioningUnavailable) }, exitUnavailable},
		"another site":    {func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") }, exitUnavailable},
		"redirected": {func(w http.ResponseWriter) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startBatchAPI(t)
			a.broken = func(w http.ResponseWriter, _ *http.Request) bool { test.answer(w); return true }
			b := newBulk(t, bulkHeader+bulkRows("t", 3))
			code, _, stderr := b.run(t.Context(), a.URL)
			if code != test.want || len(a.requests) != 1 {
				t.Errorf("exit %d after %d requests, want %d: %s", code, len(a.requests), test.want, stderr)
			}
			if strings.Contains(stderr, "good-token") {
				t.Errorf("the token is shown: %s", stderr)
			}
			if _, err := os.Stat(b.file + ".result.csv"); err == nil {
				t.Error("a result was written")
			}
		})
	}
}

func TestBulkProvisionIsCalledWrongly(t *testing.T) {
	t.Parallel()
	good := newBulk(t, bulkHeader+bulkRows("t", 3))
	noToken, twoTokens := good, good
	noToken.token = filepath.Join(t.TempDir(), "none")
	twoTokens.token = good.file
	for name, test := range map[string]struct {
		bulk bulk
		api  string
		args []string
		want string
	}{
		"no file":          {bulk{"no-such.csv", good.token}, "https://x.example", nil, "no such file"},
		"unknown column":   {newBulk(t, "slug,plan\n"), "https://x.example", nil, `no column "plan"`},
		"no CSV":           {newBulk(t, bulkHeader+"a,\"b\n"), "https://x.example", nil, "line 2"},
		"no rows":          {newBulk(t, bulkHeader), "https://x.example", nil, "no row"},
		"plain http":       {good, "http://x.example", nil, "plain http"},
		"looks like local": {good, "http://127.0.0.1.x.example", nil, "plain http"},
		"named local":      {good, "http://x.localhost", nil, "plain http"},
		"no address":       {good, "console.example.com", nil, "--api"},
		"password in it":   {good, "https://u:hunter2@x.example", nil, "--api"},
		"no token":         {noToken, "https://x.example", nil, "--token-file"},
		"more than one":    {twoTokens, "https://x.example", nil, "--token-file"},
		"result is input":  {good, "https://x.example", []string{"--result", good.file}, "--result"},
		"result nowhere":   {good, "https://x.example", []string{"--result", "/no/such/dir/x"}, "--result"},
		"impatience":       {good, "https://x.example", []string{"--patience", "-1s"}, "--patience"},
		"two files":        {good, "https://x.example", []string{"other.csv"}, "accepts 1 arg"},
	} {
		code, stdout, stderr := test.bulk.run(t.Context(), test.api, test.args...)
		if code != exitUsage || !strings.Contains(stderr, test.want) || stdout != "" || strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: exit %d\n%s\n%s", name, code, stdout, stderr)
		}
	}
}

// Stdin has no name, so there is no result unless it is asked for.
func TestBulkProvisionReadsStdin(t *testing.T) {
	t.Parallel()
	a := startBatchAPI(t)
	b := newBulk(t, "")
	var stdout bytes.Buffer
	c := &cli{getenv: func(string) string { return "" }, stdout: &stdout, stderr: io.Discard}
	root := c.root()
	root.SetArgs([]string{"bulk-provision", "-", "--api", a.URL, "--token-file", b.token})
	root.SetIn(strings.NewReader(bulkHeader + bulkRows("t", 2)))
	if err := root.ExecuteContext(t.Context()); err != nil || stdout.String() != "2 rows: 2 complete\n" {
		t.Errorf("%v: %s", err, stdout.String())
	}
	if _, err := os.Stat("-.result.csv"); err == nil {
		t.Error("a result was written")
	}
}

func TestBulkProvisionIsInterrupted(t *testing.T) {
	t.Parallel()
	a := startBatchAPI(t)
	b := newBulk(t, bulkHeader+bulkRows("t", 3))
	ctx, cancel := context.WithCancel(t.Context())
	a.broken = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			cancel()
		}
		return false
	}
	code, _, stderr := b.run(ctx, a.URL)
	if code != exitInterrupted || !strings.Contains(stderr, "1 of 1 batches are sent") || !strings.Contains(stderr, "same command") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
