package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// externalCauses: the Service is an ExternalName whose target gives nothing.
func (q *inquiry) externalCauses() []cause {
	if !q.isExternal() {
		return nil
	}
	target := q.svc.Spec.ExternalName
	fix := kubectl(q.namespace, "patch", "service", q.service, "--type=merge", "-p", `{"spec":{"externalName":"THE RIGHT NAME"}}`)
	_, err := netip.ParseAddr(target)
	a := &q.answers[0]
	switch {
	case q.hostname != "" || q.proto != "":
		return one("external-name-below", "ask for "+q.shown(q.service, q.namespace),
			"Service %s/%s is an ExternalName, and there are no names below one", q.namespace, q.service)
	case err == nil:
		return one("external-name-address", "make it a headless Service without a selector, and an EndpointSlice with the address",
			"Service %s/%s has the ExternalName %s, which is an address and not a name: no CNAME can lead to it", q.namespace, q.service, target)
	case len(a.cnames) == 0:
		return one("external-name-invalid", fix, "Service %s/%s has the ExternalName %q, which is not a name", q.namespace, q.service, target)
	case a.Outside != "":
		return one("external-name-outside", "say which name server to ask for it: -resolver ADDRESS",
			"Service %s/%s leads to %s, outside the cluster; %s", q.namespace, q.service, trimmed(a.Outside), cmp.Or(a.Failure, "nobody was asked for that name"))
	}
	last := a.cnames[len(a.cnames)-1]
	if last == q.fqdn || slices.Contains(a.cnames[:len(a.cnames)-1], last) {
		circle := strings.ReplaceAll(strings.Join(append([]string{q.fqdn}, a.cnames...), " → ")+" ", ". ", " ")
		return one("external-name-loop", fix, "Service %s/%s leads in a circle: %s", q.namespace, q.service, circle)
	}
	end := newInquiry(q.s, q.c, last, q.types)
	what := fmt.Sprintf("does not exist (%s)", a.Rcode)
	if a.Rcode == "NOERROR" {
		what = "has no such records (NODATA)"
	}
	causes := one("external-name-dead", fix, "Service %s/%s is a CNAME for %s, and that name %s", q.namespace, q.service, trimmed(last), what)
	if end.zone != "" && len(end.answers[0].cnames) == 0 { // else the chain is longer than a server follows, or has no end
		causes = append(causes, end.causes()...)
	}
	return causes
}
