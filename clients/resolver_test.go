package clients

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"
)

// resolver is a resolver that asks the cluster's server.
type resolver struct {
	name string // of the test
	// start starts it at addr, with the key of the root.
	start func(t *testing.T, addr string, key *dns.DNSKEY)
}

// resolvers are those that are tested. They validate, minimise names strictly (RFC 9156) and spell them at random, as
// far as they can; the cluster's zones are not signed, as they are told.
var resolvers = []resolver{
	{"Unbound forwards", func(t *testing.T, addr string, key *dns.DNSKEY) { startUnbound(t, addr, key, "forward") }},
	{"Unbound asks as it does name servers", func(t *testing.T, addr string, key *dns.DNSKEY) {
		startUnbound(t, addr, key, "stub")
	}},
	{"BIND forwards", func(t *testing.T, addr string, key *dns.DNSKEY) {
		startBIND(t, addr, key, "type forward; forward only; forwarders")
	}},
	{"BIND asks as it does name servers", func(t *testing.T, addr string, key *dns.DNSKEY) {
		startBIND(t, addr, key, "type static-stub; server-addresses")
	}},
}

// startUnbound starts an Unbound, of which kind is "forward" or "stub".
func startUnbound(t *testing.T, addr string, key *dns.DNSKEY, kind string) {
	t.Helper()
	path := installed(t, "unbound", "unbound")
	var config strings.Builder
	fmt.Fprintf(&config, `server:
  interface: %s
  do-daemonize: no
  username: ""
  chroot: ""
  directory: ""
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  root-hints: %s
  trust-anchor: "%s"
  qname-minimisation-strict: yes
  use-caps-for-id: yes
`, addr, write(t, "hints", rootHints), strings.ReplaceAll(key.String(), "\t", " "))
	for _, zone := range zones {
		fmt.Fprintf(&config, "  domain-insecure: %s\n  local-zone: %[1]s nodefault\n", zone)
	}
	for _, zone := range zones {
		fmt.Fprintf(&config, "%s-zone:\n  name: %s\n  %[1]s-addr: %[3]s\n", kind, zone, dnsAddr)
	}
	config.WriteString("remote-control:\n  control-enable: no\n")
	start(t, path, "-d", "-p", "-c", write(t, "unbound.conf", config.String())).waitForZone(t, addr, ".")
}

// startBIND starts a BIND; kind is the kind of its zones.
func startBIND(t *testing.T, addr string, key *dns.DNSKEY, kind string) {
	t.Helper()
	path := installed(t, "named", "bind9")
	var config strings.Builder
	fmt.Fprintf(&config, `options {
  directory "%s"; listen-on { %s; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
  recursion yes; dnssec-validation yes; qname-minimization strict; empty-zones-enable no; max-records-per-type 0;
  validate-except { "%s"; };
};
controls {};
trust-anchors { . static-key %d %d %d "%s"; };
zone "." { type hint; file "%s"; };
`, t.TempDir(), addr, strings.Join(zones, `"; "`), key.Flags, key.Protocol, key.Algorithm, key.PublicKey,
		write(t, "hints", rootHints))
	for _, zone := range zones {
		fmt.Fprintf(&config, "zone \"%s\" { %s { %s; }; };\n", zone, kind, dnsAddr)
	}
	start(t, path, "-g", "-c", write(t, "named.conf", config.String())).waitForZone(t, addr, ".")
}

// eachResolver runs a test with each resolver that is installed, in front of a server for the cluster of api.
func eachResolver(t *testing.T, api *kubetest.Server, test func(t *testing.T, addr string)) {
	needWorld(t)
	startHeadless(t, api, dnsAddr)
	key := startRoot(t)
	for i, r := range resolvers {
		t.Run(r.name, func(t *testing.T) {
			addr := resolverAddrs[i]
			r.start(t, addr, key)
			r := dnstest.Query(signedName, dns.TypeA, 1232)
			r.AuthenticatedData = true
			if m, err := dnstest.Exchange(t.Context(), "udp", addr+":53", r); err != nil || !m.AuthenticatedData {
				t.Fatalf("%s: got %v, %v; want an answer that is validated", signedName, m, err)
			}
			test(t, addr)
		})
	}
}

// TestResolversPassEveryName: through a resolver each name has the records that it should have, after somebody has
// asked for ANY as well.
func TestResolversPassEveryName(t *testing.T) {
	needWorld(t)
	objects := variedObjects()
	api := kubetest.NewServer(t)
	api.Put(objects...)
	n := namesOf(objects...)
	eachResolver(t, api, func(t *testing.T, addr string) {
		list := n.all()
		seed := rand.Uint64()
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		answers, records := 0, 0
		for i, name := range list {
			network := []string{"udp", "tcp"}[i%2]
			owns := slices.ContainsFunc(asked, func(qtype uint16) bool { return len(n.answer(name, qtype)) > 0 }) ||
				slices.Contains(zones, name) // its SOA record
			m := ask(t, network, addr, name, dns.TypeANY)
			if m.Rcode != n.rcode(name) || (len(m.Answer) > 0) != owns {
				t.Errorf("%s ANY over %s: got %s, %d records; want %s, and whether there are some is %v",
					name, network, dns.RcodeToString[m.Rcode], len(m.Answer), dns.RcodeToString[n.rcode(name)], owns)
			}
			for _, qtype := range asked {
				name := spelled(name)
				m := ask(t, network, addr, name, qtype)
				lower := strings.ToLower(name)
				got, want := lowered(dnstest.Data(m.Answer)), n.answer(lower, qtype)
				answers, records = answers+1, records+len(got)
				if m.Rcode != n.rcode(lower) || !slices.Equal(got, want) || m.Question[0].Name != name {
					t.Errorf("%s %s over %s: got %s %q about %s, want %s %q", name, dns.TypeToString[qtype], network,
						dns.RcodeToString[m.Rcode], got, m.Question[0].Name, dns.RcodeToString[n.rcode(lower)], want)
				}
			}
		}
		t.Logf("%d names, in the order of seed %d: %d answers with %d records after ANY", len(list), seed, answers, records)
	})
}

// TestResolversPassWhatFits: of a set that is larger than any message a resolver passes the part that fits.
func TestResolversPassWhatFits(t *testing.T) {
	needWorld(t)
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"))
	s := newService(api, "large", 1000, 5000)
	eachResolver(t, api, func(t *testing.T, addr string) {
		for _, row := range []struct {
			name  string
			qtype uint16
			size  int
		}{{s.name + suffix, dns.TypeA, addrSize}, {s.srvName(), dns.TypeSRV, s.srvSize()}} {
			m := ask(t, "tcp", addr, row.name, row.qtype)
			least, most := inLargest(row.name, row.size)
			t.Logf("%s %s: %d of %d records, TC %v", row.name, dns.TypeToString[row.qtype], len(m.Answer), len(s.pods()), m.Truncated)
			if m.Rcode != dns.RcodeSuccess || m.Truncated || len(m.Answer) < least || len(m.Answer) > most {
				t.Errorf("%s %s: got %s, %d records, TC %v, want %d to %d without TC", row.name,
					dns.TypeToString[row.qtype], dns.RcodeToString[m.Rcode], len(m.Answer), m.Truncated, least, most)
			}
		}
	})
}

// lowered returns texts in lower case, sorted: a resolver may spell a name in RDATA as the one in the question is.
func lowered(texts []string) []string {
	for i, text := range texts {
		texts[i] = strings.ToLower(text)
	}
	slices.Sort(texts)
	return texts
}
