package mail_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func setup(t *testing.T) (*devplane.Mailbox, *mail.Sender) {
	t.Helper()
	box, err := devplane.StartMailbox(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Stop(t.Context()) })
	sender, err := mail.Open(box.SMTPURL(), "tenantry <no-reply@platform.example>")
	if err != nil {
		t.Fatal(err)
	}
	return box, sender
}

const link = "https://acme.example.com/first-sign-in?token=abc-_&x=1"

func TestInvitationIsTextAndHTML(t *testing.T) {
	t.Parallel()
	box, sender := setup(t)
	expires := time.Date(2026, 12, 1, 10, 30, 0, 0, time.UTC)
	err := sender.SendInvitation(t.Context(), "admin@acme.example", "Ärzte <b>& Co", link, expires)
	if err != nil {
		t.Fatal(err)
	}
	mails, _ := box.Mails()
	if len(mails) != 1 {
		t.Fatalf("%d mails", len(mails))
	}
	m := mails[0]
	if len(m.To) != 1 || m.To[0] != "admin@acme.example" || m.From != "no-reply@platform.example" {
		t.Errorf("from %s to %s", m.From, m.To)
	}
	for _, want := range []string{link, "Ärzte <b>& Co", "1 December 2026 10:30 UTC"} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("the text lacks %q:\n%s", want, m.Text)
		}
	}
	for _, want := range []string{"abc-_&amp;x=1", "Ärzte &lt;b&gt;&amp; Co"} {
		if !strings.Contains(m.HTML, want) {
			t.Errorf("the HTML lacks %q:\n%s", want, m.HTML)
		}
	}
}

func TestWhatTheServerSaysDecidesAboutAnotherTry(t *testing.T) {
	t.Parallel()
	box, sender := setup(t)
	for code, transient := range map[int]bool{451: true, 550: false} {
		box.Refuse(code, "canary@acme.example is not welcome")
		err := sender.SendInvitation(t.Context(), "canary@acme.example", "Acme", link, time.Now())
		e := tenancy.AsError(err)
		if e == nil || e.Code != tenancy.CodeDependencyUnavailable || e.Transient != transient {
			t.Errorf("SMTP %d gave %v", code, err)
		}
		if strings.Contains(e.Message, "canary") {
			t.Errorf("the message quotes the server: %s", e.Message)
		}
	}
	if err := box.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sender.SendInvitation(t.Context(), "a@acme.example", "Acme", link, time.Now()); !tenancy.IsTransient(err) {
		t.Errorf("a server that is away gave %v", err)
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, from string }{
		{"http://mail.example", "a@example.com"},
		{"smtp://", "a@example.com"},
		{"smtp://mail.example", "nobody"},
		{"smtp://mail.example:canary%zz", "a@example.com"},
	} {
		_, err := mail.Open(test.url, test.from)
		if err == nil {
			t.Errorf("Open(%q, %q) went through", test.url, test.from)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error quotes the URL: %v", err)
		}
	}
}
