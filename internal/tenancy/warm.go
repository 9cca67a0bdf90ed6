package tenancy

import "strings"

// WarmDatabaseID names a database that was prepared ahead, for no tenant yet.
type WarmDatabaseID string

// DatabaseName is opaque: nobody knows whose it will be.
func (id WarmDatabaseID) DatabaseName() string {
	return warmPrefix + strings.ReplaceAll(string(id), "-", "")
}

// OwnerRole is the role that will own the tenant's database.
func (id WarmDatabaseID) OwnerRole() string { return id.DatabaseName() + "_owner" }

// AppRole is the role that will be the application's login.
func (id WarmDatabaseID) AppRole() string { return id.DatabaseName() + "_app" }

const warmPrefix = "tenantry_warm_"

// ParseWarmDatabaseName is the way back from a database's name to its id.
func ParseWarmDatabaseName(name string) (id WarmDatabaseID, ok bool) {
	digits, ok := strings.CutPrefix(name, warmPrefix)
	if !ok || len(digits) != 32 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", false
	}
	return WarmDatabaseID(strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")), true
}

// WarmState is how far a prepared database is:
//
//	warming → ready → claimed → retired → gone
//	   └────────┴──────────────────┘
type WarmState string

// The states of a prepared database.
const (
	// WarmWarming is recorded before anything is made.
	WarmWarming WarmState = "warming"
	WarmReady   WarmState = "ready"
	// WarmClaimed is a job's, which renames it to its tenant's name.
	WarmClaimed WarmState = "claimed"
	// WarmRetired is nobody's: what is left of its name is dropped.
	WarmRetired WarmState = "retired"
)

// WarmStates lists every state.
func WarmStates() []WarmState {
	return []WarmState{WarmWarming, WarmReady, WarmClaimed, WarmRetired}
}

// WarmDatabase is a row of identity.warm_database: a copy of a template, with roles
// of its own, that waits for a tenant.
type WarmDatabase struct {
	ID     WarmDatabaseID
	Server DBServer
	// Template is what it is a copy of. The name has a digest of the migration
	// files, so it says which migrations are in it.
	Template string
	State    WarmState
	// Abandoned says that it is claimed by a job that is settled.
	Abandoned bool
}

// WarmServer is what master knows of a server's prepared databases.
type WarmServer struct {
	DBServer
	// Room is how many more tenants the server takes, nil without limit.
	Room      *int
	Databases []WarmDatabase
}

// Placement is where a job's tenant goes.
type Placement struct {
	Server DBServer
	// Servers are those that it was chosen from; nil if it was before.
	Servers []ServerLoad
	// Warm is the prepared database that the job has claimed, if any.
	Warm WarmDatabaseID
	// Missed says that the job would have taken one, and none was ready.
	Missed bool
}

// SurveyedWarmDatabase is what exists on a server under the names of one prepared
// database, whole or not.
type SurveyedWarmDatabase struct {
	ID WarmDatabaseID
	// Database says that it is there, and not its roles alone.
	Database bool
	// Template is what a finished one is a copy of, "" of an unfinished one.
	Template string
}
