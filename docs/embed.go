// Package docs carries the pages of docs that the product itself serves.
package docs

import "embed"

// Errors holds errors/<CODE>.md, a page for each code that can reach a user:
// what it means, what it affects, how to check, fix and roll back.
//
//go:embed errors/*.md
var Errors embed.FS
