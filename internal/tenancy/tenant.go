package tenancy

import (
	"fmt"
	"regexp"
	"time"
)

// TenantStatus says what a tenant's people may do. domain.md's table of
// statuses is the source: provisioning neither reads nor writes, read_only and
// offboarding only read, suspended does neither.
type TenantStatus string

// The statuses of a tenant.
const (
	TenantProvisioning TenantStatus = "provisioning"
	TenantActive       TenantStatus = "active"
	TenantReadOnly     TenantStatus = "read_only"
	TenantSuspended    TenantStatus = "suspended"
	TenantOffboarding  TenantStatus = "offboarding"
)

// Valid reports whether s is a known status.
func (s TenantStatus) Valid() bool {
	switch s {
	case TenantProvisioning, TenantActive, TenantReadOnly, TenantSuspended, TenantOffboarding:
		return true
	}
	return false
}

// Settable reports whether an operator may set a tenant to s by hand. The other
// statuses belong to jobs.
func (s TenantStatus) Settable() bool {
	return s == TenantActive || s == TenantReadOnly || s == TenantSuspended
}

// CheckRead is nil if a tenant of that status may be read. It is CodeNotFound
// while the tenant is being made, CodeTenantSuspended while it is suspended.
func (s TenantStatus) CheckRead() error {
	switch s {
	case TenantActive, TenantReadOnly, TenantOffboarding:
		return nil
	case TenantSuspended:
		return Errorf(CodeTenantSuspended, "The tenant is suspended; nothing can be read or changed.")
	}
	return Errorf(CodeNotFound, "There is no such tenant yet.")
}

// CheckWrite is nil if a tenant of that status may be changed. Beyond what
// CheckRead refuses it is CodeTenantReadOnly or CodeTenantOffboarding.
func (s TenantStatus) CheckWrite() error {
	switch s {
	case TenantReadOnly:
		return Errorf(CodeTenantReadOnly, "The tenant is read-only; nothing can be changed.")
	case TenantOffboarding:
		return Errorf(CodeTenantOffboarding, "The tenant is being closed; it can be read and no longer changed.")
	}
	return s.CheckRead()
}

// Tenant is a row of identity.tenant, the registry.
type Tenant struct {
	ID            TenantID
	Slug          Slug
	DisplayName   string
	Status        TenantStatus
	ServerName    string
	DatabaseName  string
	SecretRef     string
	SchemaVersion string
	JobID         JobID // the job that provisioned it
	// PurgeAfter is when an offboarding tenant's retention ends.
	PurgeAfter *time.Time
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// TenantFilter selects tenants for a list; zero fields select all.
type TenantFilter struct {
	Query      string // part of the slug or the display name
	Status     TenantStatus
	ServerName string
	Page       Page
}

// Page asks for at most Limit rows after Cursor, an opaque value from the page
// before.
type Page struct {
	Limit  int
	Cursor string
}

// Ownership is the proof that something outside master is ours: it is written
// into the COMMENT of databases and roles and into the tags of secrets. Nothing
// is dropped or taken over without it.
type Ownership struct {
	TenantID TenantID
	JobID    JobID
}

// String is the form kept in a COMMENT.
func (o Ownership) String() string {
	return fmt.Sprintf("tenantry tenant=%s job=%s", o.TenantID, o.JobID)
}

var ownershipRegexp = regexp.MustCompile(`^tenantry tenant=([0-9a-f-]{36}) job=([0-9a-f-]{36})$`)

// ParseOwnership reads the form of String; ok is false for anything else.
func ParseOwnership(comment string) (o Ownership, ok bool) {
	m := ownershipRegexp.FindStringSubmatch(comment)
	if m == nil {
		return Ownership{}, false
	}
	return Ownership{TenantID: TenantID(m[1]), JobID: JobID(m[2])}, true
}
