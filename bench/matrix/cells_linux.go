package matrix

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
)

// cell is a kind of query that some servers are asked.
type cell struct {
	name    string
	queries []query
	tcp     bool
	servers []string
	differs map[string]load.Expect // the shapes of the plugins whose answers are known to be others
	targets []target
}

// target is what a cell's cost is held against: limit times that of another server, or being flat, compared to another cell.
type target struct {
	limit     float64
	reference string // a server; "": another cell
	flat      string // that cell
}

// round is what one round measured of one server in one cell.
type round struct {
	cpu float64 // µs a query
	load.Result
}

// effort is how much is measured.
type effort struct {
	rounds int
	budget time.Duration // of the server's CPU time in each round of a cell
}

// Over UDP so many queries wait for a reply, over TCP there are so many connections and one query on each.
const (
	outstandingUDP = 16
	outstandingTCP = 4
)

// measurements are the rounds by cell and server.
type measurements map[string]map[string][]round

// cpu returns the CPU time of a server's query in each round of a cell.
func (m measurements) cpu(cell, server string) []float64 {
	var cpu []float64
	for _, r := range m[cell][server] {
		cpu = append(cpu, r.cpu)
	}
	return cpu
}

// plan returns the plan to ask a server count queries.
func (c *cell) plan(s *subject, count int) (load.Plan, error) {
	p := load.Plan{Server: s.address, TCP: c.tcp, Expect: c.queries[0].expect, Count: count, Outstanding: outstandingUDP}
	if c.tcp {
		p.Outstanding = outstandingTCP
	}
	if e, ok := c.differs[s.plugin]; ok {
		p.Expect = e
	}
	p.Expect.Foreign = s.plugin == foreign
	for _, q := range c.queries {
		packed, err := q.pack()
		if err != nil {
			return p, err
		}
		p.Queries = append(p.Queries, packed)
	}
	return p, nil
}

// ask asks a server count queries of a cell.
func (c *cell) ask(s *subject, count int) (round, error) {
	plan, err := c.plan(s, count)
	if err != nil {
		return round{}, err
	}
	before, err := s.CPU()
	if err != nil {
		return round{}, err
	}
	result, err := plan.Run()
	if err != nil {
		return round{}, fmt.Errorf("%s, asked for %s: %w", s.name, c.name, err)
	}
	settle()
	after, err := s.CPU()
	return round{(after - before).Seconds() * 1e6 / float64(count), result}, err
}

// settle gives a server the moment that it takes to fall asleep after its last reply, so that its CPU clock is exact.
func settle() { time.Sleep(2 * time.Millisecond) }

// rounds asks the servers in turn, cell by cell, over and over again.
func rounds(cells []cell, subjects map[string]*subject, e effort) (measurements, error) {
	m := make(measurements)
	counts := make(map[string]map[string]int)
	for _, c := range cells {
		m[c.name], counts[c.name] = make(map[string][]round), make(map[string]int)
		for _, server := range c.servers {
			// The first answers warm the server up, and tell how many make a round.
			count := 20
			for range 2 {
				r, err := c.ask(subjects[server], count)
				if err != nil {
					return nil, err
				}
				count = min(20000, max(20, int(e.budget.Seconds()*1e6/r.cpu)))
			}
			counts[c.name][server] = count
		}
	}
	for n := range e.rounds {
		for _, c := range cells {
			for i := range c.servers {
				server := c.servers[(i+n)%len(c.servers)] // nobody is always the first
				r, err := c.ask(subjects[server], counts[c.name][server])
				if err != nil {
					return nil, err
				}
				m[c.name][server] = append(m[c.name][server], r)
			}
		}
	}
	return m, nil
}

// judge adds the verdicts about cells.
func (r *report) judgeCells(cells []cell, m measurements) {
	for _, c := range cells {
		ours := m.cpu(c.name, headless)
		for _, t := range c.targets {
			if t.flat != "" {
				r.isFlat(c.name, t.flat, ours, m.cpu(t.flat, headless))
			} else if theirs := m.cpu(c.name, t.reference); len(theirs) > 0 { // otherwise it is not installed
				r.atMost(c.name, t.limit, t.reference, ours, theirs)
			}
		}
	}
}

// tabulate adds a table of the CPU time of a query, and one of how the client saw it.
func (r *report) tabulate(title, note string, servers []string, cells []cell, m measurements) {
	columns := append([]string{"query"}, servers...)
	cpu := table{title: title + ": server CPU per query, µs", note: note + " TC: the reply is truncated.", columns: columns}
	seen := table{
		title:   title + ": queries a second, p50 / p99 in µs",
		columns: columns,
		note: fmt.Sprintf("One client in a closed loop: %d queries wait for a reply over UDP; over TCP there are %d connections that stay\n"+
			"open, with one query on each.", outstandingUDP, outstandingTCP),
	}
	for _, c := range cells {
		cpuRow, seenRow := []string{c.name}, []string{c.name}
		for _, server := range servers {
			all := m[c.name][server]
			if len(all) == 0 {
				cpuRow, seenRow = append(cpuRow, "–"), append(seenRow, "–")
				continue
			}
			var qps, p50, p99 []float64
			truncated := ""
			for _, one := range all {
				qps = append(qps, one.QPS())
				p50 = append(p50, one.P50.Seconds()*1e6)
				p99 = append(p99, one.P99.Seconds()*1e6)
				if one.Truncated > 0 {
					truncated = " TC"
				}
			}
			cpuRow = append(cpuRow, short(spreadOf(m.cpu(c.name, server)).median)+truncated)
			seenRow = append(seenRow, fmt.Sprintf("%.0f, %.0f / %.0f", spreadOf(qps).median, spreadOf(p50).median, spreadOf(p99).median))
		}
		cpu.add(cpuRow...)
		seen.add(seenRow...)
	}
	r.tables = append(r.tables, cpu, seen)
}

// against adds a table of headless beside another build of it, alone and in two blocks.
func (r *report) against(build string, cells []cell, m measurements) {
	t := table{
		title:   "This build beside " + build + ": ratio of server CPU per query (quartiles)",
		columns: []string{"query", headless, headless + inBlocks},
	}
	for _, c := range cells {
		row := []string{c.name}
		for _, chain := range []string{"", inBlocks} {
			ours, theirs := m.cpu(c.name, headless+chain), m.cpu(c.name, build+chain)
			if len(ours) == 0 || len(theirs) == 0 {
				row = append(row, "–")
				continue
			}
			row = append(row, spreadOf(ratios(ours, theirs)).String())
		}
		t.add(row...)
	}
	r.tables = append(r.tables, t)
}

// profile writes a CPU profile of a server while it is asked the queries of each cell.
func profile(dir string, cells []cell, s *subject) error {
	for _, c := range cells {
		r, err := c.ask(s, 1000)
		if err != nil {
			return err
		}
		const seconds = 2
		profiled := make(chan error)
		go func() { profiled <- s.profile(filepath.Join(dir, fileName(c.name)+".pprof"), seconds) }()
		_, err = c.ask(s, int(1.2*seconds*1e6/r.cpu))
		if failed := <-profiled; err == nil {
			err = failed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func fileName(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /,:", r) {
			return '-'
		}
		return r
	}, text)
}

// profile writes a CPU profile of the next seconds.
func (s *subject) profile(path string, seconds int) error {
	return s.download(fmt.Sprintf("profile?seconds=%d", seconds), path)
}

// download writes one of the profiles that net/http/pprof has.
func (s *subject) download(what, path string) error {
	resp, err := http.Get(s.control + "/debug/pprof/" + what)
	if err != nil {
		return err
	}
	defer resp.Body.Close()   //nolint:errcheck // it is read to its end
	f, err := os.Create(path) //nolint:gosec // the caller says which
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		_ = f.Close() // the first error is the one to tell
		return err
	}
	return f.Close()
}

// queryCluster is the cluster of the queries.
func queryCluster() cluster.Cluster {
	var c cluster.Cluster
	for _, n := range append([]int{4000}, sizes...) {
		c = append(c, cluster.Group{Name: fmt.Sprintf("web-%d", n), Endpoints: n, Headless: true, IPv4: true})
	}
	for _, n := range []int{3, 1000} {
		c = append(c,
			cluster.Group{Name: fmt.Sprintf("six-%d", n), Endpoints: n, Headless: true, IPv6: true},
			cluster.Group{Name: fmt.Sprintf("dual-%d", n), Endpoints: n, Headless: true, IPv4: true, IPv6: true})
	}
	return append(c, cluster.Group{Name: "api", Services: 3, Endpoints: 3, IPv4: true})
}

// sizes are the sizes of the Services in the plot.
var sizes = []int{3, 10, 100, 1000, 5000}

// oneServer is a server block with one plugin in it.
const oneServer = `.:PORT {
	bind ADDRESS
	%s
}
`

// watching returns a server block with a plugin alone that watches an API server.
func watching(plugin, api string) string {
	return fmt.Sprintf(oneServer, plugin+" cluster.local in-addr.arpa ip6.arpa {\n\t\tendpoint "+api+"\n\t}")
}
