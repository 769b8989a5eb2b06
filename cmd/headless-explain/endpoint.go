package main

import (
	"strings"

	"github.com/coredns-headless/headless"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoint is one address of a Service, with one hostname.
type endpoint struct {
	address, hostname           string
	ready, serving, terminating bool
	pod                         string // the name of the Pod, or ""
	zone                        string // the topology zone, or ""
}

// endpointsOf returns the endpoints of a Service in the order of its EndpointSlices. One in several of them is there once, and
// ready if one of them says so.
func (c *cluster) endpointsOf(svc *corev1.Service) []endpoint {
	type identity struct{ address, hostname string }
	var endpoints []endpoint
	at := make(map[identity]int)
	for _, es := range c.slicesOf(svc) {
		if es.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for i := range es.Endpoints {
			from := &es.Endpoints[i]
			for _, address := range from.Addresses {
				e := newEndpoint(from, address)
				id := identity{e.address, e.hostname}
				if i, ok := at[id]; ok {
					if e.ready && !endpoints[i].ready {
						endpoints[i] = e
					}
					continue
				}
				at[id] = len(endpoints)
				endpoints = append(endpoints, e)
			}
		}
	}
	return endpoints
}

// newEndpoint reads an endpoint of an EndpointSlice. Conditions that are not set mean what the EndpointSlice API says: ready, and
// serving when ready, and not terminating.
func newEndpoint(from *discoveryv1.Endpoint, address string) endpoint {
	e := endpoint{address: address, hostname: strings.ToLower(deref(from.Hostname, "")), zone: strings.ToLower(deref(from.Zone, ""))}
	e.ready = deref(from.Conditions.Ready, true)
	e.serving = deref(from.Conditions.Serving, e.ready)
	e.terminating = deref(from.Conditions.Terminating, false)
	if from.TargetRef != nil && from.TargetRef.Kind == "Pod" {
		e.pod = from.TargetRef.Name
	}
	return e
}

// label returns the endpoint's own label below its Service; "" if it has neither a hostname nor an address that the server takes.
func (e *endpoint) label() string {
	if e.hostname != "" {
		return e.hostname
	}
	return headless.AddressLabel(e.address)
}

// state returns the word for the endpoint's conditions.
func (e *endpoint) state() string {
	switch {
	case e.ready:
		return "ready"
	case e.terminating:
		return "terminating"
	}
	return "not ready"
}

func deref[T any](p *T, unset T) T {
	if p == nil {
		return unset
	}
	return *p
}
