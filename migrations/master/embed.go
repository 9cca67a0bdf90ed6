// Package master holds the migrations of the master database. They are applied
// in the order of their numbers and never edited after landing. Each file is sent as one
// statement list and so is one transaction: it begins and ends none itself.
package master

import "embed"

// FS holds the numbered .up.sql and .down.sql files.
//
//go:embed *.sql
var FS embed.FS
