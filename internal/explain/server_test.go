package explain

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/miekg/dns"
)

// resolver starts a name server on loopback that knows the addresses of one name, and returns its address.
func resolver(t *testing.T, known string) string {
	t.Helper()
	return dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(r)
		switch q := r.Question[0]; {
		case q.Name != known:
			m.Rcode = dns.RcodeNameError
		case q.Qtype == dns.TypeA:
			m.Answer = dnstest.Records(t, q.Name+" 3 IN A 192.0.2.1")
		}
		return m
	})
}

func TestResolverIsAskedForNamesOutside(t *testing.T) {
	status, r := reported(t, "-manifests", "examples", "-resolver", resolver(t, "billing.example.com."), "billing")
	want := []string{"billing.default.svc.cluster.local. 5 IN CNAME billing.example.com.", "billing.example.com. 3 IN A 192.0.2.1"}
	if a := r.Answers[0]; status != statusResolves || !slices.Equal(a.Records, want) || a.TTL != 3 {
		t.Errorf("got status %d and %+v, want 0 and the records %q for 3 s", status, a, want)
	}

	status, r = reported(t, "-manifests", "examples", "-resolver", resolver(t, "another."), "billing")
	if c := r.Causes; status != statusDoesNot || c[0].ID != "external-name-dead" || !strings.Contains(c[0].Text, "billing.example.com, and that name does not exist (NXDOMAIN)") {
		t.Errorf("got status %d and %+v, want 1 because the name does not exist", status, c)
	}

	status, r = reported(t, "-manifests", "examples", "-resolver", "127.0.0.1:0", "billing")
	if c := r.Causes; status != statusUnknown || c[0].ID != "external-name-outside" || !strings.Contains(c[0].Text, "127.0.0.1:0 was asked for it: ") {
		t.Errorf("got status %d and %+v, want 2 because the resolver does not answer", status, c)
	}
}

func TestTypesAreThoseThatProgramsAskFor(t *testing.T) {
	for word, want := range map[string][]uint16{
		"web": {dns.TypeA, dns.TypeAAAA}, "_http._tcp.web": {dns.TypeSRV}, "10.0.0.1": {dns.TypePTR}, "fd00::1": {dns.TypePTR}, "1.0.0.10.in-addr.arpa": {dns.TypePTR},
	} {
		o, err := parseOptions([]string{word})
		if err != nil {
			t.Fatal(err)
		}
		if q, err := o.question(); err != nil || !slices.Equal(q.types, want) {
			t.Errorf("%s: got %+v and %v, want the types %v", word, q, err, want)
		}
	}
}

func TestStanzaIsThatOfTheNamesZone(t *testing.T) {
	corefile := ".:53 {\n kubernetes cluster.local {\n ttl 30\n }\n}\nexample.org {\n headless {\n ttl 7\n }\n}\n"
	runs(t) // in the folder of the repository
	for name, want := range map[string]string{
		"cassandra.default.svc.example.org": "3 records, TTL 7 s", "cassandra.default.svc.cluster.local": "3 records, TTL 30 s", "cassandra": "3 records, TTL 30 s",
	} {
		var out, errors strings.Builder
		status := Main(t.Context(), []string{"-manifests", "examples", "-corefile", "-", name}, strings.NewReader(corefile), &out, &errors)
		if status != statusResolves || !strings.Contains(out.String(), want) {
			t.Errorf("%s: got status %d, %s%s; want %s", name, status, errors.String(), out.String(), want)
		}
	}
}

func TestExtendedErrorsAreShown(t *testing.T) {
	r := new(dns.Msg).SetQuestion("web.", dns.TypeA)
	m := new(dns.Msg).SetRcode(r, dns.RcodeNameError)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{ExtraText: "because"})
	var a answer
	a.read(m, dns.TypeA)
	if want := []string{"because"}; !slices.Equal(a.Extended, want) || !slices.Contains(a.link().Details, "dig shows: because") {
		t.Errorf("got %q and the step %+v, want %q", a.Extended, a.link(), want)
	}
}

func TestNegativeAnswersLiveAsLongAsTheSOASays(t *testing.T) {
	_, r := reported(t, "-manifests", "examples", "nobody")
	if a := r.Answers[0]; a.TTL != 5 || a.Rcode != "NXDOMAIN" {
		t.Errorf("got %+v, want NXDOMAIN for 5 s", a)
	}
}

func TestObjectsCannotWriteToTheTerminal(t *testing.T) {
	s := healthySet(t)
	unready(s)
	*s.sts.Spec.Replicas = 1
	s.pods[0].Status.ContainerStatuses[0].Name = "web\x1b[2J\u202e"
	var page strings.Builder
	if err := writePage(&page, s.explain(t, "web.shop")); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(page.String(), "\x1b\u202e") || !strings.Contains(page.String(), "web?[2J?") {
		t.Errorf("got %q, want question marks for what is not printable", page.String())
	}
}

// TestClientsAreToldWhatTheyGet: by topology hints, and why.
func TestClientsAreToldWhatTheyGet(t *testing.T) {
	const state = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.1.0.1], hostname: web-0, zone: a, nodeName: k, hints: {forZones: [{name: a}]}}
- {addresses: [10.1.0.2], hostname: web-1, zone: b, nodeName: l, hints: {forZones: [{name: b}]}}
`
	path := filepath.Join(t.TempDir(), "state.yaml")
	filetest.Write(t, path, state)
	corefile := filepath.Join(t.TempDir(), "Corefile")
	filetest.Write(t, corefile, "cluster.local {\n headless {\n topology hints\n }\n}\n")
	for _, c := range []struct {
		args  []string
		total int // endpoints
		note  string
	}{
		{[]string{"-corefile", corefile, "-client", "10.1.0.2"}, 1, "the client 10.1.0.2, in zone b, on node l, gets the endpoints that are meant for clients in its zone"},
		{[]string{"-corefile", corefile, "-client", "192.0.2.1"}, 2, "the client 192.0.2.1, gets all endpoints: neither Pods nor endpoints say where it is"},
		{[]string{"-client", "10.1.0.2"}, 2, "the client 10.1.0.2 gets what every client gets: the stanza has no topology hints"},
		{[]string{"-corefile", corefile}, 2, ""},
	} {
		status, r := reported(t, append(c.args, "-manifests", path, "web.shop.svc.cluster.local.", "A")...)
		if status != statusResolves || r.Answers[0].Total != c.total || c.note != "" && !slices.Contains(r.Notes, c.note) {
			t.Errorf("%q: got status %d, %d endpoints and the notes %q, want %d and %q", c.args, status, r.Answers[0].Total, r.Notes, c.total, c.note)
		}
	}
	const none = "the client 10.1.0.2, in zone b, on node l, gets what every client gets: these are no endpoints of a headless Service, " +
		"it has no ready ones of this address family, or the name is a pod's own"
	if _, r := reported(t, "-corefile", corefile, "-client", "10.1.0.2", "-manifests", path, "web.shop.svc.cluster.local.", "AAAA"); !slices.Contains(r.Notes, none) {
		t.Errorf("AAAA: got the notes %q, want %q", r.Notes, none)
	}
}
