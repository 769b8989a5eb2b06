package headless

import (
	"time"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/stacks"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// newDesc describes a metric of the plugin, which keeps its name whatever the plugin is called.
func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("coredns_headless_"+name, help, labels, nil)
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
	parked    *prometheus.Desc
	journal   *prometheus.Desc
	reach     *prometheus.Desc
}

func init() {
	prometheus.MustRegister(newStateCollector(running.all))
	v := buildinfo.Get()
	promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "coredns_headless_build_info",
		Help: "1, with the version and the commit of headless, and the versions of CoreDNS and Go.",
	}, []string{"version", "revision", "coredns", "goversion"}).WithLabelValues(v.Version, v.Revision, v.CoreDNS, v.Go).Set(1)
}

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
		parked: newDesc("parked_goroutines",
			"Number of goroutines that do nothing but let others start with larger stacks."),
		journal: newDesc("journal_bytes", "Octets of the differences between serials that are kept for zone transfers."),
		reach: newDesc("journal_timestamp_seconds",
			"Unix time of the oldest serial from which zone transfers can give a difference, or 0."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		c.synced, c.objects, c.endpoints, c.heard, c.listed, c.serial, c.held, c.holds, c.ended,
		c.served, c.dated, c.parked, c.journal, c.reach,
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
	octets, reach := 0, time.Time{}
	var dated time.Time
	var holds index.HoldCounts
	resources := make(map[string]*resourceState)
	endpoints := map[string][model.NumStates]int{model.UnservedKind: {}}
	for _, h := range c.plugins() {
		if !h.listing.IsComplete() && h.isRestored() {
			served = 1
		}
		if h.keeper != nil {
			if at := h.keeper.Dated(); dated.IsZero() || at.Before(dated) {
				dated = at
			}
		}
		if e := h.journal.extent.Load(); e != nil {
			octets += e.octets
			if reach.Before(e.since) {
				reach = e.since
			}
		}
		h.addResources(resources)
		serial = max(serial, h.shown().index.Serial())
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
	gauge(c.parked, float64(stacks.Parked()))
	gauge(c.journal, float64(octets))
	gauge(c.reach, float64(max(0, reach.Unix())))
	ch <- prometheus.MustNewConstMetric(c.holds, prometheus.CounterValue, float64(holds.Total))
	for why, n := range holds.Ended {
		ch <- prometheus.MustNewConstMetric(c.ended, prometheus.CounterValue, float64(n),
			index.HoldEnd(why).String())
	}
}

// transferKind is what a requester of a zone transfer got.
type transferKind int

const (
	soaAlone    transferKind = iota // its serial was current
	changesOnly                     // what had changed since its serial
	wholeZone
)

// transfers counts those that are over.
var transfers = func() (kinds [wholeZone + 1]transferCounters) {
	total := promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "coredns_headless_transfers_total",
		Help: "Counter of zone transfers, by kind: soa, difference or whole.",
	}, []string{"kind"})
	records := promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "coredns_headless_transferred_records_total",
		Help: "Counter of the records in zone transfers, by kind.",
	}, []string{"kind"})
	for kind, text := range [...]string{soaAlone: "soa", changesOnly: "difference", wholeZone: "whole"} {
		kinds[kind] = transferCounters{total.WithLabelValues(text), records.WithLabelValues(text)}
	}
	return kinds
}()

type transferCounters struct{ total, records prometheus.Counter }

// count counts a transfer of so many records.
func (c transferCounters) count(records int) {
	c.total.Inc()
	c.records.Add(float64(records))
}

// notifications counts those of secondaries.
var notifications = func() *prometheus.CounterVec {
	total := promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "coredns_headless_notifications_total",
		Help: "Counter of secondaries told that a zone has changed, by result: accepted or failed.",
	}, []string{"result"})
	total.WithLabelValues("accepted")
	total.WithLabelValues("failed")
	return total
}()
