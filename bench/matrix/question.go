package matrix

import (
	"fmt"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/coredns-headless/headless/bench/server"
	"github.com/miekg/dns"
)

// query is a question and the shape of its answer.
type query struct {
	name   string
	qtype  uint16
	expect load.Expect
}

func (q query) pack() ([]byte, error) { return load.Pack(q.name, q.qtype, server.EDNS) }

// The shapes of negative answers: the SOA record is in the authority section.
var (
	noData    = load.Expect{Authority: load.Exactly(1)}
	nameError = load.Expect{Rcode: dns.RcodeNameError, Authority: load.Exactly(1)}
)

// someAnswer is one record, and whatever goes with it.
var someAnswer = load.Expect{Answers: load.Exactly(1), Authority: some, Extra: some}

// some is the range of what a truncated answer may hold besides what has to be in it.
var some = load.Range{Min: 0, Max: 1000}

// service returns the query for the addresses of a Service by its name: n of them.
func service(s cluster.Service, qtype uint16, n int, tcp bool) query {
	const record = 12
	size := record + 4
	if qtype == dns.TypeAAAA {
		size = record + 16
	}
	return query{s.Domain(), qtype, fitting(s.Domain(), n, size, size, tcp)}
}

// fitting returns the shape of an answer with n records, each of from least to most bytes behind a compressed name.
func fitting(name string, n, least, most int, tcp bool) load.Expect {
	room := server.EDNS
	if tcp {
		room = dns.MaxMsgSize
	}
	const header, question, opt = 12, 4, 11
	room -= header + len(name) + 1 + question + opt
	if n*most <= room {
		return load.Expect{Answers: load.Exactly(n)}
	}
	// CoreDNS guesses how many fit, and a plugin may guess again.
	const guess = 0.9
	return load.Expect{Truncated: true, Answers: load.Range{Min: int(guess * float64(room/most)), Max: room / least}, Extra: some}
}

// pods returns the queries for some endpoints of a Service by their hostnames, spread over all of them.
func pods(s cluster.Service, qtype uint16) []query {
	const most = 64
	var queries []query
	step := max(1, s.Endpoints/most)
	for i := 0; i < s.Endpoints; i += step {
		queries = append(queries, query{s.PodDomain(i, 0), qtype, load.Expect{Answers: load.Exactly(1)}})
	}
	return queries
}

// srv returns the query for the SRV records of the named port of a Service. An answer over UDP that is not truncated has the
// addresses of all targets.
func srv(s cluster.Service, tcp bool) query {
	const record = 18
	target := func(i int) int { return len(s.PodDomain(i, 0)) + 1 }
	name := fmt.Sprintf("_%s._tcp.%s", cluster.Port, s.Domain())
	expect := fitting(name, s.Endpoints, record+target(0), record+target(s.Endpoints-1), tcp)
	switch {
	case expect.Truncated:
	case tcp:
		expect.Extra = load.Range{Min: 0, Max: 2 * s.Endpoints} // as many as there is room for
	default:
		expect.Extra = load.Exactly(s.Endpoints * len(s.Addresses(0, 0)))
	}
	return query{name, dns.TypeSRV, expect}
}
