//go:build linux && !kubernetes

// Package searchlist looks up short names as programs in pods do.
package searchlist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// searchLists are the search lines of resolv.conf that names are looked up with.
var searchLists = map[string]string{
	// what kubelet writes for a pod in namespace default
	"pod": "default.svc.cluster.local svc.cluster.local cluster.local",
	// the same, for names that are counted and asked for in no other way
	"counted": "default.svc.cluster.local svc.cluster.local cluster.local",
	// the same on a node that has a search list of its own
	"node": "default.svc.cluster.local svc.cluster.local cluster.local example.org",
	// and on one whose domain has no such names
	"domain": "default.svc.cluster.local svc.cluster.local cluster.local example.net",
	// a pod whose dnsConfig leads on to the cluster set
	"set": "default.svc.cluster.local svc.cluster.local cluster.local default.svc.clusterset.local example.org",
	// below the reverse name of fd96::, where labels that are no numbers can be looked up
	"reverse": "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.d.f.ip6.arpa f.ip6.arpa example.org",
}

// What the rest of the world answers: names below example.com are what they are, below example.net and arpa is nothing, and
// every other name has an address, so that each lookup shows how far down its search list it came.
const (
	beyond = "198.51.100.53" // for the name itself, which comes last
	onNode = "192.0.2.53"    // for the name below example.org, the search list of the node
)

// searchUpstream are the names below example.com; one without an address has other records.
var searchUpstream = map[string]string{
	"www.example.com.":   "192.0.2.80",
	"pod.example.com.":   "192.0.2.81",
	"empty.example.com.": "",
}

// searchCounted says how many names each resolver asks for, in each address family, until it finds what it looks for.
var searchCounted = []struct {
	list, name string
	asks       map[string]int // by plugin
}{
	{"counted", "kafka.data", map[string]int{"kubernetes": 2, "headless": 2, "search": 1, "autopath": 1}},
	{"counted", "www.example.com", map[string]int{"kubernetes": 4, "headless": 4, "search": 1, "autopath": 1}},
	{"domain", "kafka.data", map[string]int{"kubernetes": 2, "headless": 2, "search": 1, "autopath": 1}},
	{"domain", "www.example.com", map[string]int{"kubernetes": 5, "headless": 5, "search": 1, "autopath": 1}},
}

// searchObjects are what the test needs beside testdata/cluster.yaml and testdata/imports.yaml.
const searchObjects = `
# the DNS service: the servers are its endpoints
{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system},
  spec: {clusterIP: "10.96.0.10", clusterIPs: ["10.96.0.10"], ports: [{name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: kube-dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}},
  addressType: IPv4, ports: [{name: dns, port: 53, protocol: UDP}], endpoints: [{addresses: [127.0.0.1]}, {addresses: [127.0.0.2]}, {addresses: [127.0.0.3]}, {addresses: [127.0.0.4]}]}
---
# the pod that looks names up, and one that has a name below pod
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: default}, status: {phase: Running, podIP: 127.0.0.1, podIPs: [{ip: 127.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: anon, namespace: default}, status: {phase: Running, podIP: 10.0.2.1, podIPs: [{ip: 10.0.2.1}]}}
---
# kafka in another namespace
{apiVersion: v1, kind: Service, metadata: {name: kafka, namespace: data}, spec: {clusterIP: "10.96.0.20", clusterIPs: ["10.96.0.20"], ports: [{name: kafka, port: 9092}]}}
---
# db: not ready here, while another cluster exports it
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: default, annotations: {coredns-headless.github.io/hostnames: all}},
  spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-1, namespace: default, labels: {kubernetes.io/service-name: db}},
  addressType: IPv4, ports: [{name: sql, port: 5432, protocol: TCP}], endpoints: [{addresses: [10.0.11.1], hostname: db-0, conditions: {ready: false}}]}
---
# hex: a reverse name whose first label is no number
{apiVersion: v1, kind: Service, metadata: {name: hex, namespace: default},
  spec: {clusterIP: "fd96::a", clusterIPs: ["fd96::a"], ports: [{name: http, port: 80, protocol: TCP}]}}
---
# ExternalNames: outside and not there, there without an address, and a name in the cluster without an address
{apiVersion: v1, kind: Service, metadata: {name: ext-gone, namespace: default}, spec: {type: ExternalName, externalName: gone.example.com}}
---
{apiVersion: v1, kind: Service, metadata: {name: ext-empty, namespace: default}, spec: {type: ExternalName, externalName: empty.example.com}}
---
{apiVersion: v1, kind: Service, metadata: {name: hollow, namespace: default}, spec: {type: ExternalName, externalName: vacant.svc.cluster.local}}
`

// searchFound says what each resolver finds through each plugin, unless a rule says otherwise.
var searchFound = []struct {
	list  string // in searchLists
	want  string // the addresses, sorted; "" when the names are not found
	names string
}{
	// a Service, with each number of labels and with the dot that ends the search
	{"pod", "10.0.0.1 10.0.0.2", "web web.default web.default.svc web.default.svc.cluster.local web.default.svc.cluster.local."},
	{"pod", beyond, "web. web.default. web.default.svc."},
	// its pods, ready and not
	{"pod", "10.0.0.1", "web-0.web web-0.web.default web-0.web.default.svc web-0.web.default.svc.cluster.local"},
	{"pod", "10.0.0.1", "web-0.web.default.svc.cluster.local."},
	{"pod", "10.0.0.2", "web-1.web"},
	{"pod", beyond, "web-2.web web-3.web web-9.web web-0.web."},
	// every kind of Service and endpoint
	{"pod", "10.0.1.1 10.0.1.2 fd00::1:1 fd00::1:2", "pair pair.default"},
	{"pod", "10.0.1.1 fd00::1:1", "pair-0.pair"},
	{"pod", "10.0.1.2 fd00::1:2", "pair-1.pair.default"},
	{"pod", "10.96.0.1 fd96::1", "vip"},
	{"pod", "10.0.6.1", "vip-0.vip"},
	{"pod", "10.96.0.2", "bare"},
	{"pod", "fd96::a", "hex"},
	{"pod", "10.96.0.3", "lb"},
	{"pod", "10.0.7.1 10.0.7.2 10.0.7.3", "dup"},
	{"pod", "10.0.7.1", "one.dup"},
	{"pod", "10.0.7.2 10.0.7.3", "two.dup"},
	{"pod", "10.0.7.2", "alias.dup"},
	{"pod", "10.0.0.1 10.0.0.2", "peers"},
	{"pod", "10.0.0.2", "peer.peers"},
	{"pod", "10.0.0.1", "10-0-0-1.peers"},
	{"pod", "10.0.2.1 10.0.2.9 ::5 fd00::", "anon"},
	{"pod", beyond, "anon-x1.anon 10-0-2-9.anon 0--5.anon"},
	{"pod", "10.0.2.1", "10-0-2-1.anon"},
	{"pod", "", "--5.anon"},
	{"pod", "fd00::", "fd00--0.anon"},
	{"pod", "10.0.3.1", "portless portless-0.portless"},
	{"pod", "10.0.4.1", "several"},
	{"pod", "192.0.2.81", "fqdn"},
	// other namespaces, and the names above Services
	{"pod", "10.1.0.1", "web.blue web-0.web.blue web.blue.svc"},
	{"pod", beyond, "blue default default.svc vacant x.vacant absent.namespace svc pod default.pod absent.pod 10-0-2-1.absent.pod"},
	{"pod", "10.0.2.1", "10-0-2-1.default.pod"},
	{"pod", "", "cluster.local"},
	// upper case
	{"pod", "10.0.0.1 10.0.0.2", "WEB Web.Default"},
	{"pod", "10.0.0.1", "WEB-0.web.DEFAULT.svc.Cluster.LOCAL."},
	{"pod", "10.96.0.1 fd96::1", "VIP"},
	{"pod", "10.0.1.1 fd00::1:1", "Pair-0.PAIR"},
	{"pod", beyond, "DNS NOBODY"},
	// ExternalNames
	{"pod", "192.0.2.80", "ext"},
	{"pod", "10.0.0.1", "inside"},
	{"pod", "10.0.3.1", "nodata"},
	{"pod", beyond, "number nowhere ext-gone ext-empty hollow circle self"},
	{"pod", "10.0.0.1 10.0.0.2", "hop-1 hop-3 hop-4"},
	// what is not there, or not ready
	{"pod", beyond, "nobody nobody.default kubernetes.default any.web empty orphan orphan-0.orphan starting starting-0.starting all"},
	{"pod", beyond, "all.default not-ready.all leaving.all gone.all serving leaving.serving not-ready.serving"},
	{"pod", "", "nobody.default.svc.cluster.local nobody.default.svc.cluster.local."},
	// the names of the DNS, and those outside
	{"pod", beyond, "dns ns.dns dns-version"},
	{"pod", "10.96.0.10", "kube-dns.kube-system"},
	{"pod", "192.0.2.80", "www.example.com www.example.com."},
	{"pod", "", "nobody.example.com"},
	// ports and protocols of Services
	{"pod", beyond, "_tcp.web _udp.web _sctp.web _http.web _gone._tcp.web http.udp.web _tcp.vip _tcp.ext _tcp.anon _tcp.starting _tcp.all"},
	{"pod", "10.0.0.1 10.0.0.2", "_http._tcp.web http.tcp.web"},
	{"pod", "10.96.0.1 fd96::1", "_http._tcp.vip"},
	// and of hostnames
	{"pod", beyond, "_tcp.web-0.web _http._tcp.web-0.web _tcp.web-2.web _gone._tcp.web-0.web _tcp.vip-0.vip _tcp.not-ready.all"},
	{"pod", beyond, "_http._tcp.not-ready.all"},
	// topology zones
	{"pod", beyond, "_zone.web pin._zone.web prefer._zone.zoned _zone.vip _zone.starting _zone.all mars.pin._zone.zoned"},
	{"pod", beyond, "mars.pin._zone.vip"},
	{"pod", "10.0.10.1", "eu-1a.pin._zone.zoned EU-1A.pin._zone.zoned eu-1a.prefer._zone.zoned"},
	{"pod", "10.0.10.1 10.0.10.2 10.0.10.3", "mars.prefer._zone.zoned"},
	{"node", "10.0.0.1 10.0.0.2", "web"},
	{"node", beyond, "web. nobody."},
	{"node", onNode, "web-2.web web-9.web starting-0.starting printer www.example.com"},
	{"counted", "10.96.0.20", "kafka.data"},
	{"counted", "192.0.2.80", "www.example.com"},
	{"domain", "10.96.0.20", "kafka.data"},
	{"domain", "192.0.2.80", "www.example.com"},
	{"node", "10.0.0.1", "web-0.web"},
	{"node", onNode, "nobody dns dns-version ns.dns blue svc all serving starting _tcp.web _tcp.web-0.web _http._tcp.web-0.web _zone.web"},
	{"node", onNode, "nowhere circle"},
	{"set", "10.20.0.1 10.20.0.2 10.30.0.1", "db"},
	{"set", onNode, "db-0.db db-1.west.db east.db west.db north.db east.api"},
	{"set", "10.97.0.1", "api"},
	{"set", "10.20.0.1", "db-0.east.db"},
	{"set", "10.30.0.1", "db-0.west.db"},
	{"set", "10.20.1.1", "api-0.east.api"},
	// a is the Service hex, d leads to all of fd00::/8, b and e to nothing
	{"reverse", onNode, "a b d e"},
}

// searchLookup is a name that a program looks up, A and AAAA together.
type searchLookup struct{ list, name, want string }

func (l searchLookup) key() string { return l.list + " " + l.name }

// searchLookups are those of searchFound.
var searchLookups = func() (lookups []searchLookup) {
	for _, row := range searchFound {
		for name := range strings.FieldsSeq(row.names) {
			lookups = append(lookups, searchLookup{row.list, name, row.want})
		}
	}
	return lookups
}()

// searchRule says what some resolvers find instead through some plugins.
type searchRule struct {
	name, section string // section of behaviour.md
	resolvers     []string
	plugins       []string
	why           string
	instead       map[string]string // addresses by list and name
}

// Some of the resolvers, and of the plugins.
var (
	goAlone, glibc, musl = []string{"go"}, []string{"glibc"}, []string{"musl"}
	libcs                = []string{"glibc", "musl"}
	stock, ours          = []string{"kubernetes"}, []string{"headless", "search"}
	searching            = []string{"search"}
	either               = []string{"kubernetes", "headless", "search"}
)

// nothing says that lookups, each by list and name, find nothing.
func nothing(lookups ...string) map[string]string {
	instead := make(map[string]string)
	for _, l := range lookups {
		instead[l] = ""
	}
	return instead
}

// searchRules are all the ways in which an outcome may be another one. The first ones are the list in section 1 of
// behaviour.md of the names whose NXDOMAIN becomes NODATA.
var searchRules = []searchRule{
	// what musl does not find any more
	{"dns and dns-version exist", "1", musl, ours, "musl ends its search at NODATA, where ns.dns and the version are below or at the name", nothing("pod dns", "pod dns-version", "pod DNS", "node dns", "node dns-version")},
	{
		"protocols and ports exist", "1", musl, ours,
		"musl ends its search at NODATA; SRV records are below or at the name",
		nothing("pod _tcp.web", "pod _udp.web", "pod _tcp.vip", "pod _tcp.web-0.web", "pod _http._tcp.web-0.web", "pod _tcp.vip-0.vip",
			"pod _tcp.not-ready.all", "pod _http._tcp.not-ready.all", "node _tcp.web", "node _tcp.web-0.web", "node _http._tcp.web-0.web"),
	},
	{"zone names exist", "1", musl, ours, "musl ends its search at NODATA; zonal names are below the name", nothing("pod _zone.web", "pod pin._zone.web", "pod prefer._zone.zoned", "pod _zone.all", "node _zone.web")},
	{"cluster ids exist", "1", musl, ours, "musl ends its search at NODATA; endpoints are below the name", nothing("set east.db", "set west.db")},
	{"cluster ids exist, of Services that are not here", "1", musl, []string{"headless"}, "the same; search comes to the names of the node first", nothing("set east.api")},
	{"reverse names exist", "1", musl, ours, "musl ends its search at NODATA; the name has a PTR record or leads to some", nothing("reverse a", "reverse d")},
	{"a Service with hostnames that are not ready exists", "1", musl, ours, "musl ends its search at NODATA, even where another cluster has the Service", nothing("pod all", "pod all.default", "pod serving", "node all", "node serving", "set db")},
	// what search changes
	{
		"a name without an address is the first that exists", "11", glibc, searching, "glibc goes on at NODATA but not at a CNAME without an address",
		nothing("pod blue", "pod default", "pod default.svc", "pod vacant", "pod svc", "pod pod", "pod default.pod", "pod all.default",
			"pod dns", "pod dns-version", "pod DNS", "node blue", "node svc", "node dns", "node dns-version"),
	},
	{
		"the full name of a Service that is not there", "11", searchResolvers, searching, "it is also the first step to its first label",
		map[string]string{"pod nobody.default.svc.cluster.local": beyond, "pod nobody.default.svc.cluster.local.": beyond},
	},
	{
		"a search list that the server does not see", "11", searchResolvers, searching, "it goes along that of its own node, without the cluster set",
		map[string]string{"set api": onNode, "set api-0.east.api": onNode},
	},
	// what resolvers do with both plugins alike
	{
		"namespaces, svc, pod and zonal names exist", "1", musl, either,
		"musl ends its search at NODATA, which stock gives too",
		nothing("pod blue", "pod default", "pod default.svc", "pod vacant", "pod svc", "pod pod", "pod default.pod",
			"pod mars.pin._zone.zoned", "node blue", "node svc"),
	},
	{"an ExternalName without an address", "2", libcs, either, "glibc and musl end their search at a CNAME that leads to NODATA", nothing("pod ext-empty")},
	{"an ExternalName without an address, in the cluster", "2", musl, either, "stock gives NODATA, ours the CNAME: musl ends its search at both", nothing("pod hollow", "pod circle", "pod self", "node circle")},
	// ExternalNames
	{"a CNAME stays in the answer", "2", glibc, ours, "glibc goes on at NODATA but not at a CNAME without an address", nothing("pod hollow", "pod circle", "pod self", "node circle")},
	{"the target of an ExternalName in the cluster does not exist", "2", musl, stock, "stock gives NODATA, ours NXDOMAIN as RFC 6604 wants: musl goes on", nothing("pod nowhere", "node nowhere")},
	{"the target of an ExternalName outside does not exist", "2", libcs, stock, "stock gives NOERROR with the CNAME, ours NXDOMAIN as RFC 6604 wants: glibc and musl go on", nothing("pod ext-gone")},
	{"a chain has eight CNAMEs at most", "2", goAlone, ours, "Go goes on at a CNAME without an address", map[string]string{"pod hop-1": beyond}},
	{"a chain has eight CNAMEs at most, and ends the search", "2", libcs, ours, "glibc and musl end their search at a CNAME without an address", nothing("pod hop-1")},
	// other names and addresses
	{
		"hostnames that are not ready", "4", searchResolvers, ours,
		"the annotation of the Service asks for them; stock does not know it",
		map[string]string{
			"pod not-ready.all": "10.0.8.3", "pod leaving.all": "10.0.8.4", "pod gone.all": "10.0.8.5", "pod leaving.serving": "10.0.8.4",
			"set db-0.db": "10.0.11.1",
		},
	},
	{"ports and protocols have underscores", "2", searchResolvers, ours, "stock takes them off and does not care whether they are there", map[string]string{"pod http.tcp.web": beyond}},
	{"an address has one spelling", "2", searchResolvers, ours, "a v4-mapped address is named after the IPv4 address, and no label starts with a hyphen", map[string]string{"pod 10-0-2-9.anon": "10.0.2.9", "pod 0--5.anon": "::5"}},
	{"a label that starts with a hyphen", "2", musl, stock, "only musl asks for it, and stock has it", map[string]string{"pod --5.anon": "::5"}},
	{"a label that starts with a hyphen does not exist", "2", musl, ours, "only musl asks for it, and goes on", map[string]string{"pod --5.anon": beyond}},
	{"endpoints that are names", "4", searchResolvers, ours, "stock gives a CNAME; the endpoints of an FQDN slice are none of ours", map[string]string{"pod fqdn": beyond}},
	{"ns.dns has the addresses of the DNS service", "2", searchResolvers, ours, "stock does not find the service by an address that bind names", map[string]string{"pod ns.dns": "10.96.0.10", "node ns.dns": "10.96.0.10"}},
	{"ns.dns always exists", "2", musl, stock, "stock gives NODATA where it has no address: musl ends its search", nothing("pod ns.dns", "node ns.dns")},
}

// searchPlugins are the servers. Through those that are countedOnly, the names of searchCounted are looked up and no others.
var searchPlugins = map[string]struct {
	addr, front, directive, options string
	countedOnly                     bool
}{
	"kubernetes": {"127.0.0.1", "", "kubernetes", "pods insecure", false},
	"headless":   {"127.0.0.2", "", "headless", "pods insecure", false},
	"search":     {"127.0.0.3", "", "headless", "pods verified\nsearch", false},
	"autopath":   {"127.0.0.4", "autopath @kubernetes", "kubernetes", "pods verified", true},
}

// The servers through which all is looked up, and the resolvers.
var (
	searchServers   = []string{"kubernetes", "headless", "search"}
	searchResolvers = []string{"go", "glibc", "musl"}
)

// searchRole is the environment variable that tells this binary which part of TestSearchLists it is.
const searchRole = "HEADLESS_SEARCH_LISTS"

// quickExit keeps the race detector from waiting a second at the end of each process.
const quickExit = "GORACE=atexit_sleep_ms=0"

// searchOutcomes are what is found, by resolver, plugin, and list and name.
type searchOutcomes map[string]map[string]map[string]searchOutcome

// searchOutcome is what a resolver finds, and how many names it asks for, as A.
type searchOutcome struct {
	Addresses string
	Asked     int
}

// TestSearchLists looks up short names as programs in pods do, with the resolvers of Go, glibc and musl, through the stock
// plugin and through ours. The servers and the resolvers run where there is no network but the loopback: the test starts
// itself there, and that process starts one process for each resolver, plugin and list, since resolvers cache resolv.conf.
func TestSearchLists(t *testing.T) {
	switch os.Getenv(searchRole) {
	case "":
		testSearchLists(t)
	case "serve":
		serveSearchLists(t, flag.Arg(0))
	case "resolve":
		for _, name := range flag.Args() {
			fmt.Println(goAddresses(name))
		}
	}
}

func testSearchLists(t *testing.T) {
	folder := t.TempDir()
	missing := map[string]string{"glibc": findGlibc(), "musl": compileMusl(t, folder)}
	isolated(t, folder)
	var got searchOutcomes
	fatal.If(t, json.Unmarshal(filetest.Read(t, filepath.Join(folder, outcomesFile)), &got))
	checkSearchRules(t)
	for _, resolver := range searchResolvers {
		t.Run(resolver, func(t *testing.T) {
			if missing[resolver] != "" {
				t.Skip(missing[resolver])
			}
			for _, l := range searchLookups {
				for _, plugin := range searchServers {
					want, rule := l.expected(resolver, plugin)
					if found := got[resolver][plugin][l.key()].Addresses; found != want {
						t.Errorf("%s through %s, search %s: got %q, want %q%s", l.name, plugin, l.list, found, want, rule)
					}
				}
			}
			for _, c := range searchCounted {
				addresses := got[resolver]["kubernetes"][c.list+" "+c.name].Addresses
				for plugin, asks := range c.asks {
					if got, want := got[resolver][plugin][c.list+" "+c.name], (searchOutcome{addresses, asks}); got != want {
						t.Errorf("%s through %s, search %s: found %q by %d names, want %q by %d", c.name, plugin, c.list, got.Addresses, got.Asked, want.Addresses, want.Asked)
					}
				}
			}
		})
	}
}

// expected returns what a resolver finds through a plugin, and the rule that says so.
func (l searchLookup) expected(resolver, plugin string) (want, rule string) {
	for _, r := range searchRules {
		if instead, ok := r.instead[l.key()]; ok && slices.Contains(r.resolvers, resolver) && slices.Contains(r.plugins, plugin) {
			return instead, fmt.Sprintf(" by the rule %q: %s (section %s)", r.name, r.why, r.section)
		}
	}
	return l.want, ""
}

// checkSearchRules fails the test for a rule that allows nothing.
func checkSearchRules(t *testing.T) {
	t.Helper()
	wants := make(map[string]string)
	for _, l := range searchLookups {
		if _, twice := wants[l.key()]; twice {
			t.Errorf("%s is looked up twice", l.key())
		}
		wants[l.key()] = l.want
	}
	used := make(map[string]string)
	for _, r := range searchRules {
		if len(r.instead) == 0 {
			t.Errorf("rule %s: not used", r.name)
		}
		for key, instead := range r.instead {
			if want, ok := wants[key]; !ok || want == instead {
				t.Errorf("rule %s: not used by %s", r.name, key)
			}
			for _, resolver := range r.resolvers {
				for _, plugin := range r.plugins {
					at := resolver + " " + plugin + " " + key
					if used[at] != "" {
						t.Errorf("%s: two rules, %s and %s", at, used[at], r.name)
					}
					used[at] = r.name
				}
			}
		}
	}
}

// findGlibc returns why glibc's resolver cannot be used, or "".
func findGlibc() string {
	out, err := exec.Command("getent", "--version").CombinedOutput()
	switch {
	case err != nil:
		return err.Error()
	case !strings.Contains(strings.ToLower(string(out)), "libc"):
		return "getent is not glibc's"
	}
	return ""
}

// muslProgram prints the addresses of its arguments, each one's in a line.
const muslProgram = `
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = 0;
		int err = getaddrinfo(argv[i], 0, &hints, &list);
		if (err && err != EAI_NONAME && err != EAI_NODATA)
			printf("error: %s", gai_strerror(err));
		for (; list; list = list->ai_next) {
			char host[64];
			getnameinfo(list->ai_addr, list->ai_addrlen, host, sizeof host, 0, 0, NI_NUMERICHOST);
			printf("%s ", host);
		}
		putchar('\n');
	}
	return 0;
}
`

// compileMusl compiles muslProgram in folder. It returns why that cannot be done, or "".
func compileMusl(t *testing.T, folder string) string {
	t.Helper()
	compiler, err := exec.LookPath("musl-gcc")
	if err != nil {
		return err.Error()
	}
	source := filepath.Join(folder, "musl.c")
	filetest.Write(t, source, muslProgram)
	cmd := exec.CommandContext(t.Context(), compiler, "-static", "-o", muslPath(folder), "-D_GNU_SOURCE", source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("musl-gcc: %v\n%s", err, out)
	}
	return ""
}

func muslPath(folder string) string { return filepath.Join(folder, "musl") }

// isolated runs the servers and resolvers in namespaces of their own; the outcomes are in folder then. It skips the test when
// the kernel does not allow that.
func isolated(t *testing.T, folder string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSearchLists$", "-test.v", "-test.timeout=1m", folder)
	cmd.Env = []string{searchRole + "=serve", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), quickExit}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// The first process of a process namespace takes all others with it.
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Start()
	for _, refusal := range []error{syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.EINVAL, syscall.ENOSYS, syscall.EUSERS} {
		if errors.Is(err, refusal) {
			t.Skipf("no namespaces: %v", err)
		}
	}
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if bytes.Contains(out.Bytes(), []byte("--- SKIP: TestSearchLists")) {
		t.Skip(out.String())
	}
}

// outcomesFile is where the process in the namespaces leaves what it found.
const outcomesFile = "outcomes.json"

// serveSearchLists runs in the namespaces. It starts the servers, does all lookups, and leaves the outcomes in folder.
func serveSearchLists(t *testing.T, folder string) {
	etc := t.TempDir()
	if err := isolate(t, etc); errors.Is(err, fs.ErrPermission) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	api := kubetest.NewServer(t)
	putSearchObjects(t, api)
	forward := "forward . " + startSearchUpstream(t)
	caddy.Quiet, dnsserver.Quiet = true, true
	dnsserver.Directives = append([]string{"noted", "headless"}, dnsserver.Directives...)
	outcomes := make(searchOutcomes)
	for _, resolver := range searchResolvers {
		outcomes[resolver] = make(map[string]map[string]searchOutcome)
		for plugin := range searchPlugins {
			outcomes[resolver][plugin] = make(map[string]searchOutcome)
		}
	}
	resolvConf := filepath.Join(etc, "resolv.conf")
	start := func(list string, plugins ...string) (stop func()) {
		filetest.Write(t, resolvConf, "nameserver 127.0.0.1\nsearch "+nodeDomains(searchLists[list])+"\n")
		return startSearchServers(t, api.URL, forward, plugins...)
	}
	// The kubernetes plugin is made once, for it sets the logger of all that runs. What autopath looks for is on no node.
	defer start("domain", "kubernetes", "headless", "autopath")()
	for list, domains := range searchLists {
		stop := start(list, "search")
		for plugin := range searchPlugins {
			filetest.Write(t, resolvConf, "nameserver "+searchPlugins[plugin].addr+"\nsearch "+domains+"\noptions ndots:5\n")
			for resolver, found := range resolveAll(t, folder, searchedThrough(plugin, list)) {
				for name, outcome := range found {
					outcomes[resolver][plugin][list+" "+name] = outcome
				}
			}
		}
		stop()
	}
	content, err := json.Marshal(outcomes)
	fatal.If(t, err)
	filetest.Write(t, filepath.Join(folder, outcomesFile), string(content))
}

// nodeDomains returns those of a search list that are not the cluster's.
func nodeDomains(domains string) string {
	var own []string
	for domain := range strings.FieldsSeq(domains) {
		if strings.HasPrefix(domain, "example.") {
			own = append(own, domain)
		}
	}
	return strings.Join(own, " ")
}

// searchedThrough returns the names that are looked up through a plugin along a search list.
func searchedThrough(plugin, list string) (names []string) {
	if searchPlugins[plugin].countedOnly {
		for _, c := range searchCounted {
			if c.list == list {
				names = append(names, c.name)
			}
		}
		return names
	}
	for _, l := range searchLookups {
		if l.list == list {
			names = append(names, l.name)
		}
	}
	return names
}

// startSearchServers starts servers, and returns what stops them.
func startSearchServers(t *testing.T, api, forward string, plugins ...string) (stop func()) {
	t.Helper()
	c := ""
	for _, plugin := range plugins {
		p := searchPlugins[plugin]
		c += ".:53 {\nbind " + p.addr + "\nnoted\n" + p.front + "\n" + p.directive + ` cluster.local clusterset.local in-addr.arpa ip6.arpa {
			endpoint ` + api + `
			zonal
			multicluster clusterset.local
			fallthrough in-addr.arpa ip6.arpa
			` + p.options + `
		}` + "\n" + forward + "\n}\n"
	}
	instance, err := caddy.Start(caddy.CaddyfileInput{ServerTypeName: "dns", Contents: []byte(c)})
	fatal.If(t, err)
	return func() {
		if err := errors.Join(append(instance.ShutdownCallbacks(), instance.Stop())...); err != nil {
			t.Error(err)
		}
	}
}

// noted is a plugin that counts the names of which clients ask for the A records.
type noted struct{ plugin.Handler }

var notedNames struct {
	mu    sync.Mutex
	count map[string]int // of queries for a lower-case FQDN
}

func init() {
	plugin.Register("noted", func(c *caddy.Controller) error {
		for c.Next() { // it has no arguments
		}
		dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler { return noted{next} })
		return nil
	})
}

func (n noted) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if q := r.Question[0]; q.Qtype == dns.TypeA && ctx.Value(dnsserver.LoopKey{}) == 0 {
		notedNames.mu.Lock()
		notedNames.count[strings.ToLower(q.Name)]++
		notedNames.mu.Unlock()
	}
	return n.Handler.ServeDNS(ctx, w, r)
}

// notedBelow returns how many names that begin with name were asked for.
func notedBelow(name string) (asked int) {
	notedNames.mu.Lock()
	defer notedNames.mu.Unlock()
	for fqdn, n := range notedNames.count {
		if strings.HasPrefix(fqdn, strings.ToLower(name)+".") {
			asked += n
		}
	}
	return asked
}

// isolate makes etc the folder /etc of this process and those that it starts, and brings the loopback up.
func isolate(t *testing.T, etc string) error {
	t.Helper()
	filetest.Write(t, filepath.Join(etc, "nsswitch.conf"), "hosts: files dns\n")
	filetest.Write(t, filepath.Join(etc, "hosts"), "")
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// glibc would ask a cache that runs outside.
	mounts := map[string]string{"/etc": etc, "/run/nscd": t.TempDir(), "/var/run/nscd": t.TempDir()}
	for target, folder := range mounts {
		if err := unix.Mount(folder, target, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mounting %s: %w", target, err)
		}
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	defer unix.Close(socket) //nolint:errcheck // it was only asked
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo)
	}
	if err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	return nil
}

// putSearchObjects puts the objects of the test, and the namespaces that they are in, on the API server.
func putSearchObjects(t *testing.T, api *kubetest.Server) {
	t.Helper()
	more := filetest.Temp(t, "more.yaml", searchObjects)
	objects, err := manifests.Read("../../testdata/cluster.yaml", "../../testdata/imports.yaml", more)
	fatal.If(t, err)
	for _, obj := range objects {
		o := obj.(kubetest.Object) // those of every kind are
		if ns := o.GetNamespace(); ns != "" {
			api.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		}
		api.Put(o)
	}
}

// searchUpstreamAddr returns the address of a name outside the cluster, "" for none, and whether the name exists.
func searchUpstreamAddr(name string) (addr string, ok bool) {
	switch {
	case dns.IsSubDomain("example.com.", name):
		addr, ok = searchUpstream[name]
		return addr, ok
	case dns.IsSubDomain("arpa.", name), dns.IsSubDomain("example.net.", name):
		return "", false
	case dns.IsSubDomain("example.org.", name):
		return onNode, true
	}
	return beyond, true
}

// startSearchUpstream starts a DNS server for the names outside the cluster, and returns its address.
func startSearchUpstream(t *testing.T) string {
	t.Helper()
	return dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(r)
		m.RecursionAvailable = true // glibc takes NODATA without it for a referral
		q := r.Question[0]
		addr, ok := searchUpstreamAddr(strings.ToLower(q.Name))
		switch {
		case !ok:
			m.Rcode = dns.RcodeNameError
		case q.Qtype == dns.TypeA && addr != "":
			m.Answer = dnstest.Records(t, q.Name+" 60 IN A "+addr)
		}
		return m
	})
}

// resolveAll looks up names with the resolvers that are there, and returns what each finds, by resolver and name.
func resolveAll(t *testing.T, folder string, names []string) map[string]map[string]searchOutcome {
	t.Helper()
	if len(names) == 0 {
		return nil
	}
	resolvers := map[string]func() []string{"go": func() []string {
		return output(t, []string{searchRole + "=resolve"}, os.Args[0], append([]string{"-test.run=^TestSearchLists$", "--"}, names...)...)
	}}
	if _, err := os.Stat(muslPath(folder)); err == nil {
		resolvers["musl"] = func() []string { return output(t, nil, muslPath(folder), names...) }
	}
	if findGlibc() == "" {
		resolvers["glibc"] = func() (lines []string) {
			for _, name := range names {
				lines = append(lines, glibcAddresses(t, name))
			}
			return lines
		}
	}
	found := make(map[string]map[string]searchOutcome)
	for resolver, resolve := range resolvers {
		notedNames.mu.Lock()
		notedNames.count = make(map[string]int)
		notedNames.mu.Unlock()
		lines := resolve()
		if len(lines) < len(names) {
			t.Fatalf("%s answers %d of %d names", resolver, len(lines), len(names))
		}
		found[resolver] = make(map[string]searchOutcome)
		for i, name := range names {
			addresses := lines[i]
			if !strings.HasPrefix(addresses, "error") {
				addresses = sortedAddresses(strings.Fields(addresses))
			}
			found[resolver][name] = searchOutcome{addresses, notedBelow(name)}
		}
	}
	return found
}

// output runs a command and returns the lines that it prints.
func output(t *testing.T, env []string, command string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Env = append([]string{"LC_ALL=C", quickExit}, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return strings.Split(string(out), "\n")
}

// glibcNotFound is the exit status of getent for a name without addresses.
const glibcNotFound = 2

// glibcAddresses returns the addresses of name as glibc finds them.
func glibcAddresses(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "getent", "ahosts", "--", name)
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == glibcNotFound {
		return ""
	} else if err != nil {
		t.Fatalf("getent ahosts %s: %v", name, err)
	}
	var addrs []string
	for line := range strings.Lines(string(out)) {
		addrs = append(addrs, strings.Fields(line)[0])
	}
	return strings.Join(addrs, " ")
}

// goAddresses returns the addresses of name as Go finds them.
func goAddresses(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resolver := &net.Resolver{PreferGo: true}
	found, err := resolver.LookupNetIP(ctx, "ip", name)
	if denied := new(net.DNSError); errors.As(err, &denied) && denied.IsNotFound {
		return ""
	} else if err != nil {
		return "error: " + err.Error()
	}
	var addrs []string
	for _, addr := range found {
		addrs = append(addrs, addr.Unmap().String())
	}
	return strings.Join(addrs, " ")
}

// sortedAddresses returns each of addrs once, in order.
func sortedAddresses(addrs []string) string {
	slices.Sort(addrs)
	return strings.Join(slices.Compact(addrs), " ")
}
