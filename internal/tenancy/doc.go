// Package tenancy is the ground of the product: the words every other package
// speaks, and the rules that need nothing but those words. A Slug names a
// tenant and everything outside that belongs to it; a Job is the record of one
// piece of work on a tenant; a Lease is the right to work on a job; an Error is
// a failure with a Code that survives every hop.
//
// It imports only the standard library, and every other package may import it.
package tenancy
