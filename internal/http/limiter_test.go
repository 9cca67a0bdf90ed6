package http

import (
	"fmt"
	"testing"
	"time"
)

func TestFailureLimiterIsBoundedAndForgets(t *testing.T) {
	t.Parallel()
	now := epoch
	l := newFailureLimiter(func() time.Time { return now })
	for i := range maxAddresses {
		l.allow(fmt.Sprintf("10.0.%d.%d", i/256, i%256))
	}
	for range failureBurst {
		if !l.allow("192.0.2.1") {
			t.Fatal("an address beyond the bound is limited before the burst")
		}
	}
	if l.allow("192.0.2.2") {
		t.Error("addresses beyond the bound do not share a limit")
	}
	if len(l.addresses) != maxAddresses {
		t.Errorf("%d addresses are kept", len(l.addresses))
	}
	now = now.Add(forgetAfter)
	if !l.allow("192.0.2.1") || len(l.addresses) != 1 {
		t.Errorf("%d addresses are kept after %s of quiet", len(l.addresses), forgetAfter)
	}
}

func TestOneClientIsOneNetwork(t *testing.T) {
	t.Parallel()
	for _, same := range [][2]string{
		{"2001:db8::1", "2001:db8::ffff:2"}, {"192.0.2.1", "::ffff:192.0.2.1"}, {"", "nonsense"}, {"fe80::1%eth0", "fe80::2"},
	} {
		if network(same[0]) != network(same[1]) {
			t.Errorf("%q and %q are two clients", same[0], same[1])
		}
	}
	if network("192.0.2.1") == network("192.0.2.2") || network("2001:db8:0:1::1") == network("2001:db8:0:2::1") {
		t.Error("two clients are one")
	}
}
