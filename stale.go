package headless

import (
	"slices"

	"github.com/miekg/dns"
)

// markStale says in m, a reply to r, that it was made from a snapshot: the client may keep it for a short time, and a denial not
// at all.
func markStale(m, r *dns.Msg) {
	m.Answer, m.Ns, m.Extra = capped(m.Answer, staleTTL), capped(m.Ns, 0), capped(m.Extra, staleTTL)
	addEDE(m, r, dns.ExtendedErrorCodeStaleAnswer, staleText)
}

// capped returns rrs with times to live of no more than ttl. Those of rrs stay as they are: other plugins may have made them.
func capped(rrs []dns.RR, ttl uint32) []dns.RR {
	rrs = slices.Clone(rrs)
	for i, rr := range rrs {
		if rr.Header().Ttl <= ttl {
			continue
		}
		rrs[i] = dns.Copy(rr)
		rrs[i].Header().Ttl = ttl
	}
	return rrs
}

// denialTTL returns how long a denial in a may be kept.
func (h *Headless) denialTTL(a *authority) uint32 {
	if h.isSynced(a) {
		return h.negativeTTL
	}
	return 0
}

// lasting returns how long something of the cluster's own may be kept whose time to live is ttl.
func (h *Headless) lasting(ttl uint32) uint32 {
	if h.listing.IsKnown() {
		return ttl
	}
	return min(ttl, staleTTL)
}

const (
	staleText = "from a snapshot, the cluster has not been listed yet"
	staleTTL  = 5 // seconds at most
)
