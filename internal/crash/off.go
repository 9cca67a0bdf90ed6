//go:build !crashpoints

package crash

import "time"

// NoSlugLock tells tenantdb not to lock slugs.
const NoSlugLock = false

// Point is where a test may end the process.
func Point(_, _, _ string) {}

// LeaseTTL returns how long a lease is, usually ttl.
func LeaseTTL(ttl time.Duration) time.Duration { return ttl }

// Fence returns the condition under which a write to master goes through,
// usually held.
func Fence(held string) string { return held }
