// Package matrix compares headless with CoreDNS's kubernetes and hosts plugins: it starts the servers, measures them in turn
// and says which targets are met. It needs Linux and two cores.
package matrix

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/bench/proc"
)

// Options are what is measured, and where it is written.
type Options struct {
	Markdown string // a file for the report
	Plot     string // an SVG file for the cost by size
	Profiles string // a folder for a CPU profile of headless for each query
	Progress func(format string, args ...any)
}

// Run measures everything, which takes some minutes, and writes the report to out.
func Run(o Options, out io.Writer) error {
	l, err := newLab()
	if err != nil {
		return err
	}
	defer l.close()
	r := &report{}
	start := time.Now()
	for _, part := range []struct {
		name    string
		measure func(*lab, *report, Options) error
	}{
		{"queries", measureQueries},
		{"start", measureStarts},
		{"changes", measureChanges},
	} {
		o.Progress("%4.0f s: %s", time.Since(start).Seconds(), part.name)
		if err := part.measure(l, r, o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	page := heading(time.Since(start))
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
	return r.write(out, page)
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
	l := &lab{clientCore: cores[0], serverCore: cores[1]}
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

// measureQueries compares all servers query by query.
func measureQueries(l *lab, r *report, o Options) error {
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
	groups := queryCells(c)
	for name, corefile := range corefiles(a.url, hostsFile) {
		s, err := l.serve(name, corefile)
		if err != nil {
			return err
		}
		defer s.Stop()
		if _, err := s.wait(groups[0][0].queries[0]); err != nil {
			return err
		}
		subjects[name] = s
	}
	all := make(measurements)
	var cells []cell
	for _, group := range groups {
		m, err := rounds(group, subjects, effort{9, 60 * time.Millisecond})
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
}
