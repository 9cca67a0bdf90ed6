package tenancy

import "time"

// Role is what a platform user may do.
type Role string

// The roles: admins provision and change things, support reads everything and
// resends invitations, read-only looks.
const (
	RoleAdmin    Role = "PLATFORM_ADMIN"
	RoleSupport  Role = "PLATFORM_SUPPORT"
	RoleReadOnly Role = "PLATFORM_READONLY"
)

// Valid reports whether r is a known role.
func (r Role) Valid() bool {
	return r == RoleAdmin || r == RoleSupport || r == RoleReadOnly
}

// User is a platform user.
type User struct {
	ID          UserID
	Email       string
	DisplayName string
	Role        Role
	IsActive    bool
	CreatedAt   time.Time
}

// Actor is who caused something: a platform user, or, with an empty UserID, a
// person at a shell ("os:<user>@<host>") or the system itself ("system").
type Actor struct {
	UserID UserID
	Name   string
}

// SystemActor is the control plane acting on its own.
var SystemActor = Actor{Name: "system"}

// VisitorActor is somebody at a tenant's pages who has not signed in.
var VisitorActor = Actor{Name: "visitor"}

// Principal is an authenticated caller of the API.
type Principal struct {
	Actor
	Role Role
	// TokenID is the API token the caller came with.
	TokenID TokenID
}

// APIToken describes a token; the token itself is shown once and never stored.
type APIToken struct {
	ID         TokenID
	Name       string
	Owner      User
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	LastUsedAt *time.Time
}
