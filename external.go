package headless

import (
	"context"
	"slices"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/etcd/msg"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// standIn is a handler by the name of the kubernetes plugin, for the plugins that look for one by that name: it answers their
// questions as headless does, and passes queries on.
type standIn struct {
	partner
	next plugin.Handler
}

// partner is what other plugins ask of the kubernetes plugin.
type partner interface {
	// What k8s_external asks.
	External(state request.Request, headless bool) ([]msg.Service, int)
	ExternalAddress(state request.Request, headless bool) []dns.RR
	ExternalServices(zone string, headless bool) ([]msg.Service, map[string][]msg.Service)
	ExternalSerial(zone string) uint32
	// What autopath asks.
	AutoPath(state request.Request) []string
}

// standInName is the name of the kubernetes plugin.
const standInName = "kubernetes"

// addStandIn puts a standIn for h in front of the plugins of cfg if one of them may look for it, and none of them has its name.
// A server block's plugins are made from the last to the first, so here all the others are known.
func addStandIn(cfg *dnsserver.Config, h *Headless) {
	cfg.Plugin = slices.Insert(cfg.Plugin, 0, func(next plugin.Handler) plugin.Handler {
		named := cfg.Handler(standInName)
		_, ours := named.(*standIn) // made before: a server block's plugins are made once for each listener
		asked := cfg.Handler("k8s_external") != nil || cfg.Handler("autopath") != nil
		if !asked || named != nil && !ours {
			return next
		}
		return &standIn{h, next}
	})
}

// Name implements plugin.Handler.
func (s *standIn) Name() string { return standInName }

// ServeDNS implements plugin.Handler.
func (s *standIn) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return s.next.ServeDNS(ctx, w, r)
}

// External implements the interface of the k8s_external plugin: it returns what the name of a query leads to in an external
// zone, where Services stand right below their namespaces, or else the response code. With headless, that may be endpoints.
func (h *Headless) External(state request.Request, headless bool) ([]msg.Service, int) {
	if !h.Ready() {
		return nil, dns.RcodeServerFailure
	}
	name := state.Name()
	if inZone(name, reverse4) || inZone(name, reverse6) {
		return h.externalReverse(name, state.QType())
	}
	var q query
	q.parseService(strings.TrimSuffix(strings.TrimSuffix(name, state.Zone), "."), plain)
	switch {
	case q.kind == namespaceName && h.index.hasNamespace(q.namespace):
		return nil, dns.RcodeSuccess
	case q.kind != serviceName:
		return nil, dns.RcodeNameError
	}
	v := h.index.lookupExternal(&q, headless)
	if v.outcome == nameError {
		return nil, dns.RcodeNameError
	}
	if state.QType() == dns.TypePTR { // k8s_external would make PTRs of whatever it gets
		return nil, dns.RcodeSuccess
	}
	ttl := h.ttl
	if v.headless {
		ttl = h.headlessTTL
	}
	root := msg.Path(state.Zone, keyPrefix)
	var services []msg.Service
	for _, host := range v.hosts {
		for _, number := range host.numbers(&q) {
			services = append(services, msg.Service{Key: host.key(root), Host: host.text(), Port: number, TTL: h.lasting(ttl)})
		}
	}
	return services, dns.RcodeSuccess
}

// externalReverse returns the Services whose external address a reverse name stands for.
func (h *Headless) externalReverse(name string, qtype uint16) ([]msg.Service, int) {
	prefix, ok := parseReverse(name)
	if !ok {
		return nil, dns.RcodeNameError
	}
	o, pointers := h.index.lookupExternalReverse(prefix)
	switch {
	case o == nameError:
		return nil, dns.RcodeNameError
	case qtype != dns.TypePTR:
		return nil, dns.RcodeSuccess
	}
	services := make([]msg.Service, len(pointers))
	for i, p := range pointers {
		services[i] = msg.Service{Host: p.service + "." + p.namespace, TTL: h.lasting(h.ttl)}
	}
	return services, dns.RcodeSuccess
}

// ExternalAddress implements the interface of the k8s_external plugin: it returns the addresses of the DNS service as seen from
// outside, each once, or those that the server listens on if it is no Service. The caller sets the times to live.
func (h *Headless) ExternalAddress(state request.Request, headless bool) []dns.RR {
	hosts, ok := h.index.externalNameservers(h.local, headless)
	if !ok {
		for _, addr := range h.local {
			hosts = append(hosts, externalHost{addr: addr})
		}
	}
	root := msg.Path(state.Zone, keyPrefix)
	var rrs []dns.RR
	for i, host := range hosts {
		if !host.addr.IsValid() || slices.ContainsFunc(hosts[:i], func(o externalHost) bool { return o.addr == host.addr }) {
			continue
		}
		name := below("ns.dns", state.Zone)
		if ok {
			name = msg.Domain(host.key(root))
		}
		rrs = append(rrs, addressRR(name, 0, host.addr))
	}
	return rrs
}

// ExternalServices implements the interface of the k8s_external plugin: it returns what a transfer of an external zone has,
// first that of Services with external addresses or names, then with headless the ready endpoints of the other headless ones,
// grouped by owner name. A group's key ends in a word that says what it is.
func (h *Headless) ExternalServices(zone string, headless bool) ([]msg.Service, map[string][]msg.Service) {
	var services []msg.Service
	groups := make(map[string][]msg.Service)
	root := msg.Path(zone, keyPrefix)
	for _, host := range h.index.allExternalHosts(headless) {
		key, base := host.key(root), strings.Join([]string{root, host.namespace, host.service}, "/")
		isEndpoint := host.hostLabel != hostLabel{}
		for _, number := range host.numbers(&query{}) {
			s := msg.Service{Key: key, Host: host.text(), Port: number, TTL: h.ttl}
			if !isEndpoint {
				services = append(services, s)
				continue
			}
			s.TTL = h.headlessTTL
			groups[base+"/endpoint"] = append(groups[base+"/endpoint"], s)
		}
		for _, p := range host.ports {
			if p.name() == "" {
				continue
			}
			s := msg.Service{Key: base + "/_" + p.proto() + "/_" + p.name(), Host: host.text(), Port: int(p.number), TTL: h.ttl}
			if !isEndpoint {
				s.TargetStrip = 2 // its target is the Service
				services = append(services, s)
				continue
			}
			s.Host, s.TTL = msg.Domain(key), h.headlessTTL
			groups[s.Key+"/port.protocol"] = append(groups[s.Key+"/port.protocol"], s)
		}
	}
	return services, groups
}

// ExternalSerial implements the interface of the k8s_external plugin. It grows with every change of what ExternalServices
// returns. While the cluster is not known it is 0, as with the kubernetes plugin: k8s_external does not refuse a transfer then, and
// a serial older than those of this time (until 2038, RFC 1982) keeps a secondary server from taking the zone for an empty one.
func (h *Headless) ExternalSerial(string) uint32 {
	if !h.isSynced() {
		return 0
	}
	return h.index.externalSerial.Load()
}

// keyPrefix stands before the path in the Key of every msg.Service.
const keyPrefix = "c"

// noPort stands for the port of a host without ports: it has addresses and no SRV records.
const noPort = -1

// key returns the Key of the name that p stands for in the zone whose path is root.
func (p pointer) key(root string) string {
	key := strings.Join([]string{root, p.namespace, p.service}, "/")
	if label := p.append(nil); len(label) > 0 {
		key += "/" + string(label)
	}
	return key
}

// numbers returns the distinct numbers of those ports that q asks for.
func (h *externalHost) numbers(q *query) []int {
	if len(h.ports) == 0 {
		return []int{noPort}
	}
	var numbers []int
	for _, number := range match(h.ports, q) {
		numbers = append(numbers, int(number))
	}
	return numbers
}

// text returns the address or name of h.
func (h *externalHost) text() string {
	if h.addr.IsValid() {
		return h.addr.String()
	}
	return strings.TrimSuffix(h.name, ".")
}
