package cluster

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func parse(t *testing.T, groups ...string) Cluster {
	t.Helper()
	var c Cluster
	for _, g := range groups {
		if err := c.Set(g); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestGroupsAreReadAsTheyAreWritten(t *testing.T) {
	c := parse(t, "web,services=2,endpoints=3,namespaces=4,headless,hostnames,zones,ports,ipv4,ipv6", "api,ipv6", "plain")
	for _, g := range c {
		if got, err := ParseGroup(g.String()); err != nil || got != g {
			t.Errorf("%s: got %+v, %v, want %+v", g, got, err, g)
		}
	}
	if want := (Group{Name: "plain", Services: 1, Endpoints: 1, Namespaces: 1, IPv4: true}); c[2] != want {
		t.Errorf("got %+v, want %+v", c[2], want)
	}
	for _, bad := range []string{"", ",headless", "web,headles", "web,endpoints=x", "web,endpoints", "web,headless=1", "web,namespaces=0"} {
		if g, err := ParseGroup(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, g)
		}
	}
}

// TestHostsFileHasWhatTheSlicesHave holds the two forms of a cluster against each other.
func TestHostsFileHasWhatTheSlicesHave(t *testing.T) {
	c := parse(t, "web,headless,endpoints=250,hostnames,ipv4,ipv6", "nameless,headless,services=3,namespaces=2,endpoints=2,ipv6", "api,services=2,endpoints=3")
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
		for _, slice := range s.Slices(s.Endpoints) {
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
