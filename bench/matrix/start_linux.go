package matrix

import (
	"fmt"
	"path/filepath"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/miekg/dns"
)

// started is what one start of a server measured.
type started struct {
	first     float64 // ms from exec to the first answer
	cpu       float64 // ms that this took of the core
	rss, peak float64 // MB
	heap      float64 // MB, after a garbage collection
}

// mega is a megabyte, as memory is given in.
const mega = 1e6

// start starts a server, waits for its first answer and stops it.
func (l *lab) start(name, corefile string, q query) (started, error) {
	s, err := l.serve(name, corefile)
	if err != nil {
		return started{}, err
	}
	defer s.Stop()
	return s.begun(q)
}

// begun waits for the first answer of a server that has just been started.
func (s *subject) begun(q query) (started, error) {
	var m started
	first, err := s.wait(q)
	if err != nil {
		return m, err
	}
	cpu, err := s.CPU()
	if err != nil {
		return m, err
	}
	memory, err := s.Memory()
	if err != nil {
		return m, err
	}
	runtime, err := s.runtime(true)
	m.first = first.Sub(s.Started).Seconds() * 1e3
	m.cpu = cpu.Seconds() * 1e3
	m.rss, m.peak, m.heap = float64(memory.RSS)/mega, float64(memory.Peak)/mega, float64(runtime.Heap)/mega
	return m, err
}

// starts starts the servers in turn, some times, with one API server, which has flags, and returns what was measured by server.
func (l *lab) starts(c cluster.Cluster, q query, times int, flags ...string) (map[string][]started, error) {
	a, err := l.api(c, flags...)
	if err != nil {
		return nil, err
	}
	defer a.Stop()
	all := make(map[string][]started)
	for n := range times {
		for i := range pair {
			name := pair[(i+n)%len(pair)]
			m, err := l.start(name, watching(name, a.url), q)
			if err != nil {
				return nil, err
			}
			all[name] = append(all[name], m)
		}
	}
	return all, nil
}

// column returns one of the measurements of each start.
func column(all []started, of func(started) float64) []float64 {
	var values []float64
	for _, m := range all {
		values = append(values, of(m))
	}
	return values
}

func first(m started) float64 { return m.first }
func cpu(m started) float64   { return m.cpu }
func rss(m started) float64   { return m.rss }
func peak(m started) float64  { return m.peak }
func heap(m started) float64  { return m.heap }

// perService is the number of endpoints of each Service of startCluster.
const perService = 10

// startCluster returns a cluster of so many Services with perService endpoints each, one half headless with hostnames, and the query
// that is asked when the cluster is known.
func startCluster(services int) (cluster.Cluster, query) {
	half := cluster.Group{
		Name: "web", Services: services / 2, Endpoints: perService, Namespaces: services / 100, Headless: true, IPv4: true,
	}
	other := half
	other.Name, other.Headless = "api", false
	c := cluster.Cluster{half, other}
	return c, pods(c.Services()[0], dns.TypeA)[0]
}

// measureStarts measures memory and the time to the first answer.
func measureStarts(l *lab, r *report, o Options) error {
	t := table{
		title: "Start: median of all starts",
		note: "RSS and its peak are read at the first answer, the heap after a garbage collection behind it. Half of the Services\n" +
			"are headless and have hostnames, half have ClusterIPs; each has ten endpoints. Lists come compressed, as clients ask for them:\n" +
			"streamed ones do so since Kubernetes 1.37.",
		columns: []string{"cluster, server", "first answer, ms", "CPU till then, ms", "RSS, MB", "peak, MB", "heap, MB"},
	}
	record := func(what string, all map[string][]started) {
		for _, name := range pair {
			median := func(of func(started) float64) string { return short(spreadOf(column(all[name], of)).median) }
			t.add(what+", "+name, median(first), median(cpu), median(rss), median(peak), median(heap))
		}
	}

	small := cluster.Cluster{{Name: "web", Endpoints: 3, Headless: true, IPv4: true}}
	near, err := l.starts(small, pods(small.Services()[0], dns.TypeA)[0], 7)
	if err != nil {
		return err
	}
	record("near-empty", near)

	for _, size := range []struct {
		services, times int
	}{{1000, 3}, {10000, 5}} {
		c, q := startCluster(size.services)
		cluster := fmt.Sprintf("%s Services, %s endpoints", thousands(size.services), thousands(10*size.services))
		streamed, err := l.starts(c, q, size.times)
		if err != nil {
			return err
		}
		record(cluster+", streamed", streamed)
		if size.services == 1000 {
			r.judge(verdict{"heap after sync, " + cluster, "", 0, spreadOf(column(streamed[headless], heap)), "MB", 0})
			continue
		}
		listed, err := l.starts(c, q, size.times, "-streamless")
		if err != nil {
			return err
		}
		record(cluster+", plain list", listed)
		plain, err := l.starts(c, q, size.times, "-plain")
		if err != nil {
			return err
		}
		record(cluster+", streamed and not compressed", plain)
		const limit = 25
		r.judge(verdict{"heap after sync, " + cluster, fmt.Sprintf("≤ %d MB", limit), limit, spreadOf(column(streamed[headless], heap)), "MB", 0})
		for _, by := range []struct {
			how string
			all map[string][]started
		}{{"streamed", streamed}, {"plain list", listed}, {"streamed and not compressed", plain}} {
			r.atMost("peak RSS, "+cluster+", "+by.how, 0.55, stock, column(by.all[headless], peak), column(by.all[stock], peak))
		}
		r.atMost("exec to first answer, near-empty", 0.5, stock, column(near[headless], first), column(near[stock], first))
		r.atMost("exec to first answer, "+cluster, 1, stock, column(streamed[headless], first), column(streamed[stock], first))
	}
	r.tables = append(r.tables, t)
	if o.Profiles != "" {
		return l.profileStart(o.Profiles)
	}
	return nil
}

// profileStart writes profiles of headless: of the CPU while it starts in a large cluster, of its heap after that, and of all that
// it allocated.
func (l *lab) profileStart(dir string) error {
	c, q := startCluster(10000)
	a, err := l.api(c)
	if err != nil {
		return err
	}
	defer a.Stop()
	s, err := l.serve(headless, watching(headless, a.url))
	if err != nil {
		return err
	}
	defer s.Stop()
	const seconds = 2
	if err := s.profile(filepath.Join(dir, "start.pprof"), seconds); err != nil {
		return err
	}
	if _, err := s.wait(q); err != nil {
		return err
	}
	if err := s.download("heap?gc=1", filepath.Join(dir, "start-heap.pprof")); err != nil {
		return err
	}
	return s.download("allocs", filepath.Join(dir, "start-allocs.pprof"))
}

// checkMemory measures the heap of headless in a large cluster.
func checkMemory(l *lab, r *report, _ Options) error {
	const (
		services  = 10000
		endpoints = 10 * services
		target    = 250 // bytes, all in all, as in measureStarts
		bound     = 400
	)
	c, q := startCluster(services)
	a, err := l.api(c)
	if err != nil {
		return err
	}
	defer a.Stop()
	m, err := l.start(headless, watching(headless, a.url), q)
	if err != nil {
		return err
	}
	each := spreadOf([]float64{m.heap * mega / endpoints})
	r.judge(verdict{
		fmt.Sprintf("heap per endpoint, %s Services, %s endpoints", thousands(services), thousands(endpoints)),
		fmt.Sprintf("≤ %d bytes", target), target, each, "bytes", bound,
	})
	return nil
}
