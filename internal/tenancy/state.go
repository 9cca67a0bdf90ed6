package tenancy

import "time"

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

// SurveyedDatabase is what exists under the names of one slug on one server.
type SurveyedDatabase struct {
	Slug Slug
	DatabaseState
	// Invalid: a DROP DATABASE was interrupted; only another one works.
	Invalid bool
	// Public says that any role of the server may connect.
	Public bool
	// AppBarred says that the application's role cannot get in.
	AppBarred bool
}

// DatabaseSource says what to make a tenant's database from, and for whom.
type DatabaseSource struct {
	// Warm is the prepared database to take, if any.
	Warm WarmDatabaseID
	// Bulk says that nobody waits for this one of many.
	Bulk bool
}

// DatabaseOrigin is what a database was made from: a template with all migrations in
// it, or nothing, for a reason. Both are empty if the database was there before.
type DatabaseOrigin struct {
	Template, NoTemplate string
	// Warm says that it was copied ahead and only renamed.
	Warm bool
}

// SurveyedTemplate is a database that tenants' databases on a server are copied from.
type SurveyedTemplate struct {
	Name string
	// Finished says that it can be copied; Busy, that somebody is at work on the
	// server's templates.
	Finished, Busy bool
	// Current says that it is the one this process would copy.
	Current bool
	// Unused is how long ago it was last copied, give or take ten minutes.
	Unused time.Duration
}

// SurveyedSecret is a live secret under a tenant's name.
type SurveyedSecret struct {
	Slug Slug
	SecretState
}

// SurveyedTenant is a master row, as a survey needs it.
type SurveyedTenant struct {
	ID     TenantID
	Slug   Slug
	JobID  JobID
	Status TenantStatus
	Server DBServer
	// PurgeAfter is when an offboarding tenant's retention ends.
	PurgeAfter *time.Time
	// FailedPurge is the last purge that failed since then, "" if there is none.
	FailedPurge JobID
}

// SurveyedJob is a job, as a survey needs it.
type SurveyedJob struct {
	ID       JobID
	TenantID TenantID
	Slug     Slug
	Kind     JobKind
	Status   JobStatus
	// Recent says that the job was submitted, retried or settled lately.
	Recent bool
	// EverActive says that the tenant was in use at some time.
	EverActive bool
	// Reserved says that the job holds a place on a server.
	Reserved bool
	// Stalled says that the job has been due for minutes without a worker.
	Stalled bool
	// Residue is what could not be undone yet.
	Residue []string
}
