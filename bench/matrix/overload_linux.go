package matrix

import (
	"fmt"
	"sync"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/miekg/dns"
)

// overload is how many times as many queries as one core can answer are sent.
const overload = 3

// measureOverload sends servers more than they can answer, and sees what they do.
func measureOverload(l *lab, r *report, o Options) error {
	t := table{
		title: fmt.Sprintf("Overload: %d times as many queries as one core can answer", overload),
		note: "For five seconds, over UDP, for one pod of 1,000, behind the two Server Blocks of deploy/base. What one core can answer is\n" +
			"reckoned from the CPU time of a query in a closed loop. Memory is RSS; goroutines are the most that were seen.",
		columns: []string{"server", "one core can, 1/s", "offered, 1/s", "answered, 1/s", "of what it can", "memory before, MB", "at most, MB", "goroutines"},
	}
	names := []string{stock + inBlocks, headless + inBlocks}
	return l.withServers(o, names, func(c cluster.Cluster, subjects map[string]*subject) error {
		cell := cell{name: podRow(1000), queries: pods(c.Service("web-1000"), dns.TypeA)}
		for _, name := range names {
			if err := flood(&t, &cell, subjects[name]); err != nil {
				return err
			}
		}
		r.tables = append(r.tables, t)
		return nil
	})
}

// flood adds the row of a server.
func flood(t *table, c *cell, s *subject) error {
	var costs []float64
	for range 5 {
		const count = 10000
		one, err := c.ask(s, count)
		if err != nil {
			return err
		}
		costs = append(costs, one.cpu)
	}
	capacity := 1e6 / spreadOf(costs).median
	plan, err := c.plan(s, 0)
	if err != nil {
		return err
	}
	plan.Rate = overload * capacity
	before, err := s.Memory()
	if err != nil {
		return err
	}
	memory := watchMemory(s)
	defer memory.stop()
	goroutines := s.watchGoroutines()
	flooded, err := plan.Flood(5 * time.Second)
	most, failed := goroutines()
	if err == nil {
		err = failed
	}
	if err == nil { // and it is as it was
		err = s.recover(plan)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	perSecond := func(n int) float64 { return float64(n) / flooded.Elapsed.Seconds() }
	t.add(s.name, thousands(int(capacity)), thousands(int(perSecond(flooded.Sent))), thousands(int(perSecond(flooded.Replies))),
		short(perSecond(flooded.Replies)/capacity), short(float64(before.RSS)/mega), short(memory.most()), thousands(most))
	return nil
}

// recover returns an error if the server does not answer once the flood is over.
func (s *subject) recover(plan load.Plan) error {
	plan.Rate, plan.Outstanding, plan.Count = 0, 1, 100
	_, err := plan.Run()
	return err
}

// watchGoroutines counts the goroutines of a server until the function that it returns is called, which says how many there were at
// most.
func (s *subject) watchGoroutines() (stop func() (most int, err error)) {
	var (
		running sync.WaitGroup
		most    int
		failed  error
		done    = make(chan struct{})
	)
	running.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for failed == nil {
			select {
			case <-done:
				return
			case <-tick.C:
				r, err := s.runtime(false)
				most, failed = max(most, r.Goroutines), err
			}
		}
	})
	return func() (int, error) {
		close(done)
		running.Wait()
		return most, failed
	}
}
