// Package buildinfo says which version of this module a program holds.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"
)

const (
	module  = "github.com/coredns-headless/headless"
	coreDNS = "github.com/coredns/coredns"
)

// Info is what the Go toolchain noted in a program. What it did not note is "unknown".
type Info struct {
	// Version is that of this module: a tag, a pseudo-version (https://go.dev/ref/mod#pseudo-versions)
	// of a commit between tags, with +dirty of modified files, or "(devel)" if the program was built
	// without version control.
	Version string
	// Revision is the commit, of a program built from this module itself.
	Revision string
	// CoreDNS is the version of CoreDNS, and Go that of Go.
	CoreDNS, Go string
}

// Of returns what is noted in build, which may be nil.
func Of(build *debug.BuildInfo) Info {
	const unknown = "unknown"
	i := Info{unknown, unknown, unknown, unknown}
	if build == nil {
		return i
	}
	i.Go = build.GoVersion
	for _, m := range append(build.Deps, &build.Main) {
		version := cmp.Or(m.Version, unknown)
		if m.Replace != nil {
			version = cmp.Or(m.Replace.Version, "(devel)")
		}
		switch m.Path {
		case module:
			i.Version = version
		case coreDNS:
			i.CoreDNS = version
		}
	}
	if strings.HasPrefix(build.Main.Path+"/", module+"/") { // or a module in a folder of it
		i.Version = cmp.Or(build.Main.Version, unknown)
		for _, s := range build.Settings {
			if s.Key == "vcs.revision" {
				i.Revision = s.Value
			}
		}
	}
	return i
}

// Get returns what is noted in this program.
func Get() Info {
	build, _ := debug.ReadBuildInfo()
	return Of(build)
}

// String returns i in one line.
func (i Info) String() string {
	return fmt.Sprintf("headless %s, revision %s, CoreDNS %s, %s", i.Version, i.Revision, i.CoreDNS, i.Go)
}
