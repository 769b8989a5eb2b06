package main

import (
	"cmp"
	"debug/buildinfo"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// binary is a program that was built for one platform, with what Go noted in it.
type binary struct {
	path    string
	command string // its name without .exe
	os      string
	arch    string
	source
	isNested bool     // it is of a module in a folder of this one
	modules  []string // those that are compiled in, as path@version
	coreDNS  string   // the version of CoreDNS among them
}

// source is what a binary was built from.
type source struct {
	version, revision, goVersion string
	time                         time.Time // of the commit; the epoch if it is not known
}

// sbom is the file with the binary's software bill of materials.
func (b *binary) sbom() string { return b.path + ".cdx.json" }

// findBinaries returns the binaries in dir/build, each in a folder called after its platform. All are from one source.
func findBinaries(dir string) ([]*binary, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "build", "*", "*"))
	if err != nil {
		return nil, err
	}
	var all []*binary
	for _, path := range paths {
		if strings.HasSuffix(path, ".json") {
			continue
		}
		b, err := readBinary(path)
		if err != nil {
			return nil, err
		}
		if folder := filepath.Base(filepath.Dir(path)); folder != b.os+"-"+b.arch {
			return nil, fmt.Errorf("%s: got a binary for %s/%s in the folder %s", path, b.os, b.arch, folder)
		}
		if len(all) > 0 && b.isNested && b.revision == all[0].revision { // without a tag of its own its version is made up
			b.version = all[0].version
		}
		if len(all) > 0 && b.source != all[0].source {
			return nil, fmt.Errorf("%s is of %s, revision %s, by %s, but %s of %s, revision %s, by %s: build all of them anew",
				path, b.version, b.revision, b.goVersion, all[0].path, all[0].version, all[0].revision, all[0].goVersion)
		}
		all = append(all, b)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no binaries in %s: make binaries builds them", filepath.Join(dir, "build"))
	}
	return all, nil
}

func readBinary(path string) (*binary, error) {
	build, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b := &binary{
		path: path, command: strings.TrimSuffix(filepath.Base(path), ".exe"),
		source: source{version: build.Main.Version, revision: "unknown", goVersion: build.GoVersion, time: time.Unix(0, 0).UTC()},
	}
	b.isNested = strings.HasPrefix(build.Main.Path, "github.com/coredns-headless/headless/")
	for _, s := range build.Settings {
		switch s.Key {
		case "GOOS":
			b.os = s.Value
		case "GOARCH":
			b.arch = s.Value
		case "vcs.revision":
			b.revision = s.Value
		case "vcs.time":
			if b.time, err = time.Parse(time.RFC3339, s.Value); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	for _, module := range build.Deps {
		if module.Path == "github.com/coredns/coredns" {
			b.coreDNS = module.Version
		}
		if module.Replace != nil && strings.HasPrefix(module.Replace.Path, ".") { // a folder of this repository
			continue
		}
		module = cmp.Or(module.Replace, module)
		b.modules = append(b.modules, module.Path+"@"+module.Version)
	}
	slices.Sort(b.modules)
	return b, nil
}
