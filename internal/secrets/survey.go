package secrets

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Survey lists the live secrets under tenants' names, ours or not, without their
// values. It needs the permission to list.
func (v *Vault) Survey(ctx context.Context) ([]tenancy.SurveyedSecret, error) {
	var found []tenancy.SurveyedSecret
	pager := v.client.NewListSecretPropertiesPager(nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, failure(err, "list", "*")
		}
		for _, p := range page.Value {
			if p == nil || p.ID == nil {
				continue
			}
			name, ours := strings.CutPrefix(strings.ToLower(p.ID.Name()), "tenant-db-")
			slug, err := tenancy.ParseSlug(name, nil)
			if !ours || err != nil {
				continue
			}
			m := markOf(p.Tags)
			found = append(found, tenancy.SurveyedSecret{Slug: slug, SecretState: tenancy.SecretState{
				Exists: !m.released, Deleted: m.released, Managed: m.managed, Owner: m.owner,
			}})
		}
	}
	return found, nil
}
