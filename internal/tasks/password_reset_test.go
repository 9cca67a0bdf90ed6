package tasks_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// settled is a tenant whose invitation was sent, to somebody else's post.
func (b *bench) settled(t *testing.T) tenancy.Job {
	t.Helper()
	job := b.invited(t)
	if err := b.handler(&post{})(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `DELETE FROM identity.outbox`)
	return job
}

func (b *bench) reset(t *testing.T, job tenancy.Job, email string) {
	t.Helper()
	if err := b.RequestPasswordReset(t.Context(), job.Slug, email); err != nil {
		t.Fatal(err)
	}
}

// resets are the statuses of the requests for an address.
func (b *bench) resets(t *testing.T, email string) []string {
	t.Helper()
	return scan[[]string](t, b, `
		SELECT coalesce(array_agg(status ORDER BY invitation_id), '{}') FROM identity.invitation WHERE kind = 'password_reset' AND lower(email) = lower($1)`, email)
}

func TestAPasswordResetIsSentOnce(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	job := b.settled(t)
	b.reset(t, job, "CANARY@acme.example")
	task := b.mailTask(t, job.ID)
	b.drain(t)
	if info := b.task(t, tenancy.QueueMail, task); info == nil || string(info.Payload) != payloadOf(job.ID) {
		t.Errorf("the task is %+v", info)
	}
	b.mails(t, p)
	b.awaitGone(t, tenancy.QueueMail, task)
	token := p.tokens(t)[0]
	expiresAt := p.mails[0].ExpiresAt
	want := []letter{{
		// The address as the user has it, not as it was typed.
		To: "canary@acme.example", TenantName: "Acme Health", ExpiresAt: expiresAt,
		Link: "https://" + string(job.Slug) + ".example.com/reset-password?token=" + token,
	}}
	if diff := cmp.Diff(want, p.mails); diff != "" {
		t.Error(diff)
	}
	if left := time.Until(expiresAt); left < tasks.PasswordResetTTL-time.Minute || left > tasks.PasswordResetTTL {
		t.Errorf("the link works for %s", left)
	}
	if diff := cmp.Diff([]string{"sent"}, b.resets(t, "canary@acme.example")); diff != "" {
		t.Error(diff)
	}
}

// Whether anybody has the address shows in the mailbox and nowhere else.
func TestAPasswordResetOfNobodyLooksTheSame(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	job := b.settled(t)
	known, unknown := "canary@acme.example", "canary-nobody@acme.example"
	trail := map[string][]string{}
	for _, email := range []string{known, unknown} {
		before := len(b.audit(t, job.ID))
		b.reset(t, job, email)
		if err := b.handler(p)(t.Context(), job.ID); err != nil {
			t.Errorf("%s: %v", email, err)
		}
		trail[email] = b.audit(t, job.ID)[before:]
	}
	if p.count() != 1 || p.mails[0].To != known {
		t.Errorf("%d mails", p.count())
	}
	if diff := cmp.Diff(trail[known], trail[unknown]); diff != "" {
		t.Errorf("the audit trail tells (-known +unknown):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"visitor PASSWORD_RESET_REQUESTED"}, trail[known]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"dropped"}, b.resets(t, unknown)); diff != "" {
		t.Error(diff)
	}
}

// One doorbell is enough for all that is due, and a mail that is not taken holds
// up no other.
func TestOneTaskSendsAllThatIsDue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	b.reset(t, job, "canary@acme.example")
	b.reset(t, job, "Canary-nobody@acme.example")
	p := &post{}
	p.answer(func(context.Context) error { p.answer(nil); return refusedNow })
	if after, ok := tasks.DelayOf(b.handler(p)(t.Context(), job.ID)); !ok || after < 5*time.Second {
		t.Errorf("the task comes back after %s, %t", after, ok)
	}
	if p.count() != 2 {
		t.Errorf("%d mails, want the one refused and the next", p.count())
	}
	statuses := scan[[]string](t, b, `SELECT array_agg(kind || ' ' || status ORDER BY invitation_id) FROM identity.invitation WHERE job_id = $1`, job.ID)
	if diff := cmp.Diff([]string{"invitation queued", "password_reset sent", "password_reset dropped"}, statuses); diff != "" {
		t.Error(diff)
	}
}

// A worker that stops has told everybody to come back, or nothing is left.
func TestAStoppingWorkerSendsNoMore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	b.reset(t, job, "canary@acme.example")
	ctx, cancel := context.WithCancel(t.Context())
	p := &post{send: func(context.Context) error { cancel(); return nil }}
	if err := b.handler(p)(ctx, job.ID); err != nil {
		t.Errorf("%v; the reconciler rings for the rest", err)
	}
	if p.count() != 1 {
		t.Errorf("%d mails", p.count())
	}
}

func TestNoAddressAndNoTokenLeavesTheMail(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	job := b.settled(t)
	log := &syncBuffer{}
	b.start(t, func(cfg *tasks.WorkerConfig) {
		cfg.Runner, cfg.Admins, cfg.Mailer, cfg.Grace = &answers{}, p, p, 50*time.Millisecond
		cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for _, email := range []string{"canary@acme.example", "canary-nobody@acme.example"} {
		b.reset(t, job, email)
	}
	eventually(t, "both settled", func() bool {
		return len(b.resets(t, "canary@acme.example")) == 1 && b.resets(t, "canary@acme.example")[0] == "sent" &&
			b.resets(t, "canary-nobody@acme.example")[0] == "dropped"
	})
	audit := scan[string](t, b, `SELECT string_agg(a::text, '') FROM identity.tenant_audit a`)
	var redis bytes.Buffer
	for _, key := range b.redis.Keys(t.Context(), "*").Val() {
		redis.WriteString(key + b.redis.Dump(t.Context(), key).Val())
	}
	for where, text := range map[string]string{"the log": log.String(), "the audit trail": audit, "Redis": redis.String()} {
		if text == "" {
			t.Errorf("%s was not looked at", where)
		}
		for _, secret := range []string{"canary", p.tokens(t)[0]} {
			if bytes.Contains([]byte(text), []byte(secret)) {
				t.Errorf("%s shows %q", where, secret)
			}
		}
	}
}

func TestOldPasswordResetsAreForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.invited(t)
	b.reset(t, job, "canary@acme.example")
	b.reset(t, job, "canary-nobody@acme.example")
	b.exec(t, `UPDATE identity.invitation SET created_at = now() - interval '73 hours' WHERE email <> 'canary@acme.example'`)
	if err := tasks.Reconcile(t.Context(), b.Store, b.inspector); err != nil {
		t.Fatal(err)
	}
	left := scan[[]string](t, b, `SELECT array_agg(kind || email ORDER BY invitation_id) FROM identity.invitation`)
	if diff := cmp.Diff([]string{"invitation", "password_resetcanary@acme.example"}, left); diff != "" {
		t.Error(diff)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
