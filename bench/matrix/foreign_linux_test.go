//go:build !kubernetes

// In the variant nothing is called headless, so that there is no server to transfer a zone.

package matrix

import (
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/proc"
	"github.com/coredns-headless/headless/bench/server"
	"github.com/miekg/dns"
)

// TestTwoBlocksAreThoseOfTheBase: the plugins of each Server Block, with what the bench cannot do without. A snapshot is an option.
func TestTwoBlocksAreThoseOfTheBase(t *testing.T) {
	base, err := os.ReadFile("../../deploy/base/Corefile")
	if err != nil {
		t.Fatal(err)
	}
	// Lines with one level of indentation begin with a plugin.
	plugins := func(corefile string) []string {
		return slices.DeleteFunc(regexp.MustCompile(`(?m)^(?:\t|    )?\w\S*`).FindAllString(corefile, -1), func(line string) bool {
			return strings.TrimSpace(line) == "bind"
		})
	}
	var got, want []string
	for _, line := range plugins(strings.NewReplacer(":PORT", "", "PLUGIN", headless).Replace(twoBlocksCorefile)) {
		got = append(got, strings.TrimSpace(line))
	}
	for _, line := range plugins(string(base)) {
		want = append(want, strings.TrimSpace(line))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the plugins %q, want %q", got, want)
	}
}

// TestMain is also the server that a test starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "server" {
		fmt.Fprintln(os.Stderr, server.Run(os.Args[3]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestForeignServersHaveTheZone asks those that are installed for what headless transfers.
func TestForeignServersHaveTheZone(t *testing.T) {
	c := cluster.Cluster{{Name: "web", Endpoints: 150, Headless: true, IPv4: true}, {Name: "api", Endpoints: 1, IPv4: true}}
	api := httptest.NewServer(c.Handler())
	defer api.Close()
	l := &lab{dir: t.TempDir(), address: anyAddress(), ports: make(map[uint16]bool)}
	cores, err := proc.Cores()
	if err != nil {
		t.Fatal(err)
	}
	l.serverCore = cores[0]
	zone, err := l.zoneFile(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	web, apis := c.Service("web"), c.Service("api")
	for _, f := range foreigners {
		s, err := f.start(l, zone)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if s == nil {
			t.Logf("%s is not installed", f.name)
			continue
		}
		if _, err := s.wait(pods(web, dns.TypeA)[0]); err != nil {
			t.Error(err)
		}
		for _, c := range []cell{
			{name: "pods", queries: pods(web, dns.TypeA)},
			{name: "a Service, truncated", queries: []query{service(web, dns.TypeA, 150, false)}},
			{name: "a Service over TCP", tcp: true, queries: []query{service(web, dns.TypeA, 150, true)}},
			{name: "SRV over TCP", tcp: true, queries: []query{srv(web, true)}},
			{name: "a ClusterIP", queries: []query{service(apis, dns.TypeA, 1, false)}},
			{name: "a name that is not there", queries: []query{{"nobody.n.svc." + cluster.Zone + ".", dns.TypeA, nameError}}},
		} {
			r, err := c.ask(s, 10)
			if err != nil || r.cpu <= 0 || (r.Truncated > 0) != strings.HasSuffix(c.name, "truncated") {
				t.Errorf("%s: %s: got %+v, %v, want replies and what they cost", f.name, c.name, r, err)
			}
		}
		s.Stop()
	}
}
