//go:build !kubernetes

package oracle

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// TestDifferentialPortEdit edits the port of a Service of 1,000 ready pods as the control plane does: it overwrites the slices in
// place, one by one, with the new port and with other endpoints. No pod changes, so each denial is wrong.
func TestDifferentialPortEdit(t *testing.T) {
	const (
		pods    = 1000
		perPage = 100
	)
	page := func(n int, port string, members []int) *discoveryv1.EndpointSlice {
		es := kubetest.EmptySlice(fmt.Sprint("web-", n), "web")
		es.Ports[0].Name = &port
		for _, pod := range members {
			es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.1.%d.%d", pod/250, pod%250+1)}, Hostname: new(fmt.Sprint("web-", pod)),
			})
		}
		return es
	}
	order := make([]int, pods)
	for pod := range order {
		order[pod] = pod
	}
	c := &cluster{make(map[clusterKey]kubetest.Object)}
	c.put(kubetest.Namespace("ns"))
	c.put(kubetest.Service("web", corev1.ClusterIPNone))
	for n := range pods / perPage {
		c.put(page(n, "http", order[n*perPage:(n+1)*perPage]))
	}
	p := newPair(t, configOf(t, "cluster.local", ""), "cluster.local", "", c)
	// The default of 5 s is more than this takes, but not on every machine and under the race detector.
	holding := p.watcher("hold 1m")
	p.settle()

	denials := map[string]int{}
	ask := func() {
		for name, h := range map[string]*asked{"hold 1m": holding, "hold 0s": p.ours, "stock": p.stock} {
			for pod := range pods {
				m := h.ask(fmt.Sprintf("web-%d.web.ns.svc.cluster.local.", pod), dns.TypeA)
				if len(m.Answer) != 1 {
					denials[name]++
				}
			}
		}
	}
	ask()
	if len(denials) > 0 {
		t.Fatalf("before the edit: %v", denials)
	}
	r := rand.New(rand.NewPCG(1, 0))
	r.Shuffle(pods, func(i, j int) { order[i], order[j] = order[j], order[i] })
	for n := range pods / perPage {
		p.api.Put(page(n, "web", order[n*perPage:(n+1)*perPage]))
		p.settle()
		ask()
	}
	t.Logf("wrong denials among %d questions to each: %v", pods*pods/perPage, denials)
	if denials["hold 1m"] > 0 || denials["hold 0s"] == 0 || denials["stock"] == 0 {
		t.Error("want none with hold 1m, and some with the others, for which there must be something to hold")
	}
}
