package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Two hundred tenants by file, ten of them not to be had: the command is interrupted
// in the middle and run again, and meanwhile somebody's single tenant is made.
func TestBulkProvision(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	p.settle(t, p.submit(t, request("taken")), 30*time.Second)

	var file strings.Builder
	file.WriteString("\ufeffadminEmail,slug,displayName,dbServer\r\n")
	want := map[int]string{ // by line of the file
		10: "E_INVALID_SLUG", 11: "E_INVALID_REQUEST", 12: "E_INVALID_REQUEST", 50: "E_ALREADY_PROVISIONED", 51: "E_DB_SERVER_NOT_FOUND",
		52: "E_INVALID_REQUEST", 100: "E_INVALID_REQUEST", 150: "E_INVALID_SLUG", 200: "E_INVALID_SLUG", 201: "E_INVALID_REQUEST",
	}
	bad := map[int]string{
		10: "a@x.example,Bad,Bad,", 11: "nobody,bad-mail,Bad,", 12: "a@x.example,bad-name,,", 50: "a@x.example,taken,Taken,",
		51: "a@x.example,bad-server,Bad,pg-z", 52: "a@x.example,bulk-2,Again,", 100: "a@x.example,too-short", 150: "a@x.example,admin,Reserved,",
		200: "a@x.example,,Nameless,", 201: "A <a@x.example>,bad-mail-2,Bad,",
	}
	for line := 2; line <= 201; line++ {
		if row, ok := bad[line]; ok {
			file.WriteString(row + "\r\n")
			continue
		}
		fmt.Fprintf(&file, "canary@bulk-%d.example,bulk-%d,Bulk %d,\r\n", line, line, line)
	}
	b := newBulk(t, file.String())
	b.writeToken(t, p.Users[0].APIToken)

	// Checking records nothing.
	code, stdout, stderr := b.run(t.Context(), p.Console, "--validate")
	if code != exitJobFailed || !strings.Contains(stdout, "200 rows: 190 valid, 10 rejected") || !strings.Contains(stderr, "warning: Rows that need a place: 190.") {
		t.Fatalf("exit %d: %s %s", code, stdout, stderr)
	}
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job`); n != 1 {
		t.Errorf("%d jobs", n)
	}
	for _, name := range []string{"pg-a", "pg-b"} {
		if a := p.call(t, http.MethodPatch, "/platform/db-servers/"+name, map[string]any{"capacityHint": 150}); a.status != 200 {
			t.Fatalf("%d %v", a.status, a.body)
		}
	}

	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var out bytes.Buffer
	go func() {
		code, _, errs := b.run(ctx, p.Console)
		out.WriteString(errs)
		ended <- code
	}()
	done := func() int {
		return queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job WHERE status = 'complete' AND slug LIKE 'bulk-%'`)
	}
	eventually(t, 30*time.Second, "the batch has begun", func() bool { return done() >= 5 })
	interrupt()
	if code := <-ended; code != exitInterrupted || !strings.Contains(out.String(), "same command") {
		t.Errorf("exit %d: %s", code, out.String())
	}

	// A wizard's tenant does not wait for the batch.
	began := time.Now()
	if a := p.settle(t, p.submit(t, request("wizard")), 20*time.Second); a.text("status") != "complete" {
		t.Errorf("the single tenant: %v", a.body)
	}
	if n := done(); n >= 190 {
		t.Errorf("the batch was over (%d) before the single tenant", n)
	}
	t.Logf("a single tenant took %s beside the batch", time.Since(began).Round(time.Millisecond))

	code, stdout, stderr = b.run(t.Context(), p.Console, "-o", "json")
	if code != exitJobFailed {
		t.Errorf("exit %d: %s", code, stderr)
	}
	var shown struct {
		BatchIDs []string
		Counts   map[string]int
		Rows     []struct {
			Line   int
			Status string
			Error  struct{ Code string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &shown); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if diff := cmp.Diff(map[string]int{"total": 200, "complete": 190, "rejected": 10, "failed": 0, "cancelled": 0}, shown.Counts); diff != "" {
		t.Error(diff)
	}
	got := map[int]string{}
	for _, r := range shown.Rows {
		got[r.Line] = r.Error.Code
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if records := readResult(t, b.file+".result.csv"); len(records) != 201 {
		t.Errorf("%d records", len(records))
	}

	// One batch, one job a good row, one database each, every audit row in place.
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant_batch`); n != 1 || len(shown.BatchIDs) != 1 {
		t.Errorf("%d batches", n)
	}
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job WHERE attempt = 1 AND status = 'complete' AND queue = 'bulk'`); n != 190 {
		t.Errorf("%d jobs", n)
	}
	databases := 0
	for _, s := range p.DBServers {
		databases += queryOne[int](t, s.AdminURL, `SELECT count(*) FROM pg_database WHERE datname LIKE 'tenant\_bulk\_%'`)
	}
	if databases != 190 {
		t.Errorf("%d databases", databases)
	}
	details := queryOne[string](t, p.DatabaseURL, `SELECT string_agg(details::text, ' ') FROM identity.tenant_audit WHERE event_type = 'TENANT_BATCH_SUBMITTED'`)
	if strings.Count(details, "batchId") != 1 || strings.Contains(details, "@") {
		t.Errorf("audit: %s", details)
	}
	if strings.Contains(p.log.String()+stdout+stderr, "canary") {
		t.Error("an address is in the log or in the output")
	}
	if a := p.call(t, http.MethodGet, "/platform/tenant-batches/"+shown.BatchIDs[0], nil); a.text("status") != "complete" || strings.Contains(fmt.Sprint(a.body), "canary") {
		t.Errorf("the batch: %s", a.text("status"))
	}
}
