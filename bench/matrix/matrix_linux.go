// Package matrix compares headless with CoreDNS's kubernetes and hosts plugins and with other servers: it starts the servers, measures them in turn
// and says which targets are met. It needs Linux and two cores.
package matrix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/proc"
	"github.com/miekg/dns"
)

// Options are what is measured, and where it is written.
type Options struct {
	Markdown string // a file for the report
	Plot     string // an SVG file for the cost by size
	Profiles string // a folder for profiles of headless
	Progress func(format string, args ...any)
	// Parts are the parts to measure: queries, latency, insight, cache, overload, start, changes, nodes; none is all.
	Parts []string
	// Scale adds clusters of 100,000 and 1,000,000 endpoints, which take minutes and memory.
	Scale bool
	// Beside are other builds of this program, paths by name, whose headless is asked the same queries.
	Beside map[string]string
	// Quick measures queries and memory only, in little time, and fails when the cost of an answer or the memory grows with
	// the cluster by more than noise explains. Targets that are not met are no failures.
	Quick bool
}

// effort returns how much is measured of each query.
func (o Options) effort() effort {
	if o.Quick {
		return effort{5, 20 * time.Millisecond}
	}
	// With 7 rounds the cell of a small query moved by a fifth from run to run.
	return effort{31, 40 * time.Millisecond}
}

// part is a part of the matrix.
type part struct {
	name    string
	measure func(*lab, *report, Options) error
}

// parts returns the parts to measure.
func (o Options) parts() ([]part, error) {
	all := []part{
		{"queries", measureQueries},
		{"latency", measureLatency},
		{"insight", measureInsight},
		{"cache", measureCache},
		{"overload", measureOverload},
		{"start", measureStarts},
		{"changes", measureChanges},
		{"nodes", measureNodes},
	}
	if o.Quick {
		return []part{{"queries", measureQueries}, {"memory", checkMemory}}, nil
	}
	var parts []part
	if o.Scale {
		parts = append(parts, part{"scale", measureScale})
	}
	if len(o.Parts) == 0 {
		return append(all, parts...), nil
	}
	for _, name := range o.Parts {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q", name)
		}
		parts = append(parts, all[i])
	}
	return parts, nil
}

// Run measures everything, which takes some minutes, and writes the report to out.
func Run(o Options, out io.Writer) error {
	parts, err := o.parts()
	if err != nil {
		return err
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer l.close()
	r := &report{}
	start := time.Now()
	commit := commit() // now, for the plot is a file that is changed
	for _, part := range parts {
		o.Progress("%4.0f s: %s", time.Since(start).Seconds(), part.name)
		if failed := part.measure(l, r, o); failed != nil {
			err = fmt.Errorf("%s: %w", part.name, failed)
			break // and write what was measured until then
		}
	}
	return errors.Join(err, o.write(r, out, commit, time.Since(start)))
}

// write writes the report, and checks it if the run is a quick one.
func (o Options) write(r *report, out io.Writer, commit string, took time.Duration) error {
	page := o.heading(commit, took)
	if o.Markdown != "" {
		f, err := os.Create(o.Markdown)
		if err != nil {
			return err
		}
		if err := r.write(f, page); err != nil {
			_ = f.Close() // the first error is the one to tell
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if o.Quick {
		page = ""
	}
	if err := r.write(out, page); err != nil || !o.Quick {
		return err
	}
	return r.check()
}

// newLab takes the first two cores and makes a folder for files.
func newLab() (*lab, error) {
	cores, err := proc.Cores()
	if err != nil {
		return nil, err
	}
	if len(cores) < 2 {
		return nil, errors.New("two cores are needed: one for the server, one for everything else")
	}
	l := &lab{clientCore: cores[0], serverCore: cores[1], address: anyAddress(), ports: make(map[uint16]bool)}
	if err := proc.Pin(l.clientCore); err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	// The processes end with this one, whatever ends it.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		l.close()
		os.Exit(1)
	}()
	return l, nil
}

// anyAddress returns an address on the loopback, from 127.1.0.0 to 127.254.255.255.
func anyAddress() netip.Addr {
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], 127<<24+1<<16+rand.Uint32N(254<<16))
	return netip.AddrFrom4(address)
}

// close removes the files.
func (l *lab) close() { _ = os.RemoveAll(l.dir) } // the operating system clears what is left

// servers returns the names of the servers that answer queries, in the order of the table's columns.
func (o Options) servers() []string {
	all := []string{stock, headless, headless + inBlocks, wire}
	if !o.Quick {
		all = []string{stock, headless, stock + inBlocks, headless + inBlocks, hosts, wire}
		for _, f := range foreigners {
			all = append(all, f.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Beside)) {
		all = append(all, name, name+inBlocks)
	}
	return all
}

// withServers starts those of the named servers that are installed, calls use, and stops them.
func (l *lab) withServers(o Options, names []string, use func(cluster.Cluster, map[string]*subject) error) error {
	c := queryCluster()
	a, err := l.api(c)
	if err != nil {
		return err
	}
	defer a.Stop()
	upstream, err := newSink()
	if err != nil {
		return err
	}
	defer upstream.Close() //nolint:errcheck // nothing is left to be written
	hostsFile, err := l.file(c.WriteHosts)
	if err != nil {
		return err
	}
	zoneFile := ""
	if slices.ContainsFunc(names, isForeign) {
		if zoneFile, err = l.zoneFile(a.url); err != nil {
			return err
		}
	}
	start := func(name string) (*subject, error) {
		chain, plugin := watching, name
		build, isChained := strings.CutSuffix(name, inBlocks)
		if isChained {
			plugin = build
			chain = func(plugin, api string) string {
				return chained(twoBlocksCorefile, plugin, api, upstream.LocalAddr().String())
			}
		}
		if shown, ok := strings.CutSuffix(name, withInsight); ok {
			return l.serve(shown, watchingShown(shown, a.url))
		}
		if path, ok := o.Beside[build]; ok {
			return l.serveWith(proc.Program{Path: path}, headless, chain(headless, a.url))
		}
		if i := foreignIndex(name); i >= 0 {
			return foreigners[i].start(l, zoneFile)
		}
		switch name {
		case hosts:
			return l.serve(hosts, fmt.Sprintf(oneServer, "hosts "+hostsFile+" cluster.local in-addr.arpa ip6.arpa {\n\t\tttl 5\n\t}"))
		case wire:
			return l.serve(wire, fmt.Sprintf(oneServer, "wire "+hostsFile))
		}
		return l.serve(plugin, chain(plugin, a.url))
	}
	subjects := make(map[string]*subject)
	for _, name := range names {
		s, err := start(name)
		if err != nil {
			return err
		}
		if s == nil {
			o.Progress("%s is not installed", name)
			continue
		}
		defer s.Stop()
		if _, err := s.wait(pods(c.Services()[0], dns.TypeA)[0]); err != nil {
			return err
		}
		s.name, subjects[name] = name, s
	}
	return use(c, subjects)
}

// measureQueries compares all servers query by query.
func measureQueries(l *lab, r *report, o Options) error {
	return l.withServers(o, o.servers(), func(c cluster.Cluster, subjects map[string]*subject) error {
		servers := slices.DeleteFunc(o.servers(), func(name string) bool { return subjects[name] == nil })
		all := make(measurements)
		var cells []cell
		for _, group := range queryCells(c, servers) {
			m, err := rounds(group, subjects, o.effort())
			if err != nil {
				return err
			}
			r.judgeCells(group, m)
			cells = append(cells, group...)
			maps.Copy(all, m)
		}
		if !o.Quick {
			r.tabulate("Queries", "One plugin in the chain, or the two Server Blocks of deploy/base; a client with a buffer of 1,232 bytes.", servers, cells, all)
		}
		for _, build := range slices.Sorted(maps.Keys(o.Beside)) {
			r.against(build, cells, all)
		}
		if o.Plot != "" {
			if err := draw(o.Plot, all); err != nil {
				return err
			}
		}
		if o.Profiles == "" {
			return nil
		}
		for _, name := range []string{headless, headless + inBlocks} {
			dir := filepath.Join(o.Profiles, fileName(name))
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return err
			}
			mine := slices.DeleteFunc(slices.Clone(cells), func(c cell) bool { return !slices.Contains(c.servers, name) })
			if err := profile(dir, mine, subjects[name]); err != nil {
				return err
			}
		}
		return nil
	})
}
