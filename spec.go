package headless

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"unique"
)

// objectKey identifies an object of one resource.
type objectKey struct{ namespace, name string }

func (k objectKey) id() objectKey { return k }

func (k objectKey) compare(o objectKey) int {
	return cmp.Or(strings.Compare(k.namespace, o.namespace), strings.Compare(k.name, o.name))
}

// serviceKind is what decides which records a Service has.
type serviceKind uint8

const (
	clusterIP serviceKind = iota
	headless
	externalName
)

// namespaceSpec is what we keep of a Namespace.
type namespaceSpec struct{ objectKey }

// serviceSpec is what we keep of a Service. It is not modified after it was put.
type serviceSpec struct {
	objectKey
	clusterIPs []netip.Addr // distinct
	target     string       // of the CNAME, a lower-case FQDN; "" when there is none to serve
	ports      []port       // sorted, distinct
	external   *external    // nil when there is nothing of it
	kind       serviceKind
	policy     policy // 0: the index's
	selector   bool   // the control plane finds the endpoints; for metrics
}

// external is what a Service is reached at from outside the cluster. It is never modified.
type external struct {
	addrs []netip.Addr // distinct
	names []string     // distinct lower-case FQDNs
}

// sliceSpec is what we keep of an EndpointSlice. It is not modified after it was put.
type sliceSpec struct {
	objectKey                // its name is not ""
	service   string         // "": the slice belongs to no Service
	ports     []port         // sorted, distinct
	endpoints []endpointSpec // those with the same address and name are one
}

// endpointSpec is one endpoint of a slice.
type endpointSpec struct {
	addr    netip.Addr // without zone, never IPv4-mapped
	name    string     // a valid label, or "" for the dashed address
	podName bool       // name is a pod's
	zone    string     // the topology zone, lower case; "" unless zonal is on
	state   state
}

// port is a port of a Service or slice. There are few different labels and many ports.
type port struct {
	labels unique.Handle[portLabels]
	number uint16
}

// portLabels are the labels of _port._proto without their underscores.
type portLabels struct {
	name  string // lower case; "" when unnamed
	proto string // lower case: tcp, udp, sctp
}

func portOf(name, proto string, number uint16) port {
	return port{unique.Make(portLabels{name, proto}), number}
}

func (p port) name() string  { return p.labels.Value().name }
func (p port) proto() string { return p.labels.Value().proto }

// state is how far an endpoint counts; greater is better. See behaviour section 4.
type state uint8

const (
	notReady state = iota
	serving        // terminating, and still serving
	ready
)

// policy says which endpoints answer to their own names: those whose state is at least that of the policy.
type policy uint8

const (
	inherited      policy = iota // a Service without an annotation
	hostnamesReady               // ready
	hostnamesServing
	hostnamesAll
)

// String returns the word of the option and the annotation.
func (p policy) String() string { return [...]string{"inherited", "ready", "serving", "all"}[p] }

// least returns the least state of an endpoint that answers to its own name.
func (p policy) least() state { return ready - state(p-hostnamesReady) }

// family distinguishes IPv4 from IPv6.
type family uint8

const (
	v4 family = iota
	v6
)

func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return v4
	}
	return v6
}

// size returns the length of an address in octets.
func (f family) size() int { return [...]int{4, 16}[f] }

// appendAddr appends the octets of addr.
func appendAddr(b []byte, addr netip.Addr) []byte {
	if addr.Is4() {
		a := addr.As4()
		return append(b, a[:]...)
	}
	a := addr.As16()
	return append(b, a[:]...)
}

// equal reports whether s and o say the same.
func (s *serviceSpec) equal(o *serviceSpec) bool {
	return s.equalInside(o) && s.external.equal(o.external)
}

// equalInside reports whether s and o say the same of what is seen inside the cluster.
func (s *serviceSpec) equalInside(o *serviceSpec) bool {
	return s.objectKey == o.objectKey && s.kind == o.kind && s.target == o.target && s.policy == o.policy &&
		s.selector == o.selector && slices.Equal(s.clusterIPs, o.clusterIPs) && slices.Equal(s.ports, o.ports)
}

// equal reports whether e and o, which may be nil, say the same.
func (e *external) equal(o *external) bool {
	if e == nil || o == nil {
		return e == o
	}
	return slices.Equal(e.addrs, o.addrs) && slices.Equal(e.names, o.names)
}

// addresses returns the ClusterIPs of s, which may be nil.
func (s *serviceSpec) addresses() []netip.Addr {
	if s == nil {
		return nil
	}
	return s.clusterIPs
}

// union returns the sorted, distinct elements of a and b, which are so themselves. It may return one of them.
func union(a, b []port) []port {
	if len(a) == 0 || samePorts(a, b) {
		return b
	}
	if len(b) == 0 {
		return a
	}
	return sortedPorts(slices.Concat(a, b))
}

// identical reports whether a and b are one list, in one place.
func identical(a, b []port) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// samePorts reports whether a and b are equal.
func samePorts(a, b []port) bool { return identical(a, b) || slices.Equal(a, b) }

var portSeed = maphash.MakeSeed()

// sumOf returns a number that is the same for equal lists.
func sumOf(ports []port) uint64 {
	var h maphash.Hash
	h.SetSeed(portSeed)
	for _, p := range ports {
		maphash.WriteComparable(&h, p)
	}
	return h.Sum64()
}

// sortedPorts sorts ports, removes repetitions, and returns the result.
func sortedPorts(ports []port) []port {
	slices.SortFunc(ports, func(a, b port) int {
		return cmp.Or(strings.Compare(a.name(), b.name()), strings.Compare(a.proto(), b.proto()), cmp.Compare(a.number, b.number))
	})
	return slices.Compact(ports)
}
