package tenancy

// DBServer is a row of identity.db_server: a Postgres server tenants live on.
type DBServer struct {
	ID     ServerID
	Name   string
	Host   string
	Port   int
	Region string
	// AdminSecretRef names the vault secret with the server's admin URL.
	AdminSecretRef string
	// CapacityHint is the most tenants the server takes; nil means no limit.
	CapacityHint *int
	IsActive     bool
}

// ServerLoad is a server and what already counts against its capacity.
type ServerLoad struct {
	DBServer
	// TenantCount is the number of tenants that are not offboarding.
	TenantCount int
	// Reserved is the number of places held by running jobs.
	Reserved int
}

// Used is what counts against the capacity.
func (l ServerLoad) Used() int { return l.TenantCount + l.Reserved }

// Full reports whether the server takes no more tenants.
func (l ServerLoad) Full() bool { return l.CapacityHint != nil && l.Used() >= *l.CapacityHint }

// Headroom is the number of tenants the server still takes, nil without limit.
func (l ServerLoad) Headroom() *int {
	if l.CapacityHint == nil {
		return nil
	}
	room := max(0, *l.CapacityHint-l.Used())
	return &room
}

// ServerChange is what an operator changes of a server; nil leaves as it is.
type ServerChange struct {
	Host           *string
	Port           *int
	Region         *string
	AdminSecretRef *string
	CapacityHint   *int
	// Unlimited removes the capacity hint.
	Unlimited bool
	IsActive  *bool
}
