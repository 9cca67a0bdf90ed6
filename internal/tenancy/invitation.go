package tenancy

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
