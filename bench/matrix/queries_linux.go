package matrix

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/miekg/dns"
)

// queryCells returns the cells whose cost is CPU time per query, in groups: the cells of a group are compared. They are asked of
// those of the servers that can answer.
func queryCells(c cluster.Cluster, servers []string) [][]cell {
	web := func(n int) cluster.Service { return c.Service(fmt.Sprintf("web-%d", n)) }
	only := func(can func(string) bool) []string {
		return slices.DeleteFunc(slices.Clone(servers), func(s string) bool { return !can(s) })
	}
	whole := only(func(s string) bool { return s != hosts && s != wire })    // the others know addresses alone
	coreDNS := only(func(s string) bool { return !isForeign(s) })            // the others have no set larger than a message
	names := only(func(s string) bool { return s != wire && !isForeign(s) }) // and reverse zones

	pod := func(n int, targets ...target) cell {
		return cell{name: podRow(n), queries: pods(web(n), dns.TypeA), targets: targets}
	}
	udp := func(n int, targets ...target) cell {
		return cell{name: serviceRow(n), queries: []query{service(web(n), dns.TypeA, n, false)}, targets: targets}
	}
	tcp := func(n int, servers []string, targets ...target) cell {
		c := overTCP(fmt.Sprintf("Service of %s (A, TCP)", thousands(n)), service(web(n), dns.TypeA, n, true))
		c.servers, c.targets = servers, targets
		return c
	}
	srvUDP := func(n int, targets ...target) cell {
		return cell{name: srvRow(n), queries: []query{srv(web(n), false)}, servers: whole, targets: targets}
	}
	nearWire := target{limit: 1.3, reference: wire}
	ofStock := func(limit float64) target { return target{limit: limit, reference: stock} }
	flatTo := func(row string) target { return target{flat: row} }
	stockSRV := load.Expect{Truncated: true, Answers: load.Exactly(1000), Extra: some}

	six := func(s, row string, n int) cell {
		return cell{name: row, queries: []query{service(c.Service(s), dns.TypeAAAA, n, false)}, targets: []target{nearWire}}
	}
	noAAAA := func(n int, t ...target) cell {
		return cell{name: noDataRow(n), queries: []query{{web(n).Domain(), dns.TypeAAAA, noData}}, servers: whole, targets: t}
	}
	groups := [][]cell{
		{
			pod(3, nearWire), pod(100, nearWire), pod(1000, nearWire), pod(5000, nearWire, flatTo(podRow(3))),
			{name: "one pod of 5,000 (A, TCP)", tcp: true, queries: pods(web(5000), dns.TypeA), targets: []target{nearWire}},
		}, {
			udp(3, nearWire), udp(10, nearWire),
			udp(100, nearWire), udp(1000, nearWire), udp(5000, nearWire, flatTo(serviceRow(100))),
		}, {
			tcp(1000, servers), tcp(4000, servers, target{limit: 1.6, reference: wire}, target{limit: 1.5, reference: "nsd"}), tcp(5000, coreDNS),
		}, {
			srvUDP(3, ofStock(0.5)), srvUDP(100, ofStock(0.2)), srvUDP(1000, flatTo(srvRow(100))),
			{
				name: "SRV of 1,000 (TCP), all answers", tcp: true, queries: []query{srv(web(1000), true)},
				differs: map[string]load.Expect{stock: stockSRV}, servers: whole, targets: []target{ofStock(0.3)},
			},
		}, {
			noAAAA(3, ofStock(0.6)), noAAAA(1000, flatTo(noDataRow(3))),
		}, {
			{
				name: "ClusterIP (A)", queries: []query{service(c.Service("api-0"), dns.TypeA, 1, false)},
				targets: []target{ofStock(0.7), nearWire},
			},
			{
				name: "NXDOMAIN", queries: []query{{"nobody.n.svc.cluster.local.", dns.TypeA, nameError}},
				servers: whole, targets: []target{ofStock(0.7)},
			},
			{
				name: "NXDOMAIN below a Service of 1,000", queries: []query{{web(1000).PodDomain(1000, 0), dns.TypeA, nameError}},
				servers: whole, targets: []target{ofStock(0.7)},
			},
			{
				name: "PTR of a ClusterIP", queries: []query{reverse(c.Service("api-0").ClusterIPs()[0].String())},
				servers: names, targets: []target{ofStock(0.7)},
			},
			{
				name: "PTR of one pod of 1,000", queries: []query{reverse(web(1000).Addresses(500, 0)[0].String())},
				servers: slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == hosts }), // which has two names
				targets: []target{ofStock(0.7)},
			},
			{name: outsideRow, queries: []query{outside}, servers: only(func(s string) bool { return strings.HasSuffix(s, inBlocks) })},
		}, {
			{
				name: "IPv6: one pod of 1,000 (AAAA, UDP)", queries: pods(c.Service("six-1000"), dns.TypeAAAA),
				targets: []target{nearWire},
			},
			six("six-3", "IPv6: Service of 3 (AAAA, UDP)", 3),
			six("six-1000", "IPv6: Service of 1,000 (AAAA, UDP)", 1000),
			{
				name: "IPv6: SRV of 3 (UDP)", queries: []query{srv(c.Service("six-3"), false)},
				servers: whole, targets: []target{ofStock(0.5)},
			},
		}, {
			{
				name: "dual-stack: one pod of 1,000 (A, UDP)", queries: pods(c.Service("dual-1000"), dns.TypeA),
				targets: []target{nearWire},
			},
			{
				name: "dual-stack: one pod of 1,000 (AAAA, UDP)", queries: pods(c.Service("dual-1000"), dns.TypeAAAA),
				targets: []target{nearWire},
			},
			{
				name: "dual-stack: Service of 1,000 (A, UDP)", queries: []query{service(c.Service("dual-1000"), dns.TypeA, 1000, false)},
				targets: []target{nearWire},
			},
			six("dual-1000", "dual-stack: Service of 1,000 (AAAA, UDP)", 1000),
		},
	}
	for _, cells := range groups {
		for i := range cells {
			if cells[i].servers == nil {
				cells[i].servers = servers
			}
		}
	}
	return groups
}

// overTCP returns the cell of a query over TCP. Of a set larger than a message headless gives what fits, without TC.
func overTCP(name string, q query) cell {
	ofOurs := q.expect
	ofOurs.Truncated = false
	return cell{name: name, tcp: true, queries: []query{q}, differs: map[string]load.Expect{headless: ofOurs}}
}

// reverse returns the query for the name of an address that has one.
func reverse(address string) query {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		panic(err) // not an address
	}
	return query{name, dns.TypePTR, load.Expect{Answers: load.Exactly(1)}}
}

func podRow(n int) string     { return fmt.Sprintf("one pod of %s (A, UDP)", thousands(n)) }
func serviceRow(n int) string { return fmt.Sprintf("Service of %s (A, UDP)", thousands(n)) }
func srvRow(n int) string     { return fmt.Sprintf("SRV of %s (UDP)", thousands(n)) }
func noDataRow(n int) string  { return fmt.Sprintf("AAAA NODATA at a Service of %s", thousands(n)) }

const outsideRow = "a name outside (A)"

// thousands returns a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
