// Package doctor compares master, the tenant servers and the vault, and names
// every divergence with its cause and what mends it. A repair does only what
// cannot lose anything: it removes what failed jobs left, gives back places
// nobody uses, marks again what lost its mark, and rings for jobs nobody works
// on. What may hold a tenant's data is left to an operator.
package doctor

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Kind names a kind of divergence; docs/operations.md describes each.
type Kind string

// The kinds of divergence.
const (
	ServerUnreachable    Kind = "server_unreachable"
	VaultUnlistable      Kind = "vault_unlistable"
	StaleReservation     Kind = "stale_reservation"
	StalledJob           Kind = "stalled_job"
	StuckRollback        Kind = "stuck_rollback"
	MissingDatabase      Kind = "missing_database"
	MissingSecret        Kind = "missing_secret"
	InvalidDatabase      Kind = "invalid_database"
	LeftoverDatabase     Kind = "leftover_database"
	LeftoverSecret       Kind = "leftover_secret"
	StrayDatabase        Kind = "stray_database"
	UnregisteredDatabase Kind = "unregistered_database"
	UnregisteredSecret   Kind = "unregistered_secret"
	ForeignDatabase      Kind = "foreign_database"
	ForeignSecret        Kind = "foreign_secret"
	UnmarkedDatabase     Kind = "unmarked_database"
	UnmarkedSecret       Kind = "unmarked_secret"
	OpenDatabase         Kind = "open_database"
	BarredApplication    Kind = "barred_application"
	StaleTemplate        Kind = "stale_template"
	StrayWarmDatabase    Kind = "stray_warm_database"
	MissingWarmDatabase  Kind = "missing_warm_database"
	OverduePurge         Kind = "overdue_purge"
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		ServerUnreachable, VaultUnlistable, StaleReservation, StalledJob, StuckRollback, MissingDatabase, MissingSecret,
		InvalidDatabase, LeftoverDatabase, LeftoverSecret, StrayDatabase, UnregisteredDatabase, UnregisteredSecret,
		ForeignDatabase, ForeignSecret, UnmarkedDatabase, UnmarkedSecret, OpenDatabase, BarredApplication, StaleTemplate,
		StrayWarmDatabase, MissingWarmDatabase, OverduePurge,
	}
}

// Finding is one divergence.
type Finding struct {
	Kind   Kind         `json:"kind"`
	Slug   tenancy.Slug `json:"slug,omitempty"`
	Server string       `json:"server,omitempty"`
	// What is off, why that may be, and the command that mends it.
	What  string `json:"what"`
	Cause string `json:"cause"`
	Fix   string `json:"fix"`
	// Safe says that Repair mends it.
	Safe bool `json:"safe"`
	// Repaired and RepairError say what became of a repair.
	Repaired    bool   `json:"repaired"`
	RepairError string `json:"repairError,omitempty"`

	repair func(context.Context) error
	// registered says whether the slug had a master row.
	registered bool
}

// Registry is master.
type Registry interface {
	ListServers(ctx context.Context) ([]tenancy.ServerLoad, error)
	SurveyTenants(ctx context.Context) ([]tenancy.SurveyedTenant, error)
	// SurveyJobs returns the jobs that are or just were at work or hold a place, and
	// the last one of each of the tenants.
	SurveyJobs(ctx context.Context, since time.Time, tenants []tenancy.TenantID) ([]tenancy.SurveyedJob, error)
	Clock(ctx context.Context) (time.Time, error)
	// WhileIdle runs f while no job of the slug can begin anew, if none is under
	// way and the slug has a master row as expected. The fence of f's context fails
	// once a job may have begun.
	WhileIdle(ctx context.Context, slug tenancy.Slug, registered bool, f func(context.Context) error) error
	FreeStaleReservation(ctx context.Context, id tenancy.JobID) error
	WarmServers(ctx context.Context) (servers []tenancy.WarmServer, waiting bool, err error)
	RetireWarmDatabase(ctx context.Context, id tenancy.WarmDatabaseID) error
	RingJob(ctx context.Context, id tenancy.JobID) error
}

// Databases are the tenant servers.
type Databases interface {
	Survey(ctx context.Context, server tenancy.DBServer) ([]tenancy.SurveyedDatabase, error)
	SurveyWarm(ctx context.Context, server tenancy.DBServer) ([]tenancy.SurveyedWarmDatabase, error)
	DropWarm(ctx context.Context, server tenancy.DBServer, id tenancy.WarmDatabaseID) error
	SurveyTemplates(ctx context.Context, server tenancy.DBServer) ([]tenancy.SurveyedTemplate, error)
	// DropTemplate fails with CodeConflict if the template is being built, or was
	// used within the time.
	DropTemplate(ctx context.Context, server tenancy.DBServer, name string, unused time.Duration) error
	DropDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error
	// Mark fails with CodePartialState if something carries another's mark.
	Mark(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error
	// Used reports whether anybody ever signed in to the tenant.
	Used(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug) (bool, error)
	ShutPublic(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error
	SetAccess(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, access tenancy.Access) error
}

// Secrets is the vault.
type Secrets interface {
	Survey(ctx context.Context) ([]tenancy.SurveyedSecret, error)
	Adopt(ctx context.Context, name string, owner tenancy.Ownership) error
	Drop(ctx context.Context, name string, owner tenancy.Ownership) (purged bool, err error)
}

// Doctor looks and repairs.
type Doctor struct {
	Registry  Registry
	Databases Databases
	Secrets   Secrets
}

// Examine returns every divergence there is at this moment. Jobs go on
// meanwhile: what a job under way is making or removing is not one. It fails only
// if master does not answer; a server or a vault that does not is a finding.
func (d *Doctor) Examine(ctx context.Context) ([]Finding, error) {
	var o observed
	// What jobs changed since then may have been looked at before the change.
	var err error
	if o.began, err = d.Registry.Clock(ctx); err != nil {
		return nil, err
	}
	servers, err := d.Registry.ListServers(ctx)
	if err != nil {
		return nil, err
	}
	if o.warmBefore, err = d.warmStates(ctx); err != nil {
		return nil, err
	}
	// The outside first: what appears there after master was read would look
	// like nobody's.
	o.databases = d.surveyServers(ctx, servers)
	o.secrets, o.secretsErr = d.Secrets.Survey(ctx)
	if o.warmAfter, err = d.warmStates(ctx); err != nil {
		return nil, err
	}
	if o.tenants, err = d.Registry.SurveyTenants(ctx); err != nil {
		return nil, err
	}
	if o.jobs, err = d.Registry.SurveyJobs(ctx, o.began, o.strangers()); err != nil {
		return nil, err
	}
	return d.diagnose(o), nil
}

// observed is the world at the time of an examination.
type observed struct {
	// began is when it began, by master's clock.
	began      time.Time
	tenants    []tenancy.SurveyedTenant
	jobs       []tenancy.SurveyedJob
	databases  []serverSurvey
	secrets    []tenancy.SurveyedSecret
	secretsErr error
	// The rows of prepared databases, before the servers were looked at and after:
	// workers make and take them all the time.
	warmBefore, warmAfter map[tenancy.WarmDatabaseID]tenancy.WarmDatabase
}

func (d *Doctor) warmStates(ctx context.Context) (map[tenancy.WarmDatabaseID]tenancy.WarmDatabase, error) {
	servers, _, err := d.Registry.WarmServers(ctx)
	if err != nil {
		return nil, err
	}
	rows := map[tenancy.WarmDatabaseID]tenancy.WarmDatabase{}
	for _, s := range servers {
		for _, row := range s.Databases {
			rows[row.ID] = row
		}
	}
	return rows, nil
}

// strangers are the tenants whose marks were seen where master does not have them: their
// jobs tell whose they were.
func (o observed) strangers() []tenancy.TenantID {
	tenants := map[tenancy.Slug]tenancy.SurveyedTenant{}
	for _, t := range o.tenants {
		tenants[t.Slug] = t
	}
	var ids []tenancy.TenantID
	for _, s := range o.databases {
		for _, found := range s.found {
			if tenants[found.Slug].Server.ID != s.server.ID {
				ids = append(ids, found.DatabaseOwner.TenantID, found.RolesOwner.TenantID)
			}
		}
	}
	for _, s := range o.secrets {
		if tenants[s.Slug].ID != s.Owner.TenantID {
			ids = append(ids, s.Owner.TenantID)
		}
	}
	return ids
}

type serverSurvey struct {
	server    tenancy.DBServer
	found     []tenancy.SurveyedDatabase
	templates []tenancy.SurveyedTemplate
	warm      []tenancy.SurveyedWarmDatabase
	err       error
}

func (d *Doctor) surveyServers(ctx context.Context, servers []tenancy.ServerLoad) []serverSurvey {
	surveys := make([]serverSurvey, len(servers))
	var wait sync.WaitGroup
	for i, s := range servers {
		surveys[i].server = s.DBServer
		if !s.IsActive && s.TenantCount == 0 {
			surveys[i].err = errRetired
			continue
		}
		wait.Go(func() {
			if surveys[i].found, surveys[i].err = d.Databases.Survey(ctx, s.DBServer); surveys[i].err == nil {
				surveys[i].templates, surveys[i].err = d.Databases.SurveyTemplates(ctx, s.DBServer)
			}
			if surveys[i].err == nil {
				surveys[i].warm, surveys[i].err = d.Databases.SurveyWarm(ctx, s.DBServer)
			}
		})
	}
	wait.Wait()
	return surveys
}

// errRetired stands for a server that takes no tenants and has none.
var errRetired = errors.New("the server is retired")

// Repair mends the findings that are safe to mend and notes on each what became
// of it. A finding whose slug has changed since is left alone.
func (d *Doctor) Repair(ctx context.Context, findings []Finding) {
	for i := range findings {
		f := &findings[i]
		if !f.Safe {
			continue
		}
		err := d.repair(ctx, f)
		if err != nil {
			f.RepairError = tenancy.AsError(err).Message
			continue
		}
		f.Repaired = true
	}
}

func (d *Doctor) repair(ctx context.Context, f *Finding) error {
	switch f.Kind {
	case StaleReservation, StalledJob, StaleTemplate, StrayWarmDatabase, MissingWarmDatabase:
		return f.repair(ctx) // their rule stands in what it calls
	}
	return d.Registry.WhileIdle(ctx, f.Slug, f.registered, f.repair)
}
