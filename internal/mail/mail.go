// Package mail sends what tenantry writes to people, through SMTP: each mail as
// text and as HTML that reads well without images. A link with a token goes
// nowhere but into the mail itself.
package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net/url"
	"strconv"
	"sync"
	texttemplate "text/template"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// sendTimeout bounds one conversation with the mail server.
const sendTimeout = 30 * time.Second

//go:generate go test . -run ^TestPreviews$ -update

//go:embed templates
var files embed.FS

var (
	textTemplates = sync.OnceValue(func() *texttemplate.Template {
		return texttemplate.Must(texttemplate.ParseFS(files, "templates/*.txt"))
	})
	htmlTemplates = sync.OnceValue(func() *htmltemplate.Template {
		return htmltemplate.Must(htmltemplate.ParseFS(files, "templates/*.html"))
	})
)

// Sender sends through one SMTP server.
type Sender struct {
	host    string
	from    string
	options []gomail.Option
}

// Open prepares a Sender. smtpURL is smtp://[user:password@]host[:port], which
// uses STARTTLS where the server offers it and insists on it when there is a
// password to protect, or smtps:// for TLS from the start. It does not connect.
func Open(smtpURL, from string) (*Sender, error) {
	u, err := url.Parse(smtpURL)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("cannot use SMTP_URL: it is no valid smtp:// or smtps:// URL")
	}
	if err := gomail.NewMsg().From(from); err != nil {
		return nil, errors.New("cannot use MAIL_FROM: it is no valid e-mail address")
	}
	s := &Sender{host: u.Hostname(), from: from, options: []gomail.Option{gomail.WithTimeout(sendTimeout)}}
	switch u.Scheme {
	case "smtps":
		s.options = append(s.options, gomail.WithSSLPort(false))
	case "smtp":
		policy := gomail.TLSOpportunistic
		if u.User != nil {
			policy = gomail.TLSMandatory
		}
		s.options = append(s.options, gomail.WithTLSPortPolicy(policy))
	default:
		return nil, errors.New("cannot use SMTP_URL: it must begin with smtp:// or smtps://")
	}
	s.options = append(s.options, gomail.WithTLSConfig(&tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}))
	if u.Port() != "" {
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			return nil, errors.New("cannot use SMTP_URL: the port is no number")
		}
		s.options = append(s.options, gomail.WithPort(port))
	}
	if u.User != nil {
		password, _ := u.User.Password()
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	return s, nil
}

// SendInvitation mails the first admin of a tenant the link to the first
// sign-in. A transient error may be tried again; any other means that the mail
// server will not take this mail.
func (s *Sender) SendInvitation(ctx context.Context, to, tenantName, link string, expiresAt time.Time) error {
	return s.sendLink(ctx, to, "Your invitation to "+tenantName, "invitation", tenantName, link, expiresAt)
}

// SendPasswordReset mails one of a tenant's people the link to choose another
// password. It fails as SendInvitation does.
func (s *Sender) SendPasswordReset(ctx context.Context, to, tenantName, link string, expiresAt time.Time) error {
	return s.sendLink(ctx, to, "Choose a new password for "+tenantName, "password-reset", tenantName, link, expiresAt)
}

func (s *Sender) sendLink(ctx context.Context, to, subject, template, tenantName, link string, expiresAt time.Time) error {
	return s.send(ctx, to, subject, template, map[string]any{
		"TenantName": tenantName, "Link": link, "ExpiresAt": expiresAt.UTC().Format("2 January 2006 15:04 UTC"),
	})
}

func (s *Sender) send(ctx context.Context, to, subject, template string, data any) error {
	var text, html bytes.Buffer
	if err := textTemplates().ExecuteTemplate(&text, template+".txt", data); err != nil {
		return fmt.Errorf("cannot write the mail: %w", err)
	}
	if err := htmlTemplates().ExecuteTemplate(&html, template+".html", data); err != nil {
		return fmt.Errorf("cannot write the mail: %w", err)
	}
	m := gomail.NewMsg()
	if err := errors.Join(m.From(s.from), m.To(to)); err != nil {
		return tenancy.Errorf(tenancy.CodeInvalidRequest, "The mail has no valid sender or recipient address.")
	}
	m.Subject(subject)
	m.SetDate()
	m.SetMessageID()
	m.SetBodyString(gomail.TypeTextPlain, text.String())
	m.AddAlternativeString(gomail.TypeTextHTML, html.String())
	client, err := gomail.NewClient(s.host, s.options...)
	if err != nil {
		return fmt.Errorf("cannot prepare the mail client: %w", err)
	}
	return classify(client.DialAndSendWithContext(ctx, m))
}

// classify turns what the mail server said into an error whose message has the
// SMTP code and none of the server's text, which likes to quote addresses.
func classify(err error) error {
	if err == nil {
		return nil
	}
	send, ok := errors.AsType[*gomail.SendError](err)
	if !ok {
		return tenancy.Unavailable(err, "The mail server does not answer.")
	}
	if send.IsTemp() || send.ErrorCode() == 0 {
		return tenancy.Unavailable(err, fmt.Sprintf("The mail server does not take the mail now (SMTP %d).", send.ErrorCode()))
	}
	return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err, fmt.Sprintf("The mail server refused the mail (SMTP %d).", send.ErrorCode()))
}
