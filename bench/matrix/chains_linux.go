package matrix

import (
	"fmt"
	"net"
	"strings"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/miekg/dns"
)

// The chains of plugins in production. PLUGIN is the one that answers for the cluster, API its API server and UPSTREAM a resolver.
const (
	// kubeadmCorefile is what kubeadm installs.
	kubeadmCorefile = `.:PORT {
	bind ADDRESS
	errors
	health ADDRESS:FREE {
		lameduck 5s
	}
	ready ADDRESS:FREE
	PLUGIN cluster.local in-addr.arpa ip6.arpa {
		endpoint API
		pods insecure
		fallthrough in-addr.arpa ip6.arpa
		ttl 30
	}
	prometheus ADDRESS:FREE
	forward . UPSTREAM {
		max_concurrent 1000
	}
	cache 30
	loop
	reload
	loadbalance
}
`
	// twoBlocksCorefile is that of deploy/base, which keeps cache and loadbalance away from the cluster's zones.
	twoBlocksCorefile = `cluster.local:PORT in-addr.arpa:PORT ip6.arpa:PORT {
	bind ADDRESS
	errors
	ready ADDRESS:FREE
	bufsize 1232
	PLUGIN cluster.local in-addr.arpa ip6.arpa {
		endpoint API
		pods insecure
		fallthrough in-addr.arpa ip6.arpa
		ttl 30
	}
	prometheus ADDRESS:FREE
	forward . UPSTREAM {
		max_concurrent 1000
	}
}
.:PORT {
	bind ADDRESS
	errors
	health ADDRESS:FREE {
		lameduck 5s
	}
	prometheus ADDRESS:FREE
	forward . UPSTREAM {
		max_concurrent 1000
	}
	cache 30
	loop
	reload
	loadbalance
}
`
)

// chained returns a Corefile with its plugin, API server and resolver.
func chained(corefile, plugin, api, upstream string) string {
	return strings.NewReplacer("PLUGIN", plugin, "API", api, "UPSTREAM", upstream).Replace(corefile)
}

// outside is the query for a name that is not the cluster's.
var outside = query{"www.example.org.", dns.TypeA, load.Expect{Rcode: dns.RcodeNameError}}

// chainCells returns what the chains are asked.
func chainCells(c cluster.Cluster) []cell {
	web := func(n int) cluster.Service { return c.Service(fmt.Sprintf("web-%d", n)) }
	cells := []cell{
		{name: podRow(1000), queries: pods(web(1000), dns.TypeA)},
		{name: serviceRow(3), queries: []query{service(web(3), dns.TypeA, 3, false)}},
		{name: serviceRow(100), queries: []query{service(web(100), dns.TypeA, 100, false)}},
		{name: serviceRow(5000), queries: []query{service(web(5000), dns.TypeA, 5000, false)}},
		{name: "one pod of 5,000 (A, TCP, as NodeLocal DNSCache)", tcp: true, queries: pods(web(5000), dns.TypeA)},
		overTCP("Service of 5,000 (A, TCP, as NodeLocal DNSCache)", service(web(5000), dns.TypeA, 5000, true)),
		{name: "AAAA NODATA at a Service of 1,000", queries: []query{{web(1000).Domain(), dns.TypeAAAA, noData}}},
		{name: "ClusterIP (A)", queries: []query{service(c.Service("api-0"), dns.TypeA, 1, false)}},
		{name: "NXDOMAIN", queries: []query{{"nobody.n.svc.cluster.local.", dns.TypeA, nameError}}},
		{name: outsideRow, queries: []query{outside}},
	}
	for i := range cells {
		cells[i].servers = pair
	}
	return cells
}

// measureCache compares headless and kubernetes behind the cache of kubeadm's Corefile.
func measureCache(l *lab, r *report, o Options) error {
	c := queryCluster()
	a, err := l.api(c)
	if err != nil {
		return err
	}
	defer a.Stop()
	upstream, err := newSink()
	if err != nil {
		return err
	}
	defer upstream.Close() //nolint:errcheck // nothing is left to be written
	cells := chainCells(c)
	subjects := make(map[string]*subject)
	for _, name := range pair {
		s, err := l.serve(name, chained(kubeadmCorefile, name, a.url, upstream.LocalAddr().String()))
		if err != nil {
			return err
		}
		defer s.Stop()
		if _, err := s.wait(cells[0].queries[0]); err != nil {
			return err
		}
		subjects[name] = s
	}
	m, err := rounds(cells, subjects, o.effort())
	if err != nil {
		return err
	}
	t := table{
		title: "Behind kubeadm's Corefile: server CPU per query, µs",
		note: "With *cache*, which answers nearly all of these queries when their answers are complete, and *loadbalance*. NodeLocal DNSCache\n" +
			"asks over TCP, on connections that stay open, one query at a time on each.",
		columns: []string{"query", stock, headless, "ratio (quartiles)"},
	}
	for _, cell := range cells {
		ours, theirs := m.cpu(cell.name, headless), m.cpu(cell.name, stock)
		t.add(cell.name, short(spreadOf(theirs).median), short(spreadOf(ours).median), spreadOf(ratios(ours, theirs)).String())
	}
	r.tables = append(r.tables, t)
	return nil
}

// newSink starts a resolver that knows no name. Closing it ends it.
func newSink() (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, client, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			q, m := new(dns.Msg), new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			if b, err := m.SetRcode(q, dns.RcodeNameError).Pack(); err == nil {
				_, _ = conn.WriteTo(b, client) // it asks again
			}
		}
	}()
	return conn, nil
}
