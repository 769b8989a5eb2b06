// Package cluster describes synthetic clusters by a few words: which Services there are, how many endpoints each has, and
// under which names and addresses. The same description makes the objects of the API server, the hosts file of its rivals
// and the queries of the load generator, so that all of them speak of the same cluster.
package cluster

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Zone is the zone of all clusters, as a name without the last dot.
const Zone = "cluster.local"

// PerSlice is the most endpoints in one slice, the default of Kubernetes' controller.
const PerSlice = 100

// Port is the name of the named port that Services have, and PortNumber its number.
const (
	Port       = "http"
	PortNumber = 8080
)

// Group is a number of Services that are alike.
type Group struct {
	Name       string // of the Service; when there are several, the beginning of their names
	Services   int
	Endpoints  int  // of each Service
	Namespaces int  // over which the Services are spread
	Headless   bool // otherwise the Services have cluster IPs
	Hostnames  bool // the endpoints have hostnames, as a StatefulSet's pods do
	Zones      bool // the endpoints are in zones
	NamedPorts bool // the port has a name
	IPv4, IPv6 bool // the families; at least one
}

// Cluster is a list of groups; their names differ. It is a flag.Value: each use of the flag adds a group.
type Cluster []Group

// String implements flag.Value.
func (c *Cluster) String() string {
	groups := make([]string, len(*c))
	for i, g := range *c {
		groups[i] = g.String()
	}
	return strings.Join(groups, " ")
}

// Set implements flag.Value. It adds a group described as String does.
func (c *Cluster) Set(text string) error {
	g, err := ParseGroup(text)
	if err == nil {
		*c = append(*c, g)
	}
	return err
}

// String returns the description that ParseGroup understands.
func (g Group) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s,services=%d,endpoints=%d,namespaces=%d", g.Name, g.Services, g.Endpoints, g.Namespaces)
	for _, w := range g.words() {
		if *w.is {
			b.WriteString("," + w.word)
		}
	}
	return b.String()
}

type word struct {
	word string
	is   *bool
}

func (g *Group) words() []word {
	return []word{
		{"headless", &g.Headless},
		{"hostnames", &g.Hostnames},
		{"zones", &g.Zones},
		{"ports", &g.NamedPorts},
		{"ipv4", &g.IPv4},
		{"ipv6", &g.IPv6},
	}
}

// ParseGroup reads a group: its name, and any of services=N, endpoints=N, namespaces=N (1 each if they are left out),
// headless, hostnames, zones, ports, ipv4 (which is meant when no family is named) and ipv6, separated by commas.
func ParseGroup(text string) (Group, error) {
	name, rest, _ := strings.Cut(text, ",")
	g := Group{Name: name, Services: 1, Endpoints: 1, Namespaces: 1}
	numbers := map[string]*int{"services": &g.Services, "endpoints": &g.Endpoints, "namespaces": &g.Namespaces}
	words := make(map[string]*bool)
	for _, w := range g.words() {
		words[w.word] = w.is
	}
	for _, field := range strings.FieldsFunc(rest, func(r rune) bool { return r == ',' }) {
		key, value, isNumber := strings.Cut(field, "=")
		if is, ok := words[field]; ok {
			*is = true
		} else if number, ok := numbers[key]; ok && isNumber {
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return g, fmt.Errorf("group %q: %s is no number", name, field)
			}
			*number = n
		} else {
			return g, fmt.Errorf("group %q: unknown word %q", name, field)
		}
	}
	if name == "" || g.Namespaces == 0 {
		return g, fmt.Errorf("group %q: a group has a name and a namespace", text)
	}
	if !g.IPv6 {
		g.IPv4 = true
	}
	return g, nil
}

// Service is one Service of a cluster.
type Service struct {
	Group
	Namespace, Name string

	number int // of the Service in the cluster
	first  int // number of its first endpoint in the cluster
}

// Services returns the Services of the cluster, which are the same on every call.
func (c Cluster) Services() []Service {
	var services []Service
	endpoints := 0
	for _, g := range c {
		for i := range g.Services {
			s := Service{g, "n", g.Name, len(services), endpoints}
			if g.Services > 1 {
				s.Name = fmt.Sprintf("%s-%d", g.Name, i)
			}
			if g.Namespaces > 1 {
				s.Namespace = fmt.Sprintf("n-%d", i%g.Namespaces)
			}
			services = append(services, s)
			endpoints += g.Endpoints
		}
	}
	return services
}

// Find returns the Service of a namespace and name.
func (c Cluster) Find(namespace, name string) (Service, bool) {
	for _, s := range c.Services() {
		if s.Namespace == namespace && s.Name == name {
			return s, true
		}
	}
	return Service{}, false
}

// Domain returns the name of s in DNS, with the last dot.
func (s Service) Domain() string { return s.Name + "." + s.Namespace + ".svc." + Zone + "." }

// ClusterIPs returns the addresses of s itself: none when it is headless.
func (s Service) ClusterIPs() []netip.Addr {
	if s.Headless {
		return nil
	}
	return s.addresses(netip.MustParseAddr("172.16.0.1"), netip.MustParseAddr("fd00:172::1"), s.number)
}

// generations is the most endpoints that a cluster can have: an endpoint's next address is so much higher.
const generations = 1 << 20

// Addresses returns the addresses of an endpoint of s, one of each family. generation counts the restarts of its pod.
func (s Service) Addresses(endpoint, generation int) []netip.Addr {
	number := s.first + endpoint + generation*generations
	return s.addresses(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00:10::1"), number)
}

func (s Service) addresses(ipv4, ipv6 netip.Addr, number int) []netip.Addr {
	var addrs []netip.Addr
	if s.IPv4 {
		addrs = append(addrs, plus(ipv4, number))
	}
	if s.IPv6 {
		addrs = append(addrs, plus(ipv6, number))
	}
	return addrs
}

// plus returns the address that is n behind a.
func plus(a netip.Addr, n int) netip.Addr {
	b := a.AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+uint32(n)) //nolint:gosec // n is less than 1<<22
	sum, _ := netip.AddrFromSlice(b)
	return sum
}

// PodName returns the name of the pod of an endpoint.
func (s Service) PodName(endpoint int) string { return fmt.Sprintf("%s-%d", s.Name, endpoint) }

// PodDomain returns the name of an endpoint in DNS, with the last dot: by its hostname, or by its address of the family.
func (s Service) PodDomain(endpoint, family int) string {
	if s.Hostnames {
		return s.PodName(endpoint) + "." + s.Domain()
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(s.Addresses(endpoint, 0)[family].String()) + "." + s.Domain()
}

// WriteHosts writes all names and addresses of the cluster as a hosts file.
func (c Cluster) WriteHosts(w io.Writer) error {
	for _, s := range c.Services() {
		for _, addr := range s.ClusterIPs() {
			if _, err := fmt.Fprintln(w, addr, s.Domain()); err != nil {
				return err
			}
		}
		for i := range s.Endpoints {
			for family, addr := range s.Addresses(i, 0) {
				names := s.PodDomain(i, family)
				if s.Headless {
					names = s.Domain() + " " + names
				}
				if _, err := fmt.Fprintln(w, addr, names); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
