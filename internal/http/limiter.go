package http

import (
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// maxClients bounds the memory of a limiter.
const maxClients = 10_000

// limiter lets each client do something: a burst, then once every so often. It is
// safe for concurrent use, and of this process alone: each api has its own. It is not
// x/time/rate's because that gives nothing back once its time has come, and counts
// nothing that it refuses.
type limiter struct {
	now   func() time.Time
	every time.Duration
	burst int

	mu      sync.Mutex
	clients map[string]*client
	// others is shared by the clients beyond maxClients. Without one they are not
	// limited: who is not known must not be kept out by those who are many.
	others *client
	swept  time.Time
}

// client is what a limiter knows of one.
type client struct {
	// whole is when the burst has come back, and the client is as good as new.
	whole time.Time
	// missed counts what was refused since the last that was let through.
	missed int
}

func newLimiter(now func() time.Time, every time.Duration, burst int) *limiter {
	return &limiter{now: now, every: every, burst: burst, clients: make(map[string]*client), others: new(client)}
}

// newOpenLimiter returns a limiter that does not limit the clients beyond maxClients.
func newOpenLimiter(now func() time.Time, every time.Duration, burst int) *limiter {
	l := newLimiter(now, every, burst)
	l.others = nil
	return l
}

// allow counts one more of the client's and reports whether it is within the limit.
func (l *limiter) allow(key string) bool {
	wait, _ := l.take(key)
	return wait == 0
}

// take counts one more of the client's. A wait above zero refuses it: so long
// nothing is let through. Otherwise missed is how many were refused since the last
// that was not.
func (l *limiter) take(key string) (wait time.Duration, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	c := l.client(key, now)
	if c == nil {
		return 0, 0
	}
	if c.whole.Before(now) {
		c.whole = now
	}
	whole := c.whole.Add(l.every)
	if wait = whole.Sub(now) - time.Duration(l.burst)*l.every; wait > 0 {
		c.missed++
		return wait, 0
	}
	c.whole = whole
	missed, c.missed = c.missed, 0
	return 0, missed
}

// giveBack undoes what take let through, as one that does not count or, with what
// take returned and one more, as one that was refused after all.
func (l *limiter) giveBack(key string, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.client(key, l.now()); c != nil {
		c.whole = c.whole.Add(-l.every)
		c.missed += missed
	}
}

// client returns what is known of a client, or of the others if there is no room
// for one more. It makes room first, at most once a second.
func (l *limiter) client(key string, now time.Time) *client {
	c := l.clients[key]
	if c != nil {
		return c
	}
	if len(l.clients) >= maxClients && now.Sub(l.swept) >= time.Second {
		l.swept = now
		for key, c := range l.clients {
			if !c.whole.After(now) {
				delete(l.clients, key)
			}
		}
	}
	if len(l.clients) >= maxClients {
		return l.others
	}
	c = new(client)
	l.clients[key] = c
	return c
}

// network is the client that a request counts for where nobody is known by name.
func network(c *gin.Context) string { return tenancy.Network(c.ClientIP()).String() }
