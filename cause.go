package headless

import (
	"strconv"
	"strings"
)

// cause says why a name has no record of the type asked for.
type cause uint8

const (
	noCause          cause = iota // it has one
	causeSyntax                   // no name has this form
	causeNamespace                // there is no such Namespace, or it is not exposed
	causeService                  // there is no such Service in the Namespace
	causeExternal                 // the Service is an ExternalName: what is below it, or one that leads nowhere
	causeClusterIP                // the Service has no ClusterIP
	causeNoneReady                // the Service has no ready endpoint
	causeHostname                 // the Service has no endpoint of that name
	causeNotReady                 // the endpoint of that name does not count
	causePort                     // the Service, or the endpoint, has no such port
	causeZone                     // the Service has no ready endpoint in that topology zone
	causePod                      // the name below pod is none, or no Pod's
	causeReverse                  // nothing here has the address, or one below the name
	causeTarget                   // the target of a CNAME does not exist, or not with that type
	causeNonTerminal              // the name exists only for what is below it
	causeType                     // the name has records of other types only
	causeChanged                  // by the time the cause was looked for, there was none any more
)

// causeTexts are for metrics. They do not change.
var causeTexts = [...]string{
	noCause:          "",
	causeSyntax:      "syntax",
	causeNamespace:   "namespace",
	causeService:     "service",
	causeExternal:    "external_name",
	causeClusterIP:   "no_cluster_ip",
	causeNoneReady:   "no_ready_endpoints",
	causeHostname:    "hostname",
	causeNotReady:    "hostname_not_ready",
	causePort:        "port",
	causeZone:        "zone",
	causePod:         "pod",
	causeReverse:     "reverse",
	causeTarget:      "target",
	causeNonTerminal: "empty_non_terminal",
	causeType:        "type",
	causeChanged:     "changed",
}

// String returns the name of c: short, and fit for a metric's label.
func (c cause) String() string { return causeTexts[c] }

const (
	maxNear  = 3  // names that a denial suggests
	maxLooks = 16 // endpoints, or ports, that are looked at to find them, besides those whose names are guessed
)

// denial says why a lookup found nothing.
type denial struct {
	suggest bool // ports and names are wanted
	cause   cause
	kind    serviceKind // of the Service
	states  [3]int32    // its endpoints by state
	byHand  bool        // it has no selector
	state   state       // with causeNotReady: of the endpoint
	// ports are some that there are, with causePort. unnamed says that there are some without a name.
	ports   nearest[portLabels]
	unnamed bool
	// names are those of some ready endpoints, with causeHostname. A name that is not "" stands without its address.
	names nearest[hostLabel]
	// seen says, with causeReverse, that an endpoint that is not ready has the address.
	seen bool
}

// nearest holds the few of many things whose names are most like a label, the most like first. Of those that are equally like it
// the first that were offered are kept.
type nearest[T comparable] struct {
	things   [maxNear]T
	likeness [maxNear]int
	n        int
	more     bool // there are others
}

// all returns what n holds.
func (n *nearest[T]) all() []T { return n.things[:n.n] }

// offer adds t if it is not there, and more like the label than what n holds, or there is room.
func (n *nearest[T]) offer(t T, likeness int) {
	at := 0
	for i := range n.n {
		if n.things[i] == t {
			return
		}
		if n.likeness[i] >= likeness {
			at = i + 1
		}
	}
	if n.n < maxNear {
		n.n++
	} else {
		n.more = true
	}
	if at < maxNear {
		copy(n.things[at+1:], n.things[at:])
		copy(n.likeness[at+1:], n.likeness[at:])
		n.things[at], n.likeness[at] = t, likeness
	}
}

// likeness returns how much a and b are alike: it grows with the octets at their starts and ends that are the same.
func likeness(a, b string) int {
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

// why says in d, which is empty, why lookup finds no name for q that owns a record. q.kind is namespaceName, serviceName or
// reverseName. It costs what the lookup does, and a little that does not depend on what x holds.
func (x *index) why(d *denial, q *query) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	switch {
	case q.kind == reverseName:
		x.whyReverse(d, q)
	case !x.exposed(q.namespace):
		d.cause = causeNamespace
	case q.kind == namespaceName:
		d.cause = causeNonTerminal
	default:
		svc := x.peek(q.namespace, q.service)
		if svc == nil || !svc.shown {
			d.cause = causeService
			return
		}
		d.kind, d.states, d.byHand = svc.spec.kind, svc.states, !svc.spec.selector
		d.cause = x.whyService(d, svc, q)
		if d.suggest && d.cause == causeHostname {
			x.suggestNames(&d.names, svc, q)
		}
	}
}

// whyReverse says why a reverse name does not own a record.
func (x *index) whyReverse(d *denial, q *query) {
	d.cause = causeReverse
	if !q.prefix.IsSingleIP() {
		if x.reverse[q.prefix] > 0 {
			d.cause = causeNonTerminal
		}
		return
	}
	if x.owners(q.prefix.Addr()) > 0 {
		d.cause = causeChanged
	}
	for e := x.byAddr.first(q.prefix.Addr().As16()); e != nil && !d.seen; e = x.byAddr.after(e) {
		d.seen = e.svc.claimsEndpoints()
	}
}

// whyService returns why the name of svc, or one below it, does not own a record.
func (x *index) whyService(d *denial, svc *service, q *query) cause {
	switch {
	case svc.spec.kind == externalName:
		return causeExternal
	case q.scope != everywhere && svc.spec.kind != headless:
		return causeZone
	case q.scope == everywhere && q.hostname != "":
		return x.whyHostname(d, svc, q)
	case svc.spec.kind == clusterIP && len(svc.spec.clusterIPs) == 0:
		return causeClusterIP
	case svc.states[ready] == 0 && (svc.spec.kind == headless || x.ignoreEmpty):
		return causeNoneReady
	case q.scope == scopeName:
		return causeNonTerminal
	case q.scope != everywhere:
		return causeZone
	case svc.spec.kind == clusterIP:
		d.suggestPorts(svc.spec.ports, q)
		return whyPort(portOutcome(svc.spec.ports, q))
	}
	best := nameError
	for _, g := range svc.groups {
		best = max(best, portOutcome(g.ports, q))
	}
	for _, g := range svc.groups[:min(len(svc.groups), maxLooks)] {
		d.suggestPorts(g.ports, q)
	}
	return whyPort(best)
}

// whyHostname returns why the name of an endpoint, or one below it, does not own a record.
func (x *index) whyHostname(d *denial, svc *service, q *query) cause {
	known, answers, best := false, false, nameError
	least := x.leastAnswering(svc, q)
	for e := range x.named(svc, q) {
		known, d.state = true, max(d.state, e.state)
		if e.state < least {
			continue
		}
		ports := e.ports()
		best = max(best, portOutcome(ports, q))
		if !answers { // those of the others are the same, as a rule
			d.suggestPorts(ports, q)
		}
		answers = true
	}
	switch {
	case answers:
		return whyPort(best)
	case known:
		return causeNotReady
	case q.cluster && x.hasCluster(svc, q.hostname):
		return causeNonTerminal
	}
	return causeHostname
}

// whyPort returns why a name for which the ports have the outcome o does not own a record.
func whyPort(o outcome) cause {
	switch o {
	case nameError:
		return causePort
	case nonTerminal:
		return causeNonTerminal
	}
	return causeChanged
}

// suggestPorts notes those of ports that are near the one that q asks for.
func (d *denial) suggestPorts(ports []port, q *query) {
	if !d.suggest {
		return
	}
	for i, p := range ports {
		if i == maxLooks {
			d.ports.more = true
			return
		}
		if p.name() == "" {
			d.unnamed = true
			continue
		}
		like := likeness(p.name(), q.port)
		if p.proto() == q.proto {
			like++
		}
		d.ports.offer(p.labels.Value(), like)
	}
}

// suggestNames notes names of ready endpoints of svc that are near the one that q asks for: what clients could learn from SRV
// records. It tries some names that are likely, and those of the first endpoints there are.
func (x *index) suggestNames(near *nearest[hostLabel], svc *service, q *query) {
	if q.addr.IsValid() {
		for e := x.byAddr.first(q.addr.As16()); e != nil; e = x.byAddr.after(e) {
			if e.svc == svc && e.state == ready {
				near.offer(e.ownLabel(), len(q.hostname)) // that is what it is called
			}
		}
	}
	for i, name := range neighbours(q.hostname, svc.name) {
		like := likeness(name, q.hostname)
		if i < likely {
			like = len(q.hostname)
		}
		if x.hasReady(hostKey{svc, name}) {
			near.offer(hostLabel{name: name}, like)
		}
	}
	looks := 0
	var room [maxDashed]byte
	for _, g := range svc.groups {
		for _, e := range g.targets {
			if looks++; looks > maxLooks {
				near.more = true
				return
			}
			name := e.name
			if name == "" {
				name = string(appendDashed(room[:0], e.addr()))
			}
			near.offer(e.ownLabel(), likeness(name, q.hostname))
		}
	}
}

// hasReady reports whether one of the first endpoints with a name is ready.
func (x *index) hasReady(key hostKey) bool {
	if key.name == "" {
		return false
	}
	e := x.byName.first(key)
	for i := 0; e != nil && i < maxLooks; i++ {
		if e.state == ready {
			return true
		}
		e = x.byName.after(e)
	}
	return false
}

// ownLabel returns e's label without what does not belong to it: the address of one that has a name.
func (e *endpoint) ownLabel() hostLabel {
	if e.name != "" {
		return hostLabel{name: e.name}
	}
	return e.label()
}

// likely is how many of the names that neighbours returns are taken to be nearer than any other.
const likely = 3

// neighbours returns names that endpoints of a Service may have if they are numbered, as those of a StatefulSet are, and label is
// a mistake for one of them. They are "" if label does not end in a number.
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
