package index

import (
	"math"
	"strconv"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// Reason says why a name has no record of the type asked for.
type Reason uint8

// The reasons.
const (
	NoReason          Reason = iota // the name has a record
	ReasonSyntax                    // no name has this form
	ReasonNamespace                 // there is no such Namespace, or it is not exposed
	ReasonService                   // there is no such Service in the Namespace
	ReasonExternal                  // the name is below an ExternalName, or that leads nowhere
	ReasonClusterIP                 // the Service has no ClusterIP
	ReasonNoneReady                 // the Service has no ready endpoint
	ReasonHostname                  // the Service has no endpoint of that name
	ReasonNotReady                  // the endpoint of that name does not count
	ReasonPort                      // the Service, or the endpoint, has no such port
	ReasonTopology                  // the Service has no ready endpoint in that topology zone
	ReasonPod                       // the label below pod is not an address, or not that of a Pod
	ReasonReverse                   // nothing here has the address, or one below the name
	ReasonTarget                    // the target of a CNAME does not exist, or not with that type
	ReasonNonTerminal               // the name exists only for what is below it
	ReasonType                      // the name has records of other types only
	ReasonChanged                   // the name got a record before the reason was looked for
)

// reasonTexts are for metrics. They do not change.
var reasonTexts = [...]string{
	NoReason:          "",
	ReasonSyntax:      "syntax",
	ReasonNamespace:   "namespace",
	ReasonService:     "service",
	ReasonExternal:    "external_name",
	ReasonClusterIP:   "no_cluster_ip",
	ReasonNoneReady:   "no_ready_endpoints",
	ReasonHostname:    "hostname",
	ReasonNotReady:    "hostname_not_ready",
	ReasonPort:        "port",
	ReasonTopology:    "zone",
	ReasonPod:         "pod",
	ReasonReverse:     "reverse",
	ReasonTarget:      "target",
	ReasonNonTerminal: "empty_non_terminal",
	ReasonType:        "type",
	ReasonChanged:     "changed",
}

// NumReasons is how many reasons there are, NoReason among them.
const NumReasons = len(reasonTexts)

// String returns the name of c: short, and fit for a metric's label.
func (c Reason) String() string { return reasonTexts[c] }

// How much a denial looks at, and tells.
const (
	MaxNear  = 3  // names that a denial suggests
	maxLooks = 16 // endpoints or ports looked at, besides guessed names
)

// Denial says why a lookup found nothing.
type Denial struct {
	Suggest bool // ports and names are wanted
	Reason  Reason
	Kind    model.Kind  // of the Service
	States  [3]int32    // its endpoints by state
	ByHand  bool        // it has no selector
	State   model.State // with ReasonNotReady: of the endpoint
	// With ReasonPort, Ports are some of the ports that exist, and Unnamed says that some have no name.
	Ports   Nearest[model.PortLabels]
	Unnamed bool
	// Names are those of some ready endpoints, with ReasonHostname. A name that is not "" stands
	// without its address.
	Names Nearest[model.Label]
	// Seen says, with ReasonReverse, that an endpoint that is not ready has the address, and Overlong
	// that what owns it has only names that are too long to be sent.
	Seen, Overlong bool
}

// Nearest holds the few of many things whose names are most like a label, the most like first. Of
// those that are equally like it the first that were offered are kept.
type Nearest[T comparable] struct {
	things   [MaxNear]T
	likeness [MaxNear]int
	N        int
	More     bool // there are others
}

// All returns what n holds.
func (n *Nearest[T]) All() []T { return n.things[:n.N] }

// offer adds t if it is not there, and more like the label than what n holds, or there is room.
func (n *Nearest[T]) offer(t T, likeness int) {
	at := 0
	for i := range n.N {
		if n.things[i] == t {
			return
		}
		if n.likeness[i] >= likeness {
			at = i + 1
		}
	}
	if n.N < MaxNear {
		n.N++
	} else {
		n.More = true
	}
	if at < MaxNear {
		copy(n.things[at+1:], n.things[at:])
		copy(n.likeness[at+1:], n.likeness[at:])
		n.things[at], n.likeness[at] = t, likeness
	}
}

// Likeness returns how much a and b are alike: it grows with the octets at their starts and ends
// that are the same.
func Likeness(a, b string) int {
	short := min(len(a), len(b))
	start := 0
	for start < short && a[start] == b[start] {
		start++
	}
	end := 0
	for end < short-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return 2*(start+end) - max(len(a), len(b))
}

// Deny says in d, which is empty, why Lookup finds no name for q that owns a record. q.Kind is
// qname.NamespaceName, qname.ServiceName or qname.ReverseName. It costs what the lookup does, and a
// little that does not depend on what x holds. room is Part.Room.
func (x *Index) Deny(d *Denial, q *qname.Name, room int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	switch {
	case q.Kind == qname.ReverseName:
		x.denyReverse(d, q, room)
	case !x.exposed(q.Namespace):
		d.Reason = ReasonNamespace
	case q.Kind == qname.NamespaceName:
		d.Reason = ReasonNonTerminal
	default:
		svc := x.peek(q.Namespace, q.Service)
		if svc == nil || !svc.shown {
			d.Reason = ReasonService
			return
		}
		d.Kind, d.States, d.ByHand = svc.spec.Kind, svc.states, !svc.spec.Selector
		d.Reason = x.denyService(d, svc, q)
		if d.Suggest && d.Reason == ReasonHostname {
			x.suggestNames(&d.Names, svc, q)
		}
	}
}

// denyReverse says why a reverse name does not own a record.
func (x *Index) denyReverse(d *Denial, q *qname.Name, room int) {
	d.Reason = ReasonReverse
	if !q.Prefix.IsSingleIP() {
		if x.reverse[q.Prefix] > 0 {
			d.Reason = ReasonNonTerminal
		}
		return
	}
	if x.owners(q.Prefix.Addr()) > 0 {
		var v View
		x.lookupReverse(&v, q.Prefix, room)
		if d.Overlong = v.Outcome != Found && v.Overlong > 0; !d.Overlong {
			d.Reason = ReasonChanged
		}
		return
	}
	for e := x.byAddr.first(q.Prefix.Addr().As16()); e != nil && !d.Seen; e = x.byAddr.after(e) {
		d.Seen = e.svc.claimsEndpoints()
	}
}

// denyService returns why the name of svc, or one below it, does not own a record.
func (x *Index) denyService(d *Denial, svc *service, q *qname.Name) Reason {
	switch {
	case svc.spec.Kind == model.ExternalName:
		return ReasonExternal
	case q.Scope != qname.Everywhere && svc.spec.Kind != model.Headless:
		return ReasonTopology
	case q.Scope == qname.Everywhere && q.Hostname != "":
		return x.denyHostname(d, svc, q)
	case svc.spec.Kind == model.ClusterIP && len(svc.spec.ClusterIPs) == 0:
		return ReasonClusterIP
	case svc.states[model.Ready] == 0 && (svc.spec.Kind == model.Headless || x.ignoreEmpty):
		return ReasonNoneReady
	case q.Scope == qname.ScopeName:
		return ReasonNonTerminal
	case q.Scope != qname.Everywhere:
		return ReasonTopology
	case svc.spec.Kind == model.ClusterIP:
		d.suggestPorts(svc.spec.Ports, q)
		return denyPort(portOutcome(svc.spec.Ports, q))
	}
	best := NameError
	for _, g := range svc.groups {
		best = max(best, portOutcome(g.ports, q))
	}
	for _, g := range svc.groups[:min(len(svc.groups), maxLooks)] {
		d.suggestPorts(g.ports, q)
	}
	d.Ports.More = d.Ports.More || len(svc.groups) > maxLooks
	return denyPort(best)
}

// denyHostname returns why the name of an endpoint, or one below it, does not own a record.
func (x *Index) denyHostname(d *Denial, svc *service, q *qname.Name) Reason {
	known, answering, best := false, 0, NameError
	least := x.leastAnswering(svc, q, math.MaxInt)
	for e := range x.named(svc, q, math.MaxInt) {
		known, d.State = true, max(d.State, e.state)
		if e.state < least {
			continue
		}
		ports := e.ports()
		best = max(best, portOutcome(ports, q))
		if answering++; answering <= maxLooks {
			d.suggestPorts(ports, q)
		} else {
			d.Ports.More = true
		}
	}
	switch {
	case answering > 0:
		return denyPort(best)
	case known:
		return ReasonNotReady
	case q.Cluster && x.hasCluster(svc, q.Hostname):
		return ReasonNonTerminal
	}
	return ReasonHostname
}

// denyPort returns why a name for which the ports have the outcome o does not own a record.
func denyPort(o Outcome) Reason {
	switch o {
	case NameError:
		return ReasonPort
	case NonTerminal:
		return ReasonNonTerminal
	}
	return ReasonChanged
}

// suggestPorts notes those of ports that are near the one that q asks for.
func (d *Denial) suggestPorts(ports []model.Port, q *qname.Name) {
	if !d.Suggest {
		return
	}
	for i, p := range ports {
		if i == maxLooks {
			d.Ports.More = true
			return
		}
		if p.Name() == "" {
			d.Unnamed = true
			continue
		}
		like := Likeness(p.Name(), q.Port)
		if p.Proto() == q.Proto {
			like++
		}
		d.Ports.offer(p.Labels.Value(), like)
	}
}

// suggestNames notes names of ready endpoints of svc that are near the one that q asks for: what
// clients could learn from SRV records. It tries some names that are likely, or else those that the
// pods of a StatefulSet begin with, and those of the first endpoints there are.
func (x *Index) suggestNames(near *Nearest[model.Label], svc *service, q *qname.Name) {
	if q.Addr.IsValid() {
		for e := x.byAddr.first(q.Addr.As16()); e != nil; e = x.byAddr.after(e) {
			if e.svc == svc && e.state == model.Ready {
				near.offer(e.ownLabel(), len(q.Hostname)) // that is what it is called
			}
		}
	}
	likelyNames := neighbours(q.Hostname, svc.name)
	for i, name := range likelyNames {
		like := Likeness(name, q.Hostname)
		if i < likely {
			like = len(q.Hostname)
		}
		if x.hasReady(hostKey{svc, name}) {
			near.offer(model.Label{Name: name}, like)
		}
	}
	if likelyNames[0] == "" && len(svc.groups) > 0 {
		first := svc.groups[0].targets[0].name
		if stem := strings.TrimRight(first, "0123456789"); stem != first {
			for number := range MaxNear {
				if name := stem + strconv.Itoa(number); x.hasReady(hostKey{svc, name}) {
					near.offer(model.Label{Name: name}, Likeness(name, q.Hostname))
				}
			}
		}
	}
	looks := 0
	var room [model.MaxDashed]byte
	for _, g := range svc.groups {
		for _, e := range g.targets {
			if looks++; looks > maxLooks {
				near.More = true
				return
			}
			name := e.name
			if name == "" {
				name = string(model.AppendDashed(room[:0], e.addr()))
			}
			near.offer(e.ownLabel(), Likeness(name, q.Hostname))
		}
	}
}

// hasReady reports whether one of the first endpoints with a name is ready.
func (x *Index) hasReady(key hostKey) bool {
	if key.name == "" {
		return false
	}
	e := x.byName.first(key)
	for i := 0; e != nil && i < maxLooks; i++ {
		if e.state == model.Ready {
			return true
		}
		e = x.byName.after(e)
	}
	return false
}

// ownLabel returns e's label without what does not belong to it: the address of one that has a name.
func (e *endpoint) ownLabel() model.Label {
	if e.name != "" {
		return model.Label{Name: e.name}
	}
	return e.label()
}

// likely is how many of the names that neighbours returns are taken to be nearer than any other.
const likely = 3

// neighbours returns names that endpoints of a Service may have if they are numbered, as those of a
// StatefulSet are, and label is a mistake for one of them. They are "" if label does not end in a
// number.
func neighbours(label, service string) (names [6]string) {
	label, cluster, _ := strings.Cut(label, ".")
	stem := strings.TrimRight(label, "0123456789")
	n, err := strconv.ParseInt(label[len(stem):], 10, 32)
	if err != nil {
		return names
	}
	if cluster != "" {
		cluster = "." + cluster
	}
	var text strings.Builder // one piece of memory for them
	text.Grow(len(names) * (max(len(stem), len(service)+len("-")) + len("2147483648") + len(cluster)))
	for i, number := range [...]int64{n - 1, n + 1, n, 0, 1, 2} {
		start := text.Len()
		if i == likely-1 {
			text.WriteString(service)
			text.WriteByte('-')
		} else {
			text.WriteString(stem)
		}
		var digits [20]byte
		text.Write(strconv.AppendInt(digits[:0], number, 10))
		text.WriteString(cluster)
		names[i] = text.String()[start:]
	}
	return names
}
