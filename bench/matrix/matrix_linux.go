// Package matrix compares headless with CoreDNS's kubernetes and hosts plugins: it starts the servers, measures them in turn
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
	"slices"
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
	// Parts are the parts to measure: queries, latency, chains, start, changes; none is all.
	Parts []string
	// Quick measures queries and memory only, in little time, and fails when the cost of an answer or the memory grows with
	// the cluster by more than noise explains. Targets that are not met are no failures.
	Quick bool
}

// effort returns how much is measured of each query.
func (o Options) effort() effort {
	if o.Quick {
		return effort{5, 20 * time.Millisecond}
	}
	return effort{9, 60 * time.Millisecond}
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
		{"chains", measureChains},
		{"start", measureStarts},
		{"changes", measureChanges},
	}
	if o.Quick {
		return []part{{"queries", measureQueries}, {"memory", checkMemory}}, nil
	}
	if len(o.Parts) == 0 {
		return all, nil
	}
	var parts []part
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
		if err := part.measure(l, r, o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	page := o.heading(commit, time.Since(start))
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
	l := &lab{clientCore: cores[0], serverCore: cores[1], ports: make(map[uint16]bool)}
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], 127<<24+1<<16+rand.Uint32N(254<<16)) // 127.1.0.0 to 127.254.255.255
	l.address = netip.AddrFrom4(address)
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

// close removes the files.
func (l *lab) close() { _ = os.RemoveAll(l.dir) } // the operating system clears what is left

// withServers starts all servers, calls use, and stops them.
func (l *lab) withServers(use func(cluster.Cluster, map[string]*subject) error) error {
	c := queryCluster()
	a, err := l.api(c)
	if err != nil {
		return err
	}
	defer a.Stop()
	hostsFile, err := l.file(c.WriteHosts)
	if err != nil {
		return err
	}
	subjects := make(map[string]*subject)
	for name, corefile := range corefiles(a.url, hostsFile) {
		s, err := l.serve(name, corefile)
		if err != nil {
			return err
		}
		defer s.Stop()
		if _, err := s.wait(pods(c.Services()[0], dns.TypeA)[0]); err != nil {
			return err
		}
		subjects[name] = s
	}
	return use(c, subjects)
}

// measureQueries compares all servers query by query.
func measureQueries(l *lab, r *report, o Options) error {
	return l.withServers(func(c cluster.Cluster, subjects map[string]*subject) error {
		all := make(measurements)
		var cells []cell
		for _, group := range queryCells(c) {
			m, err := rounds(group, subjects, o.effort())
			if err != nil {
				return err
			}
			r.judgeCells(group, m)
			cells = append(cells, group...)
			maps.Copy(all, m)
		}
		r.tabulate("Queries", "One plugin in the chain, a client with a buffer of 1,232 bytes.", []string{stock, hosts, cut, wire, headless}, cells, all)
		if o.Plot != "" {
			if err := draw(o.Plot, all); err != nil {
				return err
			}
		}
		if o.Profiles != "" {
			return profile(o.Profiles, cells, subjects[headless])
		}
		return nil
	})
}
