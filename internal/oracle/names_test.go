//go:build !kubernetes

package oracle

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// objectsOf returns the objects in manifests as a cluster.
func objectsOf(t *testing.T, files ...string) *cluster {
	t.Helper()
	c := &cluster{make(map[clusterKey]kubetest.Object)}
	objects, err := manifests.Read(files...)
	fatal.If(t, err)
	for _, obj := range objects {
		c.put(obj.(kubetest.Object))
	}
	if len(c.objects) == 0 {
		t.Fatalf("no objects in %v", files)
	}
	c.put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	return c
}

// TestDifferentialZonalAndImportedNames holds the names of zonal and multicluster, which the generated clusters do not have,
// against the kubernetes plugin: whatever it answers with data, headless answers with the same data.
func TestDifferentialZonalAndImportedNames(t *testing.T) {
	const zones = "cluster.local clusterset.local"
	objects := objectsOf(t, "../../testdata/cluster.yaml", "../../testdata/imports.yaml")
	p := newPair(t, configOf(t, zones, ""), zones, "zonal\nmulticluster clusterset.local", objects)
	p.settle()
	const zone, set = ".default.svc.cluster.local.", ".default.svc.clusterset.local."
	var qnames []string
	for _, svc := range []string{"zoned", "web", "vip", "ext", "empty", "nobody"} {
		for _, topology := range []string{"eu-1a", "EU-1A", "corp.example.com", "example.com", "us-1"} {
			for _, directive := range []string{"pin", "prefer", "some"} {
				qnames = append(qnames, topology+"."+directive+"._zone."+svc+zone)
			}
		}
		qnames = append(qnames, "pin._zone."+svc+zone, "_zone."+svc+zone)
	}
	for _, svc := range []string{"db", "api", "web", "nobody"} {
		for _, label := range []string{"", "db-0.east.", "db-0.west.", "db-0.WEST.", "db-1.west.", "db-0.north.", "10-20-0-2.east.", "api-0.east.", "east.", "db-0.", "_sql._tcp.", "_http._tcp.", "_sql._udp."} {
			qnames = append(qnames, label+svc+set)
		}
	}
	data := 0
	for _, qname := range qnames {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV} {
			stock := p.stock.ask(qname, qtype)
			ours := p.ours.ask(qname, qtype)
			if len(stock.Answer) == 0 {
				continue
			}
			data++
			for i, sections := range [][2][]dns.RR{{stock.Answer, ours.Answer}, {stock.Extra, ours.Extra}} {
				// Names in RDATA are in lower case with us.
				want, got := lowered(sections[0]), lowered(sections[1])
				if !slices.Equal(got, want) {
					t.Errorf("%s %s, section %d:\nstock %q\nours  %q", qname, dns.TypeToString[qtype], i, want, got)
				}
			}
		}
	}
	t.Logf("%d names, %d answers with data", len(qnames), data)
	if data < 30 {
		t.Errorf("stock answers %d of the questions with data, so there is little to compare", data)
	}
}

// lowered returns RRs as lines in lower case.
func lowered(rrs []dns.RR) []string {
	texts := strings.Split(strings.ToLower(strings.Join(dnstest.Lines(rrs), "\n")), "\n")
	slices.Sort(texts)
	return texts
}
