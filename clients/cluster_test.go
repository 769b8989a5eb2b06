package clients

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// suffix is behind the names of Services.
const suffix = ".ns.svc.cluster.local."

// pod is one of a headless Service.
type pod struct{ hostname, addr string }

// service is a headless Service with a port http, and its pods in EndpointSlices of 100, as the control plane makes them.
type service struct {
	api    *kubetest.Server
	name   string
	slices [][]pod
	next   int // number of the next pod
}

// newService puts a Service with n pods into api. The numbers of pods begin at first, and their addresses are below 10.
func newService(api *kubetest.Server, name string, first, n int) *service {
	s := &service{api: api, name: name, next: first}
	api.Put(kubetest.Service(name, "None"))
	for range n {
		s.add()
	}
	for i := range s.slices {
		s.put(i)
	}
	return s
}

// add adds a pod to a slice that has room, and returns which one.
func (s *service) add() int {
	i := slices.IndexFunc(s.slices, func(pods []pod) bool { return len(pods) < 100 })
	if i < 0 {
		i, s.slices = len(s.slices), append(s.slices, nil)
	}
	addr := netip.AddrFrom4([4]byte{10, byte(len(s.name)), byte(s.next >> 8), byte(s.next)})
	s.slices[i] = append(s.slices[i], pod{fmt.Sprintf("%s-%d", s.name, s.next), addr.String()})
	s.next++
	return i
}

// scaleUp adds a pod.
func (s *service) scaleUp() { s.put(s.add()) }

// remove removes the pod at a position among all.
func (s *service) remove(at int) {
	for i := range s.slices {
		if at < len(s.slices[i]) {
			s.slices[i] = slices.Delete(s.slices[i], at, at+1)
			s.put(i)
			return
		}
		at -= len(s.slices[i])
	}
}

// put puts a slice.
func (s *service) put(i int) {
	es := kubetest.EmptySlice(fmt.Sprintf("%s-%d", s.name, i), s.name)
	for _, p := range s.slices[i] {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.addr}, Hostname: new(p.hostname)})
	}
	s.api.Put(es)
}

// pods returns the pods that there are.
func (s *service) pods() []pod { return slices.Concat(s.slices...) }

// addrs returns the addresses of the pods, sorted as text.
func (s *service) addrs() []string {
	var addrs []string
	for _, p := range s.pods() {
		addrs = append(addrs, p.addr)
	}
	slices.Sort(addrs)
	return addrs
}

// srvName returns the owner name of the SRV records of the Service's port.
func (s *service) srvName() string { return "_http._tcp." + s.name + suffix }

// waitUntilKnown waits until the server at addr says what pods there are, which fit a message.
func (s *service) waitUntilKnown(t *testing.T, addr string) {
	t.Helper()
	kubetest.Eventually(t, fmt.Sprintf("the pods of %s at %s", s.name, addr), func() bool {
		return slices.Equal(dnstest.Data(ask(t, "tcp", addr, s.name+suffix, dns.TypeA).Answer), s.addrs())
	})
}

// ask asks the server at addr, over a connection of its own and with a buffer of 1,232 octets.
func ask(t *testing.T, network, addr, name string, qtype uint16) *dns.Msg {
	t.Helper()
	m, err := dnstest.Exchange(t.Context(), network, addr+":53", dnstest.Query(name, qtype, 1232))
	if err != nil {
		t.Fatalf("%s %s from %s over %s: %v", name, dns.TypeToString[qtype], addr, network, err)
	}
	return m
}

// Sizes of what a message has (RFC 1035 section 4.1, RFC 6891 section 6.1.2), in octets.
const (
	headerSize  = 12
	optSize     = 11
	pointerSize = 2
	fixedSize   = 10 // of a record: type, class, time to live, and the length of the data
)

// room returns how many octets the answer to a question about name may have in a message.
func room(name string, message int) int { return message - headerSize - len(name) - 1 - 4 - optSize }

// srvSize returns the size of an SRV record of s. The names of pods are equally long, and are not compressed (RFC 2782).
func (s *service) srvSize() int {
	const priorityWeightPort = 6
	target := s.pods()[0].hostname + "." + s.name + suffix
	return pointerSize + fixedSize + priorityWeightPort + len(target) + 1
}

// addrSize is the size of an A record.
const addrSize = pointerSize + fixedSize + net.IPv4len

// inLargest returns how many records of a size and of one name there are in the largest message, at least and at
// most: with and without the options that a client may send and a server add.
func inLargest(name string, size int) (least, most int) {
	const options = 200
	all := room(name, dns.MaxMsgSize)
	return (all - options) / size, (all + optSize) / size
}
