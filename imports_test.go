package headless

import (
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
