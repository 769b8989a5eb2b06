package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/oracle"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// question is an owner name, fully qualified and in lower case, and a type.
type question struct {
	name  string
	qtype uint16
}

func (q question) String() string { return q.name + " " + dns.TypeToString[q.qtype] }

// model is what DNS should say about a cluster, for a server without options.
type model struct {
	*oracle.Model
	rrsets map[question][]string // RDATA in presentation format, sorted, each once
	// otherPTRs are names that kubernetes gives beside those of rrsets, by reverse names.
	otherPTRs func() map[string][]string
}

const clusterZone = "cluster.local."

// newModel returns the model of these objects.
func newModel(namespaces []*corev1.Namespace, services []*corev1.Service, epSlices []*discoveryv1.EndpointSlice) *model {
	return modelOf(false, namespaces, services, epSlices)
}

// newAddressModel returns one without SRV records and their names, which is made in a fraction of the time.
func newAddressModel(namespaces []*corev1.Namespace, services []*corev1.Service, epSlices []*discoveryv1.EndpointSlice) *model {
	return modelOf(true, namespaces, services, epSlices)
}

func modelOf(onlyAddresses bool, namespaces []*corev1.Namespace, services []*corev1.Service, epSlices []*discoveryv1.EndpointSlice) *model {
	var objects []runtime.Object
	for _, o := range namespaces { // also those that are being deleted
		objects = append(objects, o)
	}
	for _, o := range services {
		objects = append(objects, o)
	}
	for _, o := range epSlices {
		objects = append(objects, o)
	}
	cfg := oracle.Default(clusterZone, "in-addr.arpa.", "ip6.arpa.")
	cfg.OnlyAddresses = onlyAddresses
	m := &model{Model: oracle.New(cfg, objects...), rrsets: make(map[question][]string)}
	m.otherPTRs = sync.OnceValue(m.OtherPTRs)
	for name, rrs := range m.RRsets() {
		m.rrsets[question{name, rrs[0].Header().Rrtype}] = dnstest.Data(rrs)
	}
	return m
}

// rcode returns that of an answer about the name.
func (m *model) rcode(name string) int {
	if m.Exists(name) {
		return dns.RcodeSuccess
	}
	return dns.RcodeNameError
}

// questions returns what a server is asked about a name: each type that it has, and where nothing is, or no address of one
// family, whether that is said.
func (m *model) questions(name string) []question {
	if strings.HasSuffix(name, ".arpa.") {
		return []question{{name, dns.TypePTR}}
	}
	var asked []question
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME, dns.TypeTXT} {
		if m.rrsets[question{name, qtype}] != nil {
			asked = append(asked, question{name, qtype})
		}
	}
	switch {
	case len(asked) == 0:
		return []question{{name, dns.TypeA}}
	case m.rrsets[question{name, dns.TypeA}] == nil && m.rrsets[question{name, dns.TypeAAAA}] != nil:
		asked = append(asked, question{name, dns.TypeA})
	case m.rrsets[question{name, dns.TypeA}] != nil && m.rrsets[question{name, dns.TypeAAAA}] == nil:
		asked = append(asked, question{name, dns.TypeAAAA})
	}
	return asked
}

// judge returns nil if a reply of headless is right.
func (m *model) judge(q question, r reply) error {
	want, rcode := m.rrsets[q], m.rcode(q.name)
	if r.err != nil {
		return r.err
	}
	if r.truncated {
		return fmt.Errorf("%v: got TC over TCP", q)
	}
	if q.qtype == dns.TypeSRV && sizeOfSRVs(want) > dns.MaxMsgSize && sizeOfSRVs(r.rdata) > dns.MaxMsgSize/2 { // section 7
		want = slices.DeleteFunc(slices.Clone(want), func(rdata string) bool { return !slices.Contains(r.rdata, rdata) })
	}
	if r.rcode != rcode || !slices.Equal(r.rdata, want) {
		return fmt.Errorf("%v: got %s %s, want %s %s",
			q, dns.RcodeToString[r.rcode], short(r.rdata), dns.RcodeToString[rcode], short(want))
	}
	return nil
}

// sizeOfSRVs returns how many octets SRV records of one owner name take, whose targets must not be compressed (RFC 2782).
func sizeOfSRVs(rdata []string) int {
	const pointerTypeClassTTLLength, priorityWeightPort = 2 + 2 + 2 + 4 + 2, 6
	size := 0
	for _, r := range rdata {
		target := r[strings.LastIndexByte(r, ' ')+1:]
		size += pointerTypeClassTTLLength + priorityWeightPort + len(target) + 1
	}
	return size
}

// judgeStock returns nil if a reply of kubernetes is right where both plugins have to agree: in the data. NODATA or NXDOMAIN
// does not matter; there are no SRV records of one port of one endpoint; a PTR record may name a ClusterIP Service beside a
// headless one; an SRV record's weight may be another; and when there are too many SRV records, some may be missing.
func (m *model) judgeStock(q question, r reply) error {
	if r.err != nil {
		return r.err
	}
	if r.rcode != dns.RcodeSuccess && r.rcode != dns.RcodeNameError {
		return fmt.Errorf("%v: got %s", q, dns.RcodeToString[r.rcode])
	}
	got, want := r.rdata, m.rrsets[q]
	switch q.qtype {
	case dns.TypeSRV:
		if _, host, ok := portOf(q.name); ok && m.IsHost(host) {
			return nil
		}
		got, want = withoutWeights(got), withoutWeights(want)
		if r.truncated {
			want = slices.DeleteFunc(want, func(rdata string) bool { return !slices.Contains(got, rdata) })
		}
	case dns.TypePTR:
		others := m.otherPTRs()[q.name]
		got = slices.DeleteFunc(slices.Clone(got), func(rdata string) bool { return slices.Contains(others, rdata) })
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%v: got %s, want %s", q, short(got), short(want))
	}
	return nil
}

// portOf splits a name of the form _port._proto.host.
func portOf(name string) (port, host string, ok bool) {
	labels := strings.SplitN(name, ".", 3)
	if len(labels) < 3 || !strings.HasPrefix(labels[0], "_") || !strings.HasPrefix(labels[1], "_") {
		return "", "", false
	}
	return labels[0], labels[2], true
}

// withoutWeights returns the ports and targets of SRV records, sorted, each once.
func withoutWeights(rdata []string) []string {
	var rest []string
	for _, r := range rdata {
		fields := strings.Fields(r)
		rest = append(rest, fields[2]+" "+fields[3])
	}
	slices.Sort(rest)
	return slices.Compact(rest)
}

// short returns a few of the records of a large answer.
func short(rdata []string) string {
	if len(rdata) > 4 {
		return fmt.Sprintf("%d records like %q", len(rdata), rdata[0])
	}
	return fmt.Sprintf("%q", rdata)
}
