// Package cluster describes synthetic clusters: which Services there are, how many endpoints each has, and under which names and
// addresses. The same description makes the objects of the API server, the hosts file of its rivals
// and the queries of the load generator, so that all of them speak of the same cluster.
package cluster

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Zone is the zone of all clusters, as a name without the last dot.
const Zone = "cluster.local"

// PerSlice is the most endpoints in one slice, the default of Kubernetes' controller.
const PerSlice = 100

// Port is the name of the port that Services have, and PortNumber its number.
const (
	Port       = "http"
	PortNumber = 8080
)

// Group is a number of Services that are alike.
type Group struct {
	Name       string // of the Service; when there are several, the beginning of their names
	Services   int    // 0 is 1
	Endpoints  int    // of each Service
	Namespaces int    // over which the Services are spread; 0 is 1
	Headless   bool   // and the endpoints have hostnames, as a StatefulSet's pods do; otherwise the Services have cluster IPs
	IPv4, IPv6 bool   // the families; at least one
}

// Cluster is a list of groups; their names differ.
type Cluster []Group

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
		for i := range max(1, g.Services) {
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

// Service returns the Service of a name, which has to be there.
func (c Cluster) Service(name string) Service {
	for _, s := range c.Services() {
		if s.Name == name {
			return s
		}
	}
	panic("there is no Service " + name)
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
	if s.Headless {
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
