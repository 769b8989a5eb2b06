package headless

import (
	"context"
	"fmt"
	"testing"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// discard is a client on UDP that throws its replies away.
type discard struct{ test.ResponseWriter }

func (*discard) WriteMsg(*dns.Msg) error { return nil }

func BenchmarkServeDNS(b *testing.B) {
	for _, c := range []struct {
		name, qname string
		qtype       uint16
	}{
		{"pod", "web-1.web.n.svc.cluster.local.", dns.TypeA},
		{"service", "web.n.svc.cluster.local.", dns.TypeA},
		{"srv", "_http._tcp.web.n.svc.cluster.local.", dns.TypeSRV},
		{"nodata", "web.n.svc.cluster.local.", dns.TypeAAAA},
		{"nxdomain", "nobody.n.svc.cluster.local.", dns.TypeA},
		{"ptr", "1.0.0.10.in-addr.arpa.", dns.TypePTR},
	} {
		for _, n := range []int{3, 100, 5000} {
			b.Run(fmt.Sprintf("%s/n=%d", c.name, n), func(b *testing.B) {
				h := newTestHeadless(b, "")
				h.index = bigIndex(n)
				r := new(dns.Msg)
				r.SetQuestion(c.qname, c.qtype)
				r.SetEdns0(1232, false)
				w := &discard{}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := h.ServeDNS(context.Background(), w, r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkFlip changes the readiness of one endpoint in a slice of 100.
func BenchmarkFlip(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			x := bigIndex(n)
			up, down := bigSlice(0, 100, ready), bigSlice(0, 100, ready)
			down.endpoints[17].state = notReady
			b.ReportAllocs()
			for b.Loop() {
				x.putSlice(down)
				x.putSlice(up)
			}
		})
	}
}
