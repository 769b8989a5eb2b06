package matrix

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/miekg/dns"
)

// withInsight is what the name of a server gets behind it when it counts and shows who asks what fails.
const withInsight = ", insight"

// watchingShown is watching with the option insight.
func watchingShown(plugin, api string) string {
	return strings.Replace(watching(plugin, api), "endpoint ", "insight 127.0.0.1:0\n\t\tendpoint ", 1)
}

// measureInsight compares headless with the option insight and without.
func measureInsight(l *lab, r *report, o Options) error {
	servers := []string{headless, headless + withInsight}
	return l.withServers(o, servers, func(c cluster.Cluster, subjects map[string]*subject) error {
		many := cell{name: "NXDOMAIN, 10,000 names in turn", servers: servers}
		for n := range 10_000 {
			many.queries = append(many.queries, query{fmt.Sprintf("nobody-%d.n.svc.cluster.local.", n), dns.TypeA, nameError})
		}
		cells := []cell{many}
		for _, c := range slices.Concat(queryCells(c, servers)...) {
			if slices.Contains([]string{podRow(100), serviceRow(100), srvRow(100), "NXDOMAIN", noDataRow(3)}, c.name) {
				c.servers = servers
				cells = append(cells, c)
			}
		}
		m, err := rounds(cells, subjects, effort{31, 50 * time.Millisecond}) // the difference is a hundredth of the cost
		if err != nil {
			return err
		}
		t := table{
			title: "The option insight: server CPU per query, µs", columns: []string{"query", "without", "with", "ratio (quartiles)"},
			note: "One client in a closed loop, as above.",
		}
		for _, c := range cells {
			off, on := m.cpu(c.name, headless), m.cpu(c.name, headless+withInsight)
			t.add(c.name, short(spreadOf(off).median), short(spreadOf(on).median), spreadOf(ratios(on, off)).String())
		}
		r.tables = append(r.tables, t)
		return nil
	})
}
