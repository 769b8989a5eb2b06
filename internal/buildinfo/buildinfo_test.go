package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	coredns := &debug.Module{Path: "github.com/coredns/coredns", Version: "v1.15.0"}
	revision := []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "abc123"}}
	for _, c := range []struct {
		name  string
		build *debug.BuildInfo
		want  Info
	}{
		{"nothing is noted", nil, Info{"unknown", "unknown", "unknown", "unknown"}},
		{"built from a tag of this module", &debug.BuildInfo{
			GoVersion: "go1.26.8", Main: debug.Module{Path: module, Version: "v0.9.0"}, Deps: []*debug.Module{coredns}, Settings: revision,
		}, Info{"v0.9.0", "abc123", "v1.15.0", "go1.26.8"}},
		{"built without version control", &debug.BuildInfo{
			GoVersion: "go1.26.8", Main: debug.Module{Path: module, Version: "(devel)"}, Deps: []*debug.Module{coredns},
		}, Info{"(devel)", "unknown", "v1.15.0", "go1.26.8"}},
		{"part of another's CoreDNS, whose revision is not ours", &debug.BuildInfo{
			GoVersion: "go1.26.8", Main: debug.Module{Path: "github.com/coredns/coredns", Version: "v1.15.1"},
			Deps: []*debug.Module{{Path: module, Version: "v0.9.0"}}, Settings: revision,
		}, Info{"v0.9.0", "unknown", "v1.15.1", "go1.26.8"}},
		{"replaced by a folder", &debug.BuildInfo{
			Main: debug.Module{Path: "example.org/dns"}, Deps: []*debug.Module{coredns, {Path: module, Version: "v0.0.0", Replace: &debug.Module{Path: "../headless"}}},
		}, Info{"(devel)", "unknown", "v1.15.0", ""}},
	} {
		if got := Of(c.build); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestGet: whatever this test was built from, it is this module, by this Go.
func TestGet(t *testing.T) {
	if i := Get(); i.Version == "unknown" || i.Go == "unknown" {
		t.Errorf("got %v", i)
	}
}
