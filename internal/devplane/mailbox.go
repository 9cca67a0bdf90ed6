package devplane

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	gomail "github.com/wneessen/go-mail"
)

// mailboxLimit is how many mails a Mailbox keeps; the oldest go first.
const mailboxLimit = 1000

//go:embed mailbox.html
var mailboxPage embed.FS

var mailboxTemplate = template.Must(template.ParseFS(mailboxPage, "mailbox.html"))

// Mail is one mail a Mailbox took.
type Mail struct {
	From    string    `json:"from"`
	To      []string  `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	HTML    string    `json:"html"`
	At      time.Time `json:"at"`
}

// Mailbox is a mail server for development: it takes every mail, delivers none,
// and shows them on a page, or as JSON to whoever asks for that.
type Mailbox struct {
	smtp     *smtp.Server
	web      *http.Server
	smtpAddr string
	webAddr  string

	mu    sync.Mutex
	mails []Mail
	// arrived is closed and made anew with each mail.
	arrived chan struct{}
	refuse  *smtp.SMTPError
}

// StartMailbox starts a mailbox on two free ports of loopback.
func StartMailbox(log *slog.Logger) (*Mailbox, error) {
	m := &Mailbox{arrived: make(chan struct{})}
	smtpListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot start the mailbox: %w", err)
	}
	webListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start the mailbox: %w", err), smtpListener.Close())
	}
	m.smtpAddr, m.webAddr = smtpListener.Addr().String(), webListener.Addr().String()
	m.smtp = smtp.NewServer(m)
	m.smtp.Domain, m.smtp.MaxMessageBytes = "localhost", 4<<20
	m.smtp.ReadTimeout, m.smtp.WriteTimeout = 30*time.Second, 30*time.Second
	m.web = &http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := m.smtp.Serve(smtpListener); err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			log.Error("the mailbox stopped taking mail", "error", err)
		}
	}()
	go func() {
		if err := m.web.Serve(webListener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("the mailbox stopped showing mail", "error", err)
		}
	}()
	return m, nil
}

// SMTPURL is where to send mail to.
func (m *Mailbox) SMTPURL() string { return "smtp://" + m.smtpAddr }

// URL is the page that shows the mails.
func (m *Mailbox) URL() string { return "http://" + m.webAddr }

// Stop ends both servers.
func (m *Mailbox) Stop(ctx context.Context) error {
	return errors.Join(m.smtp.Close(), m.web.Shutdown(ctx))
}

// Mails returns the mails so far, oldest first, and a channel that is closed
// when the next arrives.
func (m *Mailbox) Mails() ([]Mail, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mails), m.arrived
}

// Refuse makes the mailbox answer every mail with an SMTP error, or take them
// again if code is zero.
func (m *Mailbox) Refuse(code int, message string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = nil
	if code != 0 {
		m.refuse = &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: message}
	}
}

// NewSession makes the mailbox a go-smtp backend.
func (m *Mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailSession{box: m}, nil }

type mailSession struct {
	box  *Mailbox
	from string
	to   []string
}

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if s.box.refuse != nil {
		return s.box.refuse
	}
	s.from = from
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	msg, err := gomail.EMLToMsgFromReader(r)
	if err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.NoEnhancedCode, Message: "not a readable mail"}
	}
	mail := Mail{From: s.from, To: s.to, At: time.Now().UTC()}
	if subject := msg.GetGenHeader(gomail.HeaderSubject); len(subject) > 0 {
		mail.Subject = subject[0]
	}
	for _, part := range msg.GetParts() {
		content, err := part.GetContent()
		if err != nil {
			continue
		}
		switch part.GetContentType() {
		case gomail.TypeTextPlain:
			mail.Text = string(content)
		case gomail.TypeTextHTML:
			mail.HTML = string(content)
		}
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.mails = append(s.box.mails, mail)
	if over := len(s.box.mails) - mailboxLimit; over > 0 {
		s.box.mails = slices.Delete(s.box.mails, 0, over)
	}
	close(s.box.arrived)
	s.box.arrived = make(chan struct{})
	return nil
}

func (s *mailSession) Reset()        { s.from, s.to = "", nil }
func (s *mailSession) Logout() error { return nil }

// ServeHTTP shows the mails, newest first.
func (m *Mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mails, _ := m.Mails()
	slices.Reverse(mails)
	if strings.Contains(r.Header.Get("Accept"), "json") || strings.HasSuffix(r.URL.Path, ".json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"items": mails}) // the reader may have gone
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self' data:")
	_ = mailboxTemplate.Execute(w, mails)
}
