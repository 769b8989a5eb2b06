// Command ask asks the server that README's first command starts for a few names, over UDP and TCP, and fails unless every
// answer is the one expected. It waits until the server answers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/miekg/dns"
)

// check is a question and its answer.
type check struct {
	name  string
	qtype uint16
	rcode int
	// answer holds the RDATA of the records in the answer section, sorted.
	answer []string
	// authority holds the types of the records in the authority section.
	authority []uint16
}

// checks hold for the files in examples.
var checks = []check{
	{
		name: "cassandra.default.svc.cluster.local.", qtype: dns.TypeA,
		answer: []string{"10.244.1.10", "10.244.2.10", "10.244.3.10"},
	},
	{
		name: "cassandra-0.cassandra.default.svc.cluster.local.", qtype: dns.TypeA,
		answer: []string{"10.244.1.10"},
	},
	{
		name: "_cql._tcp.cassandra.default.svc.cluster.local.", qtype: dns.TypeSRV,
		answer: []string{
			"0 33 9042 cassandra-0.cassandra.default.svc.cluster.local.",
			"0 33 9042 cassandra-1.cassandra.default.svc.cluster.local.",
			"0 33 9042 cassandra-2.cassandra.default.svc.cluster.local.",
		},
	},
	{
		name: "10.1.244.10.in-addr.arpa.", qtype: dns.TypePTR,
		answer: []string{"cassandra-0.cassandra.default.svc.cluster.local."},
	},
	{
		name: "nobody.default.svc.cluster.local.", qtype: dns.TypeA,
		rcode: dns.RcodeNameError, authority: []uint16{dns.TypeSOA},
	},
	{
		name: "_tcp.cassandra.default.svc.cluster.local.", qtype: dns.TypeA,
		authority: []uint16{dns.TypeSOA},
	},
}

func main() {
	server := flag.String("server", "127.0.0.1:1053", "`address` of the server")
	wait := flag.Duration("wait", 5*time.Minute, "how long to wait for its first answer: a busy machine links it for minutes")
	flag.Parse()

	if err := await(*server, *wait); err != nil {
		fmt.Fprintf(os.Stderr, "ask: no answer from %s within %v: %v\n", *server, *wait, err)
		os.Exit(1)
	}
	failed := 0
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range checks {
			question := fmt.Sprintf("%s %s %s", network, dns.TypeToString[c.qtype], c.name)
			if err := c.ask(network, *server); err != nil {
				failed++
				fmt.Printf("FAIL %s: %v\n", question, err)
				continue
			}
			fmt.Printf("ok   %s\n", question)
		}
	}
	if failed > 0 {
		fmt.Fprintf(os.Stderr, "ask: %d of %d answers are wrong\n", failed, 2*len(checks))
		os.Exit(1)
	}
}

// await returns once the server answers anything, or the last error when it does not do so in time.
func await(server string, wait time.Duration) error {
	for deadline := time.Now().Add(wait); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := dnstest.Exchange(ctx, "udp", server, dnstest.Query(".", dns.TypeNS, 0))
		cancel()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// ask puts c's question to the server and says what is wrong with the reply.
func (c *check) ask(network, server string) error {
	m, err := dnstest.Exchange(context.Background(), network, server, dnstest.Query(c.name, c.qtype, 0))
	if err != nil {
		return err
	}
	if m.Rcode != c.rcode {
		return fmt.Errorf("got %s, want %s", dns.RcodeToString[m.Rcode], dns.RcodeToString[c.rcode])
	}
	if !m.Authoritative || m.Truncated {
		return fmt.Errorf("got aa=%t tc=%t, want aa=true tc=false", m.Authoritative, m.Truncated)
	}
	for _, rr := range m.Answer {
		if h := rr.Header(); h.Name != c.name || h.Rrtype != c.qtype {
			return fmt.Errorf("got the record %q in the answer", rr)
		}
	}
	if answer := dnstest.Data(m.Answer); !slices.Equal(answer, c.answer) {
		return fmt.Errorf("got the answer %q, want %q", answer, c.answer)
	}
	var authority []uint16
	for _, rr := range m.Ns {
		authority = append(authority, rr.Header().Rrtype)
	}
	if !slices.Equal(authority, c.authority) {
		return fmt.Errorf("got the authority section %v, want records of types %v", m.Ns, c.authority)
	}
	return nil
}
