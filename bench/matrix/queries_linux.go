package matrix

import (
	"fmt"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/miekg/dns"
)

// queryCells returns the cells whose cost is CPU time per query, in groups: the cells of a group are compared.
func queryCells(c cluster.Cluster) [][]cell {
	web := func(n int) cluster.Service { return c.Service(fmt.Sprintf("web-%d", n)) }
	all := []string{headless, stock, hosts, cut, wire}

	pod := func(n int, targets ...target) cell {
		return cell{name: podRow(n), queries: pods(web(n), dns.TypeA), servers: all, targets: targets}
	}
	udp := func(n int, targets ...target) cell {
		return cell{name: serviceRow(n), queries: []query{service(web(n), dns.TypeA, n, false)}, servers: all, targets: targets}
	}
	tcp := func(n int, targets ...target) cell {
		q := service(web(n), dns.TypeA, n, true)
		ofOurs := q.expect // of a set larger than a message it gives what fits, without TC
		ofOurs.Truncated = false
		return cell{
			name: fmt.Sprintf("Service of %s (A, TCP)", thousands(n)), tcp: true, queries: []query{q},
			differs: map[string]load.Expect{headless: ofOurs}, servers: all, targets: targets,
		}
	}
	srvUDP := func(n int, targets ...target) cell {
		return cell{name: srvRow(n), queries: []query{srv(web(n), false)}, servers: pair, targets: targets}
	}
	likeHosts, likeCut := target{limit: 1, reference: hosts}, target{limit: 1.2, reference: cut}
	ofStock := func(limit float64) target { return target{limit: limit, reference: stock} }
	flatTo := func(row string) target { return target{flat: row} }
	stockSRV := load.Expect{Truncated: true, Answers: load.Exactly(1000), Extra: some}

	six := func(s, row string, n int, t target) cell {
		return cell{name: row, queries: []query{service(c.Service(s), dns.TypeAAAA, n, false)}, servers: all, targets: []target{t}}
	}
	noAAAA := func(n int, t ...target) cell {
		return cell{name: noDataRow(n), queries: []query{{web(n).Domain(), dns.TypeAAAA, noData}}, servers: pair, targets: t}
	}
	return [][]cell{
		{
			pod(3, likeHosts), pod(100, likeHosts), pod(1000, likeHosts), pod(5000, likeHosts, flatTo(podRow(3))),
		}, {
			udp(3, likeHosts), udp(10),
			udp(100, likeCut), udp(1000, likeCut), udp(5000, likeCut, flatTo(serviceRow(100))),
		}, {
			tcp(1000, likeCut), tcp(5000, likeCut),
		}, {
			srvUDP(3, ofStock(0.5)), srvUDP(100, ofStock(0.2)), srvUDP(1000, flatTo(srvRow(100))),
			{
				name: "SRV of 1,000 (TCP), all answers, no TC", tcp: true, queries: []query{srv(web(1000), true)},
				differs: map[string]load.Expect{stock: stockSRV}, servers: pair, targets: []target{ofStock(0.3)},
			},
		}, {
			noAAAA(3, ofStock(0.6)), noAAAA(1000, flatTo(noDataRow(3))),
		}, {
			{
				name: "ClusterIP (A)", queries: []query{service(c.Service("api-0"), dns.TypeA, 1, false)},
				servers: all, targets: []target{ofStock(0.7)},
			},
			{
				name: "NXDOMAIN", queries: []query{{"nobody.n.svc.cluster.local.", dns.TypeA, nameError}},
				servers: pair, targets: []target{ofStock(0.7)},
			},
			{
				name: "NXDOMAIN below a Service of 1,000", queries: []query{{web(1000).PodDomain(1000, 0), dns.TypeA, nameError}},
				servers: pair, targets: []target{ofStock(0.7)},
			},
			{
				name: "PTR of a ClusterIP", queries: []query{reverse(c.Service("api-0").ClusterIPs()[0].String())},
				servers: []string{headless, stock, hosts}, targets: []target{ofStock(0.7)},
			},
			{
				name: "PTR of one pod of 1,000", queries: []query{reverse(web(1000).Addresses(500, 0)[0].String())},
				servers: pair, targets: []target{ofStock(0.7)},
			},
		}, {
			{
				name: "IPv6: one pod of 1,000 (AAAA, UDP)", queries: pods(c.Service("six-1000"), dns.TypeAAAA),
				servers: all, targets: []target{likeHosts},
			},
			six("six-3", "IPv6: Service of 3 (AAAA, UDP)", 3, likeHosts),
			six("six-1000", "IPv6: Service of 1,000 (AAAA, UDP)", 1000, likeCut),
			{
				name: "IPv6: SRV of 3 (UDP)", queries: []query{srv(c.Service("six-3"), false)},
				servers: pair, targets: []target{ofStock(0.5)},
			},
		}, {
			{
				name: "dual-stack: one pod of 1,000 (A, UDP)", queries: pods(c.Service("dual-1000"), dns.TypeA),
				servers: all, targets: []target{likeHosts},
			},
			{
				name: "dual-stack: one pod of 1,000 (AAAA, UDP)", queries: pods(c.Service("dual-1000"), dns.TypeAAAA),
				servers: all, targets: []target{likeHosts},
			},
			{
				name: "dual-stack: Service of 1,000 (A, UDP)", queries: []query{service(c.Service("dual-1000"), dns.TypeA, 1000, false)},
				servers: all, targets: []target{likeCut},
			},
			six("dual-1000", "dual-stack: Service of 1,000 (AAAA, UDP)", 1000, likeCut),
		},
	}
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

// thousands returns a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
