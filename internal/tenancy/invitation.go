package tenancy

import "time"

// Invitation is a request to mail the first admin's invitation, with what the
// mail needs.
type Invitation struct {
	ID          InvitationID
	JobID       JobID
	TenantID    TenantID
	Slug        Slug
	DisplayName string
	AdminEmail  string
	Server      DBServer
	Actor       Actor
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
