package headless

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/qname"
)

// authority is one of our zones.
type authority struct {
	zone    string // a lower-case FQDN
	grammar qname.Grammar
	addr    netip.Prefix // of a reverse zone of one address; else not valid
	// nsZone is the zone that the names in its SOA and NS records are in, and nsGrammar that zone's
	// grammar: reverse zones have those of the primary zone.
	nsZone       string
	nsGrammar    qname.Grammar
	mname, rname string // of its SOA
	soaNames     []byte // the two in a message
	room, nsRoom int    // Part.Room of zone and nsZone
}

// authorities returns one for each of the zones, those with the longest names first.
func (cfg *config) authorities() []authority {
	var list []authority
	for _, zone := range cfg.zones {
		a := authority{zone: zone, nsZone: zone, grammar: cfg.grammarOf(zone)}
		if isReverse(zone) {
			a.nsZone = (&Stanza{config: cfg}).Primary()
			if p, ok := qname.ParseReverse(zone); ok && p.IsSingleIP() {
				a.addr = p
			}
		}
		a.nsGrammar = cfg.grammarOf(a.nsZone)
		a.mname, a.rname = below("ns.dns", a.nsZone), below("hostmaster", a.nsZone)
		a.soaNames = append(packedName(a.mname), packedName(a.rname)...)
		a.room, a.nsRoom = index.RoomIn(nameSize(a.zone)), index.RoomIn(nameSize(a.nsZone))
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b authority) int { return cmp.Compare(len(b.zone), len(a.zone)) })
	return list
}

// grammarOf returns the grammar of a zone.
func (cfg *config) grammarOf(zone string) qname.Grammar {
	switch {
	case slices.Contains(cfg.multicluster, zone):
		return qname.Multicluster
	case cfg.zonal:
		return qname.Zonal
	}
	return qname.Plain
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
