package mail_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/mail"
)

var update = flag.Bool("update", false, "write docs/mail anew")

// external is what a mail program would have to fetch.
var external = regexp.MustCompile(`(?i)<(img|link|script|iframe)|\bsrc=|url\(|@import`)

// docs/mail shows each mail as it arrives.
func TestPreviews(t *testing.T) {
	t.Parallel()
	expires := time.Date(2026, 12, 1, 10, 30, 0, 0, time.UTC)
	const token = "?token=dGhpcyBpcyBubyB0b2tlbiwganVzdCBhbiBleGFtcGxl"
	for name, send := range map[string]func(context.Context, *mail.Sender) error{
		"invitation": func(ctx context.Context, s *mail.Sender) error {
			return s.SendInvitation(ctx, "admin@acme.example", "Acme Health", "https://acme.example.com/first-sign-in"+token, expires)
		},
		"password-reset": func(ctx context.Context, s *mail.Sender) error {
			return s.SendPasswordReset(ctx, "admin@acme.example", "Acme Health", "https://acme.example.com/reset-password"+token, expires)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box, sender := setup(t)
			if err := send(t.Context(), sender); err != nil {
				t.Fatal(err)
			}
			mails, _ := box.Mails()
			if len(mails) != 1 {
				t.Fatalf("%d mails", len(mails))
			}
			m := mails[0]
			wantPreview(t, name+".txt", "Subject: "+m.Subject+"\n\n"+m.Text)
			wantPreview(t, name+".html", m.HTML)
			if found := external.FindString(m.HTML); found != "" {
				t.Errorf("the HTML needs something from elsewhere: %s", found)
			}
			if !strings.Contains(m.HTML, `<meta name="color-scheme" content="light dark">`) {
				t.Error("the HTML does not say that it is fit for the dark")
			}
		})
	}
}

func wantPreview(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("..", "..", "docs", "mail", name)
	got = strings.ReplaceAll(got, "\r\n", "\n")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/mail/%s is not what is sent; run `make generate` (-file +mail):\n%s", name, diff)
	}
}
