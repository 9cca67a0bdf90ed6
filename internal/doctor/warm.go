package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// checkWarm compares a server's prepared databases with master's rows. A row is
// written before its database is made and goes after it, and none is ready twice, so
// what holds both before and after the look at the server held all the while.
func (x *diagnosis) checkWarm(s serverSurvey) {
	there := map[tenancy.WarmDatabaseID]bool{}
	for _, found := range s.warm {
		there[found.ID] = found.Database
		_, before := x.warmBefore[found.ID]
		_, after := x.warmAfter[found.ID]
		if before || after {
			continue
		}
		x.add(Finding{
			Kind: StrayWarmDatabase, Server: s.server.Name,
			What:  fmt.Sprintf("prepared database %s on %s is not in master", found.ID.DatabaseName(), s.server.Name),
			Cause: "master was restored from a backup, or the database is another control plane's; nobody's data is in it",
			repair: func(ctx context.Context) error {
				return x.Databases.DropWarm(ctx, s.server, found.ID)
			},
		})
	}
	for _, id := range slices.Sorted(maps.Keys(x.warmAfter)) {
		row := x.warmAfter[id]
		if row.Server.ID != s.server.ID || row.State != tenancy.WarmReady || x.warmBefore[id].State != tenancy.WarmReady || there[id] {
			continue
		}
		x.add(Finding{
			Kind: MissingWarmDatabase, Server: s.server.Name,
			What:  fmt.Sprintf("prepared database %s is not on %s", id.DatabaseName(), s.server.Name),
			Cause: "it was dropped by hand, or the server was restored from an older backup; a job that claims it copies a template",
			repair: func(ctx context.Context) error {
				return x.Registry.RetireWarmDatabase(ctx, id)
			},
		})
	}
}
