// Package model is what DNS keeps of a cluster's Services, EndpointSlices, Namespaces and Pods: small values that are not modified
// after they were made, the labels that name endpoints, and what makes such a value valid.
package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"unique"
)

// Key identifies an object of one resource.
type Key struct{ Namespace, Name string }

// ID returns k: what embeds a Key has one.
func (k Key) ID() Key { return k }

// Compare orders keys by namespace, then by name.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Namespace, o.Namespace), strings.Compare(k.Name, o.Name))
}

// Kind is what decides which records a Service has.
type Kind uint8

// The kinds of Services.
const (
	ClusterIP Kind = iota
	Headless
	ExternalName
)

// Namespace is what we keep of a Namespace.
type Namespace struct{ Key }

// Service is what we keep of a Service. It is not modified after it was put.
type Service struct {
	Key
	ClusterIPs []netip.Addr // distinct
	Target     string       // of the CNAME, a lower-case FQDN; "" when there is none to serve
	Ports      []Port       // sorted, distinct
	External   *External    // nil when there is nothing of it
	Kind       Kind
	Policy     Policy // 0: the index's
	Selector   bool   // the control plane finds the endpoints; for metrics
	// NoTopology says that an annotation turns the option topology off.
	NoTopology bool
}

// Pod is what we keep of a Pod. It is not modified after it was put.
type Pod struct {
	Key
	Addrs  []netip.Addr
	Labels map[string]string // nil unless the metadata plugin is there
	// Leaving says that the Pod is being deleted: it has no name any more, and is known as a client.
	Leaving bool
	// Host says that the Pod is in the network of its node, whose addresses it has.
	Host bool
	Node string // "" unless it is of use
}

// Node is what we keep of a Node. It is not modified after it was put.
type Node struct {
	Key
	Addrs []netip.Addr
	Zone  string // the topology zone, lower case, or ""
}

// External is what a Service is reached at from outside the cluster. It is never modified.
type External struct {
	Addrs []netip.Addr // distinct
	Names []string     // distinct lower-case FQDNs
}

// Slice is what we keep of an EndpointSlice. It is not modified after it was put.
type Slice struct {
	Key                  // its name is not ""
	Service   string     // "": the slice belongs to no Service
	Ports     []Port     // sorted, distinct
	Endpoints []Endpoint // those with the same address and name are one
	// Sums holds a hash of what each endpoint was made of, or 0. It is nil where that is of no use.
	Sums []uint64
}

// Endpoint is one endpoint of a slice.
type Endpoint struct {
	Addr    netip.Addr // without zone, never IPv4-mapped
	Name    string     // a valid label, or "" for the dashed address
	PodName bool       // name is a pod's
	Place   Placed     // as far as zonal and topology need it
	State   State
	Leaving bool // terminating, though it may be ready (publishNotReadyAddresses)
}

// Port is a port of a Service or slice. There are few different labels and many ports.
type Port struct {
	Labels unique.Handle[PortLabels]
	Number uint16
}

// PortLabels are the labels of _port._proto without their underscores.
type PortLabels struct {
	Name  string // lower case; "" when unnamed
	Proto string // lower case: tcp, udp, sctp
}

// PortOf returns the port with these labels and number.
func PortOf(name, proto string, number uint16) Port {
	return Port{unique.Make(PortLabels{name, proto}), number}
}

// Name returns the label of p's name, "" when it is unnamed.
func (p Port) Name() string { return p.Labels.Value().Name }

// Proto returns the label of p's protocol.
func (p Port) Proto() string { return p.Labels.Value().Proto }

// State is how far an endpoint counts; greater is better. See behaviour section 4.
type State uint8

// The states.
const (
	NotReady State = iota
	Serving        // terminating, and still serving
	Ready
)

var stateTexts = [...]string{NotReady: "not_ready", Serving: "serving", Ready: "ready"}

// NumStates is how many states there are.
const NumStates = len(stateTexts)

// String returns what metrics call s.
func (s State) String() string { return stateTexts[s] }

// Policy says which endpoints answer to their own names: those whose state is at least that of the policy.
type Policy uint8

// The policies.
const (
	Inherited      Policy = iota // a Service without an annotation
	HostnamesReady               // ready
	HostnamesServing
	HostnamesAll
)

// String returns the word of the option and the annotation.
func (p Policy) String() string { return [...]string{"inherited", "ready", "serving", "all"}[p] }

// ParsePolicy returns the policy of a word of the hostnames option or annotation. ok is false for another word.
func ParsePolicy(word string) (p Policy, ok bool) {
	for p := HostnamesReady; p <= HostnamesAll; p++ {
		if p.String() == word {
			return p, true
		}
	}
	return 0, false
}

// Least returns the least state of an endpoint that answers to its own name.
func (p Policy) Least() State { return Ready - State(p-HostnamesReady) }

// Family distinguishes IPv4 from IPv6.
type Family uint8

// The families.
const (
	V4 Family = iota
	V6
)

// FamilyOf returns the family of addr, which is not IPv4-mapped.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return V4
	}
	return V6
}

// Size returns the length of an address in octets.
func (f Family) Size() int { return [...]int{4, 16}[f] }

// AppendAddr appends the octets of addr.
func AppendAddr(b []byte, addr netip.Addr) []byte {
	if addr.Is4() {
		a := addr.As4()
		return append(b, a[:]...)
	}
	a := addr.As16()
	return append(b, a[:]...)
}

// Equal reports whether s and o say the same.
func (s *Service) Equal(o *Service) bool {
	return s.EqualInside(o) && s.External.equal(o.External)
}

// EqualInside reports whether s and o say the same of what is seen inside the cluster.
func (s *Service) EqualInside(o *Service) bool {
	return s.Key == o.Key && s.Kind == o.Kind && s.Target == o.Target && s.Policy == o.Policy &&
		s.Selector == o.Selector && s.NoTopology == o.NoTopology && slices.Equal(s.ClusterIPs, o.ClusterIPs) && slices.Equal(s.Ports, o.Ports)
}

// equal reports whether e and o, which may be nil, say the same.
func (e *External) equal(o *External) bool {
	if e == nil || o == nil {
		return e == o
	}
	return slices.Equal(e.Addrs, o.Addrs) && slices.Equal(e.Names, o.Names)
}

// Addresses returns the ClusterIPs of s, which may be nil.
func (s *Service) Addresses() []netip.Addr {
	if s == nil {
		return nil
	}
	return s.ClusterIPs
}

// Union returns the sorted, distinct elements of a and b, which are so themselves. It may return one of them.
func Union(a, b []Port) []Port {
	if len(a) == 0 || SamePorts(a, b) {
		return b
	}
	if len(b) == 0 {
		return a
	}
	return SortedPorts(slices.Concat(a, b))
}

// Identical reports whether a and b are one list, in one place.
func Identical(a, b []Port) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// SamePorts reports whether a and b are equal.
func SamePorts(a, b []Port) bool { return Identical(a, b) || slices.Equal(a, b) }

// SortedPorts sorts ports, removes repetitions, and returns the result.
func SortedPorts(ports []Port) []Port {
	slices.SortFunc(ports, Port.Compare)
	return slices.Compact(ports)
}

// Compare orders ports by name, protocol and number.
func (p Port) Compare(o Port) int {
	return cmp.Or(strings.Compare(p.Name(), o.Name()), strings.Compare(p.Proto(), o.Proto()), cmp.Compare(p.Number, o.Number))
}

// MetricKind returns what metrics call the kind of a Service. s may be nil.
func (s *Service) MetricKind() string {
	switch {
	case s == nil || s.Kind == ExternalName:
		return UnservedKind
	case s.Kind == ClusterIP:
		return "cluster_ip"
	case s.Selector:
		return "headless_with_selector"
	}
	return "headless_without_selector"
}

// UnservedKind is what metrics call the kind of a Service that has no endpoints to serve, or is not there.
const UnservedKind = "none"

// KeyOf returns the key of an object. The namespace is shared with the other objects in it.
func KeyOf(namespace, name string) Key { return Key{Intern(namespace), name} }

// Intern returns s, the same string for all that are equal.
func Intern(s string) string { return unique.Make(s).Value() }
