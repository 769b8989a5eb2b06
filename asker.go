package headless

import (
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// asker is what is known of who asks (behaviour section 11): each field perhaps not.
type asker struct {
	model.Location
	pod    *model.Pod // by the API server's word alone
	isNode bool       // it is known as the address of a node, which Pods of any Namespace may have
}

// asker returns what is known of the client at addr: of the first source that knows, the Pods, the
// Node of the option node, and the endpoints.
func (h *Headless) asker(addr netip.Addr) (who asker) {
	who.pod, who.Node = h.pods.At(addr)
	if own := h.ownNode.Load(); own != nil && (who.Node == own.Name || who.Node == "" && slices.Contains(own.Addrs, addr)) {
		who.Location = model.Location{Zone: own.Zone, Node: own.Name}
	}
	who.isNode = who.pod == nil && who.Node != ""
	if h.topology && (who.Zone == "" || who.Node == "") {
		if at := h.index.Locate(addr); who.Node == "" || at.Node == who.Node {
			who.Location = at
		}
	}
	return who
}

// namespaceOf returns the Namespace of the client at addr, of which who is known, or "". It is for search and
// insight alone: who may write EndpointSlices has a say in it.
func (h *Headless) namespaceOf(who asker, addr netip.Addr) string {
	switch {
	case who.pod != nil:
		return who.pod.Namespace
	case who.isNode:
		return ""
	}
	return h.index.NamespaceOf(addr)
}

// askerOf returns what is known of who sent a query.
func (h *Headless) askerOf(state *request.Request) asker {
	addr, from := h.clientOf(state.Req, plainAddr(clientAddr(state.W)))
	if from != nil && !addr.IsValid() {
		return asker{}
	}
	return h.asker(addr)
}

// plainAddr returns an address as the index has it.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// clientOf returns the address of the client on whose behalf addr sent r. If addr is a forwarder whose
// EDNS Client Subnet counts, and r has such an option (RFC 7871), that is in subnet; the client's
// address is then known if the option has all of it.
func (h *Headless) clientOf(r *dns.Msg, addr netip.Addr) (client netip.Addr, subnet *dns.EDNS0_SUBNET) {
	isForwarder := func(p netip.Prefix) bool { return p.Contains(addr) }
	if len(h.clientSubnet) == 0 || !slices.ContainsFunc(h.clientSubnet, isForwarder) {
		return addr, nil
	}
	opt := r.IsEdns0()
	if opt == nil {
		return addr, nil
	}
	for _, o := range opt.Option {
		if subnet, ok := o.(*dns.EDNS0_SUBNET); ok {
			if own := subnetAddr(subnet); own.BitLen() == int(subnet.SourceNetmask) {
				client = plainAddr(own)
			}
			return client, subnet
		}
	}
	return addr, nil
}

// subnetAddr returns the address in an EDNS Client Subnet option, of the family that the option says: an
// IPv4-mapped one may be either.
func subnetAddr(o *dns.EDNS0_SUBNET) netip.Addr {
	addr, _ := netip.AddrFromSlice(o.Address) // miekg/dns makes one of 16 octets
	if o.Family == 2 {
		return addr
	}
	return addr.Unmap()
}

// subnetSize returns the length of an EDNS Client Subnet option in a message.
func subnetSize(o *dns.EDNS0_SUBNET) int { return 8 + subnetOctets(o) }

// subnetOctets returns how many octets of the address an EDNS Client Subnet option has.
func subnetOctets(o *dns.EDNS0_SUBNET) int { return (int(o.SourceNetmask) + 7) / 8 }

// addSubnet adds to m, a reply to r, that it is for the clients in a subnet, or for all.
func addSubnet(m, r *dns.Msg, subnet *dns.EDNS0_SUBNET, onlyThere bool) {
	answered := *subnet
	answered.SourceScope = 0
	if onlyThere {
		answered.SourceScope = subnet.SourceNetmask
	}
	opt := replyOPT(m, r.IsEdns0(), new(dns.OPT))
	opt.Option = append(opt.Option, &answered)
}
