package tenancy

import "time"

// InvitationKind says why somebody is mailed a link to choose a password.
type InvitationKind string

// The kinds of invitations. Names are stored and never change.
const (
	// KindInvitation invites a tenant's first admin.
	KindInvitation InvitationKind = "invitation"
	// KindPasswordReset helps somebody who forgot the password.
	KindPasswordReset InvitationKind = "password_reset"
)

// Invitation is a request to mail somebody a link to choose a password with,
// and what the mail needs.
type Invitation struct {
	ID          InvitationID
	Kind        InvitationKind
	JobID       JobID
	TenantID    TenantID
	Slug        Slug
	DisplayName string
	// Email is whom it is for: the first admin's address, or what somebody typed,
	// which may be nobody's.
	Email  string
	Server DBServer
	Actor  Actor
	// Failures counts the tries that did not succeed.
	Failures int
}

// InvitationState is what became of the first admin's invitation.
type InvitationState struct {
	// Email is whom it goes to.
	Email string
	// Status is queued, sent, failed or superseded.
	Status    string
	CreatedAt time.Time
	SentAt    *time.Time
	// LastError is why it could not be sent, in words safe to show.
	LastError string
}
