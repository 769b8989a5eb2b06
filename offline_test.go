package headless

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/internal/manifests"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

func TestParseStanzasFindsThoseOfEitherName(t *testing.T) {
	stanzas, err := ParseStanzas("Corefile", []byte(`
example.org {
	whoami
}
.:53 {
	errors
	kubernetes cluster.local in-addr.arpa {
		namespaces default
		namespaces shop
		kubeconfig /none other
		ttl 30
	}
}
prod.example.org:1053 {
	headless
}`))
	fatal.If(t, err)
	if len(stanzas) != 2 {
		t.Fatalf("got %d stanzas, want 2", len(stanzas))
	}
	for i, want := range [][]string{{"cluster.local.", "in-addr.arpa."}, {"prod.example.org."}} {
		if got := stanzas[i].Zones(); !slices.Equal(got, want) {
			t.Errorf("stanza %d: got the zones %q, want %q", i, got, want)
		}
	}
	if got := stanzas[0].Namespaces(); !slices.Equal(got, []string{"default", "shop"}) {
		t.Errorf("got the namespaces %q, want default and shop", got)
	}
	if got := stanzas[1].Namespaces(); len(got) > 0 {
		t.Errorf("got the namespaces %q of a stanza without options", got)
	}
}

func TestParseStanzasRefusesWhatAServerDoes(t *testing.T) {
	for corefile, want := range map[string]string{
		". {\n headless cluster.local {\n ttl never\n }\n}": "Corefile:3 - Error during parsing: ttl: expected",
		". {\n headless cluster.local {\n":                  "Corefile:2",
	} {
		_, err := ParseStanzas("Corefile", []byte(corefile))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got the error %v, want one with %q", corefile, err, want)
		}
	}
}

// offline returns the plugin that answers from the examples as the first stanza of a Corefile says.
func offline(t *testing.T, corefile string) *Headless {
	t.Helper()
	stanzas, err := ParseStanzas("Corefile", []byte(corefile))
	fatal.If(t, err)
	objects, err := manifests.Read("examples")
	fatal.If(t, err)
	return stanzas[0].Offline(objects)
}

func TestOfflineAnswersAsTheStanzaSaysFromTheObjects(t *testing.T) {
	const cassandra = "cassandra-0.cassandra.default.svc.cluster.local."
	for _, row := range []struct {
		name, options string
		rcode         int
		answer        []dns.RR
	}{
		{"without options", "", dns.RcodeSuccess, []dns.RR{test.A(cassandra + " 5 IN A 10.244.1.10")}},
		{"with another time to live", "ttl 30", dns.RcodeSuccess, []dns.RR{test.A(cassandra + " 30 IN A 10.244.1.10")}},
		{"with a hidden namespace", "namespaces shop", dns.RcodeNameError, nil},
		{"with labels that no Service has", "labels none", dns.RcodeNameError, nil},
		{"without endpoints", "noendpoints", dns.RcodeNameError, nil},
		{"with sources that are not there", "endpoint https://192.0.2.1\nkubeconfig /none\nsnapshot /none/file", dns.RcodeSuccess, []dns.RR{test.A(cassandra + " 5 IN A 10.244.1.10")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := offline(t, ". {\n headless cluster.local {\n"+row.options+"\n}\n}")
			if !h.Ready() {
				t.Error("got a plugin that is not ready")
			}
			w := recorder.NewRecorder(&test.ResponseWriter{})
			if _, err := h.ServeDNS(context.Background(), w, new(dns.Msg).SetQuestion(cassandra, dns.TypeA)); err != nil {
				t.Fatal(err)
			}
			want := test.Case{Qname: cassandra, Qtype: dns.TypeA, Rcode: row.rcode, Answer: row.answer}
			if row.answer == nil {
				want.Ns = w.Msg.Ns
			}
			if err := test.SortAndCheck(w.Msg, want); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReplyIsWholeAndSaysWhy(t *testing.T) {
	h := offline(t, ". {\n headless cluster.local\n}")
	m := h.Reply("cassandra.default.svc.cluster.local.", dns.TypeA)
	if m.Truncated || len(m.Answer) != 3 {
		t.Errorf("got %v, want three addresses", m)
	}
	errs := hostile.ExtendedErrors(h.Reply("nobody.default.svc.cluster.local.", dns.TypeA))
	if want := "there is no Service nobody in namespace default"; len(errs) != 1 || errs[0].ExtraText != want {
		t.Errorf("got the extended errors %v, want %q", errs, want)
	}
	if m := h.Reply("example.org.", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("of a name in no zone: got %v, want SERVFAIL, as where there is no next plugin", m)
	}
}
