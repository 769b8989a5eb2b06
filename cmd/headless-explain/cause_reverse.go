package main

import (
	"slices"

	"github.com/coredns/coredns/plugin/pkg/dnsutil"
)

// reverseCauses: nothing that is served has the address.
func (q *inquiry) reverseCauses() []cause {
	address := dnsutil.ExtractAddressFromReverse(q.fqdn)
	if !isReverse(q.fqdn) || address == "" || q.outcome() != nxdomain {
		return nil
	}
	for _, svc := range q.c.services {
		endpoints := q.c.endpointsOf(svc)
		i := slices.IndexFunc(endpoints, func(e endpoint) bool { return e.address == address })
		switch {
		case i < 0 && svc.Spec.ClusterIP != address && !slices.Contains(svc.Spec.ClusterIPs, address):
			continue
		case !q.s.serves(svc.Namespace):
			return q.filtered(svc.Namespace)
		case i >= 0 && !endpoints[i].ready:
			return one("not-ready", kubectl(svc.Namespace, "get", "pods", "-o", "wide"),
				"the address %s is that of an endpoint of Service %s/%s which is not ready; only ready ones have reverse names", address, svc.Namespace, svc.Name)
		}
		of := &inquiry{s: q.s, c: q.c, name: q.s.parse(svc.Name + "." + svc.Namespace + ".svc." + q.s.stanza.Primary()), svc: svc, endpoints: endpoints}
		if causes := of.serviceCauses(); causes != nil {
			return causes
		}
		if causes := of.hiddenSliceCauses(); i >= 0 && causes != nil {
			return causes
		}
	}
	for _, pod := range q.c.pods {
		if pod.Status.PodIP == address {
			return one("no-pointer", "make a headless Service that selects the pod",
				"Pod %s/%s has the address %s, but no Service selects it; reverse names are those of Services and their ready endpoints", pod.Namespace, pod.Name, address)
		}
	}
	return one("no-pointer", kubectl("", "get", "pods", "-A", "-o", "wide", "--field-selector", "status.podIP="+address),
		"no Service, and no ready endpoint of one, has the address %s", address)
}
