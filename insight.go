package headless

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/miekg/dns"
)

// defaultInsight is the address of the option insight: beside that of *pprof*, 6053, the other one that people look at.
const defaultInsight = "127.0.0.1:6054"

// openInsight begins to show h, if the option insight says so. The address may be that of a plugin that a reload is about
// to stop: for a moment they share it.
func (h *Headless) openInsight() error {
	if h.counter == nil {
		return nil
	}
	l, err := reuseport.Listen("tcp", h.insightAddr)
	if err != nil {
		return h.at("insight", fmt.Errorf("insight: %w", err))
	}
	if addr, err := netip.ParseAddrPort(l.Addr().String()); err == nil && !addr.Addr().IsLoopback() {
		log.Warningf("insight: whoever reaches %s sees which names are asked for, and by whom", addr)
	}
	log.Infof("insight on http://%s", l.Addr())
	h.counter.Begin(time.Now())
	h.page = insight.Serve(l, &insight.Subject{
		Counter: h.counter, Index: h.index, Status: h.status, Who: h.who, Explain: h.account, Type: typeOf, Reason: remedy,
	})
	return nil
}

// status returns what h serves, and how fresh that is.
func (h *Headless) status() *insight.Status {
	s := &insight.Status{
		Server: buildinfo.Get().String(), Zones: h.zones, Source: h.source.String(), Options: h.summary(), State: "waiting",
		Serial: h.shown().index.Serial(), Holds: insight.Holds{Ended: make(map[string]int)}, Resources: []insight.Resource{},
	}
	switch {
	case h.listing.IsKnown():
		s.State = "synced"
	case h.isRestored():
		s.State = "snapshot"
	}
	resources := make(map[string]*resourceState)
	h.addResources(resources)
	for _, name := range kube.Resources {
		r := resources[name]
		if r == nil {
			continue
		}
		shown := insight.Resource{Name: name, Objects: r.objects, Synced: r.synced == 1}
		if r.watched {
			shown.Heard, shown.Listed, shown.Failing = secondsSince(r.heard), secondsSince(r.listed), secondsSince(r.failing)
		}
		if shown.Failing != nil && (s.Failing == nil || *shown.Failing > *s.Failing) {
			s.Failing = shown.Failing
		}
		if shown.Heard != nil && (s.Staleness == nil || *shown.Heard > *s.Staleness) {
			s.Staleness = shown.Heard
		}
		s.Resources = append(s.Resources, shown)
	}
	holds := h.index.Holding()
	s.Holds.Now, s.Holds.Total = holds.Now, holds.Total
	for why, n := range holds.Ended {
		s.Holds.Ended[index.HoldEnd(why).String()] = n
	}
	if h.keeper != nil {
		s.Snapshot = &insight.Snapshot{Served: !h.listing.IsComplete() && h.isRestored()}
		if at := h.keeper.Dated().UTC(); at.Unix() > 0 {
			s.Snapshot.Confirmed = &at
		}
	}
	return s
}

// secondsSince returns how long ago a time since Unix's epoch is, or nil for 0, which is none.
func secondsSince(t time.Duration) *float64 {
	if t == 0 {
		return nil
	}
	return new(time.Since(time.Unix(0, int64(t))).Seconds())
}

// who returns what may be told of a client: nothing of a Namespace that is not served.
func (h *Headless) who(addr netip.Addr) insight.Who {
	if !addr.IsValid() {
		return insight.Who{}
	}
	known := h.asker(addr)
	who := insight.Who{Address: addr.String(), Node: known.Node, Zone: known.Zone}
	if namespace := h.namespaceOf(known, addr); h.index.HasNamespace(namespace) {
		who.Namespace = namespace
		if known.pod != nil {
			who.Pod = known.pod.Name
		}
	}
	return who
}

// countReply counts, for the option insight, that m is the reply to q, for a lower-case name.
func (h *Headless) countReply(q *question, name string, m *reply) {
	if h.counter == nil {
		return
	}
	switch answerOf(m) {
	case answerData, answerTruncated, answerPartial:
		h.counter.CountAnswer()
	case answerFailure:
		h.counter.CountFailure()
	default:
		h.counter.CountDenial(name, q.qtype, m.reason, q.from, q.isSearchStep(name, m.reason))
	}
}

// isSearchStep reports whether q, for a lower-case name that is denied for the reason r, looks like what a program
// asks on its way through a search list, and not like what somebody meant:
//
//   - what stands before the zone is neither in svc nor in pod or dns, or has more labels than any name;
//   - svc has one label before it, which is no Namespace;
//   - there are two labels or more before a Namespace, and the second of them is no Service in it.
//
// That is a guess: the last of these are also names of Pods of a Service that is missing.
func (q *question) isSearchStep(name string, r index.Reason) bool {
	if q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA {
		return false
	}
	rest, last := qname.CutLast(strings.TrimSuffix(name[:len(name)-len(q.zone)], "."))
	switch r {
	case index.ReasonSyntax:
		return last != "pod" && last != "dns"
	case index.ReasonNamespace:
		return strings.IndexByte(rest, '.') < 0
	case index.ReasonService:
		return q.Hostname != "" || strings.Count(rest, ".") > 1
	}
	return false
}
