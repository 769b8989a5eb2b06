package matrix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/miekg/dns"
)

// scaled is what was measured of headless in a large cluster.
type scaled struct {
	started
	changeP50, changeP99            float64 // ms from the API server to the answer
	records                         int     // of a transfer
	transfer, transferCPU           float64 // s
	relist                          float64 // s of CPU
	relistPeak                      float64 // MB in RAM at most
	snapshot, snapshotCPU           float64 // MB, and s
	atRest, atTransfer, atRelist    float64 // ms: the longest that a query waited
	atChanges, atTransferAndChanges float64
}

// measureScale measures headless in clusters of 100,000 and 1,000,000 endpoints.
func measureScale(l *lab, r *report, o Options) error {
	t := table{
		title: "Scale: headless, one run each",
		note: "Half of the Services are headless and have hostnames; each has ten endpoints. The server has one core for all that it does, so that\n" +
			"a query also waits for the CPU. While the longest wait was looked for, 500 queries a second came, and where it says so 200 changes.",
		columns: []string{"what"},
	}
	var all []*scaled
	for _, endpoints := range []int{100000, 1000000} {
		o.Progress("       %s endpoints", thousands(endpoints))
		m, err := l.scale(endpoints / perService)
		if err != nil {
			return fmt.Errorf("%d endpoints: %w", endpoints, err)
		}
		all = append(all, m)
		t.columns = append(t.columns, thousands(endpoints)+" endpoints")
	}
	for _, row := range []struct {
		name  string
		value func(*scaled) float64
	}{
		{"first answer after, ms", func(m *scaled) float64 { return m.first }},
		{"CPU till then, ms", func(m *scaled) float64 { return m.cpu }},
		{"memory at most till then, MB", func(m *scaled) float64 { return m.peak }},
		{"heap, MB", func(m *scaled) float64 { return m.heap }},
		{"change to answer, p50, ms", func(m *scaled) float64 { return m.changeP50 }},
		{"change to answer, p99, ms", func(m *scaled) float64 { return m.changeP99 }},
		{"records of a transfer", func(m *scaled) float64 { return float64(m.records) }},
		{"time of a transfer, s", func(m *scaled) float64 { return m.transfer }},
		{"its CPU, s", func(m *scaled) float64 { return m.transferCPU }},
		{"size of the snapshot, MB", func(m *scaled) float64 { return m.snapshot }},
		{"CPU to write it, s", func(m *scaled) float64 { return m.snapshotCPU }},
		{"CPU when all is listed again, s", func(m *scaled) float64 { return m.relist }},
		{"memory at most then, MB", func(m *scaled) float64 { return m.relistPeak }},
		{"longest wait of a query at rest, ms", func(m *scaled) float64 { return m.atRest }},
		{"with changes, ms", func(m *scaled) float64 { return m.atChanges }},
		{"with a transfer, ms", func(m *scaled) float64 { return m.atTransfer }},
		{"with both, ms", func(m *scaled) float64 { return m.atTransferAndChanges }},
		{"while all is listed again, ms", func(m *scaled) float64 { return m.atRelist }},
	} {
		cells := []string{row.name}
		for _, m := range all {
			cells = append(cells, short(row.value(m)))
		}
		t.add(cells...)
	}
	r.tables = append(r.tables, t)
	return nil
}

// scale measures headless in a cluster.
func (l *lab) scale(services int) (*scaled, error) {
	c, q := startCluster(services)
	a, err := l.api(c)
	if err != nil {
		return nil, err
	}
	defer func() { a.Stop() }()
	file := filepath.Join(l.dir, fmt.Sprint("snapshot-", services))
	corefile := strings.NewReplacer("bind ADDRESS", "bind ADDRESS\n\ttransfer {\n\t\tto *\n\t}", "endpoint", "snapshot "+file+" 24h 1s\n\t\tendpoint").
		Replace(watching(headless, a.url))
	s, err := l.serve(headless, corefile)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	m := &scaled{}
	if m.started, err = s.begun(q); err != nil {
		return nil, err
	}
	w := watcher{s, a}
	if m.snapshot, m.snapshotCPU, err = w.snapshot(file); err != nil {
		return nil, err
	}
	took, err := flips(w, c.Services()[0], flipsARound)
	if err != nil {
		return nil, err
	}
	m.changeP50, m.changeP99 = percentile(took, 0.5), percentile(took, 0.99)

	wait := func(during func() error) (float64, error) { return s.longestWait(q, during) }
	transfer := func() error {
		begun := time.Now()
		n := 0
		err := s.transfer(func(dns.RR) error { n++; return nil })
		m.records, m.transfer = n, time.Since(begun).Seconds()
		return err
	}
	pause := func() error {
		time.Sleep(3 * time.Second) // as long as is looked at
		return nil
	}
	changing := func(during func() error) func() error {
		return func() error {
			const rate = 200
			_, err := w.while(rate, func(n int) cluster.Change {
				return cluster.Change{Service: 1 + n/2%(services/2-1), Endpoint: 0, State: flipped(n)}
			}, during)
			return err
		}
	}
	before, err := s.CPU()
	if err != nil {
		return nil, err
	}
	if err := transfer(); err != nil {
		return nil, err
	}
	after, err := s.CPU()
	if err != nil {
		return nil, err
	}
	m.transferCPU = (after - before).Seconds()
	for _, part := range []struct {
		longest *float64
		during  func() error
	}{{&m.atRest, pause}, {&m.atChanges, changing(pause)}, {&m.atTransfer, transfer}, {&m.atTransferAndChanges, changing(transfer)}} {
		if *part.longest, err = wait(part.during); err != nil {
			return nil, err
		}
	}

	// Everything is listed again.
	memory := watchMemory(s)
	defer memory.stop()
	if before, err = s.CPU(); err != nil {
		return nil, err
	}
	a.Stop()
	if a, err = l.api(c, "-restarted", "-address", strings.TrimPrefix(a.url, "http://")); err != nil {
		return nil, err
	}
	m.atRelist, err = wait(func() error { return l.waitForChange(a, s, c) })
	if err != nil {
		return nil, err
	}
	if after, err = s.CPU(); err != nil {
		return nil, err
	}
	m.relist, m.relistPeak = (after - before).Seconds(), memory.most()
	return m, nil
}

// longestWait returns for how long a query waited at most, in ms, while during runs.
func (s *subject) longestWait(q query, during func() error) (float64, error) {
	plan := load.Plan{Server: s.address, Expect: q.expect, Count: 100, Rate: 500}
	packed, err := q.pack()
	if err != nil {
		return 0, err
	}
	plan.Queries = [][]byte{packed}
	ended := make(chan error, 1)
	go func() { ended <- during() }()
	for longest := time.Duration(0); ; {
		r, err := plan.Run()
		longest = max(longest, r.Max)
		select {
		case failed := <-ended:
			return longest.Seconds() * 1e3, errors.Join(err, failed)
		default:
		}
		if err != nil {
			return 0, errors.Join(err, <-ended)
		}
	}
}

// snapshot returns the size of the snapshot, in MB, and how many seconds of CPU it takes to write it, after a change.
func (w watcher) snapshot(file string) (size, cpu float64, err error) {
	written := func() (os.FileInfo, error) {
		for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			info, err := os.Stat(file)
			if err == nil || time.Since(begun) > time.Minute {
				return info, err
			}
		}
	}
	last, err := written()
	if err != nil {
		return 0, 0, err
	}
	before, err := w.CPU()
	if err != nil {
		return 0, 0, err
	}
	if _, err := w.api.change(cluster.Change{Service: 0, Endpoint: 0, State: cluster.Unready}); err != nil {
		return 0, 0, err
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		next, err := written()
		if err != nil {
			return 0, 0, err
		}
		if os.SameFile(last, next) {
			if time.Since(begun) > time.Minute {
				return 0, 0, fmt.Errorf("%s is not written again after a change", file)
			}
			continue
		}
		settle()
		after, err := w.CPU()
		if err != nil {
			return 0, 0, err
		}
		_, err = w.api.change(cluster.Change{Service: 0, Endpoint: 0, State: cluster.Ready})
		return float64(next.Size()) / mega, (after - before).Seconds(), err
	}
}
