package headless

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// metricsSubsystem stands in the names of all metrics, whatever the plugin is called.
const metricsSubsystem = "headless"

// answer is what metrics call what a query led to.
type answer uint8

const (
	answerData      answer = iota // records
	answerTruncated               // some of the records, or no record: the others do not fit
	answerNoData                  // the name exists, and has no record of that type
	answerNameError               // NXDOMAIN
	answerFailure                 // SERVFAIL
	answerRefused                 // a zone transfer that only the transfer plugin makes
	answerPassed                  // the next plugin answers
)

var answerTexts = [...]string{
	answerData: "data", answerTruncated: "truncated", answerNoData: "nodata",
	answerNameError: "nxdomain", answerFailure: "servfail",
	answerRefused: "refused", answerPassed: "fallthrough",
}

// answerOf returns what m is. CNAMEs that lead to no record do not count as records.
func answerOf(m *reply) answer {
	switch {
	case m.Rcode == dns.RcodeNameError:
		return answerNameError
	case m.Rcode != dns.RcodeSuccess:
		return answerFailure
	case m.Truncated:
		return answerTruncated
	case m.reason != index.NoReason || len(m.Answer) == 0:
		return answerNoData
	}
	return answerData
}

// tally counts queries, by what they led to. Each query adds to it, so it is an array, where a
// vector would look a label up, and one number says all that there is to count of most of them.
type tally struct {
	queries [len(answerTexts)][2][details]atomic.Uint64 // by answer, protocol (UDP is first), and detail
	records atomic.Uint64                               // in all answer sections
}

// details is how many there are: those of an answer with records are its classes of size, those of
// one without are its causes.
const details = index.NumReasons

// sizes is how many classes of size there are: no record fits, one, 2, up to 4, and so on up to
// 4096, more than one message holds, and beyond.
const sizes = 15

// tallied counts the queries of all plugins.
var tallied tally

// add counts a query that came by w.
func (t *tally) add(w dns.ResponseWriter, a answer, detail int) {
	proto := 0
	if state := (request.Request{W: w}); state.Proto() == "tcp" {
		proto = 1
	}
	t.queries[a][proto][detail].Add(1)
}

// addReply counts a query that came by w and is answered with m.
func (t *tally) addReply(w dns.ResponseWriter, m *reply) {
	switch a := answerOf(m); a {
	case answerData, answerTruncated:
		t.add(w, a, sizeClass(len(m.Answer)))
		t.records.Add(uint64(len(m.Answer)))
	default:
		t.add(w, a, int(m.reason))
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
	answersDesc = newDesc("answers_total",
		"Counter of queries in the zones, by what they led to and by protocol: udp or tcp.",
		"outcome", "proto")
	negativesDesc = newDesc("negative_answers_total",
		"Counter of answers without the records asked for, by why there are none.", "reason")
	recordsDesc = newDesc("answer_records",
		"Histogram of the number of records in the answer section, of complete and truncated answers.")
)

func init() { prometheus.MustRegister(&tallied) }

// Describe implements prometheus.Collector.
func (*tally) Describe(ch chan<- *prometheus.Desc) {
	ch <- answersDesc
	ch <- negativesDesc
	ch <- recordsDesc
}

// Collect implements prometheus.Collector.
func (t *tally) Collect(ch chan<- prometheus.Metric) {
	var causes, classes [details]uint64
	for a := range t.queries {
		for proto, text := range [...]string{"udp", "tcp"} {
			queries := uint64(0)
			for detail := range t.queries[a][proto] {
				n := t.queries[a][proto][detail].Load()
				queries += n
				if a := answer(a); a == answerData || a == answerTruncated {
					classes[detail] += n
				} else {
					causes[detail] += n
				}
			}
			ch <- prometheus.MustNewConstMetric(answersDesc, prometheus.CounterValue,
				float64(queries), answerTexts[a], text)
		}
	}
	for c := index.NoReason + 1; int(c) < details; c++ {
		ch <- prometheus.MustNewConstMetric(negativesDesc, prometheus.CounterValue,
			float64(causes[c]), c.String())
	}
	total := classes[0]
	buckets := map[float64]uint64{0: total}
	for class := 1; class < sizes-1; class++ {
		total += classes[class]
		buckets[float64(int(1)<<(class-1))] = total
	}
	total += classes[sizes-1]
	ch <- prometheus.MustNewConstHistogram(recordsDesc, total, float64(t.records.Load()), buckets)
}

// newDesc describes a metric of the plugin.
func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, metricsSubsystem, name),
		help, labels, nil)
}

// stateCollector describes plugins, all of them together.
type stateCollector struct {
	plugins   func() []*Headless
	synced    *prometheus.Desc
	objects   *prometheus.Desc
	endpoints *prometheus.Desc
	heard     *prometheus.Desc
	listed    *prometheus.Desc
	serial    *prometheus.Desc
	held      *prometheus.Desc
	holds     *prometheus.Desc
	ended     *prometheus.Desc
	served    *prometheus.Desc
	dated     *prometheus.Desc
}

func init() { prometheus.MustRegister(newStateCollector(running.all)) }

func newStateCollector(plugins func() []*Headless) *stateCollector {
	return &stateCollector{
		plugins: plugins,
		synced:  newDesc("synced", "1 when the resource has been listed in every server block, else 0.", "resource"),
		objects: newDesc("objects", "Number of objects held, by resource.", "resource"),
		endpoints: newDesc("endpoints", "Number of endpoints held, by kind of Service and state.",
			"service_kind", "state"),
		heard: newDesc("last_event_timestamp_seconds",
			"Unix time when the API server last said something of the resource, or 0.", "resource"),
		listed: newDesc("last_list_timestamp_seconds",
			"Unix time when the API server last listed the resource, or 0.", "resource"),
		serial: newDesc("soa_serial", "Greatest SOA serial."),
		held:   newDesc("held_endpoints", "Number of endpoints held though no EndpointSlice lists them."),
		holds:  newDesc("holds_total", "Counter of endpoints that were held."),
		ended: newDesc("holds_ended_total",
			"Counter of endpoints that are held no longer, by reason.", "reason"),
		served: newDesc("snapshot_served", "1 while a server block answers from a snapshot, else 0."),
		dated: newDesc("snapshot_timestamp_seconds",
			"Unix time up to which the oldest snapshot was confirmed, or 0."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		c.synced, c.objects, c.endpoints, c.heard, c.listed, c.serial, c.held, c.holds, c.ended,
		c.served, c.dated,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	served, serial := 0.0, uint32(0)
	var dated time.Time
	var holds index.HoldCounts
	resources := make(map[string]*resourceState)
	endpoints := map[string][model.NumStates]int{model.UnservedKind: {}}
	for _, h := range c.plugins() {
		if !h.isSynced() && h.Ready() {
			served = 1
		}
		if h.keeper != nil {
			if at := h.keeper.Dated(); dated.IsZero() || at.Before(dated) {
				dated = at
			}
		}
		h.addResources(resources)
		serial = max(serial, h.index.Serial())
		for _, x := range h.indexes() {
			x.AddStates(endpoints)
			holds.Add(x.Holding())
		}
	}
	for name, r := range resources {
		gauge(c.objects, float64(r.objects), name)
		gauge(c.synced, r.synced, name)
		if r.watched {
			gauge(c.heard, r.heard.Seconds(), name)
			gauge(c.listed, r.listed.Seconds(), name)
		}
	}
	for kind, counts := range endpoints {
		for s, n := range counts {
			gauge(c.endpoints, float64(n), kind, model.State(s).String())
		}
	}
	gauge(c.serial, float64(serial))
	gauge(c.served, served)
	gauge(c.dated, float64(max(0, dated.Unix())))
	gauge(c.held, float64(holds.Now))
	ch <- prometheus.MustNewConstMetric(c.holds, prometheus.CounterValue, float64(holds.Total))
	for why, n := range holds.Ended {
		ch <- prometheus.MustNewConstMetric(c.ended, prometheus.CounterValue, float64(n),
			index.HoldEnd(why).String())
	}
}
