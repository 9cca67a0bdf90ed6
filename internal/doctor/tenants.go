package doctor

import (
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// purgeOverdue is how long after its retention a tenant may be there: only a few are
// purged at a time, and a dump may take hours.
const purgeOverdue = 24 * time.Hour

// checkTenants looks for what a master row promises and is not there.
func (x *diagnosis) checkTenants() {
	secrets := map[tenancy.Slug]bool{}
	for _, s := range x.secrets {
		secrets[s.Slug] = s.Exists
	}
	for _, t := range x.tenants {
		if x.busy[t.Slug] {
			continue
		}
		if there, known := x.there[t.Server.ID]; known && !there[t.Slug].Database {
			x.add(Finding{
				Kind: MissingDatabase, Slug: t.Slug, Server: t.Server.Name,
				What:  fmt.Sprintf("tenant %s is %s and has no database on %s", t.Slug, t.Status, t.Server.Name),
				Cause: "it was dropped by hand, or the server was restored from an older backup",
				Fix:   orPurge(t, "restore it from a backup"),
			})
		}
		if x.secretsErr == nil && !secrets[t.Slug] {
			x.add(Finding{
				Kind: MissingSecret, Slug: t.Slug,
				What:  fmt.Sprintf("tenant %s is %s and its secret %s is gone", t.Slug, t.Status, t.Slug.SecretName()),
				Cause: "it was deleted by hand",
				Fix:   orPurge(t, fmt.Sprintf("recover it in the vault, or set a password on %s and write its URL anew", t.Slug.AppRole())),
			})
		}
		x.checkRetention(t)
	}
}

// checkRetention looks for a tenant that should have been purged by now.
func (x *diagnosis) checkRetention(t tenancy.SurveyedTenant) {
	if t.Status != tenancy.TenantOffboarding || t.PurgeAfter == nil || x.began.Sub(*t.PurgeAfter) <= purgeOverdue {
		return
	}
	f := Finding{
		Kind: OverduePurge, Slug: t.Slug, Server: t.Server.Name,
		What:  fmt.Sprintf("the retention of tenant %s was over at %s, and it was not purged", t.Slug, t.PurgeAfter.UTC().Format(time.RFC3339)),
		Cause: "no worker has BACKUP_DIR, none runs, or other purges take their time",
		Fix:   "set BACKUP_DIR for a worker, or: " + purgeCommand(t.Slug),
	}
	if t.FailedPurge != "" {
		f.Cause = fmt.Sprintf("its purge failed, job %s, and is not begun again by itself", t.FailedPurge)
		f.Fix = fmt.Sprintf("see why with: tenantctl get-job %s; once that is mended: tenantctl retry-job %[1]s", t.FailedPurge)
	}
	x.add(f)
}
