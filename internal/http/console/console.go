// Package console is what people see: the view of each page as a struct, the
// templates that show it, and the assets, all of it embedded. It guarantees that
//
//   - a page works under a Content-Security-Policy without inline script or
//     style;
//   - whatever a person typed is escaped where it stands, by html/template;
//   - a status is told in words and by an icon, never by colour alone;
//   - a time is shown in the reader's own zone, and in UTC on hover.
//
// It knows tenancy and no other package: internal/http fills the structs in.
package console

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Page is the view of a page; its template has the same name.
type Page interface{ template() string }

// Frame is what is around a page.
type Frame struct {
	Title string
	// Section is the entry of the menu the page belongs to.
	Section string
	// Here is the page's own address.
	Here string
	// Theme is light, dark, or "" for the system's.
	Theme string
	// User is nil if nobody is signed in.
	User    *User
	Notice  Notice
	Version string
	// Provisioning says that there is a vault to provision with.
	Provisioning bool
	// Monitoring says that Asynqmon is here.
	Monitoring bool
}

// User is who is signed in.
type User struct {
	Name string
	Role tenancy.Role
	// Pending says that the second factor is not shown yet.
	Pending bool
	// Session says that there is a session to sign out of.
	Session bool
}

// Admin reports whether the user may change things.
func (f Frame) Admin() bool {
	return f.User != nil && !f.User.Pending && f.User.Role == tenancy.RoleAdmin
}

// Support reports whether the user may help tenants.
func (f Frame) Support() bool {
	return f.Admin() || f.User != nil && !f.User.Pending && f.User.Role == tenancy.RoleSupport
}

// Notice is something to say once, on the page after.
type Notice string

// The notices.
const (
	NoticeSignedOut           Notice = "signed-out"
	NoticePasswordChanged     Notice = "password-changed"
	NoticePasswordChosen      Notice = "password-chosen"
	NoticeSecondFactorRemoved Notice = "second-factor-removed"
	NoticeSessionEnded        Notice = "session-ended"
	NoticeStatusChanged       Notice = "status-changed"
	NoticeInvitationQueued    Notice = "invitation-queued"
	NoticeServerAdded         Notice = "server-added"
	NoticeServerChanged       Notice = "server-changed"
	NoticeTokenRevoked        Notice = "token-revoked"
	NoticeJobRetried          Notice = "job-retried"
	NoticeJobCancelled        Notice = "job-cancelled"
	NoticeJobsRetried         Notice = "jobs-retried"
	NoticeSomeJobsRetried     Notice = "some-jobs-retried"
	NoticeNoJobsRetried       Notice = "no-jobs-retried"
)

var notices = map[Notice]string{
	NoticeSignedOut:           "You are signed out.",
	NoticePasswordChanged:     "The password is changed, and your other sessions have ended.",
	NoticePasswordChosen:      "Your password is set, and you are signed in.",
	NoticeSecondFactorRemoved: "The second factor is removed.",
	NoticeSessionEnded:        "The session has ended.",
	NoticeStatusChanged:       "The status is changed.",
	NoticeInvitationQueued:    "A fresh invitation is on its way. The link of the one before is dead.",
	NoticeServerAdded:         "The database server is added.",
	NoticeServerChanged:       "The database server is changed.",
	NoticeTokenRevoked:        "The API token is revoked.",
	NoticeJobRetried:          "The job is tried again.",
	NoticeJobCancelled:        "The job is being cancelled.",
	NoticeJobsRetried:         "All failed jobs that match are tried again.",
	NoticeSomeJobsRetried:     "Some failed jobs that match are tried again; the others' slugs have a later job or are in use.",
	NoticeNoJobsRetried:       "No failed job that matches could be tried again.",
}

// Text is what the notice says, "" if it is none.
func (n Notice) Text() string { return notices[n] }

// Faults is what is wrong with a form.
type Faults struct {
	Code    tenancy.Code
	Message string
	JobID   tenancy.JobID
	Help    Help
	// Order has the faults of fields as the form has the fields; Fields has them
	// by name.
	Order  []Fault
	Fields map[string]string
}

// Fault is what is wrong with a field; the field's id is its name.
type Fault struct{ Field, Detail string }

// Of returns the fault of a field, "" if there is none. It works on nil.
func (f *Faults) Of(field string) string {
	if f == nil {
		return ""
	}
	return f.Fields[field]
}

//go:embed templates
var templateFiles embed.FS

// pages has the templates of each page by its name.
var pages = sync.OnceValue(parse)

func parse() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/layout/*.html"))
	parsed := make(map[string]*template.Template)
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		parsed[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, file))
	}
	return parsed
}

// Render writes a whole page.
func Render(w io.Writer, page Page) error { return RenderFragment(w, page, "layout") }

// RenderFragment writes a part of a page that its template defines by this name.
func RenderFragment(w io.Writer, page Page, fragment string) error {
	t, ok := pages()[page.template()]
	if !ok {
		return fmt.Errorf("cannot find the template of the page %s", page.template())
	}
	return t.ExecuteTemplate(w, fragment, page)
}
