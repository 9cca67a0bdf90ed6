package tenancy

// SecretState is what exists in the vault under a name, without its value.
type SecretState struct {
	// Exists says that a live secret has the name.
	Exists bool
	// Deleted says that a soft-deleted secret holds the name, or one that was
	// recovered and not yet taken. It may be taken over if it is Managed.
	Deleted bool
	// Managed says that tenantry wrote it.
	Managed bool
	// Owner is whose it is, or was; zero unless it was written for a tenant.
	Owner Ownership
}

// DatabaseState is what exists of a slug on one server.
type DatabaseState struct {
	// Database says that a database of the slug's name exists, whole or not.
	Database bool
	// DatabaseOwner is whose it is; zero if that is unproven.
	DatabaseOwner Ownership
	// Ready says that the database is finished: its application may connect.
	Ready bool
	// Roles are the slug's roles that exist.
	Roles []string
	// RolesOwner is whose the roles are; zero if that is unproven for one of
	// them or if they differ.
	RolesOwner Ownership
}

// Empty reports whether nothing of the slug exists.
func (s DatabaseState) Empty() bool { return !s.Database && len(s.Roles) == 0 }

// BelongsTo reports whether everything that exists is proven to be owner's. It
// is true of an empty state.
func (s DatabaseState) BelongsTo(owner Ownership) bool {
	return (!s.Database || s.DatabaseOwner == owner) && (len(s.Roles) == 0 || s.RolesOwner == owner)
}
