package http

import (
	"net/http"
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
	// Refusals that have an audit row each. The rest are counted in the next row.
	refusalBurst = 300
	refusalEvery = time.Minute
	// The rows of all strangers together, who may have many networks.
	strangersBurst = 3000
	strangersEvery = time.Second
)

// limits is what is counted of callers.
type limits struct {
	failures, signIns, resets *limiter
	// The audited refusals: of strangers by network, of known callers by user, and
	// of all strangers.
	strangers, callers, everyStranger *limiter
}

func newLimits(now func() time.Time) limits {
	return limits{
		failures: newLimiter(now, failureEvery, failureBurst),
		// Strangers with many networks must not keep everybody else from signing in.
		signIns:       newOpenLimiter(now, signInEvery, signInBurst),
		resets:        newOpenLimiter(now, resetEvery, resetBurst),
		strangers:     newLimiter(now, refusalEvery, refusalBurst),
		callers:       newLimiter(now, refusalEvery, refusalBurst),
		everyStranger: newLimiter(now, strangersEvery, strangersBurst),
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

// stranger is what a refusal of nobody known counts for. Guesses at a password are
// counted apart, so that other noise does not cover them.
func stranger(c *gin.Context, refusal *tenancy.Error) string {
	if refusal.Code == tenancy.CodeUnauthenticated && c.Request.Method == http.MethodPost && c.FullPath() == sessionPath {
		return "password " + network(c)
	}
	return network(c)
}

// record reports whether a refusal gets an audit row of its own, and how many of the
// same caller's had none since the last that did: a row is for good, and must not be
// a caller's to multiply. who is empty for the stranger that key names.
func (l *limits) record(who tenancy.UserID, key string) (ok bool, repeats int) {
	if who != "" {
		wait, repeats := l.callers.take(string(who))
		return wait == 0, repeats
	}
	wait, repeats := l.strangers.take(key)
	if wait > 0 {
		return false, 0
	}
	if !l.everyStranger.allow("") {
		l.strangers.giveBack(key, repeats+1)
		return false, 0
	}
	return true, repeats
}
