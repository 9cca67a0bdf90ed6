package http

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// What one address may fail: a burst, then so many a second.
const (
	failuresPerSecond = 10
	failureBurst      = 300
	// forgetAfter is how long a used-up burst takes to come back; an address
	// quiet for as long is as good as new.
	forgetAfter = failureBurst * time.Second / failuresPerSecond
	// maxAddresses bounds the memory. The addresses beyond share one limit.
	maxAddresses = 10_000
)

// failureLimiter limits failed authentications for each client address. It is
// safe for concurrent use.
type failureLimiter struct {
	now func() time.Time

	mu        sync.Mutex
	addresses map[netip.Prefix]*failures
	others    *rate.Limiter
	swept     time.Time
}

type failures struct {
	limit *rate.Limiter
	last  time.Time
}

func newFailureLimiter(now func() time.Time) *failureLimiter {
	return &failureLimiter{now: now, addresses: make(map[netip.Prefix]*failures), others: newFailureRate()}
}

func newFailureRate() *rate.Limiter { return rate.NewLimiter(failuresPerSecond, failureBurst) }

// allow counts one more failure from the address and reports whether it is
// still within the limit.
func (l *failureLimiter) allow(address string) bool {
	key := tenancy.Network(address)
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.addresses[key]
	if f == nil {
		if l.full(now) {
			return l.others.AllowN(now, 1)
		}
		f = &failures{limit: newFailureRate()}
		l.addresses[key] = f
	}
	f.last = now
	return f.limit.AllowN(now, 1)
}

// full reports whether there is no room for another address. It makes room
// first, at most once a second.
func (l *failureLimiter) full(now time.Time) bool {
	if len(l.addresses) < maxAddresses {
		return false
	}
	if now.Sub(l.swept) >= time.Second {
		l.swept = now
		for key, f := range l.addresses {
			if now.Sub(f.last) >= forgetAfter {
				delete(l.addresses, key)
			}
		}
	}
	return len(l.addresses) >= maxAddresses
}
