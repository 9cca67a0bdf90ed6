// Package placement chooses the server a new tenant goes to. It is pure: the
// same loads give the same answer. Reserving the place is the store's.
package placement

import (
	"cmp"
	"slices"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Choose picks a server for one more tenant (domain.md, Placement).
//
// With a name it is that server and no other: CodeDBServerNotFound if it is
// missing or inactive, CodeNoCapacity if it is full. Without, it is the active
// server with room that has the lowest count of tenants and reservations, ties
// going to the first name; CodeNoCapacity if there is none.
func Choose(loads []tenancy.ServerLoad, name string) (tenancy.DBServer, error) {
	if name != "" {
		return named(loads, name)
	}
	open := slices.DeleteFunc(slices.Clone(loads), func(l tenancy.ServerLoad) bool { return !l.IsActive || l.Full() })
	if len(open) == 0 {
		return tenancy.DBServer{}, tenancy.Errorf(tenancy.CodeNoCapacity,
			"Every active database server is at its capacity; add a server or raise a cap.")
	}
	best := slices.MinFunc(open, func(a, b tenancy.ServerLoad) int {
		return cmp.Or(cmp.Compare(a.Used(), b.Used()), cmp.Compare(a.Name, b.Name))
	})
	return best.DBServer, nil
}

func named(loads []tenancy.ServerLoad, name string) (tenancy.DBServer, error) {
	i := slices.IndexFunc(loads, func(l tenancy.ServerLoad) bool { return l.Name == name && l.IsActive })
	if i < 0 {
		return tenancy.DBServer{}, tenancy.Errorf(tenancy.CodeDBServerNotFound, "There is no active database server %q.", name)
	}
	if l := loads[i]; l.Full() {
		return tenancy.DBServer{}, tenancy.Errorf(tenancy.CodeNoCapacity,
			"The database server %q is at its capacity of %d; pick another or raise its cap.", name, *l.CapacityHint)
	}
	return loads[i].DBServer, nil
}
