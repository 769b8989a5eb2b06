package dnsdiff

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/miekg/dns"
)

// onePod is a Pod of testdata/cluster.yaml.
const onePod = "{apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: default}, status: {podIPs: [{ip: 10.0.0.1}]}}"

// chain returns n CNAMEs from hop-1 on.
func chain(n int) string {
	text := ""
	for i := 1; i <= n; i++ {
		text += fmt.Sprintf("; hop-%d.D CNAME hop-%d.D", i, i+1)
	}
	return text[2:]
}

// targets returns n SRV records to names so long that seven of them and their addresses hardly fit into 512 octets.
func targets(n int) string {
	text := ""
	for i := range n {
		text += fmt.Sprintf("; @ SRV 0 16 80 %s-%d.web.D", strings.Repeat("x", 10), i)
	}
	return text[2:]
}

// ruleRows are replies of the old and the new server to one question about testdata/cluster.yaml and imports.yaml. D is
// default.svc.cluster.local., S default.svc.clusterset.local., @ the question's name; what stands behind ! is in the authority section,
// behind + in the additional one. A name that ends in ! in the question has some capitals. The old server knows the address of
// late.web.D, which came after the cluster was listed. The rule is "" if one of the differences is unexpected.
var ruleRows = []struct{ rule, question, old, new string }{
	{"an empty non-terminal exists", "_tcp.web.D A", "NXDOMAIN", "NODATA"},
	{"an empty non-terminal exists", "dns.cluster.local. A", "NXDOMAIN", "NODATA"},
	{"an empty non-terminal exists", "0.0.10.in-addr.arpa. PTR", "NXDOMAIN", "NODATA"},
	{"", "_tcp.starting.D A", "NXDOMAIN", "NODATA"}, // it has no ready endpoint
	{"", "nobody.web.D A", "NXDOMAIN", "NODATA"},
	{"", "_tcp.web.D A", "NODATA", "NXDOMAIN"},
	{"an empty non-terminal exists", "pin._zone.zoned.D A", "NXDOMAIN", "NODATA"},
	{"", "pin._zone.empty.D A", "NXDOMAIN", "NODATA"},
	{"an empty non-terminal exists", "east.db.S A", "NXDOMAIN", "NODATA"},
	{"", "nobody.db.S A", "NXDOMAIN", "NODATA"},
	{"a zonal name exists if its Service's own name does", "nobody.pin._zone.empty.D A", "NODATA", "NXDOMAIN"},
	{"", "eu-1a.pin._zone.zoned.D TXT", "NODATA", "NXDOMAIN"},
	{"", "nobody.pin._zone.vip.D A", "NXDOMAIN", "NODATA"},
	{"a name exists for every type", "web.D TXT", "NXDOMAIN", "NODATA"},
	{"a name exists for every type", "web-0.web.D AAAA", "NXDOMAIN", "NODATA"},
	{"a name exists for every type", "1.0.0.10.in-addr.arpa. TXT", "NXDOMAIN", "NODATA"},
	{"a name exists for every type", "eu-1a.pin._zone.zoned.D AAAA", "NXDOMAIN", "NODATA"},
	{"", "eu-1a.pin._zone.zoned.D A", "NXDOMAIN", "NODATA"},
	{"", "nobody.prefer._zone.zoned.D SRV", "NXDOMAIN", "NODATA"},
	{"", "web.D A", "NXDOMAIN", "NODATA"},
	{"", "1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN", "NODATA"},
	{"a name that does not exist has no SOA either", "nobody.D SOA", "NODATA", "NXDOMAIN"},
	{"", "web.D SOA", "NODATA", "NXDOMAIN"},
	{"", "nobody.D A", "NODATA", "NXDOMAIN"},
	{"a zone is the same in upper case", "cluster.local.! SOA", "NXDOMAIN", "@ SOA a. b. 1 2 3 4 5"},
	{"", "cluster.local. SOA", "NXDOMAIN", "@ SOA a. b. 1 2 3 4 5"},
	{"the spelling of the question is kept", "web.D! A", "web.D A 10.0.0.1", "@ A 10.0.0.1"},
	{"a cache keeps the spelling that was asked for first", "web.D! A", "@ A 10.0.0.1", "web.D A 10.0.0.1"},
	{"", "web.D! A", "@ A 10.0.0.1", "web.D A 10.0.0.2"},
	{"names in records are in lower case", "web.D SRV", "@ SRV 0 100 80 WEB-0.web.D", "@ SRV 0 100 80 web-0.web.D"},
	{"", "web.D SRV", "@ SRV 0 100 80 web-0.web.D", "@ SRV 0 100 80 WEB-0.web.D"},
	{"names in records are in lower case", "db.S SRV", "@ SRV 0 100 5432 db-0.West.db.S", "@ SRV 0 100 5432 db-0.west.db.S"},
	{"", "db.S SRV", "@ SRV 0 100 5432 db-0.east.db.S", "@ SRV 0 100 5432 db-0.west.db.S"},
	{"no label is a wildcard", "_._tcp.web.D SRV", "@ SRV 0 100 80 web-0.web.D", "NXDOMAIN"},
	{"", "_http._tcp.web.D SRV", "@ SRV 0 100 80 web-0.web.D", "NXDOMAIN"},
	{"", "_._tcp.web.D SRV", "@ SRV 0 100 80 web-0.web.D", "NODATA"},
	{"nothing exists below a pod's name", "x.10-0-0-1.default.pod.cluster.local. A", "@ A 10.0.0.1", "NXDOMAIN"},
	{"", "10-0-0-1.default.pod.cluster.local. A", "@ A 10.0.0.1", "NXDOMAIN"},
	{"nothing exists below the reverse name of an address", "x.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. PTR", "@ PTR 0--5.anon.D", "NXDOMAIN"},
	{"", "x.1.0.96.10.in-addr.arpa. PTR", "@ PTR vip.D", "NXDOMAIN"},
	{"a CNAME answers every type", "ext.D SRV", "NXDOMAIN", "@ CNAME www.example.com."},
	{"a CNAME answers every type", "ext.D SRV", "NODATA", "@ CNAME www.example.com."},
	{"", "ext.D SRV", "NODATA", "@ SRV 0 100 80 www.example.com."},
	{"a CNAME stays when its target does not resolve", "nowhere.D A", "NODATA", "NXDOMAIN; @ CNAME nobody.D"},
	{"a CNAME stays when its target does not resolve", "ext.D A", "@ CNAME www.example.com.", "SERVFAIL; @ CNAME www.example.com."},
	{"", "ext.D A", "@ CNAME www.example.com.; www.example.com. A 192.0.2.1", "@ CNAME www.example.com."},
	{"", "ext.D A", "@ CNAME www.example.com.; www.example.com. A 192.0.2.1", "SERVFAIL"},
	{"", "ext.D CNAME", "@ CNAME www.example.com.", "NODATA"},
	{"a chain of CNAMEs ends after eight", "hop-1.D A", chain(9) + "; hop-10.D A 10.0.0.1", chain(8)},
	{"", "hop-1.D A", chain(7) + "; hop-8.D A 10.0.0.1", chain(7)},
	{"addresses outside the cluster are their owner's", "ext.D A", "@ CNAME www.example.com.; www.example.com. A 192.0.2.1", "@ CNAME www.example.com.; www.example.com. 9 A 192.0.2.2"},
	{"", "inside.D A", "@ CNAME web-0.web.D; web-0.web.D A 10.0.0.1", "@ CNAME web-0.web.D; web-0.web.D A 10.0.0.2"},
	{"", "ext.D A", "@ CNAME www.example.com.; www.example.com. A 192.0.2.1", "@ CNAME www.example.org.; www.example.com. A 192.0.2.1"},
	{"underscores are part of _port and _proto", "http.tcp.web.D SRV", "@ SRV 0 100 80 web-0.web.D", "NXDOMAIN"},
	{"underscores are part of _port and _proto", "http.tcp.web.D A", "@ A 10.0.0.1", "NXDOMAIN"},
	{"", "http.tcp.web.D SRV", "NXDOMAIN", "@ SRV 0 100 80 web-0.web.D"},
	{"an endpoint has its ports", "_http._tcp.web-0.web.D SRV", "NXDOMAIN", "@ SRV 0 100 80 web-0.web.D; +web-0.web.D A 10.0.0.1"},
	{"", "_http._tcp.web-0.web.D SRV", "NXDOMAIN", "@ SRV 0 100 80 web-1.web.D"},
	{"", "_dns._udp.nobody.web.D SRV", "NXDOMAIN", "@ SRV 0 100 80 nobody.web.D"},
	{"a pod's name has no SRV", "10-0-0-1.default.pod.cluster.local. SRV", "@ SRV 0 100 0 10-0-0-1.default.pod.cluster.local.", "NODATA"},
	{"", "10-0-0-1.default.pod.cluster.local. SRV", "@ SRV 0 100 80 10-0-0-1.default.pod.cluster.local.", "NODATA"},
	{"a dashed address has one spelling", "anon.D SRV", "@ SRV 0 100 80 --5.anon.D", "@ SRV 0 100 80 0--5.anon.D"},
	{"a dashed address has one spelling", "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. PTR", "@ PTR --5.anon.D", "@ PTR 0--5.anon.D"},
	{"a dashed address has one spelling", "--5.anon.D AAAA", "@ AAAA ::5", "NXDOMAIN"},
	{"a dashed address has one spelling", "0--5.anon.D AAAA", "NXDOMAIN", "@ AAAA ::5"},
	{"", "anon.D SRV", "@ SRV 0 100 80 0--5.anon.D", "@ SRV 0 100 80 --5.anon.D"},
	{"", "0--5.anon.D AAAA", "@ AAAA ::5", "NXDOMAIN"},
	{"with endpoint_pod_names the dashed name stays", "10-0-2-1.anon.D A", "NXDOMAIN", "@ A 10.0.2.1"},
	{"", "10-0-2-1.anon.D A", "NXDOMAIN", "@ A 10.0.2.2"},
	{"", "web-0.web.D A", "NXDOMAIN", "@ A 10.0.0.1"},
	{"an IPv4-mapped address is its IPv4 address", "9.2.0.10.in-addr.arpa. PTR", "NXDOMAIN", "@ PTR 10-0-2-9.anon.D"},
	{"", "1.2.0.10.in-addr.arpa. PTR", "NXDOMAIN", "@ PTR 10-0-2-1.anon.D"},
	{"a record is in an RRset once", "web.D A", "@ A 10.0.0.1; @ A 10.0.0.1; @ A 10.0.0.2", "@ A 10.0.0.1; @ A 10.0.0.2"},
	{"", "web.D A", "@ A 10.0.0.1; @ A 10.0.0.2", "@ A 10.0.0.1; @ A 10.0.0.1; @ A 10.0.0.2"},
	{"", "web.D A", "@ A 10.0.0.1; @ A 10.0.0.1; @ A 10.0.0.2", "@ A 10.0.0.1"},
	{"an SRV's weight counts the records", "pair.D SRV", "@ SRV 0 25 2380 pair-0.pair.D; @ SRV 0 25 2380 pair-1.pair.D", "@ SRV 0 50 2380 pair-0.pair.D; @ SRV 0 50 2380 pair-1.pair.D"},
	{"", "pair.D SRV", "@ SRV 0 50 2380 pair-0.pair.D; @ SRV 0 50 2380 pair-1.pair.D", "@ SRV 0 25 2380 pair-0.pair.D; @ SRV 0 25 2380 pair-1.pair.D"},
	{"", "pair.D SRV", "@ SRV 0 100 2380 pair-0.pair.D", "@ SRV 1 100 2380 pair-0.pair.D"},
	{"additional has every address of a target", "dup.D SRV", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.2", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.2; +two.dup.D A 10.0.7.3"},
	{"", "dup.D SRV", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.2", "@ SRV 0 100 80 two.dup.D"},
	{"", "dup.D SRV", "@ SRV 0 100 80 two.dup.D", "@ SRV 0 100 80 two.dup.D; +one.dup.D A 10.0.7.1"},                                 // which is no target
	{"", "dup.D SRV", "@ SRV 0 100 80 two.dup.D", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.1"},                                 // the address is one's
	{"", "dup.D SRV", "@ SRV 0 100 80 two.dup.D", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.4"},                                 // the one that is not ready
	{"", "dup.D SRV", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.2", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.1"},          // in place of the right one
	{"", "dup.D SRV", "TC; @ SRV 0 100 80 two.dup.D", "@ SRV 0 100 80 two.dup.D; @ SRV 0 100 80 alias.dup.D; +two.dup.D A 10.0.7.1"}, // over TCP, too
	{"", "_http._tcp.two.dup.D SRV", "NXDOMAIN", "@ SRV 0 100 80 two.dup.D; +two.dup.D A 10.0.7.1"},                                  // though the rest is deliberate
	{"", "0--5.anon.D SRV", "NXDOMAIN", "@ SRV 0 100 80 0--5.anon.D; +0--5.anon.D AAAA fd00::"},                                      // for each rule
	{"", "0--5.anon.D SRV", "NXDOMAIN", "NODATA; +0--5.anon.D AAAA ::5"},                                                             // of no record at all
	{"additional has every address of a target", "anon.D SRV", "@ SRV 0 100 80 --5.anon.D", "@ SRV 0 100 80 0--5.anon.D; +0--5.anon.D AAAA ::5"},
	{"additional has every address of a target", "anon.D SRV", "@ SRV 0 100 80 anon-x1.anon.D", "@ SRV 0 100 80 anon-x1.anon.D; +anon-x1.anon.D A 10.0.2.1"},
	{"additional has every address of a target", "vip.D SRV", "@ SRV 0 100 80 vip.D; +vip.D A 10.96.0.1", "@ SRV 0 100 80 vip.D; +vip.D A 10.96.0.1; +vip.D AAAA fd96::1"},
	{"additional has every address of a target", "db.S SRV", "@ SRV 0 100 5432 db-0.west.db.S", "@ SRV 0 100 5432 db-0.west.db.S; +db-0.west.db.S A 10.30.0.1"},
	{"", "db.S SRV", "@ SRV 0 100 5432 db-0.west.db.S", "@ SRV 0 100 5432 db-0.west.db.S; +db-0.west.db.S A 10.20.0.1"},
	{"an endpoint has its ports", "_sql._tcp.db-0.west.db.S SRV", "NXDOMAIN", "@ SRV 0 100 5432 db-0.west.db.S; +db-0.west.db.S A 10.30.0.1"},
	{"", "vip.D SRV", "@ SRV 0 100 80 vip.D; +vip.D A 10.96.0.1", "@ SRV 0 100 80 vip.D; +vip.D A 10.96.0.1; +vip.D A 10.96.0.2"},
	{"additional has every address of a target", "web.D SRV", "@ SRV 0 100 80 late.web.D", "@ SRV 0 100 80 late.web.D; +late.web.D A 10.0.0.9"},
	{"", "web.D SRV", "@ SRV 0 100 80 late.web.D", "@ SRV 0 100 80 late.web.D; +late.web.D A 10.0.0.1"},
	{"an endpoint has its ports", "_http._tcp.not-ready.all.D SRV", "NXDOMAIN", "@ SRV 0 100 80 not-ready.all.D; +not-ready.all.D A 10.0.8.3"},
	{"a zone's name servers are the server itself", "cluster.local. NS", "@ NS ns.dns.cluster.local.", "@ NS dns.kube-system.svc.cluster.local."},
	{"a zone's name servers are the server itself", "ns.dns.cluster.local. A", "@ A 10.0.0.1", "@ A 10.0.0.2"},
	{"", "cluster.local. NS", "@ NS ns.dns.cluster.local.", "NXDOMAIN"},
	{"a reverse zone's SOA has the primary zone's names", "3.6.0.10.in-addr.arpa. PTR", "NXDOMAIN; !in-addr.arpa. SOA ns.dns.in-addr.arpa. b. 1 2 3 4 5", "NXDOMAIN; !in-addr.arpa. SOA ns.dns.cluster.local. b. 1 2 3 4 5"},
	{"", "nobody.D A", "NXDOMAIN; !cluster.local. SOA a. b. 1 2 3 4 5", "NXDOMAIN; !cluster.local. SOA c. b. 1 2 3 4 5"},
	{"", "nobody.D A", "NXDOMAIN; !cluster.local. SOA a. b. 1 2 3 4 5", "NXDOMAIN; !local. SOA a. b. 1 2 3 4 5"},
	{"", "nobody.D A", "NXDOMAIN; !cluster.local. SOA a. b. 1 2 3 4 5", "NXDOMAIN"},
	{"a PTR leads to a name that has the address", "1.0.0.10.in-addr.arpa. PTR", "@ PTR web-0.web.D; @ PTR ghost.D", "@ PTR web-0.web.D"},
	{"a PTR leads to a name that has the address", "1.0.0.10.in-addr.arpa. PTR", "@ PTR ghost.D", "NXDOMAIN"},
	{"", "1.0.0.10.in-addr.arpa. PTR", "@ PTR web-0.web.D; @ PTR 10-0-0-1.peers.D", "@ PTR web-0.web.D"},
	{"", "1.0.0.10.in-addr.arpa. PTR", "@ PTR web-0.web.D", "NXDOMAIN"},
	{"", "1.0.0.10.in-addr.arpa. PTR", "@ PTR web-0.web.D", "@ PTR web-0.web.D; @ PTR ghost.D"},
	{"PTRs to headless Services go first", "1.0.0.10.in-addr.arpa. PTR", "@ PTR web-0.web.D; @ PTR 10-0-0-1.lb.D", "@ PTR web-0.web.D"},
	{"", "1.0.0.10.in-addr.arpa. PTR", "@ PTR web-0.web.D; @ PTR 10-0-0-1.lb.D", "@ PTR 10-0-0-1.lb.D"},
	{"hostnames of endpoints that are not ready", "web-2.web.D A", "NXDOMAIN", "@ A 10.0.0.3"},
	{"hostnames of endpoints that are not ready", "_http._tcp.not-ready.all.D SRV", "NXDOMAIN", "NODATA"},
	{"hostnames of endpoints that are not ready", "all.D A", "NXDOMAIN", "NODATA"},
	{"hostnames of endpoints that are not ready", "_zone.all.D A", "NXDOMAIN", "NODATA"},
	{"", "all.D A", "NXDOMAIN", "@ A 10.0.8.3"},
	{"", "empty.D A", "NXDOMAIN", "NODATA"},
	{"a slice of names has no endpoints", "fqdn.D A", "@ CNAME pod.example.com.", "NXDOMAIN"},
	{"", "web.D A", "@ A 10.0.0.1", "NXDOMAIN"},
	{"an endpoint in several slices has the ports of all of them", "one.dup.D SRV", "@ SRV 0 100 81 one.dup.D", "@ SRV 0 50 80 one.dup.D; @ SRV 0 50 81 one.dup.D"},
	{"", "dup.D SRV", "@ SRV 0 100 81 alias.dup.D", "@ SRV 0 50 80 alias.dup.D; @ SRV 0 50 81 alias.dup.D"},
	{"", "web.D A", "@ A 10.0.0.1", "@ A 10.0.0.1; @ A 10.0.0.2"},
	{"a denial's time to live is negative_ttl", "nobody.D A", "NXDOMAIN; !cluster.local. 30 SOA a. b. 1 2 3 4 30", "NXDOMAIN; !cluster.local. 5 SOA a. b. 1 2 3 4 5"},
	{"a denial's time to live is negative_ttl", "nobody.D A", "NXDOMAIN; !cluster.local. 30 SOA a. b. 1 2 3 4 5", "NXDOMAIN; !cluster.local. 5 SOA a. b. 1 2 3 4 5"},
	{"a denial's time to live is negative_ttl", "nobody.D A", "NXDOMAIN; !cluster.local. 5 SOA a. b. 1 2 3 4 30", "NXDOMAIN; !cluster.local. 5 SOA a. b. 1 2 3 4 5"},
	{"", "web.D A", "@ 5 A 10.0.0.1", "@ 30 A 10.0.0.1"},
	{"the SOA's own time to live is ttl", "cluster.local. SOA", "@ 300 SOA a. b. 1 2 3 4 5", "@ 30 SOA a. b. 9 2 3 4 30"},
	{"", "cluster.local. SOA", "@ 300 SOA a. b. 1 2 3 4 5", "@ 300 SOA a. b. 1 2 3 7 5"},
	{"a large answer is truncated later", "web.D A", "TC; @ A 10.0.0.1", "@ A 10.0.0.1; @ A 10.0.0.2"},
	{"", "web.D A", "TC; @ A 10.0.0.9", "@ A 10.0.0.1; @ A 10.0.0.2"},
	{"", "web.D A", "@ A 10.0.0.1; @ A 10.0.0.2", "TC; @ A 10.0.0.1"},
	{"a client gets the endpoints near it", "zoned.D A", "@ A 10.0.10.1; @ A 10.0.10.2; @ A 10.0.10.3", "@ A 10.0.10.1; @ A 10.0.10.3"},
	{"a client gets the endpoints near it", "zoned.D A", "@ A 10.0.10.1; @ A 10.0.10.2; @ A 10.0.10.3", "@ A 10.0.10.2"},
	{"a client gets the endpoints near it", "_http._tcp.zoned.D SRV", "@ SRV 0 50 80 zoned-0.zoned.D; @ SRV 0 50 80 zoned-1.zoned.D", "@ SRV 0 50 80 zoned-1.zoned.D"},
	{"", "zoned.D A", "@ A 10.0.10.1; @ A 10.0.10.2; @ A 10.0.10.3", "@ A 10.0.10.1"},                // which is not all of a zone
	{"", "zoned.D A", "@ A 10.0.10.1; @ A 10.0.10.2; @ A 10.0.10.3", "@ A 10.0.10.1; @ A 10.0.10.2"}, // nor of one alone
	{"", "zoned.D A", "@ A 10.0.10.1", "NODATA"},
	{"additional records that do not fit are left out", "web.D SRV", targets(7) + "; +xxxxxxxxxx-0.web.D A 10.0.0.1", targets(7)},
	{"", "web.D SRV", targets(1) + "; +xxxxxxxxxx-0.web.D A 10.0.0.1", targets(1)},
}

func TestRulesAllowWhatIsDeliberateAndNoMore(t *testing.T) {
	c := clusterOf(t, options{manifests: []string{"../../testdata/cluster.yaml", "../../testdata/imports.yaml", filetest.Temp(t, "file.yaml", onePod)}, pods: true})
	g := &generator{cluster: c, zones: []zone{{"cluster.local.", false}, {"clusterset.local.", true}}, zonal: true, seed: 1}
	subjects := make(map[string]subject)
	for sub := range g.subjects() {
		name := nobody.ReplaceAllString(sub.lower(), "nobody")
		if sub.respelled {
			name += "!"
		}
		subjects[name] = sub
	}
	shown := make(map[string]bool)
	for _, row := range ruleRows {
		name, qtype, _ := strings.Cut(long(row.question), " ")
		sub, ok := subjects[name]
		if !ok {
			t.Errorf("%s: no such name is asked for", row.question)
			continue
		}
		network, bufsize := "tcp", 0
		if strings.Contains(row.rule, "do not fit") || strings.Contains(row.old, "xxx") {
			network, bufsize = "udp", 512
		}
		cmp := &comparison{
			question: question{sub, dns.StringToType[qtype]}, network: network, bufsize: bufsize, zones: g.zones, ttl: true,
			old: message(t, sub.name, row.old), new: message(t, sub.name, row.new),
			confirms: oldConfirms,
		}
		var used, unexpected []string
		for _, d := range cmp.differences() {
			if rule := cmp.allowed(d); rule != nil {
				used = append(used, rule.Name)
				shown[rule.Name] = true
			} else {
				unexpected = append(unexpected, d.group())
			}
		}
		switch {
		case row.rule == "" && len(unexpected) == 0:
			t.Errorf("%s:\nold %s\nnew %s\nis allowed by %q, want an unexpected difference", row.question, row.old, row.new, used)
		case row.rule != "" && (len(unexpected) > 0 || !slices.Contains(used, row.rule)):
			t.Errorf("%s:\nold %s\nnew %s\ngot the rules %q and the unexpected differences %q, want the rule %q", row.question, row.old, row.new, used, unexpected, row.rule)
		}
	}
	for _, rule := range rules {
		if !shown[rule.Name] {
			t.Errorf("no row has the rule %q", rule.Name)
		}
	}
}

// oldConfirms reports whether the old server of ruleRows says that a name has an address.
func oldConfirms(name string, addr netip.Addr) bool {
	names := map[string]string{"10.0.0.1": "web-0.web.D 10-0-0-1.peers.D 10-0-0-1.lb.D", "10.0.0.9": "late.web.D"}[addr.String()]
	return slices.Contains(strings.Fields(long(names)), name)
}

// TestRepliesToSRVQueriesAreCompared has replies, as in ruleRows, and all their differences.
func TestRepliesToSRVQueriesAreCompared(t *testing.T) {
	c := clusterOf(t, options{manifests: []string{"../../testdata/cluster.yaml"}})
	for _, row := range []struct {
		name, old, new string
		want           []cause
	}{
		{"another port", "@ SRV 0 100 80 alias.dup.D", "@ SRV 0 100 81 alias.dup.D", []cause{causePort}},
		{"another priority", "@ SRV 0 100 80 alias.dup.D", "@ SRV 1 100 80 alias.dup.D", []cause{causePriority}},
		{"the same addresses", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.2", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.2", nil},
		{"the same, that is wrong", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.1", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.1", nil},
		{"another one", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.2", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.1", []cause{causeMissingAddress, causeWrongAddress}},
		{"the right one where there was none", "@ SRV 0 100 80 alias.dup.D", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.2", []cause{causeExtraAddress}},
		{"the right one where there was no answer", "NXDOMAIN", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.2", []cause{causeRevived}},
		{"no answer any more", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.2", "NXDOMAIN", []cause{causeDenied}},
		{"the right one of more than the old server sends", "TC; @ SRV 0 100 80 alias.dup.D", "@ SRV 0 100 80 alias.dup.D; +alias.dup.D A 10.0.7.2", []cause{causeOldTruncates}},
		{"one of a target that is cut off", "@ SRV 0 100 80 alias.dup.D", "TC; @ SRV 0 100 80 alias.dup.D; +one.dup.D A 10.0.7.1", []cause{causeNewTruncates}},
		{"an owner in another spelling", "@ SRV 0 100 80 --5.anon.D; +--5.anon.D AAAA ::5", "@ SRV 0 100 80 --5.anon.D; +0--5.anon.D AAAA ::5", nil},
		{"both in another spelling", "@ SRV 0 100 80 --5.anon.D", "@ SRV 0 100 80 --5.anon.D; +--5.anon.D AAAA ::5", []cause{causeExtraAddress}},
	} {
		sub := subject{name: long("dup.D"), kind: kindService, cluster: c}
		cmp := &comparison{
			question: question{sub, dns.TypeSRV}, network: "tcp", zones: []zone{{"cluster.local.", false}}, confirms: oldConfirms,
			old: message(t, sub.name, row.old), new: message(t, sub.name, row.new),
		}
		var got []cause
		for _, d := range cmp.differences() {
			got = append(got, d.cause)
		}
		if slices.Sort(got); !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

// TestTruncatedAnswersAreParts: of the whole answer over TCP, if there is one.
func TestTruncatedAnswersAreParts(t *testing.T) {
	for _, row := range []struct {
		new, whole string
		want       int // records of the new reply that the whole one has not
	}{
		{"TC; @ A 10.0.0.1", "@ A 10.0.0.1; @ A 10.0.0.2", 0},
		{"TC; @ A 10.0.0.9", "@ A 10.0.0.1; @ A 10.0.0.2", 1},
		{"TC; @ A 10.0.0.9", "TC; @ A 10.0.0.1", 0}, // nobody knows the rest
	} {
		sub := subject{name: "web.default.svc.cluster.local.", kind: kindService, cluster: newBuilder().cluster()}
		cmp := &comparison{
			question: question{sub, dns.TypeA}, network: "udp",
			old: message(t, sub.name, "TC"), new: message(t, sub.name, row.new), newWhole: message(t, sub.name, row.whole),
		}
		strays := slices.DeleteFunc(cmp.truncation(), func(d difference) bool { return d.cause != causeStray })
		if len(strays) != row.want {
			t.Errorf("%s of %s: got %v, want %d records that are in no whole answer", row.new, row.whole, strays, row.want)
		}
	}
}

// long returns text with D and S written out.
func long(text string) string {
	return regexp.MustCompile(`\b[DS]\b`).ReplaceAllStringFunc(text, func(zone string) string {
		return map[string]string{"D": "default.svc.cluster.local.", "S": "default.svc.clusterset.local."}[zone]
	})
}

// message returns the reply that a row has, to a question about name.
func message(t *testing.T, name, text string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	for part := range strings.SplitSeq(long(text), "; ") {
		section := &m.Answer
		switch part {
		case "NODATA":
			continue
		case "TC":
			m.Truncated = true
			continue
		case "NXDOMAIN", "SERVFAIL":
			m.Rcode = dns.StringToRcode[part]
			continue
		}
		if rest, ok := strings.CutPrefix(part, "!"); ok {
			section, part = &m.Ns, rest
		} else if rest, ok := strings.CutPrefix(part, "+"); ok {
			section, part = &m.Extra, rest
		}
		owner, rest, _ := strings.Cut(part, " ")
		if owner == "@" {
			owner = name
		}
		if rest[0] > '9' { // no time to live
			rest = "5 " + rest
		}
		*section = append(*section, dnstest.Records(t, owner+" "+rest)...)
	}
	return m
}

// TestAgreementIsNoDifference: the order of records, SOA serials and what is not compared.
func TestAgreementIsNoDifference(t *testing.T) {
	sub := subject{name: "web.default.svc.cluster.local.", kind: kindService, cluster: newBuilder().cluster()}
	for _, c := range []struct{ qtype, old, new string }{
		{"A", "@ A 10.0.0.1; @ A 10.0.0.2", "@ A 10.0.0.2; @ A 10.0.0.1"},
		{"A", "@ 5 A 10.0.0.1", "@ 30 A 10.0.0.1"},
		{"A", "NODATA; !cluster.local. SOA a. b. 1 2 3 4 5", "NODATA; !cluster.local. SOA a. b. 7 2 3 4 30"},
		{"SRV", "@ SRV 0 50 1 a.; @ SRV 0 50 2 a.; +a. A 10.0.0.1; +a. AAAA ::1", "@ SRV 0 50 2 a.; @ SRV 0 50 1 a.; +a. AAAA ::1; +a. A 10.0.0.1"},
		{"A", "SERVFAIL", "SERVFAIL"},
	} {
		cmp := &comparison{
			question: question{sub, dns.StringToType[c.qtype]}, network: "tcp", zones: []zone{{"cluster.local.", false}},
			old: message(t, sub.name, c.old), new: message(t, sub.name, c.new),
		}
		if ds := cmp.differences(); len(ds) > 0 {
			t.Errorf("%s: old %s, new %s: got %v, want no difference", c.qtype, c.old, c.new, ds)
		}
	}
}
