package tenancy

// Ids are UUIDv7 in their usual text form. Each kind has a type of its own, so
// that a job's id is never taken for a tenant's.
type (
	// TenantID names a tenant for good; a slug may be used again, this may not.
	TenantID string
	// JobID names a job.
	JobID string
	// BatchID names a batch of jobs that were asked for together.
	BatchID string
	// ServerID names a row of identity.db_server.
	ServerID string
	// UserID names a platform user.
	UserID string
	// TokenID names an API token; it is not the token.
	TokenID string
	// SessionID names a session of a platform user; it is not the cookie's token.
	SessionID string
	// InvitationID names one request to mail an invitation.
	InvitationID string
	// TenantUserID names one of a tenant's own people, in the tenant's database.
	TenantUserID string
)

func (id TenantID) String() string { return string(id) }
func (id JobID) String() string    { return string(id) }
func (id BatchID) String() string  { return string(id) }
