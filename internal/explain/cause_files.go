package explain

import (
	"fmt"
	"slices"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/output"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// dump is the command that writes all that bears on names.
const dump = "kubectl get ns,svc,endpointslices,pods,statefulsets -A -o yaml > dump.yaml"

// lackingFiles: the files do not hold what could tell whether the name resolves.
func (q *inquiry) lackingFiles() []cause {
	services := in[*corev1.Service](q.c, "")
	switch {
	case !q.c.inFiles || q.Zone == "" || q.Multicluster:
		return nil
	case len(services) == 0 && q.isService() && q.governed() == nil:
		return one("files-without-services", "give the files with the Services, or dump them:\n"+dump,
			"these files hold no Service, and names are those of Services")
	case q.svc == nil || q.is(model.ExternalName) || len(q.c.slicesOf(q.svc)) > 0 || q.Hostname == "" && !q.is(model.Headless):
		return nil
	case len(in[*discoveryv1.EndpointSlice](q.c, "")) > 0 || q.c.hasPods():
		return nil
	}
	return one("files-without-slices", "dump them with the rest:\n"+dump+"\nor give the workloads with the Service, of which the pods are foreseen",
		"these files hold no EndpointSlices, and no pods or workloads that %s selects, so what is behind it is not known", q.service())
}

// emptyNotes says that nothing is behind the address of a Service, which resolves nevertheless.
func (q *inquiry) emptyNotes() []string {
	if q.svc == nil || !q.is(model.ClusterIP) || q.Hostname != "" {
		return nil
	}
	isKnown := q.c.whyUnknown(kube.Slices, q.Namespace) == "" && (!q.c.inFiles || len(q.c.slicesOf(q.svc)) > 0 || q.c.hasPods())
	switch {
	case !isKnown || slices.ContainsFunc(q.endpoints, endpoint.ready):
		return nil
	case len(q.endpoints) > 0:
		return []string{fmt.Sprintf("nothing answers behind the address: %s has %s, and none of them is ready", q.service(), output.Count(len(q.endpoints), "endpoint"))}
	case len(q.svc.Spec.Selector) == 0:
		return []string{fmt.Sprintf("nothing is behind the address: %s has no selector, and no EndpointSlice", q.service())}
	}
	why := "no pod with an address matches its selector, " + pairs(q.svc.Spec.Selector)
	if len(q.pods) == 0 && q.c.whyUnknown(kube.Pods, q.Namespace) == "" {
		why = q.selectorCauses()[0].Text
	}
	return []string{"nothing is behind the address: " + why}
}
