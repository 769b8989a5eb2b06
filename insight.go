package headless

import (
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/miekg/dns"
)

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
