package headless

import (
	"net/http"
	"testing"

	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// TestMissingImportsHoldUpNoOtherZone: where the API server has no ServiceImports, the multicluster zones wait for them, and
// nothing else does.
func TestMissingImportsHoldUpNoOtherZone(t *testing.T) {
	t.Parallel()
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"), kubetest.Service("web", "10.96.0.7"), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "alias"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "far.ns.svc.clusterset.local"},
	}, &mcsv1beta1.ServiceImport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "far"}, Spec: mcsv1beta1.ServiceImportSpec{Type: mcsv1beta1.ClusterSetIP, IPs: []string{"10.112.0.7"}},
	})
	api.Lack(kube.Imports)
	h := newTestHeadlessFrom(t, "headless clusterset.local cluster.local in-addr.arpa {\nmulticluster clusterset.local\nendpoint "+api.URL+"\nstartup_timeout 0s\n}")
	h.start()
	t.Cleanup(h.stop)
	kubetest.Eventually(t, "ready without the imports", h.Ready)
	edns := func(r *dns.Msg) { r.SetEdns0(1232, false) }
	for question, want := range map[string]int{
		"web.ns.svc.cluster.local. A": noError, "7.0.96.10.in-addr.arpa. PTR": noError, "nobody.ns.svc.cluster.local. A": nxName, "cluster.local. SOA": noError,
		"far.ns.svc.clusterset.local. A": dns.RcodeServerFailure, "nobody.ns.svc.clusterset.local. A": dns.RcodeServerFailure, "clusterset.local. SOA": dns.RcodeServerFailure,
		"alias.ns.svc.cluster.local. A": dns.RcodeServerFailure, "alias.ns.svc.cluster.local. TXT": noError,
	} {
		m := ask(t, h, question, edns)
		if m.Rcode != want {
			t.Errorf("%s: %s, want %s", question, dns.RcodeToString[m.Rcode], dns.RcodeToString[want])
		}
		if said := hostile.ExtendedErrors(m); want == dns.RcodeServerFailure && len(said) != 1 {
			t.Errorf("%s: said %v, want why", question, said)
		}
	}
	for zone, want := range map[string]bool{"cluster.local.": true, "in-addr.arpa.": true, "clusterset.local.": false} {
		ch, err := h.Transfer(zone, 0)
		if (err == nil) != want {
			t.Errorf("a transfer of %s: %v, want %v", zone, err, want)
		}
		for err == nil {
			if _, more := <-ch; !more {
				break
			}
		}
	}
	api.Lack("")
	kubetest.Eventually(t, "the imports are there", func() bool {
		return ask(t, h, "far.ns.svc.clusterset.local. A").Rcode == noError && ask(t, h, "alias.ns.svc.cluster.local. A").Rcode == noError
	})
}

// TestImportsWithoutSlicesHoldUpNoZone: a multicluster zone answers without the EndpointSlices of ServiceImports where none of these
// has any, and waits for them as soon as one may have some.
func TestImportsWithoutSlicesHoldUpNoZone(t *testing.T) {
	t.Parallel()
	imported := func(name string, ips ...string) *mcsv1beta1.ServiceImport {
		si := &mcsv1beta1.ServiceImport{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: mcsv1beta1.ServiceImportSpec{Type: mcsv1beta1.ClusterSetIP, IPs: ips},
			Status: mcsv1beta1.ServiceImportStatus{EndpointSliceObjects: mcsv1beta1.EndpointSliceObjectsAbsent},
		}
		if len(ips) == 0 {
			si.Spec.Type = mcsv1beta1.Headless
		}
		return si
	}
	api := kubetest.NewServer(t)
	slice := kubetest.Slice("pods-east", "", "10.20.0.1", "pod-0")
	slice.Labels = map[string]string{mcsv1beta1.LabelServiceName: "pods", mcsv1beta1.LabelSourceCluster: "east"}
	api.Put(kubetest.Namespace("ns"), imported("far", "10.112.0.7"), imported("pods"), slice)
	api.Intercept(func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc) {
		if kubetest.NewRequest(r).Selector == mcsv1beta1.LabelServiceName {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		server(w, r)
	})
	h := newTestHeadlessFrom(t, "headless clusterset.local cluster.local {\nmulticluster clusterset.local\nendpoint "+api.URL+"\nstartup_timeout 0s\n}")
	h.start()
	t.Cleanup(h.stop)
	answers := func(name string, want int) {
		t.Helper()
		kubetest.Eventually(t, name+" is "+dns.RcodeToString[want], func() bool { return ask(t, h, name+".ns.svc.clusterset.local. A").Rcode == want })
	}
	answers("far", noError)
	answers("pods", nxName)
	mayHave := imported("pods")
	mayHave.Status.EndpointSliceObjects = mcsv1beta1.EndpointSliceObjectsPresent
	api.Put(mayHave)
	answers("pods", dns.RcodeServerFailure)
	answers("far", dns.RcodeServerFailure)
	api.Intercept(nil)
	answers("pods", noError)
	answers("pod-0.east.pods", noError)
}
