// Package docs holds the documents that the manual page is made of.
package docs

import "embed"

// Pages are options.md and records.md.
//
//go:embed options.md records.md
var Pages embed.FS
