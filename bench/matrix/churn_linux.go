package matrix

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/coredns-headless/headless/bench/apiserver"
	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/miekg/dns"
)

// watcher is a server and an API server of its own, so that a change wakes nobody else.
type watcher struct {
	*subject
	api *api
}

// watchers starts a headless and a stock server that watch the same cluster, each at its own API server. stop stops all that
// was started, also after an error.
func (l *lab) watchers(c cluster.Cluster, q query) (all []watcher, stop func(), err error) {
	stop = func() {
		for _, w := range all {
			w.Stop()
			w.api.Stop()
		}
	}
	for _, name := range []string{headless, stock} {
		a, err := l.api(c)
		if err != nil {
			return all, stop, err
		}
		s, err := l.serve(name, corefiles(a.url, "")[name])
		if err != nil {
			a.Stop()
			return all, stop, err
		}
		all = append(all, watcher{s, a})
		if _, err := s.wait(q); err != nil {
			return all, stop, err
		}
	}
	return all, stop, nil
}

// samples are what was measured by row and server, round by round.
type samples map[string]map[string][]float64

func (s samples) add(row, server string, value float64) {
	if s[row] == nil {
		s[row] = make(map[string][]float64)
	}
	s[row][server] = append(s[row][server], value)
}

// The Services of the churn cluster.
const (
	probed  = "n/probed"
	busy    = "n/busy"
	rolling = "n/rolling"
)

func churnCluster() cluster.Cluster {
	group := func(name string, endpoints int) cluster.Group {
		return cluster.Group{
			Name: name, Services: 1, Endpoints: endpoints, Namespaces: 1,
			Headless: true, Hostnames: true, Zones: true, NamedPorts: true, IPv4: true,
		}
	}
	return cluster.Cluster{group("probed", 100), group("busy", 1000), group("rolling", 10000)}
}

// measureChanges measures how fast a change is answered, and what it costs.
func measureChanges(l *lab, r *report, o Options) error {
	c := churnCluster()
	services := c.Services()
	watchers, stop, err := l.watchers(c, pods(services[0], dns.TypeA)[0])
	defer stop()
	if err != nil {
		return err
	}
	found := make(samples)
	for n := range 7 {
		for i := range watchers {
			w := watchers[(i+n)%len(watchers)]
			for _, measure := range []func(watcher, []cluster.Service, samples) error{changesAtRest, changesUnderChurn, rollingRestart} {
				if err := measure(w, services, found); err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
			}
		}
	}
	if o.Profiles != "" {
		w := watchers[0]
		const seconds = 4
		_, err := w.churn(1000, func() error { return w.profile(filepath.Join(o.Profiles, "changes.pprof"), seconds) })
		if err != nil {
			return err
		}
		if err := w.download("allocs", filepath.Join(o.Profiles, "changes-allocs.pprof")); err != nil {
			return err
		}
	}
	t := table{
		title: "Changes: median of all rounds",
		note: "A change is the readiness of one endpoint in a slice of 100; it begins when the API server writes it and ends with the first\n" +
			"answer that shows it. The rolling restart is that of a Service of 10,000 endpoints, 400 events a second, while 500\n" +
			"queries a second for its other endpoints are answered; the cost of those is taken off.",
		columns: []string{"what", stock, headless},
	}
	for _, row := range changeRows {
		ours, theirs := found[row.name][headless], found[row.name][stock]
		t.add(row.name+", "+row.unit, spreadOf(theirs).String(), spreadOf(ours).String())
		r.atMost(row.name, row.limit, stock, ours, theirs)
	}
	r.tables = append(r.tables, t)
	return nil
}

// The rows about changes.
const (
	atRestP50  = "change to answer at rest, p50"
	atRestP99  = "change to answer at rest, p99"
	churnP50   = "change to answer at 1,000 changes/s, p50"
	churnP99   = "change to answer at 1,000 changes/s, p99"
	eventCPU   = "CPU per event of a 100-endpoint slice"
	eventHeap  = "garbage per event of a 100-endpoint slice"
	rollingCPU = "CPU per event of a rolling restart, Service of 10,000"
	rollingGC  = "garbage per event of a rolling restart, Service of 10,000"
)

var changeRows = []struct {
	name, unit string
	limit      float64
}{
	{atRestP50, "ms", 1},
	{atRestP99, "ms", 1},
	{churnP50, "ms", 1},
	{churnP99, "ms", 1},
	{eventCPU, "µs", 0.5},
	{eventHeap, "KB", 0.5},
	{rollingCPU, "µs", 0.5},
	{rollingGC, "KB", 0.5},
}

// flipsARound is enough for a p99 that is not the slowest of all.
const flipsARound = 200

// flips changes the readiness of an endpoint to and fro and returns how long it took until the answer changed, in ms.
func flips(w watcher, s cluster.Service, times int) ([]float64, error) {
	const endpoint = 50
	q := query{s.PodDomain(endpoint, 0), dns.TypeA, load.Expect{}}
	packed, err := q.pack()
	if err != nil {
		return nil, err
	}
	probe, err := load.NewProbe(w.address, packed)
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	var took []float64
	for n := range times {
		ready := n%2 == 1
		want := nameError
		if ready {
			want = load.Expect{Answers: load.Exactly(1)}
		}
		type answered struct {
			at  time.Time
			err error
		}
		answer := make(chan answered)
		go func() {
			at, err := probe.Wait(want, 5*time.Second)
			answer <- answered{at, err}
		}()
		var sent apiserver.Sent
		err := w.api.do(fmt.Sprintf("flip?service=%s&endpoint=%d&ready=%v", probed, endpoint, ready), &sent)
		got := <-answer
		if err == nil {
			err = got.err
		}
		if err != nil {
			return nil, err
		}
		took = append(took, got.at.Sub(sent.At).Seconds()*1e3)
	}
	return took, nil
}

func changesAtRest(w watcher, services []cluster.Service, found samples) error {
	took, err := flips(w, services[0], flipsARound)
	if err != nil {
		return err
	}
	found.add(atRestP50, w.name, percentile(took, 0.5))
	found.add(atRestP99, w.name, percentile(took, 0.99))
	return nil
}

// cost is what a server has used so far.
type cost struct {
	cpu       time.Duration
	allocated uint64
}

func (s *subject) cost() (cost, error) {
	settle()
	cpu, err := s.CPU()
	if err != nil {
		return cost{}, err
	}
	r, err := s.runtime(false)
	return cost{cpu, r.Allocated}, err
}

func changesUnderChurn(w watcher, services []cluster.Service, found samples) error {
	// What an event costs, without any query.
	before, err := w.cost()
	if err != nil {
		return err
	}
	events, err := w.churn(500, func() error {
		time.Sleep(time.Second) // as long as the churn is measured
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := flips(w, services[0], 2); err != nil { // changes come in order: all others have arrived then
		return err
	}
	after, err := w.cost()
	if err != nil {
		return err
	}
	found.add(eventCPU, w.name, (after.cpu-before.cpu).Seconds()*1e6/float64(events))
	found.add(eventHeap, w.name, float64(after.allocated-before.allocated)/1e3/float64(events))

	_, err = w.churn(1000, func() error {
		took, err := flips(w, services[0], flipsARound)
		if err != nil {
			return err
		}
		found.add(churnP50, w.name, percentile(took, 0.5))
		found.add(churnP99, w.name, percentile(took, 0.99))
		return nil
	})
	return err
}

// churn flips endpoints of the busy Service, so many a second, while during runs, and returns how often.
func (w watcher) churn(rate int, during func() error) (events int, err error) {
	return w.while(fmt.Sprintf("churn?service=%s&rate=%d", busy, rate), during)
}

// while lets the API server do something while during runs, and returns how many events that were.
func (w watcher) while(request string, during func() error) (events int, err error) {
	if err := w.api.do(request, &struct{}{}); err != nil {
		return 0, err
	}
	err = during()
	var done apiserver.Changes
	if failed := w.api.do("stop", &done); err == nil {
		err = failed
	}
	if err == nil && done.Events == 0 {
		err = fmt.Errorf("no event in %v of %s", done.Elapsed, request)
	}
	return done.Events, err
}

func rollingRestart(w watcher, services []cluster.Service, found samples) error {
	const (
		queryRate = 500
		eventRate = 400
		seconds   = 2
		restarted = 9000 // the others are asked for
	)
	s := services[2]
	plan := load.Plan{Server: w.address, Rate: queryRate, Count: queryRate * seconds, Expect: load.Expect{Answers: load.Exactly(1)}}
	for i := restarted; i < s.Endpoints; i += 10 {
		packed, err := query{s.PodDomain(i, 0), dns.TypeA, plan.Expect}.pack()
		if err != nil {
			return err
		}
		plan.Queries = append(plan.Queries, packed)
	}
	queries := func() error {
		_, err := plan.Run()
		return err
	}
	costs := make([]cost, 3)
	var err error
	if costs[0], err = w.cost(); err != nil {
		return err
	}
	if err = queries(); err != nil {
		return err
	}
	if costs[1], err = w.cost(); err != nil {
		return err
	}
	events, err := w.while(fmt.Sprintf("restart?service=%s&endpoints=%d&rate=%d", rolling, restarted, eventRate), queries)
	if err != nil {
		return err
	}
	if _, err = flips(w, services[0], 2); err != nil {
		return err
	}
	if costs[2], err = w.cost(); err != nil {
		return err
	}
	cpu := (costs[2].cpu - costs[1].cpu) - (costs[1].cpu - costs[0].cpu)
	allocated := (costs[2].allocated - costs[1].allocated) - (costs[1].allocated - costs[0].allocated)
	found.add(rollingCPU, w.name, cpu.Seconds()*1e6/float64(events))
	found.add(rollingGC, w.name, float64(allocated)/1e3/float64(events))
	return nil
}
