package doctor

import (
	"fmt"

	"github.com/tenantry/tenantry/internal/tenancy"
)

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
	}
}
