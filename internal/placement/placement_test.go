package placement_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func load(name string, active bool, capacity, tenants, reserved int) tenancy.ServerLoad {
	l := tenancy.ServerLoad{
		DBServer:    tenancy.DBServer{ID: tenancy.ServerID(name), Name: name, IsActive: active},
		TenantCount: tenants, Reserved: reserved,
	}
	if capacity >= 0 {
		l.CapacityHint = &capacity
	}
	return l
}

func TestChoose(t *testing.T) {
	t.Parallel()
	const unlimited = -1
	tests := []struct {
		name  string
		loads []tenancy.ServerLoad
		named string
		want  string
		code  tenancy.Code
	}{
		{name: "no server at all", code: tenancy.CodeNoCapacity},
		{name: "lowest count wins", loads: []tenancy.ServerLoad{load("a", true, 50, 9, 0), load("b", true, 50, 3, 0)}, want: "b"},
		{name: "a tie goes to the first name", loads: []tenancy.ServerLoad{load("b", true, 50, 3, 0), load("a", true, 9, 3, 0)}, want: "a"},
		{name: "reservations count", loads: []tenancy.ServerLoad{load("a", true, 50, 1, 3), load("b", true, 50, 3, 0)}, want: "b"},
		{name: "full is left out", loads: []tenancy.ServerLoad{load("a", true, 2, 1, 1), load("b", true, 50, 9, 0)}, want: "b"},
		{name: "inactive is left out", loads: []tenancy.ServerLoad{load("a", false, 50, 0, 0), load("b", true, 50, 9, 0)}, want: "b"},
		{name: "all full", loads: []tenancy.ServerLoad{load("a", true, 1, 1, 0), load("b", true, 0, 0, 0)}, code: tenancy.CodeNoCapacity},
		{name: "all inactive", loads: []tenancy.ServerLoad{load("a", false, 9, 0, 0)}, code: tenancy.CodeNoCapacity},
		{name: "no capacity hint means no limit", loads: []tenancy.ServerLoad{load("a", true, unlimited, 9000, 0)}, want: "a"},
		{name: "named", loads: []tenancy.ServerLoad{load("a", true, 50, 0, 0), load("b", true, 50, 9, 0)}, named: "b", want: "b"},
		{name: "named and full never falls back", loads: []tenancy.ServerLoad{load("a", true, 50, 0, 0), load("b", true, 9, 9, 0)}, named: "b", code: tenancy.CodeNoCapacity},
		{name: "named and missing", loads: []tenancy.ServerLoad{load("a", true, 50, 0, 0)}, named: "b", code: tenancy.CodeDBServerNotFound},
		{name: "named and inactive", loads: []tenancy.ServerLoad{load("b", false, 50, 0, 0)}, named: "b", code: tenancy.CodeDBServerNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := placement.Choose(test.loads, test.named)
			if code := tenancy.CodeOf(err); code != test.code || got.Name != test.want {
				t.Errorf("Choose = %q, %v; want %q, %q", got.Name, err, test.want, test.code)
			}
		})
	}
}

// Whatever the loads and their order, the choice is the same, is active, has
// room, and no other such server has less.
func TestChooseProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`pg-[a-z]{1,3}`), 0, 8, rapid.ID).Draw(t, "names")
		var loads []tenancy.ServerLoad
		for _, name := range names {
			loads = append(loads, load(name, rapid.Bool().Draw(t, "active"), rapid.IntRange(-1, 5).Draw(t, "capacity"),
				rapid.IntRange(0, 5).Draw(t, "tenants"), rapid.IntRange(0, 5).Draw(t, "reserved")))
		}
		got, err := placement.Choose(loads, "")
		again, againErr := placement.Choose(rapid.Permutation(loads).Draw(t, "order"), "")
		if got.Name != again.Name || (err == nil) != (againErr == nil) {
			t.Fatalf("the order of the servers changed the choice from %q to %q", got.Name, again.Name)
		}
		open := slices.DeleteFunc(slices.Clone(loads), func(l tenancy.ServerLoad) bool { return !l.IsActive || l.Full() })
		if err != nil {
			if len(open) > 0 {
				t.Fatalf("refused although %d servers have room", len(open))
			}
			return
		}
		i := slices.IndexFunc(open, func(l tenancy.ServerLoad) bool { return l.Name == got.Name })
		if i < 0 {
			t.Fatalf("chose %q, which is inactive or full", got.Name)
		}
		for _, l := range open {
			if l.Used() < open[i].Used() {
				t.Fatalf("chose %q with %d although %q has %d", got.Name, open[i].Used(), l.Name, l.Used())
			}
		}
	})
}
