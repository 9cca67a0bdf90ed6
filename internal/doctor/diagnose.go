package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// diagnosis collects findings over what was observed.
type diagnosis struct {
	*Doctor
	observed
	tenantBySlug map[tenancy.Slug]tenancy.SurveyedTenant
	jobByTenant  map[tenancy.TenantID]tenancy.SurveyedJob
	// there is what the servers have that could be looked at.
	there map[tenancy.ServerID]map[tenancy.Slug]tenancy.SurveyedDatabase
	// busy are the slugs a job is, or just was, at work on: nothing of theirs is
	// judged.
	busy     map[tenancy.Slug]bool
	findings []Finding
}

func (d *Doctor) diagnose(o observed) []Finding {
	x := &diagnosis{
		Doctor: d, observed: o,
		tenantBySlug: map[tenancy.Slug]tenancy.SurveyedTenant{},
		jobByTenant:  map[tenancy.TenantID]tenancy.SurveyedJob{},
		there:        map[tenancy.ServerID]map[tenancy.Slug]tenancy.SurveyedDatabase{},
		busy:         map[tenancy.Slug]bool{},
		findings:     []Finding{},
	}
	for _, t := range o.tenants {
		x.tenantBySlug[t.Slug] = t
	}
	for _, j := range o.jobs {
		x.jobByTenant[j.TenantID] = j
		if !j.Status.Settled() || j.Recent {
			x.busy[j.Slug] = true
		}
	}
	for _, s := range o.databases {
		if s.err != nil {
			continue
		}
		found := map[tenancy.Slug]tenancy.SurveyedDatabase{}
		for _, d := range s.found {
			found[d.Slug] = d
		}
		x.there[s.server.ID] = found
	}
	x.checkJobs()
	x.checkServers()
	x.checkSecrets()
	x.checkTenants()
	return x.findings
}

func (x *diagnosis) add(f Finding) {
	f.Safe = f.repair != nil
	_, f.registered = x.tenantBySlug[f.Slug]
	if f.Safe {
		f.Fix = "tenantctl doctor --repair"
	}
	x.findings = append(x.findings, f)
}

func (x *diagnosis) checkJobs() {
	for _, j := range x.jobs {
		switch {
		case j.Reserved && j.Status.Settled():
			x.add(Finding{
				Kind: StaleReservation, Slug: j.Slug, What: fmt.Sprintf("job %s is %s and still holds a place", j.ID, j.Status),
				Cause:  "master was changed by hand, or restored from a backup",
				repair: func(ctx context.Context) error { return x.Registry.FreeStaleReservation(ctx, j.ID) },
			})
		case len(j.Residue) > 0:
			x.add(Finding{
				Kind: StuckRollback, Slug: j.Slug, What: fmt.Sprintf("job %s cannot be undone yet; left behind: %s", j.ID, strings.Join(j.Residue, ", ")),
				Cause: "a server or the vault refuses or does not answer; it is tried again by itself",
				Fix:   "tenantctl get-job " + string(j.ID),
			})
		case j.Stalled:
			x.add(Finding{
				Kind: StalledJob, Slug: j.Slug, What: fmt.Sprintf("job %s is %s and no worker has taken it", j.ID, j.Status),
				Cause:  "no worker runs, or none can reach master or Redis",
				repair: func(ctx context.Context) error { return x.Registry.RingJob(ctx, j.ID) },
			})
		}
	}
}

func (x *diagnosis) checkServers() {
	for _, s := range x.databases {
		if errors.Is(s.err, errRetired) {
			continue
		}
		if s.err != nil {
			x.add(Finding{
				Kind: ServerUnreachable, Server: s.server.Name, What: "server " + s.server.Name + " cannot be looked at: " + tenancy.AsError(s.err).Message,
				Cause: "it is down, or its admin secret " + s.server.AdminSecretRef + " is wrong",
				Fix:   "tenantctl update-db-server --name " + s.server.Name + " --admin-secret-ref … or --active=false",
			})
			continue
		}
		for _, found := range s.found {
			if !x.busy[found.Slug] {
				x.checkDatabase(s.server, found)
			}
		}
		for _, found := range s.templates {
			x.checkTemplate(s.server, found)
		}
		x.checkWarm(s)
	}
}

// templateUnused is when a template is taken to be forgotten. Workers drop those of
// other sets after an hour, but only when they have a new tenant to make.
const templateUnused = 24 * time.Hour

func (x *diagnosis) checkTemplate(server tenancy.DBServer, found tenancy.SurveyedTemplate) {
	f := Finding{Kind: StaleTemplate, Server: server.Name, What: fmt.Sprintf("template %s on %s", found.Name, server.Name)}
	switch {
	case !found.Finished && !found.Busy:
		f.What += " is unfinished, and nobody is building it"
		f.Cause = "a worker died while it built it"
	case found.Finished && !found.Current && found.Unused > templateUnused:
		f.What += " was last copied " + found.Unused.Round(time.Hour).String() + " ago"
		f.Cause = "the migrations have changed, and no tenant was made on the server since"
	default:
		return
	}
	f.repair = func(ctx context.Context) error {
		return x.Databases.DropTemplate(ctx, server, found.Name, templateUnused)
	}
	x.add(f)
}

func (x *diagnosis) checkDatabase(server tenancy.DBServer, found tenancy.SurveyedDatabase) {
	t, registered := x.tenantBySlug[found.Slug]
	if registered && t.Server.ID == server.ID {
		x.checkRegisteredDatabase(t, found)
		return
	}
	what := fmt.Sprintf("database %s on %s", found.Slug.DatabaseName(), server.Name)
	owner := found.DatabaseOwner
	if !found.Database {
		what = fmt.Sprintf("role %s on %s", strings.Join(found.Roles, " and "), server.Name)
		owner = found.RolesOwner
	}
	// A purge takes the slug from every server, so it is no advice for what lies beside a
	// tenant that master has.
	nowhere := "has no master row"
	if registered {
		nowhere = fmt.Sprintf("is a stray: master has %s on %s", t.Slug, t.Server.Name)
	}
	f := Finding{Slug: found.Slug, Server: server.Name, What: what + " " + nowhere}
	drop := func(ctx context.Context) error {
		if found.Database && !found.Invalid {
			used, err := x.Databases.Used(ctx, server, found.Slug)
			if err != nil {
				return err
			}
			if used {
				return tenancy.Errorf(tenancy.CodeConflict, "Somebody has signed in to this tenant: it may hold data.")
			}
		}
		return x.Databases.DropDatabase(ctx, server, found.Slug, owner)
	}
	job, ours := x.jobByTenant[owner.TenantID]
	switch {
	case !ours:
		f.Kind = ForeignDatabase
		f.What = what + " has a tenant's name and cannot be shown to be ours"
		f.Cause = "someone made it by hand, or it is another control plane's"
		f.Fix = "find out whose it is; then rename or drop it"
		if registered {
			f.What += ", and " + nowhere
			f.Fix += ", on " + server.Name + " alone"
		} else {
			f.Fix += ", or: " + purgeCommand(found.Slug) + " --adopt"
		}
	case neverLived(job):
		f.Kind, f.repair = LeftoverDatabase, drop
		f.Cause = fmt.Sprintf("job %s is %s and left it", job.ID, job.Status)
	case found.Invalid:
		f.Kind, f.repair = InvalidDatabase, drop
		f.What = what + " is half dropped, and " + nowhere
		f.Cause = "a DROP DATABASE was interrupted; nothing can be read from it any more"
	case registered:
		f.Kind, f.Fix = StrayDatabase, x.strayAdvice(server, t, found)
		f.Cause = "the tenant was restored elsewhere and master changed, or a purge could not reach the server and the slug was used again"
	default:
		f.Kind = UnregisteredDatabase
		f.Cause = "the master row was removed by hand, or a purge was interrupted"
		f.Fix = "restore the master row, or: " + purgeCommand(found.Slug)
	}
	x.add(f)
}

// strayAdvice is for what lies on a server that is not the tenant's. Where the tenant's own
// was not seen whole, the stray may be all there is of its data.
func (x *diagnosis) strayAdvice(server tenancy.DBServer, t tenancy.SurveyedTenant, found tenancy.SurveyedDatabase) string {
	var drop []string
	if found.Database {
		if home := x.there[t.Server.ID][t.Slug]; !home.Database || home.Invalid {
			return fmt.Sprintf("keep it: no whole database of %s was seen on %s, so this may be all there is; "+
				"restore it there from this one or from a backup, if it is not there", t.Slug, t.Server.Name)
		}
		drop = append(drop, "DROP DATABASE "+t.Slug.DatabaseName())
	}
	if len(found.Roles) > 0 {
		drop = append(drop, "DROP ROLE "+strings.Join(found.Roles, ", "))
	}
	return fmt.Sprintf("see with psql that nobody uses it, that secret %s leads to %s, and that it has nothing which the tenant's own lacks; then, on %s only: %s",
		t.Slug.SecretName(), t.Server.Name, server.Name, strings.Join(drop, "; "))
}

// neverLived reports whether a tenant never was in use, so that what there is of
// it holds nothing that anyone may miss: its last job failed to make it.
func neverLived(job tenancy.SurveyedJob) bool {
	return !job.EverActive && job.Kind == tenancy.KindProvision && (job.Status == tenancy.JobFailed || job.Status == tenancy.JobCancelled)
}

func (x *diagnosis) checkRegisteredDatabase(t tenancy.SurveyedTenant, found tenancy.SurveyedDatabase) {
	owner := tenancy.Ownership{TenantID: t.ID, JobID: t.JobID}
	f := Finding{Slug: t.Slug, Server: t.Server.Name}
	name := fmt.Sprintf("database %s on %s", t.Slug.DatabaseName(), t.Server.Name)
	if found.Database && found.Invalid {
		f.Kind, f.What = InvalidDatabase, name+" is half dropped"
		f.Cause = "a DROP DATABASE was interrupted; nothing can be read from it any more"
		f.Fix = orPurge(t, "drop it there, and restore it from a backup")
		x.add(f)
		return
	}
	if found.Database && (found.DatabaseOwner.TenantID != t.ID || found.RolesOwner.TenantID != t.ID) && t.JobID != "" {
		unmarked := f
		unmarked.Kind, unmarked.What = UnmarkedDatabase, name+" or its roles do not carry the tenant's mark"
		unmarked.Cause = "a COMMENT was removed or changed; nothing of the tenant can be changed or purged without it"
		if ours(found.DatabaseOwner, t) && ours(found.RolesOwner, t) {
			unmarked.repair = func(ctx context.Context) error { return x.Databases.Mark(ctx, t.Server, t.Slug, owner) }
		} else {
			unmarked.Fix = unmarkAdvice(t, found)
		}
		x.add(unmarked)
		return
	}
	if found.Public {
		open := f
		open.Kind, open.What = OpenDatabase, name+" lets in any role of the server"
		open.Cause = "someone granted CONNECT to PUBLIC"
		open.repair = func(ctx context.Context) error { return x.Databases.ShutPublic(ctx, t.Server, t.Slug, owner) }
		x.add(open)
	}
	if found.AppBarred && t.Status == tenancy.TenantActive {
		barred := f
		barred.Kind, barred.What = BarredApplication, "role "+t.Slug.AppRole()+" on "+t.Server.Name+" may not log in although the tenant is active"
		barred.Cause = "someone set NOLOGIN, or an offboarding was taken back in master alone"
		barred.repair = func(ctx context.Context) error {
			return x.Databases.SetAccess(ctx, t.Server, t.Slug, owner, tenancy.AccessFull)
		}
		x.add(barred)
	}
}

// ours reports whether a mark is the tenant's, or none.
func ours(mark tenancy.Ownership, t tenancy.SurveyedTenant) bool {
	return mark.TenantID == "" || mark.TenantID == t.ID
}

// unmarkAdvice takes off marks of others, so that a repair may put on the tenant's.
func unmarkAdvice(t tenancy.SurveyedTenant, found tenancy.SurveyedDatabase) string {
	var unmark []string
	if !ours(found.DatabaseOwner, t) {
		unmark = append(unmark, "COMMENT ON DATABASE "+t.Slug.DatabaseName()+" IS NULL")
	}
	if !ours(found.RolesOwner, t) {
		for _, role := range found.Roles {
			unmark = append(unmark, "COMMENT ON ROLE "+role+" IS NULL")
		}
	}
	return fmt.Sprintf("find out whose it is; if it is %s's, on %s: %s; and then: tenantctl doctor --repair",
		t.Slug, t.Server.Name, strings.Join(unmark, "; "))
}

func purgeCommand(slug tenancy.Slug) string {
	return fmt.Sprintf("tenantctl offboard-tenant --slug %s --purge --confirm %[1]s", slug)
}

// orPurge adds the purge to an advice if the tenant is to go anyway. It would take all
// there is of one that is to stay, copies that could bring it back included.
func orPurge(t tenancy.SurveyedTenant, advice string) string {
	if t.Status != tenancy.TenantOffboarding {
		return advice
	}
	return advice + ", or, if nobody wants it back: " + purgeCommand(t.Slug)
}

func (x *diagnosis) checkSecrets() {
	if x.secretsErr != nil {
		x.add(Finding{
			Kind: VaultUnlistable, What: "the vault cannot be listed: " + tenancy.AsError(x.secretsErr).Message,
			Cause: "it is down, or we may not list secrets", Fix: "grant the permission to list secrets",
		})
		return
	}
	for _, s := range x.secrets {
		if !s.Exists || x.busy[s.Slug] {
			continue
		}
		t, registered := x.tenantBySlug[s.Slug]
		if registered && s.Owner.TenantID == t.ID {
			continue
		}
		name := s.Slug.SecretName()
		f := Finding{Slug: s.Slug, What: "secret " + name + " has no master row"}
		job, ours := x.jobByTenant[s.Owner.TenantID]
		switch {
		case registered && s.Owner.TenantID == "" && t.JobID != "":
			owner := tenancy.Ownership{TenantID: t.ID, JobID: t.JobID}
			f.Kind, f.What = UnmarkedSecret, "secret "+name+" does not carry the tenant's tags"
			f.Cause = "it was set by hand, without the tags"
			f.repair = func(ctx context.Context) error { return x.Secrets.Adopt(ctx, name, owner) }
		case registered:
			f.Kind, f.What = ForeignSecret, "secret "+name+" carries the tags of another tenant"
			f.Cause = "it was set by hand, or by another control plane"
			f.Fix = "find out whose it is; if it is the tenant's, take its tag tenant-id off, and then: tenantctl doctor --repair"
		case !ours:
			f.Kind, f.What = ForeignSecret, "secret "+name+" has a tenant's name and cannot be shown to be ours"
			f.Cause = "someone made it by hand, or it is another control plane's"
			f.Fix = "find out whose it is; then delete it, or: " + purgeCommand(s.Slug) + " --adopt"
		case neverLived(job):
			f.Kind, f.Cause = LeftoverSecret, fmt.Sprintf("job %s is %s and left it", job.ID, job.Status)
			f.repair = func(ctx context.Context) error { _, err := x.Secrets.Drop(ctx, name, s.Owner); return err }
		default:
			f.Kind, f.Cause = UnregisteredSecret, "the master row was removed by hand, or a purge was interrupted"
			f.Fix = "restore the master row, or: " + purgeCommand(s.Slug)
		}
		x.add(f)
	}
}
