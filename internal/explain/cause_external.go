package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
)

// externalCauses: the Service is an ExternalName whose target gives nothing.
func (q *inquiry) externalCauses() []cause {
	if !q.is(model.ExternalName) {
		return nil
	}
	target := q.svc.Spec.ExternalName
	fix := q.pointTo("THE RIGHT NAME")
	_, err := netip.ParseAddr(target)
	a := &q.answers[0]
	long := q.longFor(target)
	switch {
	case q.fqdn != q.below(q.Service, q.Namespace):
		return one("external-name-below", "ask for "+q.shown(q.Service, q.Namespace),
			"%s is an ExternalName, and there are no names below one", q.service())
	case err == nil:
		return one("external-name-address", "make it a headless Service without a selector, and an EndpointSlice with the address",
			"%s has the ExternalName %s, which is an address and not a name: no CNAME can lead to it", q.service(), target)
	case len(a.cnames) == 0:
		return one("external-name-invalid", fix, "%s has the ExternalName %q, which is not a name", q.service(), target)
	case long != "":
		return one("external-name-short", q.pointTo(long),
			"%s has the ExternalName %s, which is taken as it is: an ExternalName is not searched, as a name in a pod is", q.service(), target)
	case a.Outside != "":
		return one("external-name-outside", "say which name server to ask for it, by the flag resolver",
			"%s leads to %s, outside the cluster; %s", q.service(), trimmed(a.Outside), cmp.Or(a.Failure, "no name server was asked for that name"))
	}
	path := q.path()
	last := path[len(path)-1]
	if slices.Contains(path[:len(path)-1], last) {
		if n := len(path); n > 2*few {
			path = slices.Concat(path[:few], []string{"…"}, path[n-few:])
		}
		return one("external-name-loop", fix, "%s leads in a circle: %s", q.service(), strings.Join(each(path, trimmed), " → "))
	}
	end := newInquiry(q.s, q.c, last, q.types)
	leads := end.outcome() == found || end.outcome() == outside
	switch followed := len(a.cnames); {
	case leads && !slices.Contains(addressTypes, q.types[0]):
		return one("external-name-type", "ask for "+trimmed(last),
			"%s is a CNAME, which leads to %s; a server follows it for A and AAAA only, so the answer for %s is the CNAME alone",
			q.service(), trimmed(last), a.Type)
	case leads && followed < len(path)-1:
		return one("external-name-chain", q.pointTo(trimmed(last)),
			"%s leads through %d CNAMEs to %s; a server follows no more than %d for one query, and the resolver of a pod does not go on from there",
			q.service(), len(path)-1, trimmed(last), followed)
	case end.outcome() == nodata && end.Service != "", end.exists():
		return end.causes() // the target exists, and what is wrong is wrong with the target
	}
	outcome, why := a.outcome(), []cause(nil)
	if end.Zone != "" { // the server may have given up before the end of the path
		outcome, why = end.outcome(), end.causes()
	}
	what := map[string]string{nodata: "has no such records", nxdomain: "does not exist"}[outcome]
	return append(one("external-name-dead", fix, "%s is a CNAME for %s, and that name %s (%s)",
		q.service(), trimmed(last), cmp.Or(what, "cannot be resolved"), outcome), why...)
}

// longFor returns the whole name that a pod of the Namespace would find by a short one, if it is that of another Service or below it.
// It returns "" if no such name exists.
func (q *inquiry) longFor(short string) string {
	for _, suffix := range []string{q.below(q.Namespace), q.below(), q.Zone} {
		long := newInquiry(q.s, q.c, trimmed(short)+"."+suffix, q.types)
		if long.svc != q.svc && long.exists() {
			return trimmed(long.fqdn)
		}
	}
	return ""
}

// pointTo returns a command that gives the Service another ExternalName.
func (q *inquiry) pointTo(target string) string {
	return kubectl(q.Namespace, "patch", "service", q.Service, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"externalName":%q}}`, target))
}

// path returns the FQDNs that the CNAMEs lead through, beginning with the name itself. It goes on where a server stops following
// CNAMEs for one query. The last FQDN either has no CNAME that is known here, or stands in the path twice.
func (q *inquiry) path() []string {
	path := []string{q.fqdn}
	for a := q.answers[0]; len(a.cnames) > 0; a = q.s.ask(path[len(path)-1], q.types[0]) {
		for _, target := range a.cnames {
			path = append(path, target)
			if slices.Contains(path[:len(path)-1], target) {
				return path
			}
		}
	}
	return path
}
