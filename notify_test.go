package headless

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/miekg/dns"
)

// secondaryOf starts what takes notifications, and answers with rcode.
func secondaryOf(t testing.TB, rcode int) (addr string, zones func() []string) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	addr = dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg {
		mu.Lock()
		defer mu.Unlock()
		if r.Opcode == dns.OpcodeNotify && r.Authoritative && r.Question[0].Qtype == dns.TypeSOA {
			list = append(list, r.Question[0].Name)
		}
		return new(dns.Msg).SetRcode(r, rcode)
	})
	return addr, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// TestSecondariesAreNotified: at the start, once all has been listed, and then of the zones that change; whoever
// else is down.
func TestSecondariesAreNotified(t *testing.T) {
	down, err := net.ListenPacket("udp", "127.0.0.1:0") // which nobody reads
	fatal.If(t, err)
	defer down.Close() //nolint:errcheck // nothing was written
	addr, zones := secondaryOf(t, dns.RcodeSuccess)
	other, others := secondaryOf(t, dns.RcodeRefused)
	api := kubetest.NewWebServer(t)
	release := api.Hold(kube.Slices)
	defer release()
	failed := metrictest.Values(t, "coredns_headless_notifications_total")["failed"]
	s := startServer(t, "cluster.local:0 10.in-addr.arpa:0 11.in-addr.arpa:0 {\n"+bound+
		"transfer cluster.local 10.in-addr.arpa {\nto * "+down.LocalAddr().String()+" "+addr+"\n}\ntransfer 11.in-addr.arpa {\nto "+other+"\n}\n"+
		"headless {\nendpoint "+api.URL+"\nstartup_timeout 0s\n}\n}")
	began := time.Now()
	if got := zones(); len(got) > 0 {
		t.Errorf("notified of %q before all has been listed", got)
	}
	release()
	sorted := func() string { z := zones(); slices.Sort(z); return fmt.Sprint(z) }
	kubetest.Eventually(t, "the secondary is told of its zones", func() bool { return sorted() == "[10.in-addr.arpa. cluster.local.]" })
	kubetest.Eventually(t, "the other one is told of its zone", func() bool { return fmt.Sprint(others()) == "[11.in-addr.arpa.]" })
	soa, ok := s.ask(t, "tcp", "cluster.local. SOA", 0).Answer[0].(*dns.SOA)
	if !ok || soa.Refresh != transferRefresh || soa.Retry != transferRetry {
		t.Errorf("the SOA is %v, want a refresh of %d and a retry of %d", soa, transferRefresh, transferRetry)
	}
	svc := kubetest.Service("new", "11.0.0.1")
	api.Put(svc)
	kubetest.Eventually(t, "they are told of the zones that changed", func() bool {
		return sorted() == "[10.in-addr.arpa. cluster.local. cluster.local.]" && fmt.Sprint(others()) == "[11.in-addr.arpa. 11.in-addr.arpa.]"
	})
	if took := time.Since(began); took >= notifyTimeout*notifyTries {
		t.Errorf("it took %v, in which the one that is down may have been waited for", took)
	}
	r := new(dns.Msg)
	r.SetIxfr("cluster.local.", soa.Serial, soa.Ns, soa.Mbox)
	m := s.exchange(t, "tcp", r)
	if got := dnstest.Data(m.Answer); len(m.Answer) < 5 || m.Answer[1].String() != soa.String() {
		t.Errorf("from the serial before: %q, want a difference", got)
	}
	kubetest.Eventually(t, "notifications are counted", func() bool { // once their replies have come
		now := metrictest.Values(t, "coredns_headless_notifications_total")
		return now["failed"] >= failed+2 && now["accepted"] >= 3
	})
}

// TestZonesAreAnnouncedWhenTheyAreKnown: that of other clusters' Services once these are listed, if that is later.
func TestZonesAreAnnouncedWhenTheyAreKnown(t *testing.T) {
	addr, zones := secondaryOf(t, dns.RcodeSuccess)
	api := kubetest.NewWebServer(t)
	release := api.Hold(kube.Imports)
	defer release()
	startServer(t, "cluster.local:0 clusterset.local:0 {\n"+bound+"transfer {\nto "+addr+"\n}\n"+
		"headless {\nendpoint "+api.URL+"\nmulticluster clusterset.local\nstartup_timeout 0s\n}\n}")
	kubetest.Eventually(t, "the secondary is told of the zone that is known", func() bool { return len(zones()) > 0 })
	if got := fmt.Sprint(zones()); got != "[cluster.local.]" {
		t.Errorf("told of %s, want the zone of this cluster alone", got)
	}
	release()
	kubetest.Eventually(t, "it is told of the other", func() bool { return fmt.Sprint(zones()) == "[cluster.local. clusterset.local.]" })
}
