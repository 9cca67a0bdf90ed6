package phases

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// ProveOwnership begins a purge: it finds what there is of the slug on every
// server and in the vault, refuses what cannot be shown to be a tenant's of this
// master, and shuts the rest, so that what is dumped next is the last there was.
type ProveOwnership struct {
	Registry  OffboardRegistry
	Databases OffboardDatabases
	Secrets   OffboardSecrets
	// BackupDir is where the final dump will go, checked before anything is shut.
	BackupDir string
	nothingToUndo
}

// Name returns PhaseOwnershipProven.
func (ProveOwnership) Name() tenancy.PhaseName { return tenancy.PhaseOwnershipProven }

// Do fails with CodePartialState, whose message names each thing, if something
// is not provably ours and the operator did not ask to adopt it.
func (p ProveOwnership) Do(ctx context.Context, run *pipeline.Run) error {
	slug := run.Job.Slug
	found, err := findRemains(ctx, run, p.Registry, p.Databases)
	if err != nil {
		return err
	}
	secret, err := p.Secrets.Inspect(ctx, slug.SecretName())
	if err != nil {
		return fmt.Errorf("cannot look up secret %s: %w", slug.SecretName(), err)
	}
	known, err := p.Registry.TenantIDs(ctx, slug)
	if err != nil {
		return fmt.Errorf("cannot look up the tenants of slug %s: %w", slug, err)
	}
	known = append(known, run.Job.TenantID) // what an earlier Do adopted
	ours := func(o tenancy.Ownership) bool { return slices.Contains(known, o.TenantID) }

	var foreign, seen []string
	for _, r := range found.remains {
		if r.state.Database {
			seen = append(seen, fmt.Sprintf("database %s on %s", slug.DatabaseName(), r.server.Name))
			if !ours(r.state.DatabaseOwner) {
				foreign = append(foreign, seen[len(seen)-1])
			}
		}
		if len(r.state.Roles) > 0 {
			seen = append(seen, fmt.Sprintf("role %s on %s", strings.Join(r.state.Roles, " and "), r.server.Name))
			if !ours(r.state.RolesOwner) {
				foreign = append(foreign, seen[len(seen)-1])
			}
		}
	}
	if secret.Exists {
		seen = append(seen, "secret "+slug.SecretName())
		if !ours(secret.Owner) {
			foreign = append(foreign, seen[len(seen)-1])
		}
	}
	if len(foreign) > 0 && !run.Job.Offboarding.Adopt {
		return tenancy.Errorf(tenancy.CodePartialState,
			"This cannot be shown to be a tenant's of this control plane, and nothing was touched: %s. If it may go, purge with --adopt.",
			strings.Join(foreign, "; "))
	}
	if err := p.checkBackup(ctx, run, found); err != nil {
		return err
	}
	if err := p.shut(ctx, run, found); err != nil {
		return err
	}
	var servers []string
	for _, r := range found.remains {
		servers = append(servers, r.server.Name)
	}
	run.Detail = map[string]any{"found": seen, "servers": servers}
	if len(foreign) > 0 {
		run.Detail["adopted"] = foreign
	}
	if len(found.unchecked) > 0 {
		run.Detail["uncheckedServers"] = found.unchecked
	}
	return nil
}

// checkBackup makes sure, before anything is shut, that the final dump can be
// taken here.
func (p ProveOwnership) checkBackup(ctx context.Context, run *pipeline.Run, found remains) error {
	if run.Job.Offboarding.NoBackup {
		return nil
	}
	for _, r := range found.remains {
		if !r.state.Database {
			continue
		}
		if p.BackupDir == "" {
			return noBackupDir()
		}
		if err := p.Databases.CheckBackup(ctx, r.server, p.BackupDir); err != nil {
			return fmt.Errorf("cannot take a final dump of tenant %s: %w", run.Job.Slug, err)
		}
	}
	return nil
}

// shut makes the tenant unusable, in master first. What is ours may carry the ids
// of several tenants of the slug; from here on it carries one.
func (p ProveOwnership) shut(ctx context.Context, run *pipeline.Run, found remains) error {
	slug, owner := run.Job.Slug, tenantOwnership(run)
	if err := p.Registry.CondemnTenant(ctx, run.Lease); err != nil {
		return fmt.Errorf("cannot condemn tenant %s: %w", slug, err)
	}
	for _, r := range found.remains {
		if err := p.Databases.Adopt(ctx, r.server, slug, owner); err != nil {
			return fmt.Errorf("cannot mark what there is of tenant %s: %w", slug, err)
		}
		if err := p.Databases.SetAccess(ctx, r.server, slug, owner, tenancy.AccessNone); err != nil {
			return fmt.Errorf("cannot shut out tenant %s: %w", slug, err)
		}
	}
	if err := p.Secrets.Adopt(ctx, slug.SecretName(), owner); err != nil {
		return fmt.Errorf("cannot mark secret %s: %w", slug.SecretName(), err)
	}
	return nil
}

// remains is what there is of a slug on the servers.
type remains struct {
	remains []remain
	// unchecked are servers that did not answer and that the tenant, by its
	// master row, is not on.
	unchecked []string
}

type remain struct {
	server tenancy.DBServer
	state  tenancy.DatabaseState
}

// findRemains looks on every server. That of the master row must answer; without
// a row the tenant may be on any that takes or has tenants, so each of those must.
func findRemains(ctx context.Context, run *pipeline.Run, registry OffboardRegistry, databases OffboardDatabases) (remains, error) {
	var found remains
	servers, err := registry.ListServers(ctx)
	if err != nil {
		return found, fmt.Errorf("cannot list the servers: %w", err)
	}
	home := run.Job.Server
	for _, s := range servers {
		needed := home != nil && home.ID == s.ID || home == nil && (s.IsActive || s.TenantCount > 0)
		state, err := inspectWithin(ctx, databases, s.DBServer, run.Job.Slug, needed)
		switch {
		case err != nil && (needed || ctx.Err() != nil):
			return found, fmt.Errorf("cannot look up database %s on %s: %w", run.Job.Slug.DatabaseName(), s.Name, err)
		case err != nil:
			found.unchecked = append(found.unchecked, s.Name)
		case !state.Empty():
			found.remains = append(found.remains, remain{s.DBServer, state})
		}
	}
	return found, nil
}

// inspectWithin gives a server that may be left out little time.
func inspectWithin(ctx context.Context, databases OffboardDatabases, server tenancy.DBServer, slug tenancy.Slug, needed bool) (tenancy.DatabaseState, error) {
	if needed {
		if _, err := databases.Resolve(ctx, server); err != nil {
			return tenancy.DatabaseState{}, err
		}
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, otherServerLimit)
		defer cancel()
	}
	return databases.Inspect(ctx, server, slug)
}

// provenServers are the servers on which ProveOwnership found something and
// marked it. The phases after it act on these alone, and on each of them: a
// server that does not answer now is waited for.
func provenServers(ctx context.Context, run *pipeline.Run, registry OffboardRegistry) ([]tenancy.DBServer, error) {
	var names []string
	switch list := run.DetailOf(tenancy.PhaseOwnershipProven)["servers"].(type) {
	case []string:
		names = list
	case []any: // as read back from the journal
		for _, name := range list {
			names = append(names, fmt.Sprint(name))
		}
	}
	servers, err := registry.ListServers(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list the servers: %w", err)
	}
	var proven []tenancy.DBServer
	for _, s := range servers {
		if slices.Contains(names, s.Name) {
			proven = append(proven, s.DBServer)
		}
	}
	return proven, nil
}
