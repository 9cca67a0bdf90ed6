package http

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// What one network, or one known caller, may do: a burst, then one every so often.
// An office may be behind one address, so the bursts are generous.
const (
	// Failed authentications that are looked at.
	failureBurst = 300
	failureEvery = time.Second / 10
	// Passwords tried at tenants' pages, of all tenants together: each costs a core
	// tens of milliseconds. Those that were right do not count.
	signInBurst = 300
	signInEvery = time.Second
	// Requests for a link at tenants' pages: each costs an audit row, which nobody can
	// remove, and a look into the tenant's database.
	resetBurst = 100
	resetEvery = 10 * time.Second
)

// limits is what is counted of callers.
type limits struct {
	failures, signIns, resets *limiter
}

func newLimits(now func() time.Time) limits {
	return limits{
		failures: newLimiter(now, failureEvery, failureBurst),
		// Strangers with many networks must not keep everybody else from signing in.
		signIns: newOpenLimiter(now, signInEvery, signInBurst),
		resets:  newOpenLimiter(now, resetEvery, resetBurst),
	}
}

// admit counts an attempt of the network's at tenants' pages, before it is known how
// it ends, or fails with CodeRateLimited.
func admit(c *gin.Context, l *limiter) error {
	wait, _ := l.take(network(c))
	if wait == 0 {
		return nil
	}
	return &tenancy.Error{
		Code: tenancy.CodeRateLimited, RetryAfter: wait,
		Message: "There were too many attempts from this address. Try again in a moment.",
	}
}
