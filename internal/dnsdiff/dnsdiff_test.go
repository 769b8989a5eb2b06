//go:build !kubernetes

package dnsdiff

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	"github.com/coredns/coredns/plugin/kubernetes"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func init() {
	dnsserver.Directives = append(dnsserver.Directives, "headless")
	caddy.Quiet, dnsserver.Quiet = true, true
}

// The objects of an API server, by the path of the resource.
const (
	namespacesPath = "/api/v1/namespaces"
	servicesPath   = "/api/v1/services"
	slicesPath     = "/apis/discovery.k8s.io/v1/endpointslices"
)

// startAPI starts an API server that lists the objects of manifests, and in whose watches nothing happens. It has all Namespaces that
// objects are in. It returns its URL, and a kubeconfig for it.
func startAPI(t *testing.T, paths ...string) (url, kubeconfig string) {
	t.Helper()
	objects, err := manifests.Read(paths...)
	fatal.If(t, err)
	s := kubetest.NewServer(t)
	s.UseJSON()
	s.RefuseStreams()
	s.Lack("pods")
	objects = slices.DeleteFunc(objects, func(obj manifests.Object) bool { return kube.ResourceOf(obj) == "" })
	for _, obj := range objects {
		if o := obj.(metav1.Object); kube.ResourceOf(obj) != kube.Namespaces { // every object has a name
			s.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(o)}})
		}
		defaultProtocols(obj)
	}
	s.Put(objects...)
	return s.URL, writeKubeconfig(t, s.URL)
}

// writeKubeconfig returns a kubeconfig for the API server at url.
func writeKubeconfig(t *testing.T, url string) string {
	t.Helper()
	return filetest.Temp(t, "file.yaml", "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a}}]\nclusters: [{name: a, cluster: {server: "+url+"}}]\n")
}

// defaultProtocols sets the protocols that are not there, as an API server does.
func defaultProtocols(obj runtime.Object) {
	switch obj := obj.(type) {
	case *corev1.Service:
		for i := range obj.Spec.Ports {
			obj.Spec.Ports[i].Protocol = cmp.Or(obj.Spec.Ports[i].Protocol, corev1.ProtocolTCP)
		}
	case *discoveryv1.EndpointSlice:
		for i := range obj.Ports {
			obj.Ports[i].Protocol = cmp.Or(obj.Ports[i].Protocol, new(corev1.ProtocolTCP))
		}
	}
}

// zones are those of all servers.
const zones = "cluster.local clusterset.local in-addr.arpa ip6.arpa"

// startStock starts CoreDNS's kubernetes plugin, and returns an address at which it answers over UDP and TCP. It is not a whole CoreDNS,
// because the plugin's setup changes a global logger while reflectors of other plugins log.
func startStock(t *testing.T, option string) string {
	t.Helper()
	controller := caddy.NewTestController("dns", "kubernetes "+zones+" {\n"+option+"\n}")
	controller.Next()
	k, err := kubernetes.ParseStanza(controller)
	fatal.If(t, err)
	ask := func(network string, r *dns.Msg) *dns.Msg {
		w := recorder.NewRecorder(&test.ResponseWriter{TCP: network == "tcp"})
		rcode, err := k.ServeDNS(context.Background(), request.NewScrubWriter(r, w), r)
		if w.Msg == nil || err != nil {
			return new(dns.Msg).SetRcode(r, rcode)
		}
		return w.Msg
	}
	k.Upstream = upstream(func(r *dns.Msg) *dns.Msg {
		if name := r.Question[0].Name; !inZones(name, []zone{{"cluster.local.", false}, {"clusterset.local.", true}}) {
			return new(dns.Msg).SetRcode(r, dns.RcodeRefused)
		}
		return ask("tcp", r)
	})
	onStart, onShut, err := k.InitKubeCache(t.Context())
	fatal.If(t, err)
	fatal.If(t, onStart())
	t.Cleanup(func() {
		if err := onShut(); err != nil {
			t.Error(err)
		}
	})
	return dnstest.Serve(t, ask)
}

// upstream looks up the targets of CNAMEs.
type upstream func(r *dns.Msg) *dns.Msg

// Lookup implements kubernetes.Upstreamer.
func (u upstream) Lookup(_ context.Context, _ request.Request, name string, qtype uint16) (*dns.Msg, error) {
	return u(new(dns.Msg).SetQuestion(name, qtype)), nil
}

// startHeadless starts a CoreDNS on loopback with headless, and returns an address at which it answers over UDP and TCP. What it
// replies goes through fault, if there is one, with the network before it gets to the client, who gets none if that is false.
func startHeadless(t *testing.T, option string, fault func(network string, m *dns.Msg) bool) string {
	t.Helper()
	corefile := fmt.Sprintf("%s {\nbind 127.0.0.1\nheadless {\n%s\n}\n}", strings.ReplaceAll(zones, " ", ":0 ")+":0", option)
	instance, err := caddy.Start(caddy.CaddyfileInput{Contents: []byte(corefile), ServerTypeName: "dns"})
	if err != nil {
		t.Fatalf("%s\ndoes not start: %v", corefile, err)
	}
	t.Cleanup(func() {
		_ = instance.Stop() // it was started
		instance.ShutdownCallbacks()
	})
	at := map[string]string{"udp": instance.Servers()[0].LocalAddr().String(), "tcp": instance.Servers()[0].Addr().String()}
	return dnstest.Serve(t, func(network string, r *dns.Msg) *dns.Msg {
		m, err := dnstest.Exchange(t.Context(), network, at[network], r)
		if err != nil {
			t.Errorf("headless: %v", err)
			return nil
		}
		if fault != nil && !fault(network, m) {
			return nil
		}
		return m
	})
}

// dnsdiff runs the program with quick retries, and returns its exit status, its report and what it said on stderr.
func dnsdiff(t *testing.T, args ...string) (int, *report, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"-o", "json", "-rate", "100000", "-wait", "1ms", "-timeout", "5s", "-retries", "0", "-progress", "0", "-seed", "1", "-examples", "3"}, args...)
	status := Main(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	r := &report{}
	if err := json.Unmarshal(stdout.Bytes(), r); err != nil && stdout.Len() > 0 {
		t.Fatalf("%v\n%s", err, stdout.Bytes())
	}
	return status, r, stderr.String()
}

// TestOnlyDeliberateDifferencesFromKubernetes compares CoreDNS's kubernetes plugin with headless on the same API server.
func TestOnlyDeliberateDifferencesFromKubernetes(t *testing.T) {
	for _, c := range []struct{ manifests, option, args, rule string }{
		{"../../examples", "", "", "an empty non-terminal exists"},
		{"../../testdata/cluster.yaml", "", "", "an endpoint in several slices has the ports of all of them"},
		{"../../testdata/cluster.yaml,../../testdata/imports.yaml", "multicluster clusterset.local", "-multicluster clusterset.local", "names in records are in lower case"},
		{"../../testdata/cluster.yaml", "zonal", "-zonal", "a zonal name exists if its Service's own name does"},
	} {
		t.Run(c.manifests+" "+c.option, func(t *testing.T) {
			url, kubeconfig := startAPI(t, strings.Split(c.manifests, ",")...)
			option := "endpoint " + url + "\n" + c.option
			old := startStock(t, option)
			fresh := startHeadless(t, option, nil)
			status, r, stderr := dnsdiff(t, append(strings.Fields(c.args), "-old", old, "-new", fresh, "-kubeconfig", kubeconfig)...)
			if status != statusSame || r.Rounds != 1 || r.Incomplete != "" {
				t.Errorf("got status %d after %d rounds, want %d after 1\n%s\n%s", status, r.Rounds, statusSame, r.text(), stderr)
			}
			if r.Questions < 100 || len(r.Deliberate) < 5 || !slices.Contains(causes(r.Deliberate), c.rule+": ") {
				t.Errorf("got %d questions and the deliberate differences %q, want more to compare, and %q", r.Questions, causes(r.Deliberate), c.rule)
			}
		})
	}
}

// TestNamesOfAnOptionAreAskedForWhenTheProgramIsTold has two servers of which the old one has an option that the new one lacks.
func TestNamesOfAnOptionAreAskedForWhenTheProgramIsTold(t *testing.T) {
	const manifests = "../../testdata/cluster.yaml,../../testdata/imports.yaml"
	files := strings.Split(manifests, ",")
	option := "manifests " + abs(t, files[0]) + " " + abs(t, files[1])
	fresh := startHeadless(t, option, nil)
	for _, c := range []struct{ option, args, want string }{
		{"zonal", "-zonal", "the new server denies a name that the old one answers: a topology zone of a Service"},
		{"multicluster clusterset.local", "-multicluster clusterset.local", "the new server denies a name that the old one answers: a Service"},
	} {
		old := startHeadless(t, option+"\n"+c.option, nil)
		if status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", manifests, "-strict"); status != statusSame {
			t.Errorf("%s: got status %d, want %d without %s\n%s\n%s", c.option, status, statusSame, c.args, r.text(), stderr)
		}
		args := append(strings.Fields(c.args), "-old", old, "-new", fresh, "-manifests", manifests, "-strict", "-again", "0")
		status, r, stderr := dnsdiff(t, args...)
		if status != statusDifferent || !slices.Contains(causes(r.Differences), c.want) || !strings.Contains(stderr, ", 2 ServiceImports") {
			t.Errorf("%s: got status %d and %q, want %d and %q\n%s", c.option, status, causes(r.Differences), statusDifferent, c.want, stderr)
		}
	}
}

// TestFaultsAreFound has headless in place of kubernetes, with one fault in what it replies.
func TestFaultsAreFound(t *testing.T) {
	type fault func(network string, m *dns.Msg) bool
	var planted atomic.Pointer[fault]
	url, _ := startAPI(t, "../../examples")
	old := startStock(t, "endpoint "+url)
	fresh := startHeadless(t, "endpoint "+url, func(network string, m *dns.Msg) bool { return (*planted.Load())(network, m) })
	long := strings.NewReplacer("$", "default.svc.cluster.local.").Replace
	// in changes the replies to a question, "qname TYPE", or to all about "qname".
	in := func(question string, change func(m *dns.Msg)) fault {
		return func(_ string, m *dns.Msg) bool {
			name, qtype, isOne := strings.Cut(long(question), " ")
			if asked := m.Question[0]; asked.Name == name && (!isOne || asked.Qtype == dns.StringToType[qtype]) {
				change(m)
			}
			return true
		}
	}
	stale := func(m *dns.Msg) {
		ptr := dns.Copy(m.Answer[0]).(*dns.PTR)
		ptr.Ptr = long("cassandra-7.cassandra.$")
		m.Answer = append(m.Answer, ptr)
	}
	another := func(m *dns.Msg) {
		m.Extra = append(m.Extra, dnstest.Records(t, long("cassandra-0.cassandra.$ 5 IN A 10.244.2.10"))...)
	}
	answered := func(m *dns.Msg) {
		m.Rcode, m.Ns, m.Answer = dns.RcodeSuccess, nil, dnstest.Records(t, m.Question[0].Name+" 5 IN A 10.244.9.9")
	}
	emptied := func(_ string, m *dns.Msg) bool {
		m.Extra = nil
		return true
	}
	onUDP := func(network string, m *dns.Msg) bool {
		return network == "udp" || !strings.HasPrefix(m.Question[0].Name, "etcd-1.etcd.")
	}
	const missing, stray = "addresses of SRV targets are missing from the new server's additional section: ", "addresses that no SRV target has are in the new server's additional section: "
	for _, c := range []struct {
		name  string
		fault fault
		want  string // the causes of unexpected differences and whose names they are
	}{
		{"none", func(string, *dns.Msg) bool { return true }, ""},
		{"one address of an RRset is dropped", in("cassandra.$ A", func(m *dns.Msg) { m.Answer = m.Answer[1:] }), "A records are missing from the new server's answer: a Service"},
		{"one pod's hostname is denied", in("cassandra-1.cassandra.$", func(m *dns.Msg) { m.Rcode, m.Answer, m.Extra = dns.RcodeNameError, nil, nil }), "no such name with the new server, no data with the old one: an endpoint; the new server denies a name that the old one answers: an endpoint"},
		{"an SRV record has the wrong port", in("_cql._tcp.cassandra.$ SRV", func(m *dns.Msg) { m.Answer[0].(*dns.SRV).Port++ }), "SRV records lead to another port: a port of a Service"},
		{"a PTR record is left over", in("10.1.244.10.in-addr.arpa. PTR", stale), "PTR records are in the new server's answer only: a reverse name"},
		{"there is no reply over TCP to one name", onUDP, "the new server does not reply over tcp: an endpoint"},
		{"the additional section is empty", emptied, missing + "a Service; " + missing + "a port of a Service; " + missing + "an endpoint"},
		{"the additional section has another pod's address, too", in("_cql._tcp.cassandra.$ SRV", another), stray + "a port of a Service"},
		{"it has, where kubernetes has no answer", in("_cql._tcp.cassandra-0.cassandra.$ SRV", func(m *dns.Msg) { m.Extra[0].(*dns.A).A = net.IPv4(10, 244, 2, 10) }), stray + "a port of an endpoint"},
		{"a name nobody has is answered", in("cassandra-3.cassandra.$ A", answered), "the new server answers a name that the old one denies: no endpoint"},
		{"a name fails", in("frontend.$ A", func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeServerFailure, nil }), "the old server's outcome is data, the new one's SERVFAIL: a Service"},
		{"a denial has no SOA record", in("cassandra-3.cassandra.$", func(m *dns.Msg) { m.Ns = nil }), "a denial has another SOA record: no endpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			planted.Store(&c.fault)
			status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh,
				"-manifests", "../../examples/cassandra.yaml,../../examples/cluster-ip.yaml,../../examples/dual-stack.yaml")
			want := map[bool]int{true: statusSame, false: statusDifferent}[c.want == ""]
			if got := strings.Join(causes(r.Differences), "; "); status != want || got != c.want {
				t.Errorf("got status %d and %q, want %d and %q\n%s\n%s", status, got, want, c.want, r.text(), stderr)
			}
		})
	}
}

// causes returns the causes of groups and whose names they are, sorted.
func causes(groups []group) []string {
	var list []string
	for _, g := range groups {
		list = append(list, g.Cause+": "+g.Names)
	}
	slices.Sort(list)
	return list
}

// TestOnePodThatIsMissingIsOneGroup: whatever it shows in, the names of its Service among them.
func TestOnePodThatIsMissingIsOneGroup(t *testing.T) {
	content, err := os.ReadFile(cassandra)
	if err != nil {
		t.Fatal(err)
	}
	without, _, isThere := strings.Cut(string(content), "- addresses: [10.244.3.10]")
	if !isThere {
		t.Fatalf("%s has no endpoint 10.244.3.10 at its end", cassandra)
	}
	old := startHeadless(t, "manifests "+abs(t, cassandra), nil)
	fresh := startHeadless(t, "manifests "+filetest.Temp(t, "file.yaml", without), nil)
	status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", cassandra, "-strict")
	if status != statusDifferent || len(r.Differences) == 0 {
		t.Fatalf("got status %d, %s\n%s", status, r.text(), stderr)
	}
	g := r.Differences[0]
	if len(r.Differences) != 1 || g.ID != "endpoint" || g.Names != "cassandra-2.cassandra.default.svc.cluster.local." || g.Count < 5 {
		t.Errorf("got %s\nwant one group, of cassandra-2", r.text())
	}
	if len(g.Causes) < 3 || g.Causes[0] != string(causeDenied) {
		t.Errorf("got the causes %q, want first that a name is denied", g.Causes)
	}
	if want := "different: "; !strings.HasPrefix(r.Verdict, want) || !strings.HasSuffix(r.text(), "\nverdict: "+r.Verdict+"\n") || r.Version != 1 {
		t.Errorf("got the verdict %q, want it at the end of\n%s", r.Verdict, r.text())
	}
}

// TestFewPodsAreFolded: three at most, each into one group with as many examples as are wanted.
func TestFewPodsAreFolded(t *testing.T) {
	for pods, want := range map[int]string{mostFolded: "endpoint", mostFolded + 1: "denied"} {
		f := newFindings(1)
		for i := range pods {
			name := fmt.Sprintf("web-%d.web.", i)
			for _, sub := range []subject{{name: name, kind: kindHost}, {name: "_http._tcp." + name, kind: kindHostPort}} {
				f.add(&result{question{sub, dns.TypeA}, []finding{{cause: string(causeDenied)}}}, different)
			}
		}
		got := f.list(different)
		if slices.ContainsFunc(got, func(g group) bool { return g.ID != want || len(g.Examples) != 1 }) || want == "endpoint" && len(got) != pods {
			t.Errorf("%d Pods: got %+v, want groups of %s, with one example each", pods, got, want)
		}
	}
}

// TestWhatMattersStandsFirst: an answer that is lost before ten that differ in their TTL.
func TestWhatMattersStandsFirst(t *testing.T) {
	f := newFindings(1)
	for range 10 {
		f.add(&result{question{subject{name: "a.", kind: kindService}, dns.TypeA}, []finding{{cause: string(causeTTL)}}}, different)
	}
	f.add(&result{question{subject{name: "b.", kind: kindService}, dns.TypeA}, []finding{{cause: string(causeDenied)}}}, different)
	if got := f.list(different); len(got) != 2 || got[0].ID != "denied" || got[1].ID != "ttl" || lost(got) != 1 {
		t.Errorf("got %+v", got)
	}
	for _, name := range []string{"c.", "d."} {
		f.add(&result{question{subject{name: name, kind: missHost}, dns.TypeA}, []finding{{cause: string(causeDenied)}}}, different)
	}
	if got := f.list(different); len(got) != 3 || got[0].Count != 2 || got[1].Count != 1 {
		t.Errorf("got %+v, want the cause of two differences before that of one", got)
	}
	both := []group{{rank: rankOf(string(causeMissingAddress)), Count: 1}, {rank: rankOf(string(causeStray)), Count: 1}}
	if got := lost(both); got != 1 {
		t.Errorf("got %d differences that take away, want that of the address that is missing alone", got)
	}
}

// TestAServerThatFailsOverTCPIsReported: TCP fails altogether, as behind a firewall that lets UDP pass only.
func TestAServerThatFailsOverTCPIsReported(t *testing.T) {
	old, fresh := startTwo(t, func(network string, _ *dns.Msg) bool { return network == "udp" })
	status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", cassandra, "-strict")
	if status != statusDifferent || len(r.Differences) == 0 || r.Rounds != 1 {
		t.Errorf("got status %d, %s\n%s", status, r.text(), stderr)
	}
	for _, g := range r.Differences {
		if g.Cause != "the new server does not reply over tcp" {
			t.Errorf("got the cause %q", g.Cause)
		}
	}
}

// cassandra is a file of manifests.
const cassandra = "../../examples/cassandra.yaml"

// startTwo starts two servers that answer from cassandra, the new one with a fault if it is not nil.
func startTwo(t *testing.T, fault func(network string, m *dns.Msg) bool) (old, fresh string) {
	t.Helper()
	return startHeadless(t, "manifests "+abs(t, cassandra), nil), startHeadless(t, "manifests "+abs(t, cassandra), fault)
}

func abs(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	fatal.If(t, err)
	return path
}

// TestADifferenceThatGoesAwayIsTransient: one answer is wrong once, for each network.
func TestADifferenceThatGoesAwayIsTransient(t *testing.T) {
	var wrong atomic.Int64
	old, fresh := startTwo(t, func(_ string, m *dns.Msg) bool {
		if m.Question[0].Name == "cassandra-1.cassandra.default.svc.cluster.local." && m.Question[0].Qtype == dns.TypeA && wrong.Add(1) <= 2 {
			m.Rcode, m.Answer = dns.RcodeNameError, nil
		}
		return true
	})
	status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", cassandra)
	want := []string{"the new server denies a name that the old one answers: an endpoint"}
	if got := causes(r.Transient); status != statusSame || !slices.Equal(got, want) {
		t.Errorf("got status %d and %q, want %d and %q\n%s\n%s", status, got, statusSame, want, r.text(), stderr)
	}
}

// TestWhatTheClusterHasBecomeIsLookedUp: a pod came after the names were made, so what looked like one of no endpoint is not.
func TestWhatTheClusterHasBecomeIsLookedUp(t *testing.T) {
	const service = `
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: default}, spec: {clusterIP: None, ports: [{name: sql, port: 5432, protocol: TCP}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-1, namespace: default, labels: {kubernetes.io/service-name: db}},
  addressType: IPv4, ports: [{name: sql, port: 5432, protocol: TCP}], endpoints: [{addresses: [10.1.2.3], hostname: db-0}`
	const serviceImport = `
{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default}, spec: {clusterIP: 10.96.0.1}}
---
{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, metadata: {name: db, namespace: default},
  spec: {type: Headless, ports: [{name: sql, port: 5432, protocol: TCP}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
  metadata: {name: db-1, namespace: default, labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: east}},
  addressType: IPv4, ports: [{name: sql, port: 5432, protocol: TCP}], endpoints: [{addresses: [10.1.2.3], hostname: db-0}`
	const selectService, selectSlices = "services?fieldSelector=metadata.name=db", "endpointslices?labelSelector=kubernetes.io/service-name=db"
	t.Run("a Service", func(t *testing.T) { checkLookedUp(t, service, "", selectService, selectSlices) })
	const selectImport, selectImported = "serviceimports?fieldSelector=metadata.name=db", "endpointslices?labelSelector=multicluster.kubernetes.io/service-name=db"
	t.Run("a ServiceImport", func(t *testing.T) {
		checkLookedUp(t, serviceImport, "multicluster clusterset.local", selectImport, selectImported, "-multicluster", "clusterset.local")
	})
}

// checkLookedUp adds a pod to manifests, which end in the midst of their endpoints, when they were listed once. What it is now has to be asked by two lists of the namespace.
func checkLookedUp(t *testing.T, manifests, option, first, second string, args ...string) {
	t.Helper()
	now, _ := startAPI(t, filetest.Temp(t, "file.yaml", manifests+", {addresses: [10.1.2.4], hostname: db-1}]}"))
	then, _ := startAPI(t, filetest.Temp(t, "file.yaml", manifests+"]}"))
	var lists atomic.Int64
	var selected sync.Map
	lister := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := now
		if namespaceless(r.URL.Path) != r.URL.Path {
			query := r.URL.Query()
			query.Del("limit")
			text, _ := url.QueryUnescape(query.Encode()) // it was escaped just now
			selected.Store(path.Base(r.URL.Path)+"?"+text, true)
		}
		if r.URL.Path == slicesPath && lists.Add(1) == 1 {
			at = then
		}
		http.Redirect(w, r, at+namespaceless(r.URL.Path), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(lister.Close)
	old := startStock(t, "endpoint "+now+"\n"+option)
	fresh := startHeadless(t, "endpoint "+now+"\n"+option, nil)
	status, r, stderr := dnsdiff(t, append(args, "-old", old, "-new", fresh, "-kubeconfig", writeKubeconfig(t, lister.URL))...)
	if status != statusSame || lists.Load() != 1 {
		t.Errorf("got status %d after %d lists, want %d\n%s\n%s", status, lists.Load(), statusSame, r.text(), stderr)
	}
	var got []string
	for key := range selected.Range {
		got = append(got, key.(string))
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values([]string{first, second})); !slices.Equal(got, want) {
		t.Errorf("got the lists %q, want %q", got, want)
	}
}

// namespaceless returns the path of all objects of a resource in place of one that is restricted to a namespace.
func namespaceless(path string) string {
	return strings.Replace(path, "/namespaces/default", "", 1)
}

// TestLargeAnswersAreComparedByParts: over UDP neither server's answers fit, and over TCP those of kubernetes are cut.
func TestLargeAnswersAreComparedByParts(t *testing.T) {
	service := func(first, size int) string {
		text := "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {clusterIP: None, ports: [{name: http, port: 80, protocol: TCP}]}\n"
		for lo := first; lo < size; lo += 100 {
			text += fmt.Sprintf("---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-%d, namespace: default, labels: {kubernetes.io/service-name: web}}\n", lo) +
				"addressType: IPv4\nports: [{name: http, port: 80, protocol: TCP}]\nendpoints:\n"
			for i := lo; i < min(size, lo+100); i++ {
				text += fmt.Sprintf("- {addresses: [10.1.%d.%d], hostname: web-with-a-name-that-makes-large-answers-%d}\n", i>>8, i&255, i)
			}
		}
		return filetest.Temp(t, "file.yaml", text)
	}
	url, _ := startAPI(t, service(0, 500))
	old := startStock(t, "endpoint "+url)
	var strayed atomic.Bool
	fresh := startHeadless(t, "endpoint "+url, func(network string, m *dns.Msg) bool {
		if strayed.Load() && network == "udp" && m.Question[0].Qtype == dns.TypeA && m.Truncated {
			m.Answer[0].(*dns.A).A = []byte{192, 0, 2, 1}
		}
		return true
	})
	status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", service(498, 500))
	if status != statusSame {
		t.Errorf("got status %d, want %d\n%s\n%s", status, statusSame, r.text(), stderr)
	}
	if !slices.Contains(causes(r.Deliberate), "a large answer is truncated later: ") {
		t.Errorf("got %q, want a large answer, too", causes(r.Deliberate))
	}
	strayed.Store(true)
	status, r, stderr = dnsdiff(t, "-old", old, "-new", fresh, "-manifests", service(498, 500))
	want := []string{"a truncated answer has records that the whole one has not: a Service", "a truncated answer has records that the whole one has not: a port of a Service"}
	if got := causes(r.Differences); status != statusDifferent || !slices.Equal(got, want) {
		t.Errorf("got status %d and %q, want %d and %q\n%s\n%s", status, got, statusDifferent, want, r.text(), stderr)
	}
}

func TestWhatCannotBeComparedIsSaid(t *testing.T) {
	manifests := "../../examples/cassandra.yaml"
	good := startHeadless(t, "manifests "+abs(t, manifests), nil)
	refusing := dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(r, dns.RcodeRefused) })
	silent := dnstest.Serve(t, func(string, *dns.Msg) *dns.Msg { return nil })
	_, kubeconfig := startAPI(t, manifests)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a server that does not answer", []string{"-new", silent, "-manifests", manifests, "-timeout", "50ms"}, "the new server " + silent + " does not answer over udp: timeout"},
		{"a server that refuses", []string{"-new", refusing, "-manifests", manifests}, "the new server " + refusing + " does not serve the zone cluster.local.: it answers REFUSED"},
		{"another zone", []string{"-new", refusing, "-manifests", manifests, "-zones", "example.org"}, "the old server " + good + " does not serve the zone example.org.: it answers REFUSED"},
		{"no such file", []string{"-new", refusing, "-manifests", "nothing.yaml"}, "nothing.yaml: no such file"},
		{"no Services", []string{"-new", refusing, "-manifests", manifests, "-namespaces", "empty"}, "there is no Service to ask for"},
		{"no kubeconfig", []string{"-new", refusing, "-kubeconfig", "nothing"}, "no cluster to take names from (-kubeconfig or -manifests say which)"},
		{"a list that is refused", []string{"-new", refusing, "-kubeconfig", kubeconfig, "-pods"}, "cannot list pods: "},
		{"a bad option", []string{"-new", refusing, "-rate", "none"}, `invalid value "none" for flag -rate`},
	} {
		status, _, stderr := dnsdiff(t, append([]string{"-old", good}, c.args...)...)
		if status != statusNotCompared || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: got status %d and %q, want %d and %q", c.name, status, stderr, statusNotCompared, c.want)
		}
	}
}

// TestCtrlCPrintsWhatWasFound ends the program when it has found something, but has not asked for all names.
func TestCtrlCPrintsWhatWasFound(t *testing.T) {
	var interrupt atomic.Pointer[context.CancelFunc]
	var queries atomic.Int64
	old, fresh := startTwo(t, func(_ string, m *dns.Msg) bool {
		if queries.Add(1) == 30 {
			(*interrupt.Load())()
		}
		return true
	})
	for _, c := range []struct {
		format, want string
	}{{"text", "NOT COMPLETE: context canceled"}, {"json", `"incomplete": "context canceled"`}} {
		queries.Store(0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		interrupt.Store(&cancel)
		var stdout, stderr bytes.Buffer
		status := Main(ctx, []string{"-old", old, "-new", fresh, "-manifests", cassandra, "-o", c.format, "-concurrency", "1", "-rate", "100000"}, strings.NewReader(""), &stdout, &stderr)
		if status != statusNotCompared || !strings.Contains(stdout.String(), c.want) {
			t.Errorf("%s: got status %d and %s, want %d and %q", c.format, status, stdout.String(), statusNotCompared, c.want)
		}
	}
}

// TestRoundsGoOnUntilTheTimeIsOver: a -duration without a -repeat has as many rounds as fit.
func TestRoundsGoOnUntilTheTimeIsOver(t *testing.T) {
	old, fresh := startTwo(t, nil)
	if status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", cassandra, "-repeat", "3", "-progress", "1ms"); status != statusSame || r.Rounds != 3 || r.Incomplete != "" || !strings.Contains(stderr, "dnsdiff: round 3, ") {
		t.Errorf("got status %d after %d rounds, want %d after 3\n%s", status, r.Rounds, statusSame, stderr)
	}
	if status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", cassandra, "-duration", "1ns"); status != statusNotCompared || r.Rounds != 0 || r.Incomplete == "" {
		t.Errorf("got status %d after %d rounds, want %d after none\n%s", status, r.Rounds, statusNotCompared, stderr)
	}
}

// TestTheEndDoesNotWaitForAllDoubts: each question is answered differently the first time, one is asked again at a time, and each
// takes 20 s, of a clock that stands still while a server is asked.
func TestTheEndDoesNotWaitForAllDoubts(t *testing.T) {
	var asked sync.Map
	old, fresh := startTwo(t, func(_ string, m *dns.Msg) bool {
		if _, again := asked.LoadOrStore(m.Question[0], true); !again && m.Question[0].Name != "cluster.local." {
			m.Rcode, m.Answer = dns.RcodeServerFailure, nil
		}
		return true
	})
	bubble.Test(t, func(t *testing.T) {
		started := time.Now()
		status, r, stderr := dnsdiff(t, "-old", old, "-new", fresh, "-manifests", cassandra, "-net", "udp",
			"-duration", "1m", "-repeat", "1", "-concurrency", "1", "-again", "2", "-wait", "20s")
		if took := time.Since(started); took > time.Minute+2*20*time.Second+10*time.Second {
			t.Errorf("got the end after %v, want it 50s after a minute", took)
		}
		if status != statusNotCompared || r.Rounds != 1 || r.Incomplete != "" || len(r.Transient) == 0 || len(r.Unconfirmed) == 0 || len(r.Differences) > 0 {
			t.Errorf("got status %d, want %d, a whole round, some differences asked again and others not\n%s\n%s", status, statusNotCompared, r.text(), stderr)
		}
	})
}
