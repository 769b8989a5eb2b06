package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"

	"k8s.io/utils/ptr"
)

// portNames returns the names of ports of the Service, below its own name or that of the endpoint: of ports that have a name and
// that are wanted.
func (q *inquiry) portNames(want func(model.Port) bool) []string {
	var names []string
	for _, p := range q.all.Model.Ports {
		if p.Name() != "" && want(p) {
			names = append(names, q.portName(p.Name(), p.Proto()))
		}
	}
	return names
}

// portName returns one such name.
func (q *inquiry) portName(name, proto string) string {
	return fmt.Sprintf("_%s._%s.%s", name, proto, q.own())
}

// hasPort reports whether the Service has the port that the name is of.
func (q *inquiry) hasPort() bool {
	return len(q.portNames(func(p model.Port) bool { return p.Name() == q.Port && p.Proto() == q.Proto })) > 0
}

// protocolCauses: the name has one label of _PORT._PROTOCOL only, which is taken for the protocol.
func (q *inquiry) protocolCauses() []cause {
	if q.svc == nil || q.Proto == "" || q.Port != "" {
		return nil
	}
	all := q.portNames(func(model.Port) bool { return true })
	id, fix := "no-port", "the names of its ports are "+list(all)
	switch {
	case len(q.svc.Spec.Ports) == 0:
		fix = addPort
	case len(all) == 0:
		id, fix = "port-unnamed", "give the ports of the Service names, then ask for _PORT._PROTOCOL."+q.own()
	}
	switch alike := q.portNames(func(p model.Port) bool { return p.Proto() == q.Proto }); {
	case !isProtocol(q.Proto):
		if called := q.portNames(func(p model.Port) bool { return p.Name() == q.Proto }); len(called) > 0 {
			fix = "ask for " + strings.Join(called, " or ")
		}
		return one("missing-protocol", fix, "a port is asked for as _PORT._PROTOCOL, and here stands _%s alone", q.Proto)
	case q.outcome() == nodata:
		return one("no-records", "ask for "+list(alike), "the ports of a protocol have records, below _%s, and the protocol itself has none", q.Proto)
	case q.reason() != index.ReasonPort:
		return nil
	case len(alike) > 0:
		id, fix = "slice-port", "add a port of the protocol, with its name, to the EndpointSlice"
	}
	return one(id, fix, "%s", q.sentence())
}

// lostPortCauses: the port of the name, or one of the Service, is not in its EndpointSlices, because no container has the port that its
// targetPort is the name of.
func (q *inquiry) lostPortCauses() []cause {
	if q.svc == nil || len(q.endpoints) == 0 {
		return nil
	}
	has := make(map[string]bool)
	for _, es := range q.c.slicesOf(q.svc) {
		for _, p := range es.Ports {
			has[strings.ToLower(ptr.Deref(p.Name, ""))] = true
		}
	}
	for _, p := range q.svc.Spec.Ports {
		target := p.TargetPort.StrVal
		if target != "" && (q.Port == "" || strings.EqualFold(p.Name, q.Port)) && !has[strings.ToLower(p.Name)] {
			return one("target-port", fmt.Sprintf("name a containerPort of the pods %s, or make targetPort a number", target),
				"port %s of %s leads to a port of the pods called %s, which no container has", cmp.Or(p.Name, fmt.Sprint(p.Port)), q.service(), target)
		}
	}
	return nil
}

const addPort = "add the port to the Service"

// portCauses: the Service has no port of the name and protocol, or its endpoints do not have it.
func (q *inquiry) portCauses() []cause {
	if q.hasPort() {
		return q.targetPortCauses()
	}
	var names []string
	for i, p := range q.svc.Spec.Ports {
		name, _ := model.FoldedLabel(p.Name)
		proto := strings.ToLower(string(protocolOf(p.Protocol)))
		switch {
		case name == "" && p.Name != "" || len(name) > model.MaxPortName:
			return one("port-unnamed", "call the port by letters, digits and hyphens", "%s, for %s is no label", q.sentence(), p.Name)
		case name == "":
			return one("port-unnamed",
				kubectl(q.Namespace, "patch", "service", q.Service, "--type=json", "-p", fmt.Sprintf(`[{"op":"add","path":"/spec/ports/%d/name","value":%q}]`, i, q.Port)),
				"port %d of %s has no name, and the names of ports, _NAME._PROTOCOL, are made of that", p.Port, q.service())
		case name == q.Port:
			return one("wrong-protocol", "ask for "+q.portName(q.Port, proto),
				"port %s of %s is %s, not %s", p.Name, q.service(), strings.ToUpper(proto), strings.ToUpper(q.Proto))
		case fmt.Sprint(p.Port) == q.Port:
			return one("port-number", "ask for "+q.portName(name, proto),
				"a name with _PORT has the name of a port, not its number: port %d is called %s", p.Port, p.Name)
		}
		names = append(names, name)
	}
	near, fix := closest(q.Port, names), addPort
	if meant := q.portNames(func(p model.Port) bool { return len(near) == 0 || slices.Contains(near, p.Name()) }); len(meant) > 0 {
		fix = "ask for " + list(meant) + ", or " + fix
	}
	return one("no-port", fix, "%s", q.sentence())
}

// targetPortCauses: the Service has the port, but its EndpointSlices do not have it. The control plane leaves out a port whose
// targetPort is a name that no container of the pod gives to a port.
func (q *inquiry) targetPortCauses() []cause {
	if q.Hostname != "" && q.s.finds(fmt.Sprintf("_%s._%s.%s", q.Port, q.Proto, q.below(q.Service, q.Namespace))) {
		return one("slice-port", "add the port, with this name, to the EndpointSlice", "%s", q.sentence())
	}
	if causes := q.lostPortCauses(); causes != nil {
		return causes
	}
	return one("slice-port", "add the port, with this name, to the EndpointSlice",
		"%s has the port %s, but its EndpointSlices do not", q.service(), q.Port)
}
