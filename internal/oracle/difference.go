package oracle

import "slices"

// Difference is one that this plugin means to have from CoreDNS's kubernetes plugin.
type Difference struct {
	Name    string // a sentence: what holds here
	Section string // of docs/behaviour.md; "" if it is not of the plugin
	Why     string // or what kubernetes does instead
	// Items is how the items begin that say so to users, in docs/records.md, "Which Answers Differ from kubernetes". Without any,
	// docs/dnsdiff.md names the difference.
	Items []string
}

// Named returns the difference of that name. Programs ask for those they know when they start: it panics if there is none.
func Named(name string) Difference {
	i := slices.IndexFunc(Differences, func(d Difference) bool { return d.Name == name })
	if i < 0 {
		panic("no difference from kubernetes: " + name)
	}
	return Differences[i]
}

// Items of docs/records.md that say several things.
var (
	itemOnce      = []string{"An endpoint is in an answer once"}
	itemPTR       = []string{"A PTR record leads to a name that leads back"}
	itemCNAME     = []string{"An ExternalName Service answers a query of any type"}
	itemTTL       = []string{"Negative answers have a time to live of their own"}
	itemSize      = []string{"Every set of records has one order"}
	itemServers   = []string{"The name servers are the Services that have one of the server's addresses", "Where no Service is known to be the name server"}
	itemReverse   = []string{"A reverse zone has reverse names only"}
	itemBelow     = []string{"Nothing exists below the reverse name of an address"}
	itemPods      = []string{"A Pod's name has addresses only"}
	itemCapitals  = []string{"A name is the same in capitals"}
	itemAliases   = []string{"With `endpoint_pod_names`"}
	itemThrough   = []string{"`fallthrough` with no plugin behind"}
	itemAnyType   = []string{"A name that exists is NODATA for types"}
	itemNonReady  = []string{"a headless Service without ready endpoints, when"}
	itemAncestors = []string{"`dns` and `dns-version` at the top", "`_PROTOCOL` below a Service", "with `zonal`, `_zone`"}
)

// Differences are all of them. cmd/dnsdiff and the differential test have a rule for each that can be seen from outside, and
// docs/records.md has an item.
var Differences = []Difference{
	{"an empty non-terminal exists", "1", "NXDOMAIN denies what is below it (RFC 8020)", itemAncestors},
	{"an empty non-terminal of a reverse tree exists", "1", "NXDOMAIN denies what is below it (RFC 8020)", []string{"in reverse zones, the names of addresses"}},
	{"an empty non-terminal falls through", "1", "a name that owns nothing goes to the next plugin", itemThrough},
	{"a name exists for every type", "1", "kubernetes answers NXDOMAIN for types that the name has not", itemAnyType},
	{"a name that does not exist has no SOA either", "1", "kubernetes answers NODATA to SOA whatever the name", []string{"A name that does not exist is NXDOMAIN"}},
	{"a zonal name exists if its Service's own name does", "1", "kubernetes has no data below a Service without ready endpoints", []string{"With `zonal`, a headless Service"}},
	{"a zone is the same in upper case", "1", "kubernetes compares the zone's spelling byte by byte", itemCapitals},
	{"the spelling of the question is kept", "1", "kubernetes does not always", itemCapitals},
	{"a cache keeps the spelling that was asked for first", "", "a name is the same in any spelling (RFC 4343), and no cache can be seen from outside", nil},
	{"names in records are in lower case", "1", "kubernetes copies capitals of hostnames and of the question's zone", []string{"Names inside records are in lower case"}},
	{"no label is a wildcard", "1", "kubernetes takes _ for every port and protocol", []string{"There are no wildcards"}},
	{"nothing exists below a pod's name", "1", "kubernetes ignores the labels below", itemBelow},
	{"nothing exists below the reverse name of an address", "1", "kubernetes ignores the labels below in ip6.arpa", itemBelow},
	{"ANY gets HINFO", "1", "kubernetes answers ANY like a type that no name has (RFC 8482 section 4.2)", []string{"An ANY query gets one HINFO record"}},
	{"a CNAME answers every type", "1", "kubernetes gives it for A, AAAA and CNAME only (RFC 1034 section 4.3.2)", itemCNAME},
	{"a CNAME stays when its target does not resolve", "2", "kubernetes leaves it out; the response code is the target's (RFC 6604)", itemCNAME},
	{"the rcode is that of the CNAME's target", "2", "kubernetes says NOERROR (RFC 6604)", itemCNAME},
	{"a chain of CNAMEs ends after eight", "2", "kubernetes follows eleven", itemCNAME},
	{"addresses outside the cluster are their owner's", "2", "the target of an ExternalName may have others each time", nil},
	{"underscores are part of _port and _proto", "2", "kubernetes takes http.tcp for _http._tcp", []string{"Ports and protocols have underscores"}},
	{"an endpoint has its ports", "2", "kubernetes knows no _port._proto below a hostname", []string{"`_PORT._PROTOCOL.HOSTNAME.SERVICE` exists"}},
	{"a pod's name has no SRV", "2", "kubernetes gives one with port 0", itemPods},
	{"a pod's name takes any spelling of the address", "2", "kubernetes finds a Pod by the text of its address only", itemPods},
	{"a dashed address has one spelling", "2", "kubernetes spells it as the object does: --5, ::ffff:10-0-0-8", itemOnce},
	{"a target's dashed address has one spelling", "2", "kubernetes spells it as the object does", itemOnce},
	{"a target is called by one valid label", "2", "kubernetes offers names of Pods with dots", itemAliases},
	{"with endpoint_pod_names the dashed name stays", "2", "kubernetes drops it", itemAliases},
	{"an IPv4-mapped address is its IPv4 address", "2", "kubernetes has no PTR for it", itemOnce},
	{"a record is in an RRset once", "2", "kubernetes repeats an endpoint that has two addresses", itemOnce},
	{"an SRV's weight counts the records", "2", "kubernetes counts addresses and ports that make one record", []string{"The weight of an SRV record"}},
	{"additional has every address of a target", "2", "kubernetes leaves out addresses without the port", itemSize},
	{"a zone's name servers are the server itself", "2", "each of the two has addresses and Services of its own", itemServers},
	{"there is always a name server", "2", "kubernetes names Services that are not served, or none", itemServers},
	{"every endpoint of a headless DNS service is a name server", "2", "kubernetes names those of the slice that lists its address", itemServers},
	{"a reverse zone has only reverse names", "1", "kubernetes has svc, pod and dns-version in every zone", itemReverse},
	{"a reverse zone's name servers are the primary zone's", "2", "kubernetes makes names for them in the reverse zone", itemReverse},
	{"a reverse zone's SOA has the primary zone's names", "2", "kubernetes makes names for it in the reverse zone", itemReverse},
	{"a PTR leads to a name that has the address", "3", "kubernetes gives PTRs for whatever a slice says", itemPTR},
	{"PTRs to headless Services go first", "3", "kubernetes mixes in those to endpoints of ClusterIP Services", itemPTR},
	{"hostnames of endpoints that are not ready", "4", "the option hostnames and the annotation show them", itemNonReady},
	{"a slice of names has no endpoints", "4", "kubernetes makes CNAMEs of its names", []string{"An EndpointSlice of type FQDN"}},
	{"an endpoint in several slices has the ports of all of them", "4", "kubernetes leaves out the slices in which it is not ready", itemOnce},
	{"nothing is answered before everything has been listed", "5", "kubernetes gives the part that it has", []string{"Before everything has been listed"}},
	{"a denial's time to live is negative_ttl", "6", "kubernetes uses ttl for it", itemTTL},
	{"the SOA's own time to live is ttl", "6", "kubernetes takes no more than 300", itemTTL},
	{"a large answer is truncated later", "7", "additional records are left out first, and as many records as fit are sent", itemSize},
	{"additional records that do not fit are left out", "7", "without a mark (RFC 2181 section 9)", itemSize},
	{"an answer starts at a random record, a part of one at the client's place", "7", "kubernetes leaves that to loadbalance", itemSize},
	{"a denial says why", "8", "kubernetes has no extended errors (RFC 8914)", []string{"Negative answers to queries with EDNS"}},
	{"a client gets the endpoints near it", "11", "kubernetes does not know topology hints", []string{"With `topology hints`, a client is given"}},
	{"fallthrough to nothing denies the name", "1", "kubernetes answers SERVFAIL", itemThrough},
}
