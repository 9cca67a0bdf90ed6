package phases

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// otherServerLimit bounds the look at a server the tenant does not go to. Such
// a server may be down without holding up tenants of others.
const otherServerLimit = 3 * time.Second

// CheckState makes sure that nothing of the tenant's name exists: no master row,
// no database or roles on any server, no secret. It reads only.
type CheckState struct {
	Registry  Registry
	Databases Databases
	Secrets   Secrets
	nothingToUndo
}

// Name returns PhaseStateChecked.
func (CheckState) Name() tenancy.PhaseName { return tenancy.PhaseStateChecked }

// Do fails with CodeAlreadyProvisioned if master row, database and secret all
// exist; with CodePartialState, whose message names what exists and what does
// not, if some do; and with CodeAdminConnUnresolved if the server's admin
// connection cannot be had. What this very job made does not count.
func (p CheckState) Do(ctx context.Context, run *pipeline.Run) error {
	slug, job, home := run.Job.Slug, run.Job.ID, *run.Job.Server
	// Master, the vault, the home and the other servers do not wait for each other.
	var tenant tenancy.Tenant
	var tenantHome tenancy.DBServer
	var registered bool
	var secret tenancy.SecretState
	var database tenancy.DatabaseState
	var others elsewhere
	var inMaster, atHome, inVault, atOthers error
	together([]func(){
		func() { tenant, tenantHome, registered, inMaster = p.Registry.RegisteredTenant(ctx, slug) },
		func() { database, atHome = p.askHome(ctx, slug, home) },
		func() { secret, inVault = p.Secrets.Inspect(ctx, slug.SecretName()) },
		func() { others, atOthers = p.askOtherServers(ctx, slug, home, run.Servers) },
	})
	registered = registered && tenant.JobID != job
	if registered {
		// Its row says where to look, and nowhere else matters.
		others, atOthers = elsewhere{}, nil
		if tenantHome.ID != home.ID {
			home = tenantHome
			database, atHome = p.askHome(ctx, slug, home)
		}
	}
	switch {
	case inMaster != nil:
		return fmt.Errorf("cannot look up tenant %s: %w", slug, inMaster)
	case atHome != nil:
		return atHome
	case inVault != nil:
		return fmt.Errorf("cannot look up secret %s: %w", slug.SecretName(), inVault)
	case atOthers != nil:
		return atOthers
	}
	found := parts{registered: registered}
	found.addSecret(slug, secret, job)
	found.addDatabase(slug, home.Name, database, job)
	for name, state := range others.states {
		found.addDatabase(slug, name, state, job)
	}
	slices.Sort(found.databases)
	if err := found.verdict(slug); err != nil {
		return err
	}
	run.Unclaimed = secret == (tenancy.SecretState{})
	run.Detail = map[string]any{"database": slug.DatabaseName(), "secretRef": slug.SecretName()}
	if len(others.silent) > 0 {
		run.Detail["uncheckedServers"] = others.silent
	}
	return nil
}

// together calls all functions at once and returns when each has. A panic comes out
// here, where the runner expects one, and does not end the worker.
func together(functions []func()) {
	panics := make([]any, len(functions))
	var wait sync.WaitGroup
	for i, f := range functions {
		wait.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panics[i] = fmt.Sprintf("%v\n%s", p, debug.Stack())
				}
			}()
			f()
		})
	}
	wait.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
}

// askHome looks for a database of the name on the tenant's own server, which must be
// reachable.
func (p CheckState) askHome(ctx context.Context, slug tenancy.Slug, home tenancy.DBServer) (tenancy.DatabaseState, error) {
	var state tenancy.DatabaseState
	var changed bool
	var unresolved, err error
	together([]func(){
		func() { changed, unresolved = p.Databases.Resolve(ctx, home) },
		func() { state, err = p.Databases.Inspect(ctx, home, slug) },
	})
	if unresolved != nil {
		return tenancy.DatabaseState{}, fmt.Errorf("cannot reach server %s: %w", home.Name, unresolved)
	}
	if changed {
		state, err = p.Databases.Inspect(ctx, home, slug)
	}
	if err != nil {
		return state, fmt.Errorf("cannot look up database %s on %s: %w", slug.DatabaseName(), home.Name, err)
	}
	return state, nil
}

// elsewhere is what the other servers said, by their names, and who said nothing.
type elsewhere struct {
	states map[string]tenancy.DatabaseState
	silent []string
}

// askOtherServers looks for a database of the name on every other active server,
// all at once.
func (p CheckState) askOtherServers(ctx context.Context, slug tenancy.Slug, home tenancy.DBServer, servers []tenancy.ServerLoad) (others elsewhere, err error) {
	others.states = map[string]tenancy.DatabaseState{}
	if servers == nil {
		if servers, err = p.Registry.ListServers(ctx); err != nil {
			return others, fmt.Errorf("cannot list the servers: %w", err)
		}
	}
	limited, cancel := context.WithTimeout(ctx, otherServerLimit)
	defer cancel()
	var mu sync.Mutex
	var questions []func()
	for _, s := range servers {
		if s.ID == home.ID || !s.IsActive {
			continue
		}
		questions = append(questions, func() {
			state, err := p.Databases.Inspect(limited, s.DBServer, slug)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				others.silent = append(others.silent, s.Name)
				return
			}
			others.states[s.Name] = state
		})
	}
	together(questions)
	if err := ctx.Err(); err != nil {
		// The worker stops, or lost the job: nobody was asked in earnest.
		return others, fmt.Errorf("cannot look at the other servers: %w", err)
	}
	slices.Sort(others.silent)
	return others, nil
}

// parts is what was found of a tenant that this job did not make.
type parts struct {
	registered bool
	databases  []string // descriptions, one for each server with something
	secret     string   // description, empty if there is none
}

func (f *parts) addSecret(slug tenancy.Slug, s tenancy.SecretState, job tenancy.JobID) {
	switch {
	case s.Exists && s.Owner.JobID != job:
		f.secret = fmt.Sprintf("the secret %s exists", slug.SecretName())
	case s.Deleted && !s.Managed:
		// A soft-deleted secret of our own is recovered; another's holds the name.
		f.secret = fmt.Sprintf("the secret %s is soft-deleted and was not made by tenantry", slug.SecretName())
	}
}

func (f *parts) addDatabase(slug tenancy.Slug, server string, s tenancy.DatabaseState, job tenancy.JobID) {
	switch {
	case s.Database && s.DatabaseOwner.JobID != job:
		f.databases = append(f.databases, fmt.Sprintf("the database %s exists on %s", slug.DatabaseName(), server))
	case len(s.Roles) > 0 && s.RolesOwner.JobID != job:
		f.databases = append(f.databases, fmt.Sprintf("the role %s exists on %s without its database", strings.Join(s.Roles, " and "), server))
	}
}

func (f *parts) verdict(slug tenancy.Slug) error {
	database, secret := len(f.databases) > 0, f.secret != ""
	switch {
	case !f.registered && !database && !secret:
		return nil
	case f.registered && database && secret:
		return tenancy.Errorf(tenancy.CodeAlreadyProvisioned, "The tenant %q is provisioned already.", slug)
	}
	var said []string
	if f.registered {
		said = append(said, "the master row exists")
	} else {
		said = append(said, "there is no master row")
	}
	if database {
		said = append(said, f.databases...)
	} else {
		said = append(said, "there is no database "+slug.DatabaseName())
	}
	if secret {
		said = append(said, f.secret)
	} else {
		said = append(said, "there is no secret "+slug.SecretName())
	}
	return tenancy.Errorf(tenancy.CodePartialState, "Parts of the tenant %q exist: %s.", slug, strings.Join(said, "; "))
}
