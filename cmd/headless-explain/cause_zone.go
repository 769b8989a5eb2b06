package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// zoneCauses: a zonal name of a Service that has none, or in whose topology zone no endpoint is ready.
func (q *inquiry) zoneCauses() []cause {
	if q.svc == nil || q.Scope == qname.Everywhere {
		return nil
	}
	var zones, pins []string
	for i := range q.endpoints {
		zones = append(zones, q.endpoints[i].Topologies...)
	}
	slices.Sort(zones)
	zones = slices.Compact(zones)
	for _, zone := range zones {
		pins = append(pins, q.shown(zone+".pin._zone", q.Service, q.Namespace))
	}
	prefer := q.shown(q.Topology+".prefer._zone", q.Service, q.Namespace) + ", which gives all endpoints when none is ready there"
	concerned := q.concerned()
	switch {
	case !q.is(model.Headless):
		return one("zonal-not-headless", "ask for "+q.shown(q.Service, q.Namespace),
			"Service %s/%s has a ClusterIP, and only headless Services have names below _zone", q.Namespace, q.Service)
	case !q.s.stanza.Zonal() && q.s.stanza.NoEndpoints():
		return q.hiddenSliceCauses()
	case !q.s.stanza.Zonal():
		return one("zonal-off", "in the Corefile, on all replicas: zonal", "names below _zone exist only with the option zonal, and the server's stanza does not have it")
	case q.Topology == "":
		return one("no-records", "ask for "+cmp.Or(list(pins), q.shown("ZONE.pin._zone", q.Service, q.Namespace)),
			"the name of a topology zone stands before pin._zone or prefer._zone")
	case len(zones) == 0:
		return one("no-zone", kubectl("", "get", "nodes", "-L", "topology.kubernetes.io/zone")+"   # a pod is in the zone of its node",
			"no endpoint of Service %s/%s is in a topology zone", q.Namespace, q.Service)
	case len(concerned) == 0:
		fix := "ask for one of these, or for " + prefer
		if near := closest(q.Topology, zones); len(near) > 0 {
			fix = "did you mean " + list(near) + "? Or ask for " + prefer
		}
		return one("no-zone", fix,
			"no endpoint of Service %s/%s is in the topology zone %s; there are some in %s", q.Namespace, q.Service, q.Topology, list(zones))
	}
	notReady := q.notReadyCauses(concerned, fmt.Sprintf("Service %s/%s in zone %s", q.Namespace, q.Service, q.Topology))[0]
	return one("zone-not-ready", notReady.Fix+"\nor ask for "+prefer, "%s", notReady.Text)
}
