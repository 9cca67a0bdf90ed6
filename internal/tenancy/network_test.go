package tenancy_test

import (
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestOneClientIsOneNetwork(t *testing.T) {
	t.Parallel()
	for _, same := range [][2]string{
		{"2001:db8::1", "2001:db8::ffff:2"}, {"192.0.2.1", "::ffff:192.0.2.1"}, {"", "nonsense"}, {"fe80::1%eth0", "fe80::2"},
	} {
		if tenancy.Network(same[0]) != tenancy.Network(same[1]) {
			t.Errorf("%q and %q are two clients", same[0], same[1])
		}
	}
	for _, other := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8:0:1::1", "2001:db8:0:2::1"}} {
		if tenancy.Network(other[0]) == tenancy.Network(other[1]) {
			t.Errorf("%q and %q are one client", other[0], other[1])
		}
	}
}
