package headless

import (
	"context"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/etcd/msg"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// standIn is a handler by the name of the kubernetes plugin, for the plugins that look for one by
// that name: it answers their questions as headless does, and passes queries on.
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

// addStandIn puts a standIn for h in front of the plugins of cfg if one of them may look for it,
// and none of them has its name. A server block's plugins are made from the last to the first, so
// here all the others are known.
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

// External implements the interface of the k8s_external plugin: it returns what the name of a query
// leads to in an external zone, where Services stand right below their namespaces, or else the
// response code. With headless, that may be endpoints.
func (h *Headless) External(state request.Request, headless bool) ([]msg.Service, int) {
	if !h.Ready() {
		return nil, dns.RcodeServerFailure
	}
	name := state.Name()
	if qname.InZone(name, qname.Reverse4) || qname.InZone(name, qname.Reverse6) {
		return h.externalReverse(name, state.QType())
	}
	var q qname.Name
	q.ParseService(strings.TrimSuffix(strings.TrimSuffix(name, state.Zone), "."), qname.Plain)
	switch {
	case q.Kind == qname.NamespaceName && h.index.HasNamespace(q.Namespace):
		return nil, dns.RcodeSuccess
	case q.Kind != qname.ServiceName:
		return nil, dns.RcodeNameError
	}
	w, part := index.WantNothing, index.Part{Client: index.ClientOf(clientAddr(state.W))}
	left := room(state.W, state.Req) - headerSize - nameSize(name) - 4
	switch state.QType() {
	case dns.TypeA:
		w, part.Limit = index.WantA, max(0, left)/addressRRSize(model.V4)
	case dns.TypeAAAA:
		w, part.Limit = index.WantAAAA, max(0, left)/addressRRSize(model.V6)
	case dns.TypeSRV:
		w = index.WantSRV
	}
	v := h.index.LookupExternal(&q, headless, w, part)
	if v.Outcome == index.NameError {
		return nil, dns.RcodeNameError
	}
	if state.QType() == dns.TypePTR { // k8s_external would make PTRs of whatever it gets
		return nil, dns.RcodeSuccess
	}
	ttl := h.ttl
	if v.Headless {
		ttl = h.headlessTTL
	}
	root := msg.Path(state.Zone, keyPrefix)
	var services []msg.Service
	for _, host := range v.Hosts {
		for _, number := range host.Numbers(&q) {
			services = append(services, msg.Service{
				Key: keyOf(host.Pointer, root), Host: hostText(&host), Port: number,
				TTL: h.lasting(ttl),
			})
		}
	}
	return services, dns.RcodeSuccess
}

// externalReverse returns the Services whose external address a reverse name stands for.
func (h *Headless) externalReverse(name string, qtype uint16) ([]msg.Service, int) {
	prefix, ok := qname.ParseReverse(name)
	if !ok {
		return nil, dns.RcodeNameError
	}
	o, pointers := h.index.LookupExternalReverse(prefix)
	switch {
	case o == index.NameError:
		return nil, dns.RcodeNameError
	case qtype != dns.TypePTR:
		return nil, dns.RcodeSuccess
	}
	services := make([]msg.Service, len(pointers))
	for i, p := range pointers {
		services[i] = msg.Service{Host: p.Service + "." + p.Namespace, TTL: h.lasting(h.ttl)}
	}
	return services, dns.RcodeSuccess
}

// ExternalAddress implements the interface of the k8s_external plugin: it returns the addresses of
// the DNS service as seen from outside, each once, or those that the server listens on if it is no
// Service. The caller sets the times to live.
func (h *Headless) ExternalAddress(state request.Request, headless bool) []dns.RR {
	hosts, ok := h.index.ExternalNameservers(h.endpointAddrs(), h.bound, headless)
	if !ok {
		for _, addr := range h.local {
			hosts = append(hosts, index.ExternalHost{Addr: addr})
		}
	}
	root := msg.Path(state.Zone, keyPrefix)
	var rrs []dns.RR
	for i, host := range hosts {
		if !host.Addr.IsValid() || slices.ContainsFunc(hosts[:i], func(o index.ExternalHost) bool {
			return o.Addr == host.Addr
		}) {
			continue
		}
		name := below("ns.dns", state.Zone)
		if ok {
			name = msg.Domain(keyOf(host.Pointer, root))
		}
		rrs = append(rrs, addressRR(name, 0, host.Addr))
	}
	return rrs
}

// ExternalServices implements the interface of the k8s_external plugin: it returns what a transfer
// of an external zone has, first that of Services with external addresses or names, then with
// headless the ready endpoints of the other headless ones, grouped by owner name. A group's key
// ends in a word that says what it is.
func (h *Headless) ExternalServices(zone string, headless bool) ([]msg.Service, map[string][]msg.Service) {
	var services []msg.Service
	groups := make(map[string][]msg.Service)
	root := msg.Path(zone, keyPrefix)
	for _, host := range h.index.Freeze().AllExternalHosts(headless) {
		key, base := keyOf(host.Pointer, root),
			strings.Join([]string{root, host.Namespace, host.Service}, "/")
		isEndpoint := host.Label != model.Label{}
		for _, number := range host.Numbers(&qname.Name{}) {
			s := msg.Service{Key: key, Host: hostText(&host), Port: number, TTL: h.ttl}
			if !isEndpoint {
				services = append(services, s)
				continue
			}
			s.TTL = h.headlessTTL
			groups[base+"/endpoint"] = append(groups[base+"/endpoint"], s)
		}
		for _, p := range host.Ports {
			if p.Name() == "" {
				continue
			}
			s := msg.Service{
				Key: base + "/_" + p.Proto() + "/_" + p.Name(), Host: hostText(&host),
				Port: int(p.Number), TTL: h.ttl,
			}
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

// ExternalSerial implements the interface of the k8s_external plugin. It grows with every change of
// what ExternalServices returns. While the cluster is not known it is 0, as with the kubernetes
// plugin: k8s_external does not refuse a transfer then, and a serial older than those of this time
// (until 2038, RFC 1982) keeps a secondary server from taking the zone for an empty one.
func (h *Headless) ExternalSerial(string) uint32 {
	if !h.listing.IsKnown() {
		return 0
	}
	return h.index.ExternalSerial()
}

// keyPrefix stands before the path in the Key of every msg.Service.
const keyPrefix = "c"

// keyOf returns the Key of the name that p stands for in the zone whose path is root.
func keyOf(p index.Pointer, root string) string {
	key := strings.Join([]string{root, p.Namespace, p.Service}, "/")
	if label := p.Append(nil); len(label) > 0 {
		key += "/" + string(label)
	}
	return key
}

// hostText returns the address or name of h.
func hostText(h *index.ExternalHost) string {
	if h.Addr.IsValid() {
		return h.Addr.String()
	}
	return strings.TrimSuffix(h.Name, ".")
}
