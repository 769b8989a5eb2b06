package headless

import (
	"cmp"
	"slices"

	"github.com/coredns-headless/headless/internal/qname"
)

// authority is one of our zones.
type authority struct {
	zone    string // a lower-case FQDN
	grammar qname.Grammar
	// primary is the zone that the names in its SOA and NS records are in: reverse zones have those of the primary zone.
	primary      string
	mname, rname string // of its SOA
}

// authorities returns one for each of the zones, those with the longest names first.
func (cfg *config) authorities() []authority {
	var list []authority
	for _, zone := range cfg.zones {
		a := authority{zone: zone, primary: zone}
		if isReverse(zone) {
			a.primary = cfg.primary
		}
		switch {
		case slices.Contains(cfg.multicluster, zone):
			a.grammar = qname.Multicluster
		case cfg.zonal:
			a.grammar = qname.Zonal
		}
		a.mname, a.rname = below("ns.dns", a.primary), below("hostmaster", a.primary)
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b authority) int { return cmp.Compare(len(b.zone), len(a.zone)) })
	return list
}

// authority returns the one for the longest of our zones that name is in, or nil.
func (h *Headless) authority(name string) *authority {
	for i := range h.authorities {
		if a := &h.authorities[i]; qname.InZone(name, a.zone) {
			return a
		}
	}
	return nil
}

// zoneOf returns the longest of our zones that name is in, or "".
func (h *Headless) zoneOf(name string) string {
	if a := h.authority(name); a != nil {
		return a.zone
	}
	return ""
}
