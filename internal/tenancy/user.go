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
	// SecondFactor says that a TOTP is set up.
	SecondFactor bool
	CreatedAt    time.Time
}

// Account is a user with what their sign-in is checked against.
type Account struct {
	User
	// PasswordHash is in argon2id's encoded form, empty for those who cannot sign
	// in with a password.
	PasswordHash string
	// TOTPSecret is the second factor's shared secret in base32, empty until one
	// is begun; User.SecondFactor says whether it counts.
	TOTPSecret string
}

// Session is a signed-in browser of a platform user.
type Session struct {
	ID              SessionID
	UserID          UserID
	SecondFactor    bool
	Address         string
	UserAgent       string
	CreatedAt       time.Time
	AuthenticatedAt time.Time
	LastSeenAt      time.Time
	ExpiresAt       time.Time
}

// UserChange is what is changed of a user; nil leaves as it is.
type UserChange struct {
	DisplayName *string
	Role        *Role
	IsActive    *bool
	// ForgetSecondFactor takes the TOTP and its recovery codes away.
	ForgetSecondFactor bool
}

// ExternalIdentity is what an OpenID Connect provider says of a person.
type ExternalIdentity struct {
	Issuer, Subject string
	Email           string
	// EmailVerified says that the provider made sure of the address.
	EmailVerified bool
	DisplayName   string
	Role          Role
	// AuthenticatedAt is when the person last proved to the provider who they are,
	// zero if it does not say.
	AuthenticatedAt time.Time
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
	// TokenID is the API token the caller came with, empty for a session.
	TokenID TokenID
	// SessionID is the session the caller came with, empty for a token.
	SessionID SessionID
	// AuthenticatedAt is when the session's person last proved who they are.
	AuthenticatedAt time.Time
	// Pending says that the session is good for nothing but to show, or first to
	// set up, the second factor.
	Pending bool
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
