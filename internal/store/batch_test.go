package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// newBatch asks for tenants with these slugs.
func newBatch(slugs ...string) tenancy.NewBatch {
	n := tenancy.NewBatch{RequestedBy: operator}
	for i, slug := range slugs {
		n.Rows = append(n.Rows, tenancy.NewBatchRow{
			Line: i + 2, Slug: slug, DisplayName: "Tenant " + slug, AdminEmail: "admin@" + slug + ".example",
		})
	}
	return n
}

func numbered(prefix string, n int) []string {
	slugs := make([]string, n)
	for i := range slugs {
		slugs[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return slugs
}

func (p plane) submitBatch(t *testing.T, n tenancy.NewBatch) tenancy.Batch {
	t.Helper()
	b, err := p.SubmitBatch(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// register writes a tenant as if it had been provisioned.
func (p plane) register(t *testing.T, slug string) {
	t.Helper()
	p.exec(t, `INSERT INTO identity.tenant (slug, display_name, status, db_server_id, db_name, db_secret_ref)
		SELECT $1, 'T', 'active', db_server_id, $1, 'y' FROM identity.db_server LIMIT 1`, slug)
}

// failJob fails a queued job.
func (p plane) failJob(t *testing.T, id tenancy.JobID, code tenancy.Code) {
	t.Helper()
	_, lease, err := p.AcquireLease(t.Context(), id, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.BeginRollback(t.Context(), lease, tenancy.PhaseStateChecked, &tenancy.PhaseError{Code: code, Message: "why"}); err != nil {
		t.Fatal(err)
	}
	if err := p.SettleRollback(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
}

// rings are the doorbells in the outbox, which are taken out of it.
func (p plane) rings(t *testing.T) []tenancy.Task {
	t.Helper()
	var rung []tenancy.Task
	if _, err := p.RelayOutbox(t.Context(), 5000, func(task tenancy.Task) error { rung = append(rung, task); return nil }); err != nil {
		t.Fatal(err)
	}
	return rung
}

// Good rows become jobs like any other, in the bulk's queue; a bad one says why
// and stops nobody.
func TestSubmitBatch(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 5)
	p.register(t, "taken")
	running := p.submit(t, tenancy.NewJob{Slug: "busy"})
	p.rings(t)

	n := newBatch("zeta", "taken", "Bad Slug", "busy", "lost", "acme")
	n.Rows[2].Fault = tenancy.Errorf(tenancy.CodeInvalidSlug, "no slug")
	n.Rows[4].ServerName = "pg-z"
	n.Rows[5].ServerName = "pg-a"
	b := p.submitBatch(t, n)

	type row struct {
		line       int
		slug, name string
		status     tenancy.BatchRowStatus
		job        bool
		code       tenancy.Code
	}
	var got []row
	for _, r := range b.Rows {
		shown := row{line: r.Line, slug: r.Slug, name: r.DisplayName, status: r.Status, job: r.JobID != ""}
		if r.Error != nil {
			shown.code = r.Error.Code
			if r.Error.Message == "" {
				t.Errorf("line %d is rejected without a word", r.Line)
			}
		}
		got = append(got, shown)
	}
	want := []row{
		{line: 2, slug: "zeta", name: "Tenant zeta", status: "queued", job: true},
		{line: 3, slug: "taken", name: "Tenant taken", status: "rejected", code: tenancy.CodeAlreadyProvisioned},
		{line: 4, slug: "Bad Slug", name: "Tenant Bad Slug", status: "rejected", code: tenancy.CodeInvalidSlug},
		{line: 5, slug: "busy", name: "Tenant busy", status: "rejected", code: tenancy.CodeJobInProgress},
		{line: 6, slug: "lost", name: "Tenant lost", status: "rejected", code: tenancy.CodeDBServerNotFound},
		{line: 7, slug: "acme", name: "Tenant acme", status: "queued", job: true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(tenancy.BatchCounts{Total: 6, Rejected: 4, Queued: 2}, b.Counts); diff != "" {
		t.Error(diff)
	}
	if b.FinishedAt != nil || b.RequestedBy != operator {
		t.Errorf("unexpected batch %+v", b)
	}

	var wantRings []tenancy.Task
	for _, r := range []tenancy.BatchRow{b.Rows[0], b.Rows[5]} {
		job, err := p.Job(t.Context(), r.JobID)
		if err != nil || job.AdminEmail != "admin@"+r.Slug+".example" || len(job.Phases) != 8 || job.Phases[7].Name != tenancy.PhaseComplete {
			t.Errorf("%s: %v, %+v", r.Slug, err, job)
		}
		wantRings = append(wantRings, tenancy.Task{Type: tenancy.TaskProvision, Queue: tenancy.QueueBulk, ID: string(r.JobID) + ":0", JobID: r.JobID})
	}
	rung := p.rings(t)
	for i := range rung {
		rung[i].OutboxID = 0
	}
	if diff := cmp.Diff(wantRings, rung); diff != "" {
		t.Error(diff)
	}
	if after, _ := p.Job(t.Context(), running.ID); after.Version != running.Version {
		t.Errorf("the job of another's slug was touched: %+v", after)
	}
	events, _, err := p.ListAudit(t.Context(), tenancy.AuditFilter{Type: tenancy.EventBatchSubmitted})
	if err != nil || len(events) != 1 {
		t.Fatalf("%d audit rows, %v", len(events), err)
	}
	details := map[string]any{"batchId": string(b.ID), "rows": 6.0, "rejected": 4.0, "queued": 2.0}
	if diff := cmp.Diff(details, events[0].Details); diff != "" || events[0].Actor != operator {
		t.Errorf("%+v %s", events[0], diff)
	}
}

// A batch without a good row is on record all the same, and done with.
func TestABatchOfBadRowsIsRecorded(t *testing.T) {
	t.Parallel()
	p := setup(t)
	n := newBatch("No")
	n.Rows[0].Fault = tenancy.Errorf(tenancy.CodeInvalidSlug, "no slug")
	b := p.submitBatch(t, n)
	if b.FinishedAt == nil || b.Counts != (tenancy.BatchCounts{Total: 1, Rejected: 1}) {
		t.Errorf("unexpected batch %+v", b)
	}
	again, err := p.Batch(t.Context(), b.ID)
	if diff := cmp.Diff(b, again); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, rows := range []int{0, tenancy.MaxBatchRows + 1} {
		_, err := p.SubmitBatch(t.Context(), newBatch(numbered("t", rows)...))
		wantCode(t, err, tenancy.CodeInvalidRequest)
		_, err = p.CheckBatch(t.Context(), newBatch(numbered("t", rows)...))
		wantCode(t, err, tenancy.CodeInvalidRequest)
	}
	for _, id := range []tenancy.BatchID{"nonsense", "01900000-0000-7000-8000-000000000001"} {
		_, err := p.Batch(t.Context(), id)
		wantCode(t, err, tenancy.CodeNotFound)
		_, err = p.RetryBatch(t.Context(), id, operator)
		wantCode(t, err, tenancy.CodeNotFound)
	}
}

// Whatever stops the recording leaves nothing of it, at whichever table.
func TestSubmitBatchIsAllOrNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	n := newBatch(numbered("t", 50)...)
	n.IdempotencyKey = "k"
	p.exec(t, `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$`)
	for _, table := range []string{"tenant_batch", "job", "job_phase", "outbox", "tenant_batch_row", "tenant_audit"} {
		p.exec(t, `CREATE TRIGGER refuse AFTER INSERT ON identity.`+table+` FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
		if _, err := p.SubmitBatch(t.Context(), n); err == nil {
			t.Fatalf("recorded although %s refuses", table)
		}
		p.exec(t, `DROP TRIGGER refuse ON identity.`+table)
		var left int
		p.scan(t, `SELECT (SELECT count(*) FROM identity.tenant_batch) + (SELECT count(*) FROM identity.job) + (SELECT count(*) FROM identity.job_phase)
			+ (SELECT count(*) FROM identity.outbox) + (SELECT count(*) FROM identity.tenant_batch_row) + (SELECT count(*) FROM identity.tenant_audit)`, &left)
		if left != 0 {
			t.Errorf("%d rows are left after %s refused", left, table)
		}
	}
	if b := p.submitBatch(t, n); b.Counts.Queued != 50 {
		t.Errorf("%+v", b.Counts)
	}
}

func TestBatchIdempotencyKey(t *testing.T) {
	t.Parallel()
	p := setup(t)
	n := newBatch(numbered("t", 20)...)
	n.IdempotencyKey = "k"
	ids := make(chan tenancy.BatchID, 10)
	var wait sync.WaitGroup
	for range cap(ids) {
		wait.Go(func() {
			b, err := p.SubmitBatch(t.Context(), n)
			if err != nil {
				t.Error(err)
			}
			ids <- b.ID
		})
	}
	wait.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Errorf("one key gave batches %s and %s", first, id)
		}
	}
	var jobs int
	if p.scan(t, `SELECT count(*) FROM identity.job`, &jobs); jobs != 20 {
		t.Errorf("%d jobs", jobs)
	}
	// The key lives as long as the batch, and finds it as it is now.
	if err := p.ForgetIdempotencyKeys(t.Context(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	p.failJob(t, p.submitBatch(t, n).Rows[3].JobID, tenancy.CodeTimeout)
	if again := p.submitBatch(t, n); again.ID != first || again.Counts.Failed != 1 {
		t.Errorf("the repeated request got %s, %+v", again.ID, again.Counts)
	}
	// What is thought of a row is no part of the request.
	judged := newBatch(numbered("t", 20)...)
	judged.IdempotencyKey, judged.Rows[0].Fault = "k", tenancy.Errorf(tenancy.CodeInvalidSlug, "reserved since")
	if again := p.submitBatch(t, judged); again.ID != first {
		t.Error("a verdict changed the request")
	}
	for name, change := range map[string]func(*tenancy.NewBatch){
		"dry run": func(n *tenancy.NewBatch) { n.DryRun = true },
		"email":   func(n *tenancy.NewBatch) { n.Rows[0].AdminEmail = "x@y.example" },
		"line":    func(n *tenancy.NewBatch) { n.Rows[19].Line++ },
		"fewer":   func(n *tenancy.NewBatch) { n.Rows = n.Rows[:19] },
	} {
		other := newBatch(numbered("t", 20)...)
		other.IdempotencyKey = "k"
		change(&other)
		if _, err := p.SubmitBatch(t.Context(), other); tenancy.CodeOf(err) != tenancy.CodeInvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.RequestedBy.Name = "someone else"
	if b := p.submitBatch(t, n); b.ID == first || b.Counts.Rejected != 19 || b.Counts.Queued != 1 {
		t.Errorf("another caller's key got %s with %+v", b.ID, b.Counts)
	}
}

// Batches and single requests with overlapping slugs, in opposite orders, wait for
// each other without a deadlock, and every slug gets one job.
func TestOverlappingBatchesAtOnce(t *testing.T) {
	t.Parallel()
	p := setup(t)
	slugs := numbered("t", 30)
	// Slow enough for all of them to be at it together.
	p.exec(t, `CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$`)
	p.exec(t, `CREATE TRIGGER dawdle BEFORE INSERT ON identity.job FOR EACH ROW EXECUTE FUNCTION public.dawdle()`)
	var mu sync.Mutex
	queued, rejected := 0, 0
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			mine := slices.Clone(slugs)
			if i%2 == 1 {
				slices.Reverse(mine)
			}
			b, err := p.SubmitBatch(t.Context(), newBatch(mine...))
			if err != nil {
				t.Error(err)
				return
			}
			for _, r := range b.Rows {
				if r.Status == tenancy.RowRejected && r.Error.Code != tenancy.CodeJobInProgress {
					t.Errorf("line %d: %+v", r.Line, r.Error)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			queued, rejected = queued+b.Counts.Queued, rejected+b.Counts.Rejected
		})
		wait.Go(func() {
			_, err := p.SubmitJob(t.Context(), tenancy.NewJob{Slug: tenancy.Slug(slugs[i*5]), RequestedBy: operator})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				queued, rejected = queued+1, rejected-1
				return
			}
			if tenancy.CodeOf(err) != tenancy.CodeJobInProgress {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if queued != 30 || rejected != 150 {
		t.Errorf("%d queued and %d rejected", queued, rejected)
	}
}

// A thousand rows are well within what a person waits for.
func TestALargeBatchIsQuick(t *testing.T) {
	t.Parallel()
	p := setup(t)
	began := time.Now()
	b := p.submitBatch(t, newBatch(numbered("t", tenancy.MaxBatchRows)...))
	took := time.Since(began)
	if b.Counts.Queued != tenancy.MaxBatchRows {
		t.Errorf("%+v", b.Counts)
	}
	t.Logf("recorded in %s", took)
	if took > 5*time.Second {
		t.Errorf("recording took %s", took)
	}
}

func TestCheckBatchRecordsNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 2)
	p.register(t, "taken")
	n := newBatch("acme", "taken", "bolt", "cask")
	n.Rows[0].ServerName = "pg-a"
	n.IdempotencyKey = "k"
	check, err := p.CheckBatch(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	want := []tenancy.BatchRow{
		{Line: 2, Slug: "acme", DisplayName: "Tenant acme", Status: tenancy.RowValid},
		{Line: 3, Slug: "taken", DisplayName: "Tenant taken", Status: tenancy.RowRejected, Error: &tenancy.PhaseError{
			Code: tenancy.CodeAlreadyProvisioned, Message: `A tenant with the slug "taken" exists already.`,
		}},
		{Line: 4, Slug: "bolt", DisplayName: "Tenant bolt", Status: tenancy.RowValid},
		{Line: 5, Slug: "cask", DisplayName: "Tenant cask", Status: tenancy.RowValid},
	}
	if diff := cmp.Diff(want, check.Rows); diff != "" {
		t.Error(diff)
	}
	warnings := []string{"Rows that need a place: 3. All active servers together have room for 1."}
	if diff := cmp.Diff(warnings, check.Warnings); diff != "" {
		t.Error(diff)
	}
	var left int
	p.scan(t, `SELECT (SELECT count(*) FROM identity.tenant_batch) + (SELECT count(*) FROM identity.job) + (SELECT count(*) FROM identity.outbox)
		+ (SELECT count(*) FROM identity.tenant_audit WHERE event_type <> 'DB_SERVER_ADDED')`, &left)
	if left != 0 {
		t.Errorf("%d rows were written", left)
	}
}

// A job of a batch stays in the bulk's queue whoever rings for it, and gives way
// to the others wherever there is an order.
func TestABatchsJobsStayInTheBulk(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	b := p.submitBatch(t, newBatch("acme", "bolt", "cask"))
	failed, stalled, cancelled := b.Rows[0].JobID, b.Rows[1].JobID, b.Rows[2].JobID
	single := p.submit(t, tenancy.NewJob{Slug: "wizard"})
	if rung := p.rings(t); rung[0].JobID != single.ID {
		t.Errorf("the bulk is relayed before what somebody waits for: %+v", rung)
	}
	jobs, err := p.StalledJobs(ctx, 0, 10)
	if err != nil || len(jobs) != 4 || jobs[0].ID != single.ID || jobs[0].Queue != tenancy.QueueProvision {
		t.Fatalf("stalled: %+v, %v", jobs, err)
	}
	for _, j := range jobs {
		if j.ID == stalled {
			if rung, err := p.RingStalled(ctx, j); !rung || err != nil {
				t.Fatal(rung, err)
			}
		}
	}
	p.failJob(t, failed, tenancy.CodeTimeout)
	if _, err := p.RetryJob(ctx, failed, operator); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CancelJob(ctx, cancelled, operator); err != nil {
		t.Fatal(err)
	}
	rung := p.rings(t)
	if len(rung) != 3 {
		t.Errorf("rung: %+v", rung)
	}
	for _, task := range rung {
		if task.Queue != tenancy.QueueBulk {
			t.Errorf("rung in %s: %+v", task.Queue, task)
		}
	}
	if events, _, err := p.ListAudit(ctx, tenancy.AuditFilter{Type: tenancy.EventBatchSubmitted}); err != nil || len(events) != 1 {
		t.Errorf("%d, %v", len(events), err)
	}
}

// Nothing rings for a batch's invitation, which its job's worker sends, unless it stays
// unsent: then it waits where the batch's jobs do. One that a person asks for does not.
func TestABatchsInvitationIsRungForIfItStaysUnsent(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 5)
	b := p.submitBatch(t, newBatch("acme"))
	single := p.submit(t, tenancy.NewJob{Slug: "wizard"})
	for slug, id := range map[tenancy.Slug]tenancy.JobID{"acme": b.Rows[0].JobID, "wizard": single.ID} {
		_, lease, err := p.AcquireLease(t.Context(), id, "w", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.ReservePlacement(t.Context(), lease, "", auto); err != nil {
			t.Fatal(err)
		}
		if err := p.RegisterTenant(t.Context(), lease, slug, "1", tenancy.Progress{}); err != nil {
			t.Fatal(err)
		}
		if err := p.CompleteProvision(t.Context(), lease, tenancy.Progress{}); err != nil {
			t.Fatal(err)
		}
	}
	queues := func() map[tenancy.JobID]string {
		got := map[tenancy.JobID]string{}
		for _, task := range p.rings(t) {
			if task.Type == tenancy.TaskInvitation {
				got[task.JobID] = task.Queue
			}
		}
		return got
	}
	if diff := cmp.Diff(map[tenancy.JobID]string{single.ID: tenancy.QueueMail}, queues()); diff != "" {
		t.Error(diff)
	}
	p.exec(t, `UPDATE identity.invitation SET run_after = now() - interval '1 minute'`)
	if n, err := p.RingStalledInvitations(t.Context(), time.Second, 10); n != 2 || err != nil {
		t.Fatalf("rang for %d: %v", n, err)
	}
	want := map[tenancy.JobID]string{b.Rows[0].JobID: tenancy.QueueBulk, single.ID: tenancy.QueueMail}
	if diff := cmp.Diff(want, queues()); diff != "" {
		t.Error(diff)
	}
	if _, err := p.RequestInvitation(t.Context(), "acme", operator); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[tenancy.JobID]string{b.Rows[0].JobID: tenancy.QueueMail}, queues()); diff != "" {
		t.Error(diff)
	}
}

func TestListBatches(t *testing.T) {
	t.Parallel()
	p := setup(t)
	var want []tenancy.BatchID
	for i := range 3 {
		want = append(want, p.submitBatch(t, newBatch(numbered(fmt.Sprintf("b%d", i), i+1)...)).ID)
	}
	slices.Reverse(want)
	var got []tenancy.BatchID
	page := tenancy.Page{Limit: 2}
	for {
		batches, next, err := p.ListBatches(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			got = append(got, b.ID)
			if b.Rows != nil || b.Counts.Total != 4-len(got) || b.Counts.Queued != b.Counts.Total {
				t.Errorf("unexpected %+v", b)
			}
		}
		if next == "" {
			break
		}
		page.Cursor = next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, _, err := p.ListBatches(t.Context(), tenancy.Page{Cursor: "x"})
	wantCode(t, err, tenancy.CodeInvalidRequest)
}

// The version rises with every change that shows.
func TestRetryBatch(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 5)
	b := p.submitBatch(t, newBatch("acme", "bolt", "cask", "dune", "echo"))
	for i := range 4 {
		p.failJob(t, b.Rows[i].JobID, tenancy.CodeNoCapacity)
	}
	failed, err := p.Batch(t.Context(), b.ID)
	if err != nil || failed.Counts != (tenancy.BatchCounts{Total: 5, Failed: 4, Queued: 1}) || failed.FinishedAt != nil || failed.Version <= b.Version {
		t.Fatalf("%+v, %v", failed, err)
	}
	if diff := cmp.Diff(&tenancy.PhaseError{Code: tenancy.CodeNoCapacity, Message: "why"}, failed.Rows[0].Error); diff != "" || failed.Rows[0].Status != "failed" {
		t.Errorf("%+v %s", failed.Rows[0], diff)
	}
	p.register(t, "bolt")                     // provisioned in another way
	p.submit(t, tenancy.NewJob{Slug: "cask"}) // under way in another way
	p.failJob(t, b.Rows[4].JobID, tenancy.CodeTimeout)
	if b, err = p.Batch(t.Context(), b.ID); err != nil || b.FinishedAt == nil {
		t.Fatalf("%+v, %v", b, err)
	}
	p.rings(t)
	retried, err := p.RetryBatch(t.Context(), b.ID, operator)
	if err != nil || retried.Counts != (tenancy.BatchCounts{Total: 5, Failed: 2, Queued: 3}) || retried.FinishedAt != nil || retried.Version <= b.Version {
		t.Fatalf("%+v, %v", retried, err)
	}
	if rung := p.rings(t); len(rung) != 3 || rung[0].Queue != tenancy.QueueBulk || rung[0].ID != string(b.Rows[0].JobID)+":2" {
		t.Errorf("rung: %+v", rung)
	}
}

func TestRetryJobs(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	fail := func(slug tenancy.Slug, code tenancy.Code) tenancy.JobID {
		id := p.submit(t, tenancy.NewJob{Slug: slug}).ID
		p.failJob(t, id, code)
		return id
	}
	old := fail("acme", tenancy.CodeTimeout)
	newest := fail("acme", tenancy.CodeNoCapacity)
	fail("bolt", tenancy.CodeNoCapacity)
	fail("cask", tenancy.CodeTimeout)
	fail("gone", tenancy.CodeNoCapacity)
	p.register(t, "gone")
	fail("busy", tenancy.CodeNoCapacity)
	p.submit(t, tenancy.NewJob{Slug: "busy"})
	p.active(t, "ends")
	p.fail(t, p.offboard(t, "ends", tenancy.Offboarding{}))

	for _, c := range []struct {
		filter tenancy.JobFilter
		want   tenancy.Retries
	}{
		{tenancy.JobFilter{Code: tenancy.CodeTimeout, Slug: "acme"}, tenancy.Retries{}}, // an old story
		{tenancy.JobFilter{Slug: "ends"}, tenancy.Retries{}},                            // no provision
		{tenancy.JobFilter{Code: tenancy.CodeNoCapacity}, tenancy.Retries{Matched: 4, Retried: 2, Skipped: 2}},
		{tenancy.JobFilter{}, tenancy.Retries{Matched: 4, Retried: 1, Skipped: 3}}, // acme and bolt are under way now
	} {
		got, err := p.RetryJobs(ctx, c.filter, operator)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v: %s", c.filter, diff)
		}
	}
	for id, want := range map[tenancy.JobID]tenancy.JobStatus{old: tenancy.JobFailed, newest: tenancy.JobQueued} {
		if job, err := p.Job(ctx, id); err != nil || job.Status != want {
			t.Errorf("job %s is %s, %v", id, job.Status, err)
		}
	}
}

// A dry run writes nowhere but in its own jobs and their batch.
func TestADryBatchLeavesNoAuditRow(t *testing.T) {
	t.Parallel()
	p := setup(t)
	n := newBatch("acme")
	n.DryRun = true
	b := p.submitBatch(t, n)
	if job, err := p.Job(t.Context(), b.Rows[0].JobID); err != nil || !job.DryRun || len(job.Phases) != 4 || !b.DryRun {
		t.Errorf("%v %+v", err, job)
	}
	if events, _, err := p.ListAudit(t.Context(), tenancy.AuditFilter{}); err != nil || len(events) != 0 {
		t.Errorf("%+v, %v", events, err)
	}
}
