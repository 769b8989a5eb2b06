package headless

import (
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/snapshot"
	"github.com/coredns-headless/headless/internal/stacks"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/fall"

	"k8s.io/apimachinery/pkg/labels"
)

// stanzaConfig parses text in a server block with these keys.
func stanzaConfig(text string, keys ...string) (*config, error) {
	c := newController(text)
	c.ServerBlockKeys = keys
	return parseStanza(c)
}

// stanzaDefaults returns what a stanza for cluster.local without options means.
func stanzaDefaults() *config {
	return &config{
		zones: []string{"cluster.local."}, primary: "cluster.local.",
		startupTimeout: 5 * time.Second, hostnames: model.HostnamesReady, hold: 5 * time.Second, podMode: podsDisabled,
		ttl: 5, headlessTTL: 5, negativeTTL: 5,
	}
}

func stanzaSelector(t *testing.T, text string) labels.Selector {
	t.Helper()
	s, err := labels.Parse(text)
	if err != nil {
		t.Fatalf("selector %q: %v", text, err)
	}
	return s
}

// stanzaOption is a row: what the lines of a stanza's block mean.
type stanzaOption struct {
	name  string
	lines string // separated by semicolons
	set   func(*config)
}

func (o *stanzaOption) text() string {
	return "headless cluster.local {\n" + strings.ReplaceAll(o.lines, ";", "\n") + "\n}"
}

// stanzaGood returns the stanzas that are accepted, every option among them.
func stanzaGood(t *testing.T) []stanzaOption {
	both, app := stanzaSelector(t, "environment in (production, staging, qa),application=nginx"), stanzaSelector(t, "app=web")
	return []stanzaOption{
		{"no options", "", func(*config) {}},
		{"an endpoint", "endpoint https://10.0.0.1:6443", func(c *config) { c.api.Endpoint = "https://10.0.0.1:6443" }},
		{"several endpoints, of which the first is used", "endpoint http://a:1 http://b:2", func(c *config) { c.api.Endpoint = "http://a:1" }},
		{"three files for TLS", "tls cert.pem key.pem ca.pem", func(c *config) { c.api.CertFile, c.api.KeyFile, c.api.CAFile = "cert.pem", "key.pem", "ca.pem" }},
		{"a kubeconfig", "kubeconfig file", func(c *config) { c.api.Kubeconfig = "file" }},
		{"a kubeconfig and a context", "kubeconfig file context", func(c *config) { c.api.Kubeconfig, c.api.Context = "file", "context" }},
		{"a rate that is no whole number", "apiserver_qps 0.5", func(c *config) { c.api.QPS = 0.5 }},
		{"a rate of 0", "apiserver_qps 0", func(*config) {}},
		{"a burst", "apiserver_burst 100", func(c *config) { c.api.Burst = 100 }},
		{"a burst of 0", "apiserver_burst 0", func(*config) {}},
		{"requests under way", "apiserver_max_inflight 25", func(c *config) { c.api.MaxInflight = 25 }},
		{"no limit of requests under way", "apiserver_max_inflight 0", func(*config) {}},
		{"a startup timeout", "startup_timeout 1m30s", func(c *config) { c.startupTimeout = 90 * time.Second }},
		{"no startup timeout", "startup_timeout 0s", func(c *config) { c.startupTimeout = 0 }},
		{"a startup timeout of 0 without unit", "startup_timeout 0", func(c *config) { c.startupTimeout = 0 }},
		{"manifests", "manifests a.yaml b", func(c *config) { c.manifests = []string{"a.yaml", "b"} }},
		{"manifests on several lines", "manifests a;manifests b c", func(c *config) { c.manifests = []string{"a", "b", "c"} }},
		{"manifests, and what becomes of them", "manifests foresee a b", func(c *config) { c.manifests, c.foresees = []string{"a", "b"}, true }},
		{"manifests of which one says so", "manifests a;manifests foresee b", func(c *config) { c.manifests, c.foresees = []string{"a", "b"}, true }},
		{"a folder that is called foresee", "manifests ./foresee", func(c *config) { c.manifests = []string{"./foresee"} }},
		{"a snapshot", "snapshot file", func(c *config) {
			c.snapshot = snapshot.Config{Path: "file", MaxAge: 24 * time.Hour, Interval: 5 * time.Second}
		}},
		{"a snapshot and its greatest age", "snapshot file 1h30m", func(c *config) {
			c.snapshot = snapshot.Config{Path: "file", MaxAge: 90 * time.Minute, Interval: 5 * time.Second}
		}},
		{"a snapshot, its greatest age and its interval", "snapshot /a/file 168h 1s", func(c *config) {
			c.snapshot = snapshot.Config{Path: "/a/file", MaxAge: 168 * time.Hour, Interval: time.Second}
		}},
		{"the last snapshot counts", "snapshot a 2h 2s;snapshot b", func(c *config) {
			c.snapshot = snapshot.Config{Path: "b", MaxAge: 24 * time.Hour, Interval: 5 * time.Second}
		}},
		{"namespaces", "namespaces a b", func(c *config) { c.namespaces = []string{"a", "b"} }},
		{"namespaces on several lines", "namespaces a;namespaces b", func(c *config) { c.namespaces = []string{"a", "b"} }},
		{"namespace_labels", "namespace_labels app=web", func(c *config) { c.selection.NamespaceLabels = app }},
		{"labels", "labels app=web", func(c *config) { c.selection.Labels = app }},
		{"labels with spaces", "labels environment in (production, staging, qa),application=nginx", func(c *config) { c.selection.Labels = both }},
		{"labels in quotes", `labels "environment in (production, staging, qa),application=nginx"`, func(c *config) { c.selection.Labels = both }},
		{"noendpoints", "noendpoints", func(c *config) { c.selection.NoEndpoints = true }},
		{"endpoints headless", "endpoints headless", func(c *config) { c.selection.HeadlessOnly = true }},
		{"endpoints all", "endpoints all", func(*config) {}},
		{"the last endpoints counts", "endpoints headless;endpoints all", func(*config) {}},
		{"ignore empty_service", "ignore empty_service", func(c *config) { c.ignoreEmpty = true }},
		{"endpoint_pod_names", "endpoint_pod_names", func(c *config) { c.podNames = true }},
		{"hostnames ready", "hostnames ready", func(*config) {}},
		{"hostnames serving", "hostnames serving", func(c *config) { c.hostnames = model.HostnamesServing }},
		{"hostnames all", "hostnames all", func(c *config) { c.hostnames = model.HostnamesAll }},
		{"hold is 5 s unless set", "", func(c *config) { c.hold = 5 * time.Second }},
		{"hold off", "hold 0", func(c *config) { c.hold = 0 }},
		{"hold for the longest time", "hold 1m", func(c *config) { c.hold = time.Minute }},
		{"no_explain", "no_explain", func(c *config) { c.noExplain = true }},
		{"small_stacks", "small_stacks", func(c *config) { c.smallStacks = true }},
		{"insight", "insight", func(c *config) { c.insightAddr = "127.0.0.1:6054" }},
		{"insight at an address", "insight [::1]:80", func(c *config) { c.insightAddr = "[::1]:80" }},
		{"insight at a name", "insight localhost:6054", func(c *config) { c.insightAddr = "localhost:6054" }},
		{"insight everywhere", "insight :6054", func(c *config) { c.insightAddr = ":6054" }},
		{"pods insecure", "pods insecure", func(c *config) { c.podMode = podsInsecure }},
		{"pods disabled", "pods disabled", func(*config) {}},
		{"pods verified", "pods verified", func(c *config) { c.podMode = podsVerified }},
		{"zonal", "zonal", func(c *config) { c.zonal = true }},
		{"topology off", "topology off", func(*config) {}},
		{"topology by hints", "topology hints", func(c *config) { c.topology = true }},
		{"search", "search", func(c *config) { c.searches = true }},
		{"a node", "node worker-1.example.org", func(c *config) { c.node = "worker-1.example.org" }},
		{"a node that is called by its address", "node 10.0.0.1", func(c *config) { c.node = "10.0.0.1" }},
		{"forwarders", "client_subnet 10.0.0.1 fd00::1 ::ffff:10.0.0.2 10.1.0.0/16", func(c *config) {
			for _, text := range []string{"10.0.0.1/32", "fd00::1/128", "10.0.0.2/32", "10.1.0.0/16"} {
				c.clientSubnet = append(c.clientSubnet, netip.MustParsePrefix(text))
			}
		}},
		{"multicluster", "multicluster cluster.local", func(c *config) { c.multicluster, c.primary = []string{"cluster.local."}, "" }},
		{"multicluster without zones", "multicluster", func(c *config) { c.multicluster = []string{} }},
		{"fallthrough for every zone", "fallthrough", func(c *config) { c.fall = fall.Root }},
		{"fallthrough for some", "fallthrough in-addr.arpa IP6.arpa. example.com", func(c *config) { c.fall = fall.F{Zones: []string{"in-addr.arpa.", "ip6.arpa.", "example.com."}} }},
		{"ttl, with which the others change", "ttl 3", func(c *config) { c.ttl, c.headlessTTL, c.negativeTTL = 3, 3, 3 }},
		{"ttl, and negative answers live no longer than 5 s", "ttl 30", func(c *config) { c.ttl, c.headlessTTL, c.negativeTTL = 30, 30, 5 }},
		{"the least ttl", "ttl 0", func(c *config) { c.ttl, c.headlessTTL, c.negativeTTL = 0, 0, 0 }},
		{"the greatest ttl", "ttl 3600", func(c *config) { c.ttl, c.headlessTTL, c.negativeTTL = 3600, 3600, 5 }},
		{"headless_ttl alone", "headless_ttl 1", func(c *config) { c.headlessTTL = 1 }},
		{"headless_ttl of 0", "headless_ttl 0", func(c *config) { c.headlessTTL = 0 }},
		{"the greatest headless_ttl", "headless_ttl 3600", func(c *config) { c.headlessTTL = 3600 }},
		{"negative_ttl alone", "negative_ttl 60", func(c *config) { c.negativeTTL = 60 }},
		{"negative_ttl of 0", "negative_ttl 0", func(c *config) { c.negativeTTL = 0 }},
		{"the greatest negative_ttl", "negative_ttl 3600", func(c *config) { c.negativeTTL = 3600 }},
		{"soa_refresh, and a quarter of it", "soa_refresh 300", func(c *config) { c.soaRefresh, c.soaRetry = 300, 75 }},
		{"the least soa_refresh", "soa_refresh 1", func(c *config) { c.soaRefresh, c.soaRetry = 1, 1 }},
		{"soa_refresh and the time of a retry", "soa_refresh 86400 7", func(c *config) { c.soaRefresh, c.soaRetry = 86400, 7 }},
		{"transfer_limit", "transfer_limit 100", func(c *config) { c.transferLimit = 100 }},
		{"all three, whatever comes first", "negative_ttl 7;headless_ttl 2;ttl 30", func(c *config) { c.ttl, c.headlessTTL, c.negativeTTL = 30, 2, 7 }},
		{"noendpoints with the endpoints of all", "noendpoints;endpoints all", func(c *config) { c.selection.NoEndpoints = true }},
		{"ignore empty_service with the endpoints of all", "endpoints all;ignore empty_service", func(c *config) { c.ignoreEmpty = true }},
		{"labels with namespaces", "labels app=web;namespaces a", func(c *config) { c.selection.Labels, c.namespaces = app, []string{"a"} }},
	}
}

// stanzaBad holds stanzas that are refused: the line, the option's name in the message, and what was expected.
var stanzaBad = []struct {
	name  string
	lines string // separated by semicolons; the first is line 2
	line  string
	want  []string
}{
	{"an unknown option", "frobnicate 1", "2", []string{`"frobnicate"`, "endpoint_pod_names", "ttl"}},
	{"an option in upper case", "TTL 5", "2", []string{`"TTL"`, "ttl"}},
	{"one that is nearly one", "manifest a", "2", []string{`unknown option "manifest", did you mean manifests?`}},
	{"one that is like none", "xyz", "2", []string{`unknown option "xyz", expected one of`}},
	{"an endpoint of another scheme", "endpoint htps://user:hunter2@a", "2", []string{`endpoint: expected a URL of http or https, got "htps://a"`}},
	{"all on one line", "manifests a }", "2", []string{"manifests: expected } on a line of its own"}},
	{"an unknown option further down", "ttl 5;pods insecure;what", "4", []string{`"what"`}},
	{"endpoint without a URL", "endpoint", "2", []string{"endpoint: ", "a URL", `got ""`}},
	{"tls with two files", "tls a b", "2", []string{"tls: ", "three files", `got "a b"`}},
	{"tls with four files", "ttl 5;tls a b c d", "3", []string{"tls: ", "three files", `got "a b c d"`}},
	{"kubeconfig without a file", "kubeconfig", "2", []string{"kubeconfig: ", "a file and perhaps a context", `got ""`}},
	{"kubeconfig with three words", "kubeconfig a b c", "2", []string{"kubeconfig: ", "a file and perhaps a context", `got "a b c"`}},
	{"apiserver_qps without a number", "apiserver_qps", "2", []string{"apiserver_qps: ", "a number of at least 0", `got ""`}},
	{"apiserver_qps with two numbers", "apiserver_qps 1 2", "2", []string{"apiserver_qps: ", "a number of at least 0", `got "1 2"`}},
	{"a negative apiserver_qps", "apiserver_qps -10", "2", []string{"apiserver_qps: ", "a number of at least 0", `got "-10"`}},
	{"an apiserver_qps that is no number", "apiserver_qps NaN", "2", []string{"apiserver_qps: ", "a number of at least 0", `got "NaN"`}},
	{"an apiserver_qps that is a word", "apiserver_qps fast", "2", []string{"apiserver_qps: ", "a number of at least 0", `got "fast"`}},
	{"an apiserver_qps that is too large", "apiserver_qps 1e39", "2", []string{"apiserver_qps: ", "a number of at least 0", `got "1e39"`}},
	{"apiserver_burst without a number", "apiserver_burst", "2", []string{"apiserver_burst: ", "a whole number of at least 0", `got ""`}},
	{"a negative apiserver_burst", "apiserver_burst -5", "2", []string{"apiserver_burst: ", "a whole number of at least 0", `got "-5"`}},
	{"an apiserver_burst that is no whole number", "apiserver_burst 1.5", "2", []string{"apiserver_burst: ", "a whole number of at least 0", `got "1.5"`}},
	{"an apiserver_burst that is too large", "apiserver_burst 99999999999999999999", "2", []string{"apiserver_burst: ", "a whole number of at least 0"}},
	{"apiserver_max_inflight without a number", "apiserver_max_inflight", "2", []string{"apiserver_max_inflight: ", "a whole number of at least 0", `got ""`}},
	{"a negative apiserver_max_inflight", "apiserver_max_inflight -1", "2", []string{"apiserver_max_inflight: ", "a whole number of at least 0", `got "-1"`}},
	{"startup_timeout without a duration", "startup_timeout", "2", []string{"startup_timeout: ", "a duration", `got ""`}},
	{"startup_timeout without a unit", "startup_timeout 5", "2", []string{"startup_timeout: ", "a duration", `got "5"`}},
	{"a negative startup_timeout", "startup_timeout -1s", "2", []string{"startup_timeout: ", "a duration of at least 0s", `got "-1s"`}},
	{"startup_timeout with a word", "startup_timeout soon", "2", []string{"startup_timeout: ", "a duration", `got "soon"`}},
	{"manifests without a path", "manifests", "2", []string{"manifests: ", "files or folders", `got ""`}},
	{"manifests foresee without a path", "manifests foresee", "2", []string{"manifests: ", "files or folders, and perhaps foresee before them", `got "foresee"`}},
	{"snapshot without a file", "snapshot", "2", []string{"snapshot: ", "a file and perhaps", `got ""`}},
	{"snapshot with four words", "snapshot a 1h 5s 6s", "2", []string{"snapshot: ", "a file and perhaps", `got "a 1h 5s 6s"`}},
	{"snapshot with an age that is none", "snapshot a old", "2", []string{"snapshot: ", "durations of at least 1s", `got "a old"`}},
	{"snapshot with an age without a unit", "snapshot a 24", "2", []string{"snapshot: ", "durations of at least 1s", `got "a 24"`}},
	{"snapshot with an age that is too small", "snapshot a 999ms", "2", []string{"snapshot: ", "durations of at least 1s", `got "a 999ms"`}},
	{"snapshot with an interval that is none", "snapshot a 1h b", "2", []string{"snapshot: ", "durations of at least 1s", `got "a 1h b"`}},
	{"snapshot with an interval of 0", "ttl 5;snapshot a 1h 0s", "3", []string{"snapshot: ", "durations of at least 1s", `got "a 1h 0s"`}},
	{"namespaces without a name", "namespaces", "2", []string{"namespaces: ", "namespaces", `got ""`}},
	{"namespace_labels without a selector", "namespace_labels", "2", []string{"namespace_labels: ", "a label selector", `got ""`}},
	{"namespace_labels that do not parse", "ttl 5;namespace_labels a in (b", "3", []string{"namespace_labels: ", "a label selector", `got "a in (b"`}},
	{"labels without a selector", "labels", "2", []string{"labels: ", "a label selector", `got ""`}},
	{"labels that do not parse", "labels environment in (production, qa", "2", []string{"labels: ", "a label selector", `got "environment in (production, qa"`}},
	{"labels with a value that is none", "labels a=b/c", "2", []string{"labels: ", "a label selector", `got "a=b/c"`}},
	{"no_explain with a word", "no_explain at all", "2", []string{"no_explain: ", "no argument", `got "at all"`}},
	{"small_stacks with a word", "small_stacks 2", "2", []string{"small_stacks: ", "no argument", `got "2"`}},
	{"insight without a port", "insight 127.0.0.1", "2", []string{"insight: ", "an address with a port, such as 127.0.0.1:6054", `got "127.0.0.1"`}},
	{"insight with a port that is none", "insight 127.0.0.1:65536", "2", []string{"insight: ", "an address with a port", `got "127.0.0.1:65536"`}},
	{"insight at a name that is none of ours", "insight example.com:80", "2", []string{"insight: ", "an address with a port", `got "example.com:80"`}},
	{"insight at two addresses", "insight 127.0.0.1:1 127.0.0.1:2", "2", []string{"insight: ", "an address with a port", `got "127.0.0.1:1 127.0.0.1:2"`}},
	{"noendpoints with a word", "noendpoints at all", "2", []string{"noendpoints: ", "no argument", `got "at all"`}},
	{"endpoints without a word", "endpoints", "2", []string{"endpoints: ", "all or headless", `got ""`}},
	{"endpoints with another word", "endpoints none", "2", []string{"endpoints: ", "all or headless", `got "none"`}},
	{"endpoints with two words", "endpoints all headless", "2", []string{"endpoints: ", "all or headless", `got "all headless"`}},
	{"ignore with another word", "ignore everything", "2", []string{"ignore: ", "empty_service", `got "everything"`}},
	{"endpoint_pod_names with a word", "endpoint_pod_names all", "2", []string{"endpoint_pod_names: ", "no argument", `got "all"`}},
	{"hold without a time", "hold", "2", []string{"hold: ", "a duration from 0s to 1m", `got ""`}},
	{"hold without a unit", "hold 5", "2", []string{"hold: ", "a duration from 0s to 1m", `got "5"`}},
	{"hold for too long", "hold 61s", "2", []string{"hold: ", "a duration from 0s to 1m", `got "61s"`}},
	{"hold for less than nothing", "hold -1s", "2", []string{"hold: ", "a duration from 0s to 1m", `got "-1s"`}},
	{"hold for two times", "hold 1s 2s", "2", []string{"hold: ", "a duration from 0s to 1m", `got "1s 2s"`}},
	{"hostnames without a word", "hostnames", "2", []string{"hostnames: ", "ready, serving or all", `got ""`}},
	{"hostnames with another word", "hostnames terminating", "2", []string{"hostnames: ", "ready, serving or all", `got "terminating"`}},
	{"hostnames in upper case", "hostnames All", "2", []string{"hostnames: ", "ready, serving or all", `got "All"`}},
	{"hostnames with two words", "hostnames ready all", "2", []string{"hostnames: ", "ready, serving or all", `got "ready all"`}},
	{"zonal with a word", "zonal pin", "2", []string{"zonal: ", "no argument", `got "pin"`}},
	{"zonal without endpoints", "zonal;noendpoints", "4", []string{"zonal and noendpoints cannot both be set"}},
	{"topology without a word", "topology", "2", []string{"topology: ", "off or hints", `got ""`}},
	{"topology with another word", "topology auto", "2", []string{"topology: ", "off or hints", `got "auto"`}},
	{"topology without endpoints", "topology hints;noendpoints", "4", []string{"topology hints and noendpoints cannot both be set"}},
	{"search with a list", "search example.com", "2", []string{"search: ", "no argument", `got "example.com"`}},
	{"search where Services may be there that are not known", "search;labels a=b", "4", []string{"search and labels cannot both be set"}},
	{"a node without a name", "node", "2", []string{"node: ", "the name of a Node", `got ""`}},
	{"two nodes", "node a b", "2", []string{"node: ", "the name of a Node", `got "a b"`}},
	{"a node of another form", "node a,b", "2", []string{"node: ", "the name of a Node", `got "a,b"`}},
	{"a node in upper case", "node A", "2", []string{"node: ", "the name of a Node", `got "A"`}},
	{"client_subnet without a forwarder", "client_subnet", "2", []string{"client_subnet: ", "addresses or networks of forwarders", `got ""`}},
	{"client_subnet of a name", "client_subnet 10.0.0.1 resolver", "2", []string{"client_subnet: ", "addresses or networks of forwarders", `got "10.0.0.1 resolver"`}},
	{"client_subnet of an address with a zone", "client_subnet fe80::1%eth0", "2", []string{"client_subnet: ", "addresses or networks of forwarders", `got "fe80::1%eth0"`}},
	{"multicluster of another zone", "multicluster clusterset.local", "3", []string{"multicluster: ", "cluster.local.", `got "clusterset.local."`}},
	{"multicluster without slices that it needs", "endpoints headless;multicluster cluster.local", "4", []string{"endpoints headless and multicluster cannot both be set"}},
	{"pods without a word", "pods", "2", []string{"pods: ", "disabled", "insecure", `got ""`}},
	{"pods with another word", "pods giant_seed", "2", []string{"pods: ", "disabled", "insecure", `got "giant_seed"`}},
	{"pods with two words", "pods insecure disabled", "2", []string{"pods: ", "disabled", "insecure", `got "insecure disabled"`}},
	{"soa_refresh without a number", "soa_refresh", "2", []string{"soa_refresh: ", "whole numbers of seconds from 1 to 86400", `got ""`}},
	{"soa_refresh of no time", "soa_refresh 0", "2", []string{"soa_refresh: ", "whole numbers of seconds from 1 to 86400", `got "0"`}},
	{"soa_refresh for more than the zone lives", "soa_refresh 60 86401", "2", []string{"soa_refresh: ", "whole numbers of seconds from 1 to 86400", `got "60 86401"`}},
	{"transfer_limit without a number", "transfer_limit", "2", []string{"transfer_limit: ", "a whole number of records from 1 to 65535", `got ""`}},
	{"transfer_limit of none", "transfer_limit 0", "2", []string{"transfer_limit: ", "a whole number of records from 1 to 65535", `got "0"`}},
	{"ttl without a number", "ttl", "2", []string{"ttl: ", "a whole number of seconds from 0 to 3600", `got ""`}},
	{"a negative ttl", "ttl -1", "2", []string{"ttl: ", "a whole number of seconds from 0 to 3600", `got "-1"`}},
	{"a ttl that is too large", "ttl 3601", "2", []string{"ttl: ", "a whole number of seconds from 0 to 3600", `got "3601"`}},
	{"a ttl with a unit", "ttl 5s", "2", []string{"ttl: ", "a whole number of seconds from 0 to 3600", `got "5s"`}},
	{"headless_ttl without a number", "headless_ttl", "2", []string{"headless_ttl: ", "a whole number of seconds from 0 to 3600", `got ""`}},
	{"headless_ttl with two numbers", "headless_ttl 1 2", "2", []string{"headless_ttl: ", "a whole number of seconds from 0 to 3600", `got "1 2"`}},
	{"a headless_ttl that is too large", "headless_ttl 3601", "2", []string{"headless_ttl: ", "a whole number of seconds from 0 to 3600", `got "3601"`}},
	{"a negative headless_ttl", "headless_ttl -1", "2", []string{"headless_ttl: ", "a whole number of seconds from 0 to 3600", `got "-1"`}},
	{"a negative_ttl that is too large", "ttl 5;negative_ttl 3601", "3", []string{"negative_ttl: ", "a whole number of seconds from 0 to 3600", `got "3601"`}},
	{"a negative negative_ttl", "negative_ttl -1", "2", []string{"negative_ttl: ", "a whole number of seconds from 0 to 3600", `got "-1"`}},
	{"a negative_ttl that is no number", "negative_ttl none", "2", []string{"negative_ttl: ", "a whole number of seconds from 0 to 3600", `got "none"`}},

	// What two options say together is known at the end of the stanza.
	{"namespaces and namespace_labels", "namespaces a b;namespace_labels istio-injection=enabled", "4", []string{"namespaces and namespace_labels cannot both be set"}},
	{"namespace_labels and namespaces", "namespace_labels istio-injection=enabled;namespaces a b", "4", []string{"namespaces and namespace_labels cannot both be set"}},
	{"endpoints headless and noendpoints", "endpoints headless;noendpoints", "4", []string{"endpoints headless and noendpoints cannot both be set"}},
	{"endpoints headless and ignore empty_service", "endpoints headless;ignore empty_service", "4", []string{"endpoints headless and ignore empty_service cannot both be set"}},
	{"manifests and endpoint", "manifests a;endpoint http://a:1", "4", []string{"manifests and endpoint cannot both be set"}},
	{"manifests and kubeconfig", "kubeconfig a;manifests a", "4", []string{"manifests and kubeconfig cannot both be set"}},
	{"manifests and snapshot", "snapshot a;manifests a", "4", []string{"manifests and snapshot cannot both be set"}},
}

func TestStanzaIsAccepted(t *testing.T) {
	for _, o := range stanzaGood(t) {
		want := stanzaDefaults()
		o.set(want)
		got, err := stanzaConfig(o.text())
		want.places = got.places // not part of what it means
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%s\ngot  %+v, %v\nwant %+v", o.name, o.text(), got, err, want)
		}
	}
}

func TestStanzaIsRefused(t *testing.T) {
	for _, c := range stanzaBad {
		text := (&stanzaOption{lines: c.lines}).text()
		_, err := stanzaConfig(text)
		if err == nil {
			t.Errorf("%s:\n%s\nis accepted, want an error with %q", c.name, text, c.want)
			continue
		}
		if !strings.HasPrefix(err.Error(), "Testfile:"+c.line+" - ") {
			t.Errorf("%s:\n%s\n%v\nwant line %s", c.name, text, err, c.line)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s:\n%s\n%v\nwant %q in it", c.name, text, err, want)
			}
		}
	}
}

func TestStanzaRowsCoverEveryOption(t *testing.T) {
	good, bad := make(map[string]bool), make(map[string]bool)
	add := func(to map[string]bool, lines string) {
		for line := range strings.SplitSeq(lines, ";") {
			name, _, _ := strings.Cut(line, " ")
			to[name] = true
		}
	}
	for _, o := range stanzaGood(t) {
		add(good, o.lines)
	}
	for _, c := range stanzaBad {
		add(bad, c.lines)
	}
	for name, o := range options {
		if !good[name] {
			t.Errorf("no row has the option %s as it should be", name)
		}
		if wrong := o.min > 0 || o.max >= 0; wrong && !bad[name] {
			t.Errorf("no row has a mistake in the option %s", name)
		}
		if o.expected == "" {
			t.Errorf("the option %s does not say what it expects", name)
		}
	}
}

func TestStanzaZones(t *testing.T) {
	for _, c := range []struct {
		name, stanza string
		keys         []string // of the server block
		zones        []string
		primary      string
	}{
		{"one zone", "headless cluster.local", []string{"."}, []string{"cluster.local."}, "cluster.local."},
		{"two zones", "headless cluster.local test.local", nil, []string{"cluster.local.", "test.local."}, "cluster.local."},
		{"a zone in upper case with a trailing dot", "headless Cluster.LOCAL.", nil, []string{"cluster.local."}, "cluster.local."},
		{"the root", "headless .", nil, []string{"."}, "."},
		{"an empty block", "headless cluster.local {\n}", nil, []string{"cluster.local."}, "cluster.local."},
		{"no zone means those of the server block", "headless", []string{"dns://cluster.local.:53", "dns://10.in-addr.arpa.:53"}, []string{"cluster.local.", "10.in-addr.arpa."}, "cluster.local."},
		{"no zone and a block", "headless {\nttl 5\n}", []string{"dns://cluster.local.:53"}, []string{"cluster.local."}, "cluster.local."},
		{"the primary zone is the first that is no reverse zone", "headless in-addr.arpa ip6.arpa b.local a.local", nil, []string{"in-addr.arpa.", "ip6.arpa.", "b.local.", "a.local."}, "b.local."},
		{"a prefix is a reverse zone", "headless cluster.local 10.0.0.0/8", nil, []string{"cluster.local.", "10.in-addr.arpa."}, "cluster.local."},
		{"a prefix between octets is several reverse zones", "headless 10.0.0.0/15 cluster.local", nil, []string{"0.10.in-addr.arpa.", "1.10.in-addr.arpa.", "cluster.local."}, "cluster.local."},
		{"arpa is no reverse zone", "headless arpa", nil, []string{"arpa."}, "arpa."},
		{"a zone that only ends like a reverse zone", "headless xin-addr.arpa", nil, []string{"xin-addr.arpa."}, "xin-addr.arpa."},
	} {
		got, err := stanzaConfig(c.stanza, c.keys...)
		if err != nil {
			t.Errorf("%s: %s in %q: %v", c.name, c.stanza, c.keys, err)
			continue
		}
		if !slices.Equal(got.zones, c.zones) || got.primary != c.primary {
			t.Errorf("%s: %s in %q: zones %q, primary %q, want %q, %q", c.name, c.stanza, c.keys, got.zones, got.primary, c.zones, c.primary)
		}
	}
}

func TestStanzaZonesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, stanza string
		keys         []string
		want         string
	}{
		{"a brace that is not the last word", "headless cluster.local {ttl 5\n}", nil, `Testfile:1 - Error during parsing: expected a zone, got "{ttl"; { and } have to be the last words of their lines`},
		{"a zone that is no name", "headless a..b", nil, `Testfile:1 - Error during parsing: expected a zone, got "a..b"`},
		{"a zone that is no name behind one that is", "headless cluster.local a..b {\nttl 5\n}", nil, `Testfile:1 - Error during parsing: expected a zone, got "a..b"`},
		{"a zone that is too long", "headless " + strings.Repeat("a.", 128), nil, "Testfile:1 - Error during parsing: expected a zone, got"},
		{"a label that is too long", "\n\nheadless " + strings.Repeat("a", 64), nil, "Testfile:3 - Error during parsing: expected a zone, got"},
		{"a reverse zone alone", "headless 10.in-addr.arpa", nil, "Testfile:1 - Error during parsing: expected a zone that is not a reverse zone among 10.in-addr.arpa."},
		{"the reverse trees alone", "headless in-addr.arpa ip6.arpa", nil, "Testfile:1 - Error during parsing: expected a zone that is not a reverse zone among in-addr.arpa. ip6.arpa."},
		{"a zone without room", "headless " + zoneOfSize(245), nil, "Testfile:1 - Error during parsing: expected a zone that has room for names below it, got \"" + zoneOfSize(245) + "\""},
		{"a prefix alone", "headless 10.0.0.0/8", nil, "Testfile:1 - Error during parsing: expected a zone that is not a reverse zone among 10.in-addr.arpa."},
		{"a server block of reverse zones", "headless", []string{"dns://in-addr.arpa.:53"}, "Testfile:1 - Error during parsing: expected a zone that is not a reverse zone among in-addr.arpa."},
		{"a second stanza", "headless cluster.local\nheadless test.local", nil, "Testfile:2 - Error during parsing: " + pluginName + " may stand only once in a server block"},
		{"a second stanza behind a block", "headless cluster.local {\nttl 5\n}\n\nheadless {\n}", nil, "Testfile:5 - Error during parsing: " + pluginName + " may stand only once in a server block"},
	} {
		if got, err := stanzaConfig(c.stanza, c.keys...); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %s in %q: got %+v, %v, want %s", c.name, c.stanza, c.keys, got, err, c.want)
		}
	}
}

// TestStanzaOfKubernetes has stanzas that CoreDNS 1.15's kubernetes plugin accepts, with the directive's name changed, and
// what they mean there. The times to live that it does not know are what they always are. Stanzas of one option mean the same in both:
// they stand in stanzaGood.
func TestStanzaOfKubernetes(t *testing.T) {
	both := stanzaSelector(t, "application=nginx,environment in (production,qa,staging)")
	for _, c := range []struct {
		name, stanza string
		set          func(*config)
	}{
		{"several options", "headless coredns.local test.local {\n\tendpoint http://localhost:8080\n\tnamespaces demo test\n    labels environment in (production, staging, qa),application=nginx\n    fallthrough\n}", func(c *config) {
			c.zones, c.api.Endpoint, c.namespaces = []string{"coredns.local.", "test.local."}, "http://localhost:8080", []string{"demo", "test"}
			c.selection.Labels, c.fall = both, fall.Root
		}},
		{"a startup timeout", "headless coredns.local {\n        kubeconfig file context\n        startup_timeout 1s\n}", func(c *config) {
			c.api.Kubeconfig, c.api.Context, c.startupTimeout = "file", "context", time.Second
		}},
		{"limits for the API server", "headless coredns.local {\n\tapiserver_qps 50.0\n\tapiserver_burst 100\n\tapiserver_max_inflight 25\n}", func(c *config) {
			c.api.QPS, c.api.Burst, c.api.MaxInflight = 50, 100, 25
		}},

		// It does not look at what stands behind the argument that it reads.
		{"ignore empty_service and more words", "headless coredns.local {\n\tignore empty_service ixnay on the endpointsay\n}", func(c *config) { c.ignoreEmpty = true }},
		{"ignore without a word", "headless coredns.local {\n\tignore\n}", func(*config) {}},
		{"a ttl and another number", "headless coredns.local {\n\tttl 56 57\n}", func(c *config) { c.ttl, c.headlessTTL = 56, 56 }},
		{"a startup timeout and another", "headless coredns.local {\n\tstartup_timeout 1s 2s\n}", func(c *config) { c.startupTimeout = time.Second }},
	} {
		want := stanzaDefaults()
		want.zones, want.primary = []string{"coredns.local."}, "coredns.local."
		c.set(want)
		got, err := stanzaConfig(c.stanza)
		want.places = got.places
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%s\ngot  %+v, %v\nwant %+v", c.name, c.stanza, got, err, want)
		}
	}
}

func TestSetupErrorsNameThePlugin(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	kubeconfig := kubetest.WriteKubeconfig(t, "http://127.0.0.1:1", "{}", "{}")
	contextless := filetest.Temp(t, "contextless", "{apiVersion: v1, kind: Config, contexts: [{name: b, context: {}}, {name: a, context: {}}]}")
	for _, c := range []struct{ name, stanza, want string }{
		{"a mistake in the stanza", "headless cluster.local {\nttl x\n}", "plugin/" + pluginName + ": Testfile:2 - Error during parsing: ttl: "},
		{"a manifest that is not there", "headless cluster.local {\nmanifests " + filepath.Join(dir, "none") + "\n}", "plugin/" + pluginName + ": Testfile:2 - manifests: stat "},
		{"no API server to ask", "\nheadless cluster.local", "plugin/" + pluginName + ": Testfile:2 - no API server to ask, for this is no Pod of a cluster: " +
			"KUBERNETES_SERVICE_HOST is not set; expected one of the options endpoint, kubeconfig and manifests"},
		{"a kubeconfig that is not there", "headless cluster.local {\n\nkubeconfig " + filepath.Join(dir, "none") + "\n}", "plugin/" + pluginName + ": Testfile:3 - kubeconfig: stat "},
		{"a context that is not there", "headless cluster.local {\nkubeconfig " + kubeconfig + " nowhere\n}", "plugin/" + pluginName + ": Testfile:2 - kubeconfig: " + kubeconfig +
			` has no context "nowhere", expected one of c behind it`},
		{"no context is current", "headless cluster.local {\nkubeconfig " + contextless + "\n}", "plugin/" + pluginName + ": Testfile:2 - kubeconfig: " + contextless + ` has no context "", expected one of a, b behind it`},
		{"a certificate that is not there", "headless cluster.local {\nendpoint https://127.0.0.1:1\ntls " + strings.Repeat(filepath.Join(dir, "none ")+" ", 3) + "\n}", "plugin/" + pluginName + ": Testfile:3 - tls: stat "},
		{"an endpoint that is none", "headless cluster.local {\nttl 5\nendpoint http://127.0.0.1:x\n}", "plugin/" + pluginName + ": Testfile:3 - endpoint: "},
	} {
		if err := setup(newController(c.stanza)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n%s\n%v, want %s", c.name, c.stanza, err, c.want)
		}
	}
}

func TestSetupAddsThePlugin(t *testing.T) {
	dir := t.TempDir()
	filetest.Write(t, filepath.Join(dir, "d/a.yaml"), modeltest.ServiceYAML)
	c := newController("headless cluster.local {\nmanifests d\n}")
	cfg := dnsserver.GetConfig(c)
	cfg.Root = dir
	fatal.If(t, setup(c))
	if len(cfg.Plugin) != 2 { // the other is what may stand in for kubernetes
		t.Fatalf("%d plugins were added, want 2", len(cfg.Plugin))
	}
	h, ok := cfg.Plugin[1](nil).(*Headless)
	if !ok || h.Name() != pluginName || !h.Ready() {
		t.Errorf("got %+v, want a plugin called %s that is ready", h, pluginName)
	}
}

func TestBoundAddrs(t *testing.T) {
	for _, c := range []struct{ name, hosts, want string }{
		{"an address", "192.168.1.1", "192.168.1.1"},
		{"two addresses", "192.168.1.1 fd00::1", "192.168.1.1 fd00::1"},
		{"an address with a prefix length", "192.168.1.1/24", "192.168.1.1"},
		{"an IPv4-mapped address is its IPv4 address", "::ffff:192.168.1.1", "192.168.1.1"},
		{"loopback addresses are left out", "127.0.0.1 192.168.1.1 ::1", "192.168.1.1"},
		{"loopback addresses count if there are no others", "127.0.0.1 ::1", "127.0.0.1 ::1"},
		{"all of 127.0.0.0/8 is loopback", "127.0.0.53 192.168.1.1", "192.168.1.1"},
		{"link-local addresses never count", "fe80::1 169.254.20.10", ""},
		{"a link-local address and a loopback address", "fe80::1%eth0 127.0.0.1", "127.0.0.1"},
		{"an address loses its zone", "fd00::1%eth0", "fd00::1"},
		{"a name is no address", "localhost 192.168.1.1", "192.168.1.1"},
	} {
		var want []netip.Addr
		for text := range strings.FieldsSeq(c.want) {
			want = append(want, netip.MustParseAddr(text))
		}
		if got := boundAddrs(strings.Split(c.hosts, " ")); !slices.Equal(got, want) {
			t.Errorf("%s: boundAddrs(%q) = %v, want %v", c.name, c.hosts, got, want)
		}
	}
}

func TestBoundAddrsOfAllInterfaces(t *testing.T) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Skipf("the interfaces have no addresses to compare with: %v", err)
	}
	all := boundAddrs(nil)
	for _, hosts := range [][]string{{}, {""}, {"::"}, {"0.0.0.0", "::"}, {"", "::"}} {
		if got := boundAddrs(hosts); !slices.Equal(got, all) {
			t.Errorf("boundAddrs(%q) = %v, want %v", hosts, got, all)
		}
	}
	isOf := func(addr netip.Addr) bool {
		return slices.ContainsFunc(interfaces, func(i net.Addr) bool { return strings.HasPrefix(i.String(), addr.String()+"/") })
	}
	for _, addr := range all {
		if !isOf(addr) {
			t.Errorf("boundAddrs(nil) = %v, but no interface of %v has %v", all, interfaces, addr)
		}
	}
	for _, addr := range all {
		if got := boundAddrs([]string{"0.0.0.0"}); addr.Is4() && !slices.Contains(got, addr) {
			t.Errorf("boundAddrs(0.0.0.0) = %v, want %v and the other IPv4 addresses of %v in it", got, addr, interfaces)
		}
	}
	if len(interfaces) > 0 && len(all) == 0 {
		t.Errorf("boundAddrs(nil) = none of %v", interfaces)
	}
}

// TestStacksAreRaisedWhileAServerRuns: through reloads, also one that fails, with and without the option.
func TestStacksAreRaisedWhileAServerRuns(t *testing.T) {
	block := func(line string) string {
		return "cluster.local:0 {\n" + bound + "headless {\nmanifests examples\n" + line + "\n}\n}\n"
	}
	s := startServer(t, block(""))
	check := func(when string, raised bool) {
		t.Helper()
		if n := stacks.Parked(); (n > 0) != raised {
			t.Errorf("%s: got %d goroutines parked, want some: %v", when, n, raised)
		}
	}
	check("started", true)
	restart := func(c string) error {
		next, err := s.instance.Restart(corefile(c))
		if err == nil {
			s.instance = next
		}
		return err
	}
	fatal.If(t, restart(block("ttl 7")))
	check("reloaded", true)
	if restart(block("")+"example.org:0 {\nbind 192.0.2.1\nheadless {\nmanifests examples\n}\n}") == nil {
		t.Error("got a reload, want none, for the address is another machine's")
	}
	check("behind a reload that failed", true)
	fatal.If(t, restart(block("small_stacks")))
	check("reloaded with small_stacks", false)
	fatal.If(t, restart(block("")))
	check("and without", true)
	s.stop()
	check("stopped", false)
}
