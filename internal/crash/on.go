//go:build crashpoints

package crash

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// NoSlugLock tells tenantdb not to lock slugs.
var NoSlugLock = os.Getenv("TENANTRY_CRASH_NO_SLUG_LOCK") == "1"

// Point ends the process, as a crash would, if it is the point to end at.
func Point(step, what, when string) {
	if os.Getenv("TENANTRY_CRASH_POINT") != step+":"+what+":"+when || !first() {
		return
	}
	if os.Getenv("TENANTRY_CRASH_SIGNAL") == "STOP" {
		freeze()
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // this thread may be the last to hear of it
}

// freeze stops the process. Its threads do not stop all at once, so the caller
// goes no further before the process is woken.
func freeze() {
	woken := make(chan os.Signal, 1)
	signal.Notify(woken, syscall.SIGCONT)
	defer signal.Stop(woken)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-woken
}

// first reports whether nobody else has ended with the same file.
func first() bool {
	path := os.Getenv("TENANTRY_CRASH_ONCE")
	if path == "" {
		return true
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// LeaseTTL returns how long a lease is.
func LeaseTTL(ttl time.Duration) time.Duration {
	value := os.Getenv("TENANTRY_CRASH_LEASE_TTL")
	if value == "" {
		return ttl
	}
	short, err := time.ParseDuration(value)
	if err != nil {
		panic(fmt.Sprintf("TENANTRY_CRASH_LEASE_TTL: %v", err))
	}
	return short
}

// Fence returns the condition under which a write to master goes through.
// Without a fence that is the job's id alone.
func Fence(held string) string {
	if os.Getenv("TENANTRY_CRASH_NO_FENCE") == "1" {
		return `job_id = $1 AND $2::bigint IS NOT NULL`
	}
	return held
}

// The test that started the process may be killed itself.
func init() {
	parent, err := strconv.Atoi(os.Getenv("TENANTRY_CRASH_PARENT"))
	if err != nil {
		return
	}
	go func() {
		for range time.Tick(200 * time.Millisecond) {
			if os.Getppid() != parent {
				os.Exit(1)
			}
		}
	}()
}
