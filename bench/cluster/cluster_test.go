package cluster

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestHostsFileHasWhatTheSlicesHave holds the two forms of a cluster against each other.
func TestHostsFileHasWhatTheSlicesHave(t *testing.T) {
	c := Cluster{
		{Name: "web", Endpoints: 250, Headless: true, IPv4: true, IPv6: true},
		{Name: "db", Services: 3, Namespaces: 2, Endpoints: 2, Headless: true, IPv6: true},
		{Name: "api", Services: 2, Endpoints: 3, IPv4: true},
	}
	var hosts strings.Builder
	if err := c.WriteHosts(&hosts); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range c.Services() {
		for _, ip := range s.Object().Spec.ClusterIPs {
			if ip != "None" {
				want = append(want, ip+" "+s.Domain())
			}
		}
		for _, slice := range s.Slices() {
			if len(slice.Endpoints) > PerSlice {
				t.Errorf("%s has %d endpoints", slice.Name, len(slice.Endpoints))
			}
			for _, e := range slice.Endpoints {
				label := strings.NewReplacer(".", "-", ":", "-").Replace(e.Addresses[0])
				if e.Hostname != nil {
					label = *e.Hostname
				}
				want = append(want, e.Addresses[0]+" "+label+"."+s.Domain())
				if s.Headless {
					want = append(want, e.Addresses[0]+" "+s.Domain())
				}
			}
		}
	}
	var got []string
	addresses := make(map[netip.Addr]bool)
	for line := range strings.Lines(hosts.String()) {
		fields := strings.Fields(line)
		addr := netip.MustParseAddr(fields[0])
		if addresses[addr] {
			t.Errorf("%v has two owners", addr)
		}
		addresses[addr] = true
		for _, name := range fields[1:] {
			got = append(got, fields[0]+" "+name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the hosts file has %d names of addresses, the slices have %d:\n%q\n%q", len(got), len(want), got, want)
	}
}
