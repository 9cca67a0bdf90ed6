package http

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiterIsBoundedAndForgets(t *testing.T) {
	t.Parallel()
	now := epoch
	l := newLimiter(func() time.Time { return now }, failureEvery, failureBurst)
	for i := range maxClients {
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
	if len(l.clients) != maxClients {
		t.Errorf("%d addresses are kept", len(l.clients))
	}
	now = now.Add(failureBurst * failureEvery)
	if !l.allow("192.0.2.1") || len(l.clients) != 1 {
		t.Errorf("%d addresses are kept after as long as a burst takes to come back", len(l.clients))
	}
}

// Many strangers keep nobody else out.
func TestOpenLimiterLetsTheRestThrough(t *testing.T) {
	t.Parallel()
	l := newOpenLimiter(func() time.Time { return epoch }, signInEvery, 1)
	for i := range maxClients {
		l.allow(fmt.Sprintf("10.0.%d.%d", i/256, i%256))
	}
	for range 2 {
		if !l.allow("192.0.2.1") {
			t.Error("an address beyond the bound is limited")
		}
		l.giveBack("192.0.2.1", 0)
	}
	if l.allow("10.0.0.0") || len(l.clients) != maxClients {
		t.Errorf("those within are not limited, or %d are kept", len(l.clients))
	}
}
