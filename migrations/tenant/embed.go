// Package tenant holds the built-in migrations of a tenant's database: the
// schemas identity (who may sign in), settings and audit. They run before the
// application's own set, in the order of their numbers, as the role that owns
// the database, and are never edited after landing.
package tenant

import "embed"

// FS holds the numbered .up.sql and .down.sql files.
//
//go:embed *.sql
var FS embed.FS
