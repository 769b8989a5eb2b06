package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// portsAsked returns the ports of the Service that the name is of.
func (q *inquiry) portsAsked() []corev1.ServicePort {
	return slices.DeleteFunc(slices.Clone(q.svc.Spec.Ports), func(p corev1.ServicePort) bool {
		return !strings.EqualFold(p.Name, q.port) || !strings.EqualFold(string(protocolOf(p.Protocol)), q.proto)
	})
}

// portNames returns the names of those ports that have one and are wanted.
func (q *inquiry) portNames(want func(corev1.ServicePort) bool) []string {
	var names []string
	for _, p := range q.svc.Spec.Ports {
		if p.Name != "" && want(p) {
			names = append(names, fmt.Sprintf("_%s._%s.%s", p.Name, strings.ToLower(string(protocolOf(p.Protocol))), q.shown(q.hostname, q.service, q.namespace)))
		}
	}
	return names
}

// protocolCauses: of _PORT._PROTOCOL only one label is there, which stands for a protocol.
func (q *inquiry) protocolCauses() []cause {
	if q.svc == nil || q.isExternal() || q.proto == "" || q.port != "" {
		return nil
	}
	giveNames := "give the ports of the Service names, then ask for _PORT._PROTOCOL." + q.shown(q.hostname, q.service, q.namespace)
	all := q.portNames(func(corev1.ServicePort) bool { return true })
	switch alike := q.portNames(func(p corev1.ServicePort) bool { return strings.EqualFold(string(protocolOf(p.Protocol)), q.proto) }); {
	case !isProtocol(q.proto):
		called := q.portNames(func(p corev1.ServicePort) bool { return strings.EqualFold(p.Name, q.proto) })
		fix := "ask for " + strings.Join(called, " or ")
		switch {
		case len(all) == 0:
			fix = giveNames
		case len(called) == 0:
			fix = "the names of its ports are " + list(all)
		}
		return one("missing-protocol", fix, "a port is asked for as _PORT._PROTOCOL, and here stands _%s alone", q.proto)
	case len(q.svc.Spec.Ports) == 0:
		return q.noPortsCauses()
	case len(all) == 0:
		return one("port-unnamed", giveNames, "no port of Service %s/%s has a name, and the names of ports, _NAME._PROTOCOL, are made of that", q.namespace, q.service)
	case len(alike) > 0 && q.outcome() == nodata:
		return one("no-records", "ask for "+list(alike), "the ports of a protocol have records, below _%s, and the protocol itself has none", q.proto)
	case len(alike) == 0:
		return one("no-port", "the names of its ports are "+list(all), "Service %s/%s has no %s port with a name", q.namespace, q.service, strings.ToUpper(q.proto))
	}
	return nil
}

// portCauses: the Service has no port of the name and protocol, or its endpoints have not.
func (q *inquiry) portCauses() []cause {
	if q.svc == nil || q.isExternal() || q.port == "" {
		return nil
	}
	if asked := q.portsAsked(); len(asked) > 0 {
		return q.targetPortCauses(asked[0])
	}
	var names []string
	for i, p := range q.svc.Spec.Ports {
		switch {
		case p.Name == "":
			return one("port-unnamed",
				kubectl(q.namespace, "patch", "service", q.service, "--type=json", "-p", fmt.Sprintf(`[{"op":"add","path":"/spec/ports/%d/name","value":%q}]`, i, q.port)),
				"port %d of Service %s/%s has no name, and the names of ports, _NAME._PROTOCOL, are made of that", p.Port, q.namespace, q.service)
		case strings.EqualFold(p.Name, q.port):
			proto := strings.ToLower(string(protocolOf(p.Protocol)))
			return one("wrong-protocol", fmt.Sprintf("ask for _%s._%s.%s", q.port, proto, q.shown(q.hostname, q.service, q.namespace)),
				"port %s of Service %s/%s is %s, not %s", p.Name, q.namespace, q.service, strings.ToUpper(proto), strings.ToUpper(q.proto))
		case fmt.Sprint(p.Port) == q.port:
			return one("port-number", fmt.Sprintf("ask for _%s._%s.%s", p.Name, q.proto, q.shown(q.hostname, q.service, q.namespace)),
				"a name with _PORT has the name of a port, not its number: port %d is called %s", p.Port, p.Name)
		}
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return q.noPortsCauses()
	}
	fix := "ask for one of these"
	if near := closest(q.port, names); len(near) > 0 || len(names) == 1 {
		fix = fmt.Sprintf("ask for _%s._%s.%s", append(near, names...)[0], q.proto, q.shown(q.hostname, q.service, q.namespace))
	}
	return one("no-port", fix+", or add the port to the Service",
		"Service %s/%s has no port called %s; it has %s", q.namespace, q.service, q.port, list(names))
}

// noPortsCauses: the Service has no ports at all.
func (q *inquiry) noPortsCauses() []cause {
	return one("no-port", "add the port to the Service", "Service %s/%s has no ports", q.namespace, q.service)
}

// targetPortCauses: the Service has the port, but no EndpointSlice has. The control plane leaves out a port whose targetPort is a
// name that no container of the pod gives to a port.
func (q *inquiry) targetPortCauses(p corev1.ServicePort) []cause {
	if len(q.endpoints) == 0 || !q.needsEndpoints() {
		return nil
	}
	for _, es := range q.c.slicesOf(q.svc) {
		for _, listed := range es.Ports {
			if strings.EqualFold(deref(listed.Name, ""), p.Name) && listed.Port != nil {
				return nil
			}
		}
	}
	if target := p.TargetPort.StrVal; target != "" {
		return one("target-port", fmt.Sprintf("name a containerPort of the pods %s, or make targetPort a number", target),
			"port %s of Service %s/%s leads to a port of the pods called %s, which no container has", p.Name, q.namespace, q.service, target)
	}
	return one("slice-port", "add the port, with this name, to the EndpointSlice",
		"Service %s/%s has the port %s, but its EndpointSlices do not", q.namespace, q.service, p.Name)
}
