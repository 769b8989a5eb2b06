package matrix

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

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
	for _, name := range pair {
		a, err := l.api(c)
		if err != nil {
			return all, stop, err
		}
		s, err := l.serve(name, watching(name, a.url))
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
	probed = iota
	busy
	rolling
)

var churnCluster = cluster.Cluster{
	probed:  {Name: "probed", Endpoints: 100, Headless: true, IPv4: true},
	busy:    {Name: "busy", Endpoints: 1000, Headless: true, IPv4: true},
	rolling: {Name: "rolling", Endpoints: 10000, Headless: true, IPv4: true},
}

// measureChanges measures how fast a change is answered, and what it costs.
func measureChanges(l *lab, r *report, o Options) error {
	services := churnCluster.Services()
	watchers, stop, err := l.watchers(churnCluster, pods(services[probed], dns.TypeA)[0])
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
	endpoint := s.Endpoints / 2
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
		change := cluster.Change{Service: probed, Endpoint: endpoint, State: flipped(n)}
		want := nameError
		if change.State == cluster.Ready {
			want = load.Expect{Answers: load.Exactly(1)}
		}
		type answered struct {
			at  time.Time
			err error
		}
		answer := make(chan answered)
		go func() {
			at, err := probe.Wait(want, 30*time.Second)
			answer <- answered{at, err}
		}()
		written, err := w.api.change(change)
		got := <-answer
		if err == nil {
			err = got.err
		}
		if err != nil {
			return nil, err
		}
		took = append(took, got.at.Sub(written).Seconds()*1e3)
	}
	return took, nil
}

// flipped is the state of an endpoint that is flipped again and again.
func flipped(n int) cluster.State {
	if n%2 == 0 {
		return cluster.Unready
	}
	return cluster.Ready
}

func changesAtRest(w watcher, services []cluster.Service, found samples) error {
	took, err := flips(w, services[probed], flipsARound)
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
	if _, err := flips(w, services[probed], 2); err != nil { // changes come in order: all others have arrived then
		return err
	}
	after, err := w.cost()
	if err != nil {
		return err
	}
	found.add(eventCPU, w.name, (after.cpu-before.cpu).Seconds()*1e6/float64(events))
	found.add(eventHeap, w.name, float64(after.allocated-before.allocated)/1e3/float64(events))

	_, err = w.churn(1000, func() error {
		took, err := flips(w, services[probed], flipsARound)
		if err != nil {
			return err
		}
		found.add(churnP50, w.name, percentile(took, 0.5))
		found.add(churnP99, w.name, percentile(took, 0.99))
		return nil
	})
	return err
}

// churn flips endpoints of the busy Service, so many a second, while during runs, and returns how often: those of one slice after
// the other.
func (w watcher) churn(rate float64, during func() error) (events int, err error) {
	slices := churnCluster[busy].Endpoints / cluster.PerSlice
	return w.while(rate, func(n int) cluster.Change {
		return cluster.Change{Service: busy, Endpoint: n % slices * cluster.PerSlice, State: flipped(n / slices)}
	}, during)
}

// while makes changes, so many a second, while during runs, and returns how many.
func (w watcher) while(rate float64, change func(n int) cluster.Change, during func() error) (events int, err error) {
	var running sync.WaitGroup
	var failed error
	done := make(chan struct{})
	running.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for start := time.Now(); failed == nil; {
			select {
			case <-done:
				return
			case now := <-tick.C:
				for due := int(rate * now.Sub(start).Seconds()); events < due && failed == nil; events++ {
					_, failed = w.api.change(change(events))
				}
			}
		}
	})
	err = during()
	close(done)
	running.Wait()
	if events == 0 && failed == nil {
		failed = errors.New("no change was made")
	}
	return events, errors.Join(err, failed)
}

func rollingRestart(w watcher, services []cluster.Service, found samples) error {
	const (
		queryRate = 500
		eventRate = 400
		seconds   = 2
		restarted = 9000 // the others are asked for
	)
	s := services[rolling]
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
	// The pod of one endpoint after the other is replaced.
	steps := []cluster.State{cluster.Terminating, cluster.Gone, cluster.Unready, cluster.Ready}
	events, err := w.while(eventRate, func(n int) cluster.Change {
		return cluster.Change{Service: rolling, Endpoint: n / len(steps), Generation: 1, State: steps[n%len(steps)]}
	}, queries)
	if err != nil {
		return err
	}
	if _, err = flips(w, services[probed], 2); err != nil {
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
