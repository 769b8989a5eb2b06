//go:build !kubernetes

package headless

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/miekg/dns"
)

// objectsOf returns the objects in manifests as a cluster.
func objectsOf(t *testing.T, files ...string) *cluster {
	t.Helper()
	c := &cluster{make(map[clusterKey]kubetest.Object)}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := manifests.Decode(content)
		if err != nil {
			t.Fatal(err)
		}
		for _, obj := range objects {
			c.put(obj.(kubetest.Object))
		}
	}
	if len(c.objects) == 0 {
		t.Fatalf("no objects in %v", files)
	}
	c.put(kubetest.Namespace("default"))
	return c
}

// TestDifferentialZonalAndImportedNames holds the names of zonal and multicluster, which the generated clusters do not have,
// against the kubernetes plugin: whatever it answers with data, headless answers with the same data.
func TestDifferentialZonalAndImportedNames(t *testing.T) {
	p := newPair(t, "cluster.local clusterset.local", "zonal\nmulticluster clusterset.local", objectsOf(t, "testdata/cluster.yaml", "testdata/imports.yaml"))
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
			stock := asking(p.stock)(context.Background(), qname, qtype)
			ours := asking(p.ours)(context.Background(), qname, qtype)
			if len(stock.Answer) == 0 {
				continue
			}
			data++
			for i, sections := range [][2][]dns.RR{{stock.Answer, ours.Answer}, {stock.Extra, ours.Extra}} {
				// Names in RDATA are in lower case with us.
				want, got := lowered(t, sections[0]), lowered(t, sections[1])
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

// lowered returns RRs in presentation format, in lower case and sorted.
func lowered(t *testing.T, rrs []dns.RR) []string {
	t.Helper()
	texts := lines(t, rrs)
	for i := range texts {
		texts[i] = strings.ToLower(texts[i])
	}
	slices.Sort(texts)
	return texts
}
