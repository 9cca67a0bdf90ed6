package http

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Tenants is the registry of tenants.
type Tenants interface {
	ListTenants(ctx context.Context, f tenancy.TenantFilter) ([]tenancy.Tenant, string, error)
	// Tenant fails with CodeNotFound.
	Tenant(ctx context.Context, slug tenancy.Slug) (tenancy.Tenant, error)
	// ChangeTenantStatus fails with CodeNotFound and CodeConflict.
	ChangeTenantStatus(ctx context.Context, slug tenancy.Slug, to tenancy.TenantStatus, reason string, actor tenancy.Actor) (tenancy.Tenant, error)
	// RequestInvitation fails with CodeNotFound and CodeConflict.
	RequestInvitation(ctx context.Context, slug tenancy.Slug, actor tenancy.Actor) (tenancy.Tenant, error)
	// InvitationState is of the last invitation asked for; it fails with
	// CodeNotFound.
	InvitationState(ctx context.Context, slug tenancy.Slug) (tenancy.InvitationState, error)
}

type tenantJSON struct {
	TenantID      tenancy.TenantID     `json:"tenantId"`
	Slug          tenancy.Slug         `json:"slug"`
	DisplayName   string               `json:"displayName"`
	Status        tenancy.TenantStatus `json:"status"`
	DBServer      *string              `json:"dbServer"`
	DBName        *string              `json:"dbName"`
	DBSecretRef   *string              `json:"dbSecretRef"`
	SchemaVersion *string              `json:"schemaVersion"`
	JobID         *tenancy.JobID       `json:"jobId"`
	PurgeAfter    *time.Time           `json:"purgeAfter"`
	CreatedAt     time.Time            `json:"createdAt"`
	UpdatedAt     time.Time            `json:"updatedAt"`
}

// showTenant leaves null what a tenant in flight does not have yet.
func showTenant(t tenancy.Tenant) tenantJSON {
	return tenantJSON{
		TenantID: t.ID, Slug: t.Slug, DisplayName: t.DisplayName, Status: t.Status,
		DBServer: orNull(t.ServerName), DBName: orNull(t.DatabaseName), DBSecretRef: orNull(t.SecretRef),
		SchemaVersion: orNull(t.SchemaVersion), JobID: orNull(t.JobID), PurgeAfter: utc(t.PurgeAfter),
		CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(),
	}
}

type createTenantRequest struct {
	Slug        string `json:"slug"`
	DisplayName string `json:"displayName"`
	AdminEmail  string `json:"adminEmail"`
	DBServer    string `json:"dbServer"`
	DryRun      bool   `json:"dryRun"`
}

// newJob checks every field and the idempotency key.
func (r createTenantRequest) newJob(c *gin.Context, reserved tenancy.ReservedSlugs) (tenancy.NewJob, error) {
	var f faults
	slug, displayName := f.newTenant(r.Slug, r.DisplayName, r.AdminEmail, r.DBServer, reserved)
	key := f.idempotencyKey(c)
	return tenancy.NewJob{
		Slug: slug, DisplayName: displayName, AdminEmail: r.AdminEmail, ServerName: r.DBServer, DryRun: r.DryRun,
		RequestedBy: actor(c), RequestID: exchangeOf(c).requestID, IdempotencyKey: key,
	}, f.Err()
}

// newTenant checks what a tenant is asked for with, and returns the slug, and the
// name trimmed.
func (f *faults) newTenant(slug, displayName, adminEmail, dbServer string, reserved tenancy.ReservedSlugs) (tenancy.Slug, string) {
	parsed, err := tenancy.ParseSlug(slug, reserved)
	if err != nil {
		f.Add("/slug", tenancy.CodeInvalidSlug, "%s", tenancy.AsError(err).Message)
	}
	displayName = f.Text("/displayName", displayName, tenancy.MaxDisplayName)
	f.Email("/adminEmail", adminEmail)
	f.ServerWanted("/dbServer", dbServer)
	return parsed, displayName
}

var idempotencyKeyPattern = regexp.MustCompile(`^[ -~]{1,255}$`)

func (f *faults) idempotencyKey(c *gin.Context) string {
	keys := c.Request.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return ""
	}
	if len(keys) > 1 || !idempotencyKeyPattern.MatchString(keys[0]) {
		f.Add("/Idempotency-Key", faultInvalid, "The header must be one value of 1 to 255 printable ASCII characters.")
	}
	return keys[0]
}

// createTenant serves POST /platform/tenants. It records the work and answers
// 202; a worker does it.
func (s *server) createTenant(c *gin.Context) error {
	if err := s.requireProvisioning(); err != nil {
		return err
	}
	var req createTenantRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	job, err := s.submitTenant(c, req)
	if err != nil {
		return err
	}
	return s.writeAccepted(c, job)
}

func (s *server) submitTenant(c *gin.Context, req createTenantRequest) (tenancy.Job, error) {
	if err := s.requireProvisioning(); err != nil {
		return tenancy.Job{}, err
	}
	newJob, err := req.newJob(c, s.Reserved)
	if err != nil {
		return tenancy.Job{}, err
	}
	return s.Jobs.SubmitJob(c.Request.Context(), newJob)
}

func (s *server) requireProvisioning() error {
	if s.ProvisioningAvailable {
		return nil
	}
	return tenancy.Errorf(tenancy.CodeProvisioningUnavailable,
		"No Key Vault is configured (KEY_VAULT_URL), so tenants cannot be provisioned.")
}

// listTenants serves GET /platform/tenants.
func (s *server) listTenants(c *gin.Context) error {
	q := query{c: c}
	f := tenantFilter(&q)
	if err := q.Err(); err != nil {
		return err
	}
	tenants, next, err := s.Tenants.ListTenants(c.Request.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newList(tenants, next, showTenant))
}

// getTenant serves GET /platform/tenants/{slug}.
func (s *server) getTenant(c *gin.Context) error {
	slug, err := slugOf(c)
	if err != nil {
		return err
	}
	t, err := s.Tenants.Tenant(c.Request.Context(), slug)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, showTenant(t))
}

// slugOf returns the slug in the path, CodeNotFound if no tenant can have it. A
// reserved one passes: it may have been reserved since.
func slugOf(c *gin.Context) (tenancy.Slug, error) {
	slug, err := tenancy.ParseSlug(c.Param("slug"), nil)
	if err != nil {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "No tenant can have this slug.")
	}
	return slug, nil
}

type changeTenantRequest struct {
	Status tenancy.TenantStatus `json:"status"`
	Reason string               `json:"reason"`
}

// changeTenant serves PATCH /platform/tenants/{slug}.
func (s *server) changeTenant(c *gin.Context) error {
	if _, err := slugOf(c); err != nil {
		return err
	}
	var req changeTenantRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	t, err := s.setStatus(c, req)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, showTenant(t))
}

func (s *server) setStatus(c *gin.Context, req changeTenantRequest) (tenancy.Tenant, error) {
	slug, err := slugOf(c)
	if err != nil {
		return tenancy.Tenant{}, err
	}
	var f faults
	if !req.Status.Settable() {
		f.Add("/status", faultInvalid, "This must be active, read_only or suspended.")
	}
	reason := f.Text("/reason", req.Reason, tenancy.MaxReason)
	if err := f.Err(); err != nil {
		return tenancy.Tenant{}, err
	}
	return s.Tenants.ChangeTenantStatus(c.Request.Context(), slug, req.Status, reason, actor(c))
}

type invitationJSON struct {
	Slug   tenancy.Slug `json:"slug"`
	Status string       `json:"status"`
}

// sendInvitation serves POST /platform/tenants/{slug}/invitation.
func (s *server) sendInvitation(c *gin.Context) error {
	slug, err := slugOf(c)
	if err != nil {
		return err
	}
	if _, err := s.Tenants.RequestInvitation(c.Request.Context(), slug, actor(c)); err != nil {
		return err
	}
	return writeJSON(c, http.StatusAccepted, invitationJSON{Slug: slug, Status: "queued"})
}

type invitationStateJSON struct {
	Slug      tenancy.Slug `json:"slug"`
	Email     string       `json:"email"`
	Status    string       `json:"status"`
	CreatedAt time.Time    `json:"createdAt"`
	SentAt    *time.Time   `json:"sentAt"`
	LastError *string      `json:"lastError"`
	// SignInURL is where the tenant's people sign in; the invitation's own link is
	// nobody's but theirs.
	SignInURL *string `json:"signInUrl"`
}

// getInvitation serves GET /platform/tenants/{slug}/invitation.
func (s *server) getInvitation(c *gin.Context) error {
	slug, err := slugOf(c)
	if err != nil {
		return err
	}
	inv, err := s.Tenants.InvitationState(c.Request.Context(), slug)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, invitationStateJSON{
		Slug: slug, Email: inv.Email, Status: inv.Status, CreatedAt: inv.CreatedAt.UTC(), SentAt: utc(inv.SentAt),
		LastError: orNull(inv.LastError), SignInURL: orNull(s.tenantURL(slug)),
	})
}
