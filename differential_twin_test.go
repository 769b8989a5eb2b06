//go:build !kubernetes

package headless

import (
	"context"
	"errors"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// twin answers from a cluster's objects as behaviour.md says, in the dumbest way: it writes down every record of the zones, and
// a name exists if it, or a name below it, is on the list. With the index, the parser and the handler it shares types, no code.
type twin struct {
	cfg      *config
	local    []netip.Addr
	owners   map[string]map[uint16][]dns.RR // by lower-case name
	exists   map[string]bool
	exposed  map[string]bool // namespaces
	pods     map[model.Key]bool
	services map[model.Key]*twinService
}

// twinService is a Service that exists in an exposed namespace, or for which there are slices: then spec is nil.
type twinService struct {
	model.Key
	spec      *corev1.Service
	endpoints []*twinEndpoint
	slices    int
	fqdn      bool // there is a slice of names with a ready endpoint
}

// twinEndpoint is an address under one name, in however many slices.
type twinEndpoint struct {
	addr  netip.Addr
	name  string // "" for the dashed address
	alias bool   // name is a pod's, so that the dashed address is a name too
	real  bool   // name is a hostname
	state model.State
	ports []model.Port
	// stock holds what the kubernetes plugin calls it, texts the address as the slices spell it.
	stock, texts []string
	// mixed says that one slice has it ready and another does not.
	mixed bool
}

// dashedLabel spells addr as a label.
func dashedLabel(addr netip.Addr) string {
	s := strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
	if s[0] == '-' {
		s = "0" + s
	}
	if s[len(s)-1] == '-' {
		s += "0"
	}
	return s
}

func (e *twinEndpoint) label() string {
	if e.name != "" {
		return e.name
	}
	return dashedLabel(e.addr)
}

// answersTo reports whether label is a name of e.
func (e *twinEndpoint) answersTo(label string) bool {
	return e.label() == label || e.alias && dashedLabel(e.addr) == label
}

// newTwin returns the twin of a plugin with configuration cfg that sees the objects of c.
func newTwin(cfg *config, local []netip.Addr, c *cluster) *twin {
	tw := &twin{
		cfg: cfg, local: local, owners: make(map[string]map[uint16][]dns.RR), exists: make(map[string]bool),
		exposed: make(map[string]bool), pods: make(map[model.Key]bool), services: make(map[model.Key]*twinService),
	}
	selected := func(s labels.Selector, set map[string]string) bool { return s == nil || s.Matches(labels.Set(set)) }
	at := func(key model.Key) *twinService {
		if tw.services[key] == nil {
			tw.services[key] = &twinService{Key: key}
		}
		return tw.services[key]
	}
	for _, obj := range c.objects {
		switch o := obj.(type) {
		case *corev1.Namespace:
			if selected(cfg.selection.NamespaceLabels, o.Labels) && (len(cfg.namespaces) == 0 || slices.Contains(cfg.namespaces, o.Name)) {
				tw.exposed[o.Name] = true
			}
		case *corev1.Service:
			if selected(cfg.selection.Labels, o.Labels) {
				at(model.Key{Namespace: o.Namespace, Name: o.Name}).spec = o
			}
		case *discoveryv1.EndpointSlice:
			if selected(cfg.selection.Labels, o.Labels) && !cfg.selection.NoEndpoints {
				at(model.Key{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}).read(o, cfg.podNames)
			}
		case *corev1.Pod:
			if selected(cfg.selection.Labels, o.Labels) {
				for _, ip := range o.Status.PodIPs {
					tw.pods[model.Key{Namespace: o.Namespace, Name: netip.MustParseAddr(ip.IP).Unmap().String()}] = true
				}
			}
		}
	}
	for _, zone := range cfg.zones {
		tw.exists[zone] = true
	}
	for _, zone := range cfg.zones {
		if !inReverse(zone) {
			tw.fillZone(zone)
		}
	}
	return tw
}

// shown reports whether svc may own anything.
func (tw *twin) shown(svc *twinService) bool {
	return svc != nil && svc.spec != nil && tw.exposed[svc.Namespace]
}

func (svc *twinService) isHeadless() bool {
	return svc.spec != nil && !svc.isExternal() && (svc.spec.Spec.ClusterIP == "None" || slices.Contains(svc.spec.Spec.ClusterIPs, "None"))
}

func (svc *twinService) isExternal() bool {
	return svc.spec != nil && svc.spec.Spec.Type == corev1.ServiceTypeExternalName
}

// read adds what a slice says.
func (svc *twinService) read(o *discoveryv1.EndpointSlice, podNames bool) {
	svc.slices++
	if o.AddressType == discoveryv1.AddressTypeFQDN {
		svc.fqdn = svc.fqdn || slices.ContainsFunc(o.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready })
		return
	}
	here := new(twinService)
	for i := range o.Endpoints {
		ep := &o.Endpoints[i]
		for _, text := range ep.Addresses {
			addr := netip.MustParseAddr(text).Unmap()
			e := &twinEndpoint{addr: addr, state: model.NotReady}
			hostname, podName := value(ep.Hostname), ""
			if podNames && ep.TargetRef != nil {
				podName = ep.TargetRef.Name
			}
			switch {
			case hostname != "":
				e.name, e.real = strings.ToLower(hostname), true
			case podName != "" && len(podName) < 64 && !strings.Contains(podName, "."):
				e.name, e.alias = podName, true
			}
			if e.name == dashedLabel(addr) {
				e.name, e.real, e.alias = "", false, false
			}
			if ep.Conditions.Ready == nil || *ep.Conditions.Ready {
				e.state = model.Ready
			} else if value(ep.Conditions.Serving) && value(ep.Conditions.Terminating) {
				e.state = model.Serving
			}
			for _, p := range o.Ports {
				e.ports = append(e.ports, model.PortOf(value(p.Name), strings.ToLower(string(value(p.Protocol))), uint16(value(p.Port))))
			}
			e.stock, e.texts = []string{stockLabel(text, hostname, podName)}, []string{text}
			here.add(e)
		}
	}
	for _, e := range here.endpoints {
		e.alias = e.alias && !e.real // a hostname in the same slice stands for the pod's name
		svc.add(e)
	}
}

// add adds what one slice says of an endpoint.
func (svc *twinService) add(e *twinEndpoint) {
	for _, o := range svc.endpoints {
		if o.addr == e.addr && o.name == e.name {
			o.merge(e)
			return
		}
	}
	svc.endpoints = append(svc.endpoints, e)
}

// stockLabel is what the kubernetes plugin calls an endpoint.
func stockLabel(text, hostname, podName string) string {
	switch {
	case hostname != "":
		return hostname
	case podName != "" && len(podName) < 64:
		return podName
	case strings.Contains(text, "."):
		return strings.ReplaceAll(text, ".", "-")
	}
	label := strings.ReplaceAll(text, ":", "-")
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}

func (e *twinEndpoint) merge(o *twinEndpoint) {
	e.mixed = e.mixed || (e.state == model.Ready) != (o.state == model.Ready)
	e.state = max(e.state, o.state)
	e.real = e.real || o.real
	e.alias = (e.alias || o.alias) && !e.real // a hostname in any slice stands for the pod's name
	e.ports = append(e.ports, o.ports...)
	e.stock, e.texts = append(e.stock, o.stock...), append(e.texts, o.texts...)
}

// ready returns the ready endpoints.
func (svc *twinService) ready() []*twinEndpoint {
	var list []*twinEndpoint
	for _, e := range svc.endpoints {
		if e.state == model.Ready {
			list = append(list, e)
		}
	}
	return list
}

// answering returns the endpoints that answer to label.
func (tw *twin) answering(svc *twinService, label string) []*twinEndpoint {
	least := map[model.Policy]model.State{model.HostnamesReady: model.Ready, model.HostnamesServing: model.Serving, model.HostnamesAll: model.NotReady}[tw.cfg.hostnames]
	switch svc.spec.Annotations["coredns-headless.github.io/hostnames"] {
	case "ready":
		least = model.Ready
	case "serving":
		least = model.Serving
	case "all":
		least = model.NotReady
	}
	var list []*twinEndpoint
	for _, e := range svc.endpoints {
		if e.state >= least && e.answersTo(label) {
			list = append(list, e)
		}
	}
	if slices.ContainsFunc(list, func(e *twinEndpoint) bool { return e.state == model.Ready }) {
		list = slices.DeleteFunc(list, func(e *twinEndpoint) bool { return e.state != model.Ready })
	}
	return list
}

// inReverse reports whether name is at or below the top of a reverse tree.
func inReverse(name string) bool {
	return strings.HasSuffix("."+name, ".in-addr.arpa.") || strings.HasSuffix("."+name, ".ip6.arpa.")
}

// zoneOf returns the longest of the zones that name is in, or "".
func (tw *twin) zoneOf(name string) string {
	longest := ""
	for _, zone := range tw.cfg.zones {
		if dns.IsSubDomain(zone, name) && len(zone) > len(longest) {
			longest = zone
		}
	}
	return longest
}

// own adds a record, once.
func (tw *twin) own(rr dns.RR) {
	name := strings.ToLower(rr.Header().Name)
	zone := tw.zoneOf(name)
	if zone == "" {
		return
	}
	tw.exist(name)
	if tw.owners[name] == nil {
		tw.owners[name] = make(map[uint16][]dns.RR)
	}
	rrtype := rr.Header().Rrtype
	for _, o := range tw.owners[name][rrtype] {
		if dns.IsDuplicate(o, rr) {
			return
		}
	}
	tw.owners[name][rrtype] = append(tw.owners[name][rrtype], rr)
}

// exist makes name and its ancestors exist.
func (tw *twin) exist(name string) {
	for zone := tw.zoneOf(name); name != zone; {
		tw.exists[name] = true
		_, name, _ = strings.Cut(name, ".")
	}
}

func (tw *twin) ownAddr(name string, ttl uint32, addr netip.Addr) {
	hdr := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: ttl}
	if addr.Is4() {
		hdr.Rrtype = dns.TypeA
		tw.own(&dns.A{Hdr: hdr, A: addr.AsSlice()})
	} else {
		hdr.Rrtype = dns.TypeAAAA
		tw.own(&dns.AAAA{Hdr: hdr, AAAA: addr.AsSlice()})
	}
}

// ownSRV adds the SRV records of an RRset; each target stands there with each of its numbers.
func (tw *twin) ownSRV(name string, ttl uint32, records map[srvKey]bool) {
	weight := uint16(max(1, 100/max(1, len(records))))
	for r := range records {
		tw.own(&dns.SRV{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: ttl}, Weight: weight, Port: r.number, Target: r.target})
	}
}

type srvKey struct {
	target string
	number uint16
}

func (tw *twin) ownPTR(addr netip.Addr, ttl uint32, target string) {
	name, _ := dns.ReverseAddr(addr.String()) // it is an address
	tw.own(&dns.PTR{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}, Ptr: target})
}

// fillZone writes down a forward zone and, if it is the primary one, the reverse zones.
func (tw *twin) fillZone(zone string) {
	for _, name := range []string{"svc", "pod", "dns"} {
		tw.exist(name + "." + zone)
	}
	tw.own(&dns.TXT{Hdr: dns.RR_Header{Name: "dns-version." + zone, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 28800}, Txt: []string{"1.1.0"}})
	for namespace := range tw.exposed {
		tw.exist(namespace + ".svc." + zone)
		if tw.cfg.podMode != podsDisabled {
			tw.exist(namespace + ".pod." + zone)
		}
	}
	for _, svc := range tw.services {
		if !tw.shown(svc) {
			continue
		}
		base := svc.Name + "." + svc.Namespace + ".svc." + zone
		switch {
		case svc.isExternal():
			tw.fillExternalName(svc, base)
			continue
		case svc.isHeadless():
			tw.fillHeadless(svc, base)
		default:
			tw.fillClusterIP(svc, base)
		}
		tw.fillHostnames(svc, base)
	}
	for _, s := range tw.nameservers(zone) {
		for _, addr := range s.addrs {
			tw.ownAddr("ns.dns."+zone, tw.cfg.ttl, addr)
		}
	}
	if zone == tw.cfg.primary {
		tw.fillReverse()
	}
}

func (tw *twin) fillExternalName(svc *twinService, base string) {
	target := svc.spec.Spec.ExternalName
	if _, err := netip.ParseAddr(target); err != nil {
		tw.own(&dns.CNAME{Hdr: dns.RR_Header{Name: base, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: tw.cfg.ttl}, Target: dns.Fqdn(target)})
	}
}

func (tw *twin) fillHeadless(svc *twinService, base string) {
	ttl := tw.cfg.headlessTTL
	srv := map[string]map[srvKey]bool{"": {}}
	for _, e := range svc.ready() {
		tw.ownAddr(base, ttl, e.addr)
		for _, p := range e.ports {
			key := srvKey{e.label() + "." + base, p.Number}
			srv[""][key] = true
			if p.Name() != "" {
				prefix := "_" + p.Name() + "._" + p.Proto() + "."
				tw.ownAddr(prefix+base, ttl, e.addr)
				if srv[prefix] == nil {
					srv[prefix] = make(map[srvKey]bool)
				}
				srv[prefix][key] = true
			}
		}
	}
	for prefix, records := range srv {
		tw.ownSRV(prefix+base, ttl, records)
	}
}

func (tw *twin) fillClusterIP(svc *twinService, base string) {
	if tw.cfg.ignoreEmpty && len(svc.ready()) == 0 {
		return
	}
	ttl := tw.cfg.ttl
	all := make(map[srvKey]bool)
	for _, addr := range svc.clusterIPs() {
		tw.ownAddr(base, ttl, addr)
	}
	for _, p := range svc.spec.Spec.Ports {
		key := srvKey{base, uint16(p.Port)}
		all[key] = true
		if p.Name != "" {
			name := "_" + p.Name + "._" + strings.ToLower(string(p.Protocol)) + "." + base
			tw.ownSRV(name, ttl, map[srvKey]bool{key: true})
			for _, addr := range svc.clusterIPs() {
				tw.ownAddr(name, ttl, addr)
			}
		}
	}
	tw.ownSRV(base, ttl, all)
}

func (svc *twinService) clusterIPs() []netip.Addr {
	var addrs []netip.Addr
	if svc.isExternal() || svc.isHeadless() {
		return nil
	}
	for _, text := range append([]string{svc.spec.Spec.ClusterIP}, svc.spec.Spec.ClusterIPs...) {
		if addr, err := netip.ParseAddr(text); err == nil && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func (tw *twin) fillHostnames(svc *twinService, base string) {
	ttl := tw.cfg.ttl
	if svc.isHeadless() {
		ttl = tw.cfg.headlessTTL
	}
	for _, label := range svc.labels() {
		own := label + "." + base
		srv := map[string]map[srvKey]bool{"": {}}
		for _, e := range tw.answering(svc, label) {
			tw.ownAddr(own, ttl, e.addr)
			for _, p := range e.ports {
				key := srvKey{own, p.Number}
				srv[""][key] = true
				if p.Name() != "" {
					prefix := "_" + p.Name() + "._" + p.Proto() + "."
					if srv[prefix] == nil {
						srv[prefix] = make(map[srvKey]bool)
					}
					srv[prefix][key] = true
				}
			}
		}
		for prefix, records := range srv {
			tw.ownSRV(prefix+own, ttl, records)
		}
	}
}

// labels returns the names of svc's endpoints in any state, dashed ones included.
func (svc *twinService) labels() []string {
	var list []string
	for _, e := range svc.endpoints {
		list = append(list, e.label(), dashedLabel(e.addr))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// fillReverse writes down the PTRs: a ClusterIP's, or else those of the endpoints in headless Services, or else those of others.
func (tw *twin) fillReverse() {
	taken := make(map[netip.Addr]bool)
	forEach := func(of func(svc *twinService, base string)) {
		for _, svc := range tw.services {
			if tw.shown(svc) && !svc.isExternal() {
				of(svc, svc.Name+"."+svc.Namespace+".svc."+tw.cfg.primary)
			}
		}
	}
	mark := make(map[netip.Addr]bool)
	take := func(addr netip.Addr, ttl uint32, target string) {
		if !taken[addr] {
			mark[addr] = true
			tw.ownPTR(addr, ttl, target)
		}
	}
	settle := func() {
		for addr := range mark {
			taken[addr] = true
		}
	}
	forEach(func(svc *twinService, base string) {
		if tw.cfg.ignoreEmpty && len(svc.ready()) == 0 {
			return
		}
		for _, addr := range svc.clusterIPs() {
			take(addr, tw.cfg.ttl, base)
		}
	})
	settle()
	forEach(func(svc *twinService, base string) {
		if svc.isHeadless() {
			for _, e := range svc.ready() {
				take(e.addr, tw.cfg.headlessTTL, e.label()+"."+base)
			}
		}
	})
	settle()
	forEach(func(svc *twinService, base string) {
		if !svc.isHeadless() {
			for _, e := range svc.ready() {
				take(e.addr, tw.cfg.ttl, e.label()+"."+base)
			}
		}
	})
}

// nameservers returns the names of the DNS service in zone, and their addresses.
func (tw *twin) nameservers(zone string) []namedServer {
	var servers []namedServer
	for _, key := range tw.dnsServices() {
		svc := tw.services[key]
		base := svc.Name + "." + svc.Namespace + ".svc." + zone
		if !svc.isHeadless() {
			if !tw.cfg.ignoreEmpty || len(svc.ready()) > 0 {
				servers = append(servers, namedServer{base, svc.clusterIPs()})
			}
			continue
		}
		byLabel := make(map[string][]netip.Addr)
		for _, e := range svc.ready() {
			byLabel[e.label()] = append(byLabel[e.label()], e.addr)
		}
		for label, addrs := range byLabel {
			servers = append(servers, namedServer{label + "." + base, addrs})
		}
	}
	if len(servers) == 0 {
		return []namedServer{{"ns.dns." + zone, tw.local}}
	}
	return servers
}

// dnsServices returns the Services that have a local address.
func (tw *twin) dnsServices() []model.Key {
	var keys []model.Key
	for key, svc := range tw.services {
		if !tw.shown(svc) || svc.isExternal() {
			continue
		}
		has := slices.ContainsFunc(svc.clusterIPs(), func(a netip.Addr) bool { return slices.Contains(tw.local, a) }) ||
			slices.ContainsFunc(svc.ready(), func(e *twinEndpoint) bool { return slices.Contains(tw.local, e.addr) })
		if has {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, model.Key.Compare)
	return keys
}

// podAddr returns the address that name, below <namespace>.pod, stands for. ok is false if there is no such name.
func (tw *twin) podAddr(name string) (addr netip.Addr, ok bool) {
	zone := tw.zoneOf(name)
	parts := strings.Split(strings.TrimSuffix(name, "."+zone), ".")
	if zone == "" || inReverse(zone) || len(parts) != 3 || parts[2] != "pod" || tw.cfg.podMode == podsDisabled || !tw.exposed[parts[1]] {
		return netip.Addr{}, false
	}
	separator := ":"
	if strings.Count(parts[0], "-") == 3 && !strings.Contains(parts[0], "--") {
		separator = "."
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(parts[0], "-", separator))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	addr = addr.Unmap()
	return addr, tw.cfg.podMode == podsInsecure || tw.pods[model.Key{Namespace: parts[1], Name: addr.String()}]
}

// outcome says whether a name in our zones exists.
func (tw *twin) outcome(name string) index.Outcome {
	if _, ok := tw.podAddr(name); ok {
		return index.Found
	}
	switch {
	case len(tw.owners[name]) > 0 || slices.Contains(tw.cfg.zones, name):
		return index.Found
	case tw.exists[name]:
		return index.NonTerminal
	}
	return index.NameError
}

// rrset returns the records of name and type, owned by name as spelled.
func (tw *twin) rrset(spelled string, qtype uint16) []dns.RR {
	name := strings.ToLower(spelled)
	rrs := tw.owners[name][qtype]
	if addr, ok := tw.podAddr(name); ok {
		one := &twin{cfg: tw.cfg, owners: make(map[string]map[uint16][]dns.RR), exists: make(map[string]bool)}
		one.ownAddr(name, tw.cfg.ttl, addr)
		rrs = one.owners[name][qtype]
	}
	if slices.Contains(tw.cfg.zones, name) {
		switch qtype {
		case dns.TypeSOA:
			return []dns.RR{tw.soa(spelled, name, tw.cfg.ttl)}
		case dns.TypeNS:
			for _, s := range tw.nameservers(tw.naming(name)) {
				rrs = append(rrs, &dns.NS{Hdr: dns.RR_Header{Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: tw.cfg.ttl}, Ns: s.name})
			}
		}
	}
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = spelled
	}
	return out
}

// naming returns the zone whose names the NS and SOA records of zone have.
func (tw *twin) naming(zone string) string {
	if inReverse(zone) {
		return tw.cfg.primary
	}
	return zone
}

// soa returns the SOA of zone.
func (tw *twin) soa(spelled, zone string, ttl uint32) dns.RR {
	primary := tw.naming(zone)
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: spelled, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  dnsutil.Join("ns.dns", primary), Mbox: dnsutil.Join("hostmaster", primary),
		Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: tw.cfg.negativeTTL,
	}
}

// anyOrder is the order in which types are tried for ANY.
var anyOrder = []uint16{dns.TypeSOA, dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT}

// reply answers r, whose name is in one of the zones.
func (tw *twin) reply(r *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	tw.answer(m, r, r.Question[0].Name, r.Question[0].Qtype)
	return m
}

func (tw *twin) answer(m, r *dns.Msg, spelled string, qtype uint16) {
	name := strings.ToLower(spelled)
	zone := tw.zoneOf(name)
	if cname := tw.rrset(spelled, dns.TypeCNAME); len(cname) > 0 {
		target := cname[0].(*dns.CNAME).Target
		repeated := slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return strings.EqualFold(rr.Header().Name, target) }) || target == name
		m.Answer = append(m.Answer, cname...)
		switch {
		case qtype != dns.TypeA && qtype != dns.TypeAAAA || repeated || len(m.Answer) == 8:
		case tw.zoneOf(target) != "":
			tw.answer(m, r, target, qtype)
		default:
			tw.complete(m, lookupOutside(target, qtype))
		}
		return
	}
	outcome := tw.outcome(name)
	if outcome != index.Found && tw.cfg.fall.Through(name) {
		asked := new(dns.Msg)
		asked.SetQuestion(spelled, qtype)
		next := nextReply(asked)
		if outcome == index.NonTerminal && next.Rcode == dns.RcodeNameError {
			next.Rcode, next.Authoritative = dns.RcodeSuccess, true
			if len(next.Ns) == 0 {
				next.Ns = []dns.RR{tw.soa(spelled[len(spelled)-len(zone):], zone, tw.cfg.negativeTTL)}
			}
		}
		if len(m.Answer) > 0 {
			tw.complete(m, next)
			return
		}
		next.Id = m.Id
		*m = *next
		return
	}
	if outcome == index.NameError {
		m.Rcode = dns.RcodeNameError
	}
	before := len(m.Answer)
	types := []uint16{qtype}
	if qtype == dns.TypeANY {
		types = anyOrder
	}
	for _, t := range types {
		if rrs := tw.rrset(spelled, t); len(rrs) > 0 && len(m.Answer) == before {
			m.Answer = append(m.Answer, rrs...)
			m.Extra = tw.addressesOf(rrs)
		}
	}
	if len(m.Answer) == before {
		m.Ns = []dns.RR{tw.soa(spelled[len(spelled)-len(zone):], zone, tw.cfg.negativeTTL)}
	}
}

// addressesOf returns the addresses of the names that rrs point to.
func (tw *twin) addressesOf(rrs []dns.RR) []dns.RR {
	var extra []dns.RR
	seen := make(map[string]bool)
	for _, rr := range rrs {
		target := ""
		switch rr := rr.(type) {
		case *dns.SRV:
			target = rr.Target
		case *dns.NS:
			target = rr.Ns
		}
		if target != "" && !seen[target] {
			seen[target] = true
			extra = append(extra, tw.rrset(target, dns.TypeA)...)
			extra = append(extra, tw.rrset(target, dns.TypeAAAA)...)
		}
	}
	return extra
}

// complete adds the answer for the last target of a chain.
func (tw *twin) complete(m, answer *dns.Msg) {
	if answer == nil {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	if answer.Rcode != dns.RcodeRefused {
		m.Rcode = answer.Rcode
	}
	m.Answer = append(m.Answer, answer.Answer...)
	if answer.Rcode == dns.RcodeNameError || answer.Rcode == dns.RcodeSuccess && len(answer.Answer) == 0 {
		m.Ns = answer.Ns
	}
}

// lookupOutside is what the world outside the zones answers; nil when the lookup fails.
func lookupOutside(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Response = true
	soa := []dns.RR{test.SOA("example.com. 60 IN SOA ns.example.com. hostmaster.example.com. 0 2 3 4 5")}
	switch name {
	case "www.example.com.":
		if qtype == dns.TypeA {
			m.Answer = []dns.RR{test.A("www.example.com. 60 IN A 192.0.2.80"), test.A("www.example.com. 60 IN A 192.0.2.81")}
		} else {
			m.Ns = soa
		}
	case "alias.example.com.":
		m.Answer = []dns.RR{test.CNAME("alias.example.com. 60 IN CNAME six.example.com."), test.AAAA("six.example.com. 60 IN AAAA 2001:db8::6")}
		if qtype == dns.TypeA {
			m.Answer[1] = test.A("six.example.com. 60 IN A 192.0.2.6")
		}
	case "refused.example.com.":
		m.Rcode = dns.RcodeRefused
	case "failing.example.com.":
		m.Rcode = dns.RcodeServerFailure
	case "lost.example.com.":
		return nil
	default:
		m.Rcode, m.Ns = dns.RcodeNameError, soa
	}
	return m
}

// nextReply is what the next plugin answers: something recognisable, a denial with a SOA, or one without.
func nextReply(r *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(r)
	name := r.Question[0].Name
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(strings.ToLower(name))) // it never fails
	switch sum.Sum32() % 3 {
	case 0:
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 77}, Txt: []string{"next"}}}
	case 1:
		m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{test.SOA("next. 60 IN SOA ns.next. hostmaster.next. 0 2 3 4 5")}
	default:
		m.Rcode = dns.RcodeNameError
	}
	return m
}

// wholeServer looks names up as the server around a plugin does: our zones' in the plugin, others outside.
type wholeServer struct {
	zoneOf func(name string) string
	serve  func(ctx context.Context, name string, qtype uint16) *dns.Msg
}

type depthKey struct{}

var errLost = errors.New("lost")

// Lookup implements upstreamer.
func (s wholeServer) Lookup(ctx context.Context, _ request.Request, name string, qtype uint16) (*dns.Msg, error) {
	depth, _ := ctx.Value(depthKey{}).(int)
	if depth > 8 {
		return nil, errLost
	}
	if s.zoneOf(strings.ToLower(name)) != "" {
		return s.serve(context.WithValue(ctx, depthKey{}, depth+1), name, qtype), nil
	}
	m := lookupOutside(name, qtype)
	if m == nil {
		return nil, errLost
	}
	return m, nil
}

// text is what is compared of a reply: the response code, AA, TC, and the sections as sets of records, the SOA's serial left out.
func text(m *dns.Msg) string {
	if m == nil {
		return "no reply"
	}
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	if m.Authoritative {
		b.WriteString(" aa")
	}
	if m.Truncated {
		b.WriteString(" tc")
	}
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		list := make([]string, len(section))
		for j, rr := range section {
			if soa, ok := rr.(*dns.SOA); ok && soa.Serial != 0 {
				rr = dns.Copy(rr)
				rr.(*dns.SOA).Serial = 0
			}
			list[j] = rr.String()
		}
		slices.Sort(list)
		for _, line := range list {
			b.WriteString("\n  " + [...]string{"answer", "authority", "additional"}[i] + " " + line)
		}
	}
	return b.String()
}
