package clients

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/oracle"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// variedObjects returns the objects of a cluster with Services of all kinds.
func variedObjects() []runtime.Object {
	const v4, v6 = discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	service := func(name, clusterIP string) *corev1.Service {
		svc := kubetest.Service(name, clusterIP)
		svc.Spec.Ports[0].Protocol = corev1.ProtocolTCP // as the API server sets it
		return svc
	}
	portless, inside := service("portless", "None"), service("inside", "")
	portless.Spec.Ports = nil
	inside.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web" + suffix}
	noPorts := sliceOf("portless", v4, "10.0.0.41 portless-0")
	noPorts.Ports = nil
	return []runtime.Object{
		kubetest.Namespace("ns"), kubetest.Namespace("empty"),
		service("web", "None"), sliceOf("web", v4, "10.0.0.1 web-0", "10.0.0.2 web-1", "10.0.0.3"),
		service("dual", "None"), sliceOf("dual", v4, "10.0.0.11 dual-0", "10.0.0.12 dual-1"),
		sliceOf("dual", v6, "fd00::11 dual-0", "fd00::12 dual-1"),
		service("six", "None"), sliceOf("six", v6, "fd00::21 six-0", "fd00::22"),
		service("down", "None"), sliceOf("down", v4, "10.0.0.30 down-0 unready"),
		service("half", "None"), sliceOf("half", v4, "10.0.0.31 half-0 unready", "10.0.0.32 half-1"),
		portless, noPorts,
		service("db", "10.96.0.1"), sliceOf("db", v4, "10.0.0.51"),
		inside,
	}
}

// sliceOf returns the slice of a Service for a family of addresses. Each endpoint is an address, perhaps a hostname, and
// perhaps "unready".
func sliceOf(service string, family discoveryv1.AddressType, endpoints ...string) *discoveryv1.EndpointSlice {
	es := kubetest.EmptySlice(service+"-"+strings.ToLower(string(family)), service)
	es.AddressType = family
	es.Ports[0].Protocol = new(corev1.ProtocolTCP) // as the API server sets it
	for _, text := range endpoints {
		fields := strings.Fields(text)
		e := discoveryv1.Endpoint{Addresses: fields[:1]}
		if len(fields) > 1 {
			e.Hostname = &fields[1]
		}
		e.Conditions.Ready = new(len(fields) < 3)
		es.Endpoints = append(es.Endpoints, e)
	}
	return es
}

// names are what a cluster's DNS should say.
type names struct {
	*oracle.Model
	data map[dns.Question][]string // in presentation format, sorted
}

func namesOf(objects ...runtime.Object) names {
	cfg := oracle.Default(zones...)
	cfg.Local = []netip.Addr{netip.MustParseAddr(dnsAddr)}
	n := names{oracle.New(cfg, objects...), make(map[dns.Question][]string)}
	for name, rrs := range n.RRsets() {
		n.data[dns.Question{Name: name, Qtype: rrs[0].Header().Rrtype}] = dnstest.Data(rrs)
	}
	return n
}

// answer returns what the answer section should have, behind the CNAME if the name has one.
func (n names) answer(name string, qtype uint16) []string {
	cname := n.data[dns.Question{Name: name, Qtype: dns.TypeCNAME}]
	if len(cname) == 0 || qtype == dns.TypeCNAME {
		return n.data[dns.Question{Name: name, Qtype: qtype}]
	}
	data := append(slices.Clone(cname), n.answer(cname[0], qtype)...)
	slices.Sort(data)
	return data
}

// rcode returns that of answers about name.
func (n names) rcode(name string) int {
	if n.Exists(name) {
		return dns.RcodeSuccess
	}
	return dns.RcodeNameError
}

// asked are the types that are asked for, after ANY.
var asked = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME, dns.TypePTR, dns.TypeTXT}

// all returns the names that exist and, below each of them, names that perhaps do not.
func (n names) all() []string {
	known := make(map[string]bool)
	for name := range n.Names() {
		known[name], known["nobody."+name], known["_nothing._tcp."+name] = true, true, true
	}
	var list []string
	for name := range known {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// spelled returns name with letters in upper and lower case, at random.
func spelled(name string) string {
	return strings.Map(func(r rune) rune {
		if rand.N(2) == 0 {
			return r
		}
		return []rune(strings.ToUpper(string(r)))[0]
	}, name)
}
