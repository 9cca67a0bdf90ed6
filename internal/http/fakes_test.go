package http

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

var (
	_ Jobs          = (*fakePlatform)(nil)
	_ Batches       = (*fakePlatform)(nil)
	_ Tenants       = (*fakePlatform)(nil)
	_ Servers       = (*fakePlatform)(nil)
	_ Tokens        = (*fakePlatform)(nil)
	_ Audit         = (*fakePlatform)(nil)
	_ Authenticator = (*fakePlatform)(nil)
	_ Sessions      = fakeSessions{}
)

// call is a method the API called and what it handed over.
type call struct {
	Method string
	Args   []any
}

// fakePlatform is everything behind the API. A method records its call and
// answers with fail, if that is set, or with its one thing of the kind.
type fakePlatform struct {
	job    tenancy.Job
	batch  tenancy.Batch
	tenant tenancy.Tenant
	server tenancy.ServerLoad
	token  tenancy.APIToken
	next   string
	fail   error
	// auditFails is what AppendAudit answers.
	auditFails error
	panics     bool
	users      map[string]tenancy.Principal
	// missing is what Tenant answers, if set.
	missing error
	// stale sessions are asked to sign in again.
	stale bool

	mu     sync.Mutex
	calls  []call
	events []tenancy.AuditEvent
}

func (f *fakePlatform) called(method string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("secret details of a bug")
	}
	f.calls = append(f.calls, call{method, args})
	return f.fail
}

func (f *fakePlatform) SubmitJob(_ context.Context, n tenancy.NewJob) (tenancy.Job, error) {
	return f.job, f.called("SubmitJob", n)
}

func (f *fakePlatform) Job(_ context.Context, id tenancy.JobID) (tenancy.Job, error) {
	return f.job, f.called("Job", id)
}

func (f *fakePlatform) JobVersion(_ context.Context, id tenancy.JobID) (tenancy.JobVersion, error) {
	return tenancy.JobVersion{Version: f.job.Version, Settled: f.job.Status.Settled()}, f.called("JobVersion", id)
}

func (f *fakePlatform) ListJobs(_ context.Context, filter tenancy.JobFilter) ([]tenancy.Job, string, error) {
	return []tenancy.Job{f.job}, f.next, f.called("ListJobs", filter)
}

func (f *fakePlatform) RetryJob(_ context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error) {
	return f.job, f.called("RetryJob", id, actor)
}

func (f *fakePlatform) CancelJob(_ context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error) {
	return f.job, f.called("CancelJob", id, actor)
}

func (f *fakePlatform) RetryJobs(_ context.Context, filter tenancy.JobFilter, actor tenancy.Actor) (tenancy.Retries, error) {
	return tenancy.Retries{Matched: 3, Retried: 2, Skipped: 1}, f.called("RetryJobs", filter, actor)
}

func (f *fakePlatform) SubmitBatch(_ context.Context, n tenancy.NewBatch) (tenancy.Batch, error) {
	return f.batch, f.called("SubmitBatch", n)
}

// CheckBatch finds fault with what the request itself shows alone.
func (f *fakePlatform) CheckBatch(_ context.Context, n tenancy.NewBatch) (tenancy.BatchCheck, error) {
	check := tenancy.BatchCheck{Warnings: []string{"There is little room."}}
	for _, r := range n.Rows {
		row := tenancy.BatchRow{Line: r.Line, Slug: r.Slug, DisplayName: r.DisplayName, Status: tenancy.RowValid}
		if r.Fault != nil {
			row.Status, row.Error = tenancy.RowRejected, &tenancy.PhaseError{Code: r.Fault.Code, Message: r.Fault.Message}
		}
		check.Rows = append(check.Rows, row)
	}
	return check, f.called("CheckBatch", n)
}

func (f *fakePlatform) Batch(_ context.Context, id tenancy.BatchID) (tenancy.Batch, error) {
	return f.batch, f.called("Batch", id)
}

func (f *fakePlatform) ListBatches(_ context.Context, p tenancy.Page) ([]tenancy.Batch, string, error) {
	listed := f.batch
	listed.Rows = nil
	return []tenancy.Batch{listed}, f.next, f.called("ListBatches", p)
}

func (f *fakePlatform) RetryBatch(_ context.Context, id tenancy.BatchID, actor tenancy.Actor) (tenancy.Batch, error) {
	return f.batch, f.called("RetryBatch", id, actor)
}

func (f *fakePlatform) ListTenants(_ context.Context, filter tenancy.TenantFilter) ([]tenancy.Tenant, string, error) {
	return []tenancy.Tenant{f.tenant}, f.next, f.called("ListTenants", filter)
}

func (f *fakePlatform) Tenant(_ context.Context, slug tenancy.Slug) (tenancy.Tenant, error) {
	if f.missing != nil {
		return tenancy.Tenant{}, f.missing
	}
	return f.tenant, f.called("Tenant", slug)
}

func (f *fakePlatform) ChangeTenantStatus(_ context.Context, slug tenancy.Slug, to tenancy.TenantStatus, reason string, actor tenancy.Actor) (tenancy.Tenant, error) {
	return f.tenant, f.called("ChangeTenantStatus", slug, to, reason, actor)
}

func (f *fakePlatform) RequestInvitation(_ context.Context, slug tenancy.Slug, actor tenancy.Actor) (tenancy.Tenant, error) {
	return f.tenant, f.called("RequestInvitation", slug, actor)
}

func (f *fakePlatform) InvitationState(_ context.Context, slug tenancy.Slug) (tenancy.InvitationState, error) {
	return tenancy.InvitationState{Email: "admin@acme.example", Status: "sent", CreatedAt: epoch, SentAt: &epoch}, f.called("InvitationState", slug)
}

func (f *fakePlatform) ListServers(context.Context) ([]tenancy.ServerLoad, error) {
	return []tenancy.ServerLoad{f.server}, f.called("ListServers")
}

func (f *fakePlatform) Server(_ context.Context, name string) (tenancy.ServerLoad, error) {
	return f.server, f.called("Server", name)
}

func (f *fakePlatform) AddServer(_ context.Context, srv tenancy.DBServer, actor tenancy.Actor) (tenancy.ServerLoad, error) {
	return tenancy.ServerLoad{DBServer: srv}, f.called("AddServer", srv, actor)
}

func (f *fakePlatform) UpdateServer(_ context.Context, name string, c tenancy.ServerChange, actor tenancy.Actor) (tenancy.ServerLoad, error) {
	return f.server, f.called("UpdateServer", name, c, actor)
}

func (f *fakePlatform) Create(_ context.Context, owner tenancy.UserID, name string, expiresAt *time.Time, actor tenancy.Actor) (tenancy.APIToken, string, error) {
	return f.token, "tenantry_shown-once", f.called("Create", owner, name, expiresAt, actor)
}

func (f *fakePlatform) ListTokens(_ context.Context, owner tenancy.UserID) ([]tenancy.APIToken, error) {
	return []tenancy.APIToken{f.token}, f.called("ListTokens", owner)
}

func (f *fakePlatform) RevokeToken(_ context.Context, id tenancy.TokenID, owner tenancy.UserID, actor tenancy.Actor) error {
	return f.called("RevokeToken", id, owner, actor)
}

func (f *fakePlatform) ListAudit(_ context.Context, filter tenancy.AuditFilter) ([]tenancy.AuditEvent, string, error) {
	event := tenancy.AuditEvent{ID: 7, Type: tenancy.EventJobRetried, Actor: tenancy.SystemActor, At: epoch}
	return []tenancy.AuditEvent{event}, f.next, f.called("ListAudit", filter)
}

func (f *fakePlatform) AppendAudit(_ context.Context, e tenancy.AuditEvent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	return f.auditFails
}

func (f *fakePlatform) Authenticate(_ context.Context, token string) (tenancy.Principal, error) {
	if token == "outage" {
		return tenancy.Principal{}, tenancy.Unavailable(nil, "the master database does not answer")
	}
	p, ok := f.users[token]
	if !ok {
		return p, tenancy.Errorf(tenancy.CodeUnauthenticated, "The API token is unknown, revoked or expired.")
	}
	return p, nil
}

func (f *fakePlatform) AuthenticateWatcher(ctx context.Context, token string, watched tenancy.JobID) (tenancy.Principal, *tenancy.JobVersion, error) {
	p, err := f.Authenticate(ctx, token)
	if err != nil || watched != f.job.ID {
		return p, nil, err
	}
	return p, &tenancy.JobVersion{Version: f.job.Version, Settled: f.job.Status.Settled()}, nil
}

// fakeSessions signs the users of a fakePlatform in: the token of a session is
// "session-" and that of the API.
type fakeSessions struct{ *fakePlatform }

const somePassword = "the right password"

func (f fakeSessions) SignIn(_ context.Context, in tenancy.SignIn) (tenancy.SignedIn, error) {
	if f.fail != nil {
		return tenancy.SignedIn{}, f.fail
	}
	name, _, _ := strings.Cut(in.Email, "@")
	p, ok := f.users[name]
	if !ok || in.Password != somePassword {
		return tenancy.SignedIn{}, tenancy.Errorf(tenancy.CodeUnauthenticated, "The e-mail address or the password is wrong.")
	}
	return f.signedIn(p), nil
}

func (f fakeSessions) signedIn(p tenancy.Principal) tenancy.SignedIn {
	name, _, _ := strings.Cut(p.Name, "@")
	return tenancy.SignedIn{
		Session: tenancy.Session{ID: someTokenID, UserID: p.UserID, ExpiresAt: epoch},
		User:    tenancy.User{ID: someUserID, Email: p.Name, DisplayName: name, Role: p.Role}, Token: "session-" + name,
	}
}

func (f fakeSessions) SignInExternal(_ context.Context, id tenancy.ExternalIdentity, _ bool, in tenancy.SignIn) (tenancy.SignedIn, error) {
	return f.signedIn(f.users[id.Subject]), f.called("SignInExternal", id, in.Token)
}

func (f fakeSessions) Authenticate(_ context.Context, token string) (tenancy.Principal, error) {
	name, ok := strings.CutPrefix(token, "session-")
	p, known := f.users[name]
	if !ok || !known {
		return tenancy.Principal{}, tenancy.Errorf(tenancy.CodeUnauthenticated, "The session has ended.")
	}
	p.SessionID = someTokenID
	p.AuthenticatedAt = epoch
	return p, nil
}

func (f fakeSessions) Fresh(p tenancy.Principal) bool { return !f.stale || p.SessionID == "" }

func (f fakeSessions) SignOut(_ context.Context, p tenancy.Principal) error {
	return f.called("SignOut", p.SessionID)
}

func (f fakeSessions) Account(_ context.Context, id tenancy.UserID) (tenancy.Account, error) {
	u := tenancy.User{ID: someUserID, Email: "ada@platform.example", DisplayName: "Ada", Role: tenancy.RoleAdmin, IsActive: true}
	return tenancy.Account{User: u, PasswordHash: "hash"}, f.called("Account", id)
}

func (f fakeSessions) ListSessions(_ context.Context, owner tenancy.UserID) ([]tenancy.Session, error) {
	return []tenancy.Session{{ID: someTokenID, UserAgent: "Firefox", CreatedAt: epoch, LastSeenAt: epoch, ExpiresAt: epoch}}, f.called("ListSessions", owner)
}

func (f fakeSessions) EndSession(_ context.Context, id tenancy.SessionID, owner tenancy.UserID, actor tenancy.Actor) error {
	return f.called("EndSession", id, owner, actor)
}

func (f fakeSessions) ChangePassword(_ context.Context, p tenancy.Principal, _, _, _ string) error {
	return f.called("ChangePassword", p.UserID)
}

func (f fakeSessions) BeginSecondFactor(_ context.Context, p tenancy.Principal) (tenancy.Enrolment, error) {
	return tenancy.Enrolment{Secret: "SECRET", URL: "otpauth://totp/x", QR: []byte("png")}, f.called("BeginSecondFactor", p.UserID)
}

func (f fakeSessions) PendingSecondFactor(context.Context, tenancy.Principal) (e tenancy.Enrolment, ok bool, err error) {
	return e, false, nil
}

func (f fakeSessions) ConfirmSecondFactor(_ context.Context, p tenancy.Principal, _, _ string) ([]string, error) {
	return []string{"abcde-fghij-klmno"}, f.called("ConfirmSecondFactor", p.UserID)
}

func (f fakeSessions) ShowSecondFactor(_ context.Context, p tenancy.Principal, _, _ string) error {
	return f.called("ShowSecondFactor", p.UserID)
}

func (f fakeSessions) RemoveSecondFactor(_ context.Context, p tenancy.Principal, _, _ string) error {
	return f.called("RemoveSecondFactor", p.UserID)
}
