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
