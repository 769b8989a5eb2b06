package headless

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

// denial says why a lookup found nothing. It belongs to the caller.
type denial struct {
	cause cause
	kind  serviceKind // of the Service
}

// why returns why lookup does not find a name that owns a record for q. q.kind is namespaceName, serviceName or reverseName.
func (x *index) why(q *query) (d denial) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	switch {
	case q.kind == reverseName:
		d.cause = x.whyReverse(q)
	case !x.exposed(q.namespace):
		d.cause = causeNamespace
	case q.kind == namespaceName:
		d.cause = causeNonTerminal
	default:
		svc := x.peek(q.namespace, q.service)
		if svc == nil || !svc.shown {
			d.cause = causeService
			return d
		}
		d.kind = svc.spec.kind
		d.cause = x.whyService(svc, q)
	}
	return d
}

// whyReverse returns why a reverse name does not own a record.
func (x *index) whyReverse(q *query) cause {
	if !q.prefix.IsSingleIP() && x.reverse[q.prefix] > 0 {
		return causeNonTerminal
	}
	return causeReverse
}

// whyService returns why the name of svc, or one below it, does not own a record.
func (x *index) whyService(svc *service, q *query) cause {
	switch {
	case svc.spec.kind == externalName:
		return causeExternal
	case q.scope != everywhere && svc.spec.kind != headless:
		return causeZone
	case q.scope == everywhere && q.hostname != "":
		return x.whyHostname(svc, q)
	case svc.spec.kind == clusterIP && len(svc.spec.clusterIPs) == 0:
		return causeClusterIP
	case svc.states[ready] == 0 && (svc.spec.kind == headless || x.ignoreEmpty):
		return causeNoneReady
	case q.scope == scopeName:
		return causeNonTerminal
	case q.scope != everywhere:
		return causeZone
	case svc.spec.kind == clusterIP:
		return whyPort(portOutcome(svc.spec.ports, q))
	}
	best := nameError
	for _, g := range svc.groups {
		best = max(best, portOutcome(g.ports, q))
	}
	return whyPort(best)
}

// whyHostname returns why the name of an endpoint, or one below it, does not own a record.
func (x *index) whyHostname(svc *service, q *query) cause {
	answers, least, best := false, x.leastAnswering(svc, q), nameError
	known := false
	for e := range x.named(svc, q) {
		known = true
		if e.state >= least {
			answers = true
			best = max(best, portOutcome(e.ports(), q))
		}
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
