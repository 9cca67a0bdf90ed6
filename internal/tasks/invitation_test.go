package tasks_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const tenantURL = "https://{slug}.example.com"

// invited provisions a tenant in master, which queues its invitation.
func (b *bench) invited(t *testing.T) tenancy.Job {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := string(slug())
	_, err := b.AddServer(ctx, tenancy.DBServer{Name: name, Host: "127.0.0.1", Port: 5432, AdminSecretRef: "admin", IsActive: true}, operator)
	check(err)
	job, err := b.SubmitJob(ctx, tenancy.NewJob{
		Slug: slug(), DisplayName: "Acme Health", AdminEmail: "canary@acme.example", ServerName: name, RequestedBy: operator, InProcess: true,
	})
	check(err)
	_, lease, err := b.AcquireLease(ctx, job.ID, "w", time.Minute)
	check(err)
	_, err = b.ReservePlacement(ctx, lease, "", func(loads []tenancy.ServerLoad) (tenancy.DBServer, error) {
		return placement.Choose(loads, name)
	})
	check(err)
	check(b.RegisterTenant(ctx, lease, job.Slug, "5/0", tenancy.Progress{}))
	check(b.CompleteProvision(ctx, lease, tenancy.Progress{}))
	return job
}

// post is the tenant's database and the mail server.
type post struct {
	mu     sync.Mutex
	hashes [][]byte // those recorded for the tenant's admin, oldest first
	mails  []letter
	// record and send, if set, answer instead.
	record func() error
	send   func(ctx context.Context) error
}

type letter struct {
	To, TenantName, Link string
	ExpiresAt            time.Time
}

func (p *post) NewInvitation(_ context.Context, _ tenancy.DBServer, _ tenancy.Slug, email string, hash []byte, _ time.Time) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.record != nil {
		if err := p.record(); err != nil {
			return "", err
		}
	}
	if !strings.EqualFold(email, "canary@acme.example") {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "the tenant has no active user with that e-mail address")
	}
	p.hashes = append(p.hashes, bytes.Clone(hash))
	return "canary@acme.example", nil
}

func (p *post) SendInvitation(ctx context.Context, to, tenantName, link string, expiresAt time.Time) error {
	p.mu.Lock()
	send := p.send
	p.mails = append(p.mails, letter{to, tenantName, link, expiresAt})
	p.mu.Unlock()
	if send != nil {
		return send(ctx)
	}
	return nil
}

func (p *post) SendPasswordReset(ctx context.Context, to, tenantName, link string, expiresAt time.Time) error {
	return p.SendInvitation(ctx, to, tenantName, link, expiresAt)
}

func (p *post) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mails)
}

func (p *post) answer(send func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.send = send
}

// tokens returns the tokens of the links mailed so far, each of which must match
// the hash that was recorded for it.
func (p *post) tokens(t *testing.T) []string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hashes) != len(p.mails) {
		t.Fatalf("%d invitations recorded, %d mailed", len(p.hashes), len(p.mails))
	}
	var tokens []string
	for i, mail := range p.mails {
		u, err := url.Parse(mail.Link)
		if err != nil {
			t.Fatal(err)
		}
		token := u.Query().Get("token")
		if hash := sha256.Sum256([]byte(token)); !bytes.Equal(hash[:], p.hashes[i]) {
			t.Errorf("the hash of mail %d's token was not recorded", i)
		}
		if len(token) < 40 {
			t.Errorf("the token %q can be guessed", token)
		}
		tokens = append(tokens, token)
	}
	return tokens
}

func (b *bench) handler(p *post) func(context.Context, tenancy.JobID) error {
	return tasks.InvitationHandler(b.Store, p, p, tenantURL)
}

// invitation is the row of the job's invitation.
type invitation struct {
	Status    string
	Failures  int
	LastError string
	DueIn     time.Duration // rounded
}

func (b *bench) invitation(t *testing.T, id tenancy.JobID) invitation {
	t.Helper()
	var i invitation
	var seconds float64
	err := b.sql.QueryRow(t.Context(), `
		SELECT status, failures, last_error, extract(epoch FROM run_after - now()) FROM identity.invitation WHERE job_id = $1`, id).
		Scan(&i.Status, &i.Failures, &i.LastError, &seconds)
	if err != nil {
		t.Fatal(err)
	}
	i.DueIn = max(0, time.Duration(seconds*float64(time.Second)).Round(5*time.Second))
	return i
}

func (b *bench) awaitInvitation(t *testing.T, id tenancy.JobID, status string) {
	t.Helper()
	eventually(t, "invitation "+status, func() bool { return b.invitation(t, id).Status == status })
}

// mailTask is the id of the invitation's doorbell.
func (b *bench) mailTask(t *testing.T, id tenancy.JobID) string {
	t.Helper()
	return scan[string](t, b, `SELECT task_id FROM identity.outbox WHERE job_id = $1 AND task_type = $2`, id, tenancy.TaskInvitation)
}

// mails starts a worker that sends mail and does nothing else.
func (b *bench) mails(t *testing.T, p *post) (stop func()) {
	t.Helper()
	return b.start(t, func(cfg *tasks.WorkerConfig) {
		cfg.Runner, cfg.Admins, cfg.Mailer, cfg.Grace = &answers{}, p, p, 50*time.Millisecond
	})
}

var (
	refusedNow     = tenancy.Unavailable(errors.New("450 canary@acme.example"), "The mail server does not take the mail now (SMTP 450).")
	refusedForGood = tenancy.Wrap(tenancy.CodeDependencyUnavailable, errors.New("550 canary@acme.example"), "The mail server refused the mail (SMTP 550).")
)

func TestAnInvitationIsSentOnce(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	job := b.invited(t)
	task := b.mailTask(t, job.ID)
	b.drain(t)
	if info := b.task(t, tenancy.QueueMail, task); info == nil || string(info.Payload) != payloadOf(job.ID) {
		t.Errorf("the task is %+v", info)
	}
	b.mails(t, p)
	b.awaitInvitation(t, job.ID, "sent")
	b.awaitGone(t, tenancy.QueueMail, task)
	token := p.tokens(t)[0]
	want := []letter{{
		To: "canary@acme.example", TenantName: "Acme Health", Link: "https://" + string(job.Slug) + ".example.com/first-sign-in?token=" + token,
	}}
	expiresAt := p.mails[0].ExpiresAt
	want[0].ExpiresAt = expiresAt
	if diff := cmp.Diff(want, p.mails); diff != "" {
		t.Error(diff)
	}
	if left := time.Until(expiresAt); left < tasks.InvitationTTL-time.Minute || left > tasks.InvitationTTL {
		t.Errorf("the link works for %s", left)
	}
	if got := b.invitation(t, job.ID); got.Status != "sent" || got.Failures != 0 {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"os:tester@here TENANT_PROVISIONED", "os:tester@here INVITATION_SENT"}, b.audit(t, job.ID)); diff != "" {
		t.Error(diff)
	}
	// A second doorbell finds nothing to send.
	if err := b.handler(p)(t.Context(), job.ID); err != nil || p.count() != 1 {
		t.Errorf("%v, %d mails", err, p.count())
	}
	if dump := scan[string](t, b, `SELECT coalesce(string_agg(details::text, ''), '') FROM identity.tenant_audit`); strings.Contains(dump, token) {
		t.Error("the audit trail shows the token")
	}
}

func TestDeliveriesAtOnceSendOneMail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	sending, finish := make(chan struct{}, 10), make(chan struct{})
	p := &post{send: func(context.Context) error { sending <- struct{}{}; <-finish; return nil }}
	handle := b.handler(p)
	first := make(chan error, 1)
	go func() { first <- handle(t.Context(), job.ID) }()
	<-sending
	for range 3 {
		if err := handle(t.Context(), job.ID); err != nil {
			t.Error(err)
		}
	}
	close(finish)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if p.count() != 1 {
		t.Errorf("%d mails", p.count())
	}
}

func TestAMailThatIsNotTakenNowIsSentLaterWithANewToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	p := &post{send: func(context.Context) error { return refusedNow }}
	handle := b.handler(p)
	for n, delay := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
		err := handle(t.Context(), job.ID)
		if after, ok := tasks.DelayOf(err); !ok || after < delay || after > delay+2*time.Second {
			t.Errorf("failure %d: %v, want again in %s", n+1, err, delay)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("Redis is told %q", err)
		}
		want := invitation{Status: "queued", Failures: n + 1, LastError: refusedNow.Message, DueIn: delay}
		if diff := cmp.Diff(want, b.invitation(t, job.ID)); diff != "" {
			t.Error(diff)
		}
		// Not before it is due, however often the bell rings.
		if err := handle(t.Context(), job.ID); err != nil || p.count() != n+1 {
			t.Fatalf("%v, %d mails", err, p.count())
		}
		b.exec(t, `UPDATE identity.invitation SET run_after = now() WHERE job_id = $1`, job.ID)
	}
	p.answer(nil)
	if err := handle(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, token := range p.tokens(t) {
		if seen[token] {
			t.Error("a token was mailed twice")
		}
		seen[token] = true
	}
	if got := b.invitation(t, job.ID); got.Status != "sent" || got.LastError != "" || len(seen) != 4 {
		t.Errorf("%+v after %d mails", got, len(seen))
	}
}

// The task comes back when the invitation is due, not before: it would find
// nothing to send, and nothing would ring until the reconciler notices.
func TestTheTaskOfAFailedMailComesBackInTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	task := b.mailTask(t, job.ID)
	p := &post{}
	p.answer(func(context.Context) error { p.answer(nil); return refusedNow })
	b.mails(t, p)
	info := b.awaitTask(t, tenancy.QueueMail, task, asynq.TaskStateRetry)
	due := scan[time.Time](t, b, `SELECT run_after FROM identity.invitation WHERE job_id = $1`, job.ID)
	if info.NextProcessAt.Before(due) {
		t.Errorf("the task comes at %s, the invitation is due at %s", info.NextProcessAt, due)
	}
	if want := "E_DEPENDENCY_UNAVAILABLE: again in "; !strings.HasPrefix(info.LastErr, want) || !strings.HasSuffix(info.LastErr, ": job "+string(job.ID)) {
		t.Errorf("Redis is told %q", info.LastErr)
	}
	b.awaitGone(t, tenancy.QueueMail, task)
	if got := b.invitation(t, job.ID); got.Status != "sent" || p.count() != 2 {
		t.Errorf("%+v after %d mails", got, p.count())
	}
}

func TestAnInvitationIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		failures int // before
		post     *post
		reason   string
		mails    int
	}{
		{
			"when the mail server refuses it", 0, &post{send: func(context.Context) error { return refusedForGood }},
			refusedForGood.Message, 1,
		},
		{
			"after many tries", tasks.MaxMailFailures - 1, &post{send: func(context.Context) error { return refusedNow }},
			refusedNow.Message, 1,
		},
		{"when the tenant has no such admin", 0, &post{record: func() error {
			return tenancy.Errorf(tenancy.CodeNotFound, "the tenant has no active user with that e-mail address")
		}}, "the tenant has no active user with that e-mail address", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			job := b.invited(t)
			b.exec(t, `UPDATE identity.invitation SET failures = $1`, c.failures)
			task := b.mailTask(t, job.ID)
			b.mails(t, c.post)
			b.awaitInvitation(t, job.ID, "failed")
			b.awaitGone(t, tenancy.QueueMail, task)
			got := b.invitation(t, job.ID)
			if got.LastError != c.reason || got.Failures != c.failures+1 || c.post.count() != c.mails {
				t.Errorf("%+v after %d mails", got, c.post.count())
			}
			if diff := cmp.Diff([]string{"os:tester@here TENANT_PROVISIONED", "os:tester@here INVITATION_FAILED"}, b.audit(t, job.ID)); diff != "" {
				t.Error(diff)
			}
			details := scan[map[string]any](t, b, `SELECT details FROM identity.tenant_audit WHERE event_type = 'INVITATION_FAILED'`)
			if diff := cmp.Diff(map[string]any{"error": c.reason}, details); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// One try below the limit is not given up.
func TestAnInvitationIsNotGivenUpTooEarly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	b.exec(t, `UPDATE identity.invitation SET failures = $1`, tasks.MaxMailFailures-2)
	p := &post{send: func(context.Context) error { return refusedNow }}
	if _, ok := tasks.DelayOf(b.handler(p)(t.Context(), job.ID)); !ok {
		t.Error("given up")
	}
	if got := b.invitation(t, job.ID); got.Status != "queued" || got.DueIn != time.Hour {
		t.Errorf("%+v", got)
	}
}

// Should the worker die between sending and saying so, the person gets a second
// mail, whose link works.
func TestAMailWhoseSendingIsNotRecordedIsSentAgain(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	job := b.invited(t)
	forgetful := tasks.InvitationHandler(forgets{b.Store}, p, p, tenantURL)
	if err := forgetful(t.Context(), job.ID); err != nil {
		t.Errorf("%v; the reconciler rings", err)
	}
	want := invitation{Status: "queued", DueIn: tasks.InvitationClaim}
	if diff := cmp.Diff(want, b.invitation(t, job.ID)); diff != "" {
		t.Error(diff)
	}
	b.exec(t, `UPDATE identity.invitation SET run_after = now() - interval '1 minute'`)
	b.exec(t, `DELETE FROM identity.outbox`)
	if err := tasks.Reconcile(t.Context(), b.Store, b.inspector); err != nil {
		t.Fatal(err)
	}
	task := b.mailTask(t, job.ID)
	b.mails(t, p)
	b.awaitInvitation(t, job.ID, "sent")
	b.awaitGone(t, tenancy.QueueMail, task)
	if tokens := p.tokens(t); len(tokens) != 2 || tokens[0] == tokens[1] {
		t.Errorf("tokens %q", tokens)
	}
	if got := b.invitation(t, job.ID); got.Status != "sent" {
		t.Errorf("%+v", got)
	}
}

type forgets struct{ tasks.Invitations }

func (forgets) InvitationSent(context.Context, tenancy.Invitation) error {
	return tenancy.Unavailable(errors.New("reset"), "master is away")
}

// A worker that stops while it mails gives the invitation back at once.
func TestAStoppingWorkerGivesItsInvitationBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	sending := make(chan struct{})
	p := &post{send: func(ctx context.Context) error {
		close(sending)
		<-ctx.Done()
		return ctx.Err()
	}}
	task := b.mailTask(t, job.ID)
	stop := b.mails(t, p)
	<-sending
	stop()
	if got := b.invitation(t, job.ID); got.Status != "queued" || got.DueIn != 0 {
		t.Errorf("%+v", got)
	}
	p.answer(nil)
	b.mails(t, p)
	b.awaitInvitation(t, job.ID, "sent")
	b.awaitGone(t, tenancy.QueueMail, task)
	if got := b.invitation(t, job.ID); got.Status != "sent" || p.count() != 2 {
		t.Errorf("%+v after %d mails", got, p.count())
	}
}

func TestAnInvitationWaitsForMaster(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	p := &post{}
	away := tasks.InvitationHandler(absent{b.Store}, p, p, tenantURL)
	if _, ok := tasks.DelayOf(away(t.Context(), job.ID)); !ok || p.count() != 0 {
		t.Errorf("the task does not come back; %d mails", p.count())
	}
}

type absent struct{ tasks.Invitations }

func (absent) ClaimInvitation(context.Context, tenancy.JobID, time.Duration) (tenancy.Invitation, bool, error) {
	return tenancy.Invitation{}, false, tenancy.Unavailable(errors.New("refused"), "master is away")
}
