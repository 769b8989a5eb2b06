package main

import (
	"fmt"
	"slices"
)

// zoneCauses: a zonal name of a Service that has none, or in whose topology zone no endpoint is ready.
func (q *inquiry) zoneCauses() []cause {
	if q.svc == nil || q.scope == "" {
		return nil
	}
	zones := q.zones()
	var pins []string
	for _, zone := range zones {
		pins = append(pins, q.shown(zone+".pin._zone", q.service, q.namespace))
	}
	prefer := q.shown(q.topology+".prefer._zone", q.service, q.namespace) + ", which gives all endpoints when none is ready there"
	own := q.own()
	isReady := func(e endpoint) bool { return e.ready }
	anyReady := slices.ContainsFunc(q.endpoints, isReady) // else the Service's own name does not exist, whatever the zone
	switch {
	case !q.isHeadless():
		return one("zonal-not-headless", "ask for "+q.shown(q.service, q.namespace),
			"Service %s/%s has a ClusterIP, and only headless Services have names below _zone", q.namespace, q.service)
	case !q.s.stanza.Zonal():
		return one("zonal-off", "in the Corefile, on all replicas: zonal", "names below _zone exist only with the option zonal, and the server's stanza does not have it")
	case !anyReady || q.topology != "" && !q.isPinned():
		return nil
	case len(zones) == 0:
		return one("no-zone", kubectl("", "get", "nodes", "-L", "topology.kubernetes.io/zone")+"   # a pod is in the zone of its node",
			"no endpoint of Service %s/%s is in a topology zone", q.namespace, q.service)
	case q.topology == "":
		return one("no-records", "ask for "+list(pins), "the name of a topology zone stands before pin._zone or prefer._zone")
	case len(own) == 0:
		fix := "ask for one of these, or for " + prefer
		if near := closest(q.topology, zones); len(near) > 0 {
			fix = "did you mean " + list(near) + "? Or ask for " + prefer
		}
		return one("no-zone", fix, "no endpoint of Service %s/%s is in the topology zone %s; there are some in %s", q.namespace, q.service, q.topology, list(zones))
	case !slices.ContainsFunc(own, isReady):
		notReady := q.notReadyCauses(own, fmt.Sprintf("Service %s/%s in zone %s", q.namespace, q.service, q.topology))[0]
		return one("zone-not-ready", notReady.Fix+"\nor ask for "+prefer, "%s", notReady.Text)
	}
	return nil
}

// zones returns the topology zones that endpoints of the Service are in, sorted.
func (q *inquiry) zones() []string {
	var zones []string
	for i := range q.endpoints {
		zones = append(zones, q.endpoints[i].zone)
	}
	slices.Sort(zones)
	return slices.DeleteFunc(slices.Compact(zones), func(zone string) bool { return zone == "" })
}
