package tenancy

import "time"

// The roles of a tenant's people.
const (
	TenantAdmin  TenantRole = "admin"
	TenantMember TenantRole = "member"
)

// TenantRole says what one of a tenant's people may do.
type TenantRole string

// TenantUser is one of a tenant's own people, a row of identity.users in the
// tenant's database.
type TenantUser struct {
	ID          TenantUserID
	Email       string
	DisplayName string
	Role        TenantRole
}

// OpenInvitation is an invitation whose link still works.
type OpenInvitation struct {
	User      TenantUser
	ExpiresAt time.Time
	// Reset says that the person had a password before.
	Reset bool
}

// Credentials are what a password is checked against. The zero Credentials are
// nobody's.
type Credentials struct {
	UserID       TenantUserID
	PasswordHash string
}

// TenantSignedIn is a session just opened with a tenant. Token goes into the
// cookie, and nowhere else.
type TenantSignedIn struct {
	User  TenantUser
	Token string
}
