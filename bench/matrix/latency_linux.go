package matrix

import (
	"fmt"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/miekg/dns"
)

// measureLatency measures how long a reply takes when a server is not busy: in an open loop.
func measureLatency(l *lab, r *report, o Options) error {
	const rate = 1000
	all := []string{stock, headless, hosts, wire}
	found := make(samples)
	t := table{
		title:   "Latency in an open loop: p50 / p99 in µs",
		note:    fmt.Sprintf("%s queries a second, whether there are replies or not, for half a second a round. A reply's time begins when the query\nis due. Whatever else the machine does shows here.", thousands(rate)),
		columns: append([]string{"query"}, all...),
	}
	return l.withServers(o, all, func(c cluster.Cluster, subjects map[string]*subject) error {
		for _, n := range []int{3, 1000} {
			web := c.Service(fmt.Sprintf("web-%d", n))
			for _, cell := range []cell{
				{name: podRow(n), queries: pods(web, dns.TypeA)},
				{name: serviceRow(n), queries: []query{service(web, dns.TypeA, n, false)}},
			} {
				for i := range 5 {
					for j := range all {
						s := subjects[all[(i+j)%len(all)]]
						plan, err := cell.plan(s, rate/2)
						if err != nil {
							return err
						}
						plan.Rate = rate
						result, err := plan.Run()
						if err != nil {
							return fmt.Errorf("%s, asked for %s: %w", s.name, cell.name, err)
						}
						found.add("p50", s.name, float64(result.P50)/float64(time.Microsecond))
						found.add("p99", s.name, float64(result.P99)/float64(time.Microsecond))
					}
				}
				row := []string{cell.name}
				for _, name := range all {
					row = append(row, fmt.Sprintf("%.0f / %.0f", spreadOf(found["p50"][name]).median, spreadOf(found["p99"][name]).median))
				}
				clear(found)
				t.add(row...)
			}
		}
		r.tables = append(r.tables, t)
		return nil
	})
}
