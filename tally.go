package headless

import (
	"math/bits"
	"sync/atomic"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// answer is what metrics call what a query led to.
type answer uint8

const (
	answerData      answer = iota // records
	answerTruncated               // some of the records, or none: the others do not fit
	answerPartial                 // those of a set larger than any message that fit
	answerNoData                  // the name exists, and has no record of that type
	answerNameError               // NXDOMAIN
	answerFailure                 // SERVFAIL
	answerRefused                 // a zone transfer that only the transfer plugin makes
	answerPassed                  // the next plugin answers
)

var answerTexts = [...]string{
	answerData: "data", answerTruncated: "truncated", answerPartial: "partial", answerNoData: "nodata", answerNameError: "nxdomain", answerFailure: "servfail",
	answerRefused: "refused", answerPassed: "fallthrough",
}

// answerOf returns what m is. CNAMEs that lead to no record are none.
func answerOf(m *reply) answer {
	switch {
	case m.Rcode == dns.RcodeNameError:
		return answerNameError
	case m.Rcode != dns.RcodeSuccess:
		return answerFailure
	case m.Truncated:
		return answerTruncated
	case m.left > 0:
		return answerPartial
	case m.reason != index.NoReason || m.answers() == 0:
		return answerNoData
	}
	return answerData
}

// tally counts queries, by what they led to. Each query adds one to it, so it is made of arrays, where a vector would look a label up.
type tally struct {
	queries [len(answerTexts)][len(protoTexts)]struct {
		bySize   [sizes]atomic.Uint64            // of answers with records, complete or truncated
		byReason [index.NumReasons]atomic.Uint64 // of the others
	}
	records  atomic.Uint64                   // in all answer sections
	overlong atomic.Uint64                   // names that were left out
	choices  [index.NumChoices]atomic.Uint64 // answers of headless Services, with topology
	searches [len(searchTexts)]atomic.Uint64 // first steps of search lists, with search
	saved    atomic.Uint64                   // further steps that clients need not take
}

// proto is the protocol that a query came by.
type proto uint8

const (
	protoUDP proto = iota
	protoTCP
)

var protoTexts = [...]string{protoUDP: "udp", protoTCP: "tcp"}

// protoOf returns the protocol of w.
func protoOf(w dns.ResponseWriter) proto {
	if state := (request.Request{W: w}); state.Proto() == "tcp" {
		return protoTCP
	}
	return protoUDP
}

// sizes is how many classes of size there are: no record fits, one, 2, up to 4, and so on up to 4096, more than one message holds, and
// beyond.
const sizes = 15

// tallied counts the queries of all plugins.
var tallied tally

// add counts a query that came by w and is answered without records, or not here.
func (t *tally) add(w dns.ResponseWriter, a answer, r index.Reason) {
	t.queries[a][protoOf(w)].byReason[r].Add(1)
}

// addReply counts a query that came by w and is answered with m.
func (t *tally) addReply(w dns.ResponseWriter, m *reply) {
	if m.choice != index.NotChosen {
		t.choices[m.choice].Add(1)
	}
	switch a := answerOf(m); a {
	case answerData, answerTruncated, answerPartial:
		t.queries[a][protoOf(w)].bySize[sizeClass(m.answers())].Add(1)
		t.records.Add(uint64(m.answers())) //nolint:gosec // not negative
	default:
		t.add(w, a, m.reason)
	}
}

// addOverlong counts n names that were left out. Adding 0, as most queries would, is not free: it takes
// the counter's cache line away from other processors.
func (t *tally) addOverlong(n int) {
	if n > 0 {
		t.overlong.Add(uint64(n))
	}
}

// addSearch counts the first step of a search list and how many further ones the client is saved.
func (t *tally) addSearch(o searchOutcome, saved int) {
	t.searches[o].Add(1)
	if saved > 0 {
		t.saved.Add(uint64(saved))
	}
}

// sizeClass returns the class of size of an answer of n records.
func sizeClass(n int) int {
	if n == 0 {
		return 0
	}
	return min(1+bits.Len(uint(n-1)), sizes-1)
}

var (
	answersDesc   = newDesc("answers_total", "Counter of queries in the zones, by what they led to and by protocol: udp or tcp.", "outcome", "proto")
	negativesDesc = newDesc("negative_answers_total", "Counter of answers without the records asked for, by why there are none.", "reason")
	recordsDesc   = newDesc("answer_records", "Histogram of the number of records in the answer section, of complete and truncated answers.")
	choicesDesc   = newDesc("topology_answers_total", "Counter of answers with endpoints of headless Services, where topology is on, by which of them the client gets.", "endpoints")
	searchesDesc  = newDesc("searches_total", "Counter of queries that may be the first step of a search list, where search is on, by what the rest of the list leads to.", "outcome")
	savedDesc     = newDesc("search_steps_saved_total", "Counter of queries along search lists that clients need not send.")
	overlongDesc  = newDesc("overlong_names_total", "Counter of endpoints that an answer or a transfer does not call by their names, which are too long for DNS.")
)

func init() { prometheus.MustRegister(&tallied) }

// Describe implements prometheus.Collector.
func (*tally) Describe(ch chan<- *prometheus.Desc) {
	ch <- answersDesc
	ch <- negativesDesc
	ch <- recordsDesc
	ch <- overlongDesc
	ch <- choicesDesc
	ch <- searchesDesc
	ch <- savedDesc
}

// Collect implements prometheus.Collector.
func (t *tally) Collect(ch chan<- prometheus.Metric) {
	var reasons [index.NumReasons]uint64
	var classes [sizes]uint64
	for a := range t.queries {
		for p := range t.queries[a] {
			counts, queries := &t.queries[a][p], uint64(0)
			for r := range counts.byReason {
				n := counts.byReason[r].Load()
				queries += n
				reasons[r] += n
			}
			for class := range counts.bySize {
				n := counts.bySize[class].Load()
				queries += n
				classes[class] += n
			}
			ch <- prometheus.MustNewConstMetric(answersDesc, prometheus.CounterValue, float64(queries), answerTexts[a], protoTexts[p])
		}
	}
	for r, n := range reasons {
		if r := index.Reason(r); r != index.NoReason {
			ch <- prometheus.MustNewConstMetric(negativesDesc, prometheus.CounterValue, float64(n), r.String())
		}
	}
	for c := range t.choices {
		if c := index.Choice(c); c != index.NotChosen {
			ch <- prometheus.MustNewConstMetric(choicesDesc, prometheus.CounterValue, float64(t.choices[c].Load()), c.String())
		}
	}
	for o := range t.searches {
		ch <- prometheus.MustNewConstMetric(searchesDesc, prometheus.CounterValue, float64(t.searches[o].Load()), searchTexts[o])
	}
	ch <- prometheus.MustNewConstMetric(savedDesc, prometheus.CounterValue, float64(t.saved.Load()))
	total := classes[0]
	buckets := map[float64]uint64{0: total}
	for class := 1; class < sizes-1; class++ {
		total += classes[class]
		buckets[float64(int(1)<<(class-1))] = total
	}
	total += classes[sizes-1]
	ch <- prometheus.MustNewConstMetric(overlongDesc, prometheus.CounterValue, float64(t.overlong.Load()))
	ch <- prometheus.MustNewConstHistogram(recordsDesc, total, float64(t.records.Load()), buckets)
}
