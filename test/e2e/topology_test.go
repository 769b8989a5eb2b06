package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// spread is a headless Service with pods in three zones. The verb is its traffic distribution.
const spread = `
{apiVersion: v1, kind: Service, metadata: {name: spread, namespace: default}, spec: {clusterIP: None, trafficDistribution: %s, ports: [{name: sql, port: 5432}], selector: {app: spread}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: spread, namespace: default}
spec:
  serviceName: spread
  replicas: 12
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: spread}}
  template:
    metadata: {labels: {app: spread}}
    spec: {containers: [{name: c, image: pause}]}
`

// somewhere is the address of a client that nobody knows.
var somewhere = netip.MustParseAddr("192.0.2.1")

// placed is a pod, and where it is.
type placed struct {
	addr             netip.Addr
	name, node, zone string
	ready            bool
}

// placesOf returns where the pods of a cluster's Service spread are.
func placesOf(ctx context.Context, c *cluster.Cluster) (pods []placed, err error) {
	nodes, err := c.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	zones := make(map[string]string)
	for i := range nodes.Items {
		zones[nodes.Items[i].Name] = nodes.Items[i].Labels[corev1.LabelTopologyZone]
	}
	list, err := c.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=spread"})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		addr, err := netip.ParseAddr(pod.Status.PodIP)
		if err != nil {
			return nil, fmt.Errorf("pod %s has no address yet", pod.Name)
		}
		p := placed{addr: addr, name: pod.Name, node: pod.Spec.NodeName, zone: zones[pod.Spec.NodeName]}
		for _, cond := range pod.Status.Conditions {
			p.ready = p.ready || cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue
		}
		pods = append(pods, p)
	}
	return pods, nil
}

// meantFor returns the addresses that a client should get, as kube-proxy would choose.
func meantFor(pods []placed, client placed, distribution string) []string {
	those := func(counts func(placed) bool) (addrs []string) {
		for _, p := range pods {
			if p.ready && counts(p) {
				addrs = append(addrs, p.addr.String())
			}
		}
		slices.Sort(addrs)
		return addrs
	}
	choices := [][]string{those(func(placed) bool { return true })}
	if client.zone != "" && distribution != "null" {
		choices = append(choices, those(func(p placed) bool { return p.zone == client.zone }))
	}
	if client.node != "" && distribution == "PreferSameNode" {
		choices = append(choices, those(func(p placed) bool { return p.node == client.node }))
	}
	for _, addrs := range slices.Backward(choices) {
		if len(addrs) > 0 {
			return addrs
		}
	}
	return nil
}

// askAs asks a server for the Service on behalf of a client, as a forwarder does.
func askAs(ctx context.Context, server string, client netip.Addr) ([]string, error) {
	q := dnstest.Query("spread.default.svc.cluster.local.", dns.TypeA, 1232)
	opt := q.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: client.AsSlice()})
	m, _, err := new(dns.Client).ExchangeContext(ctx, q, server)
	if err != nil {
		return nil, err
	}
	addrs := dnstest.Data(m.Answer)
	slices.Sort(addrs)
	return addrs, nil
}

// TestClientsGetTheEndpointsNearThem: of a StatefulSet over three zones, by its trafficDistribution, while that changes and while the
// pods near a client are not ready. A server without the option gives all.
func TestClientsGetTheEndpointsNearThem(t *testing.T) {
	c := startCluster(t)
	near := startServer(t, c, "headless", "topology hints", "client_subnet 127.0.0.1")
	all := startServer(t, c, "headless", "client_subnet 127.0.0.1")
	check := func(what, distribution string, least int) {
		t.Helper()
		eventually(t, 30*time.Second, func(ctx context.Context) error {
			pods, err := placesOf(ctx, c)
			if err != nil {
				return err
			}
			zones := make(map[string]bool)
			for _, p := range pods {
				zones[p.zone] = true
			}
			if len(pods) != 12 || len(zones) != 3 {
				return fmt.Errorf("%s: %d pods in the zones %q", what, len(pods), slices.Collect(maps.Keys(zones)))
			}
			sizes := make(map[int]bool)
			for _, client := range append(pods, placed{addr: somewhere}) {
				for server, distribution := range map[string]string{near.Addr: distribution, all.Addr: "null"} {
					got, err := askAs(ctx, server, client.addr)
					if err != nil {
						return fmt.Errorf("%s: %w", what, err)
					}
					if want := meantFor(pods, client, distribution); !slices.Equal(got, want) {
						return fmt.Errorf("%s: a client on %s in %s gets %v, want %v", what, client.node, client.zone, got, want)
					}
					sizes[len(got)] = true
				}
			}
			if len(sizes) < least {
				return fmt.Errorf("%s: answers of the sizes %v only, want %d", what, slices.Collect(maps.Keys(sizes)), least)
			}
			return nil
		})
	}
	distribute := func(distribution string) {
		t.Helper()
		kubectl(t, c, "", "patch", "service", "spread", "-p", fmt.Sprintf(`{"spec":{"trafficDistribution":%q}}`, distribution))
	}
	apply(t, c, fmt.Sprintf(spread, "PreferSameZone"))
	check("by zone", "PreferSameZone", 2)

	pods, err := placesOf(t.Context(), c)
	fatal.If(t, err)
	zone := pods[0].zone
	for _, ready := range []string{"false", "true"} {
		for _, p := range pods {
			if p.zone == zone {
				kubectl(t, c, "", "annotate", "--overwrite", "pod", p.name, cluster.ReadyAnnotation+"="+ready)
			}
		}
		eventually(t, 30*time.Second, func(ctx context.Context) error {
			now, err := placesOf(ctx, c)
			for _, p := range now {
				if p.zone == zone && p.ready != (ready == "true") {
					return fmt.Errorf("a pod is ready: %v", p.ready)
				}
			}
			return err
		})
		check("while those of a zone are ready: "+ready, "PreferSameZone", 2)
	}
	distribute("PreferSameNode")
	check("by node", "PreferSameNode", 2)
	distribute("PreferSameZone")
	check("by zone again", "PreferSameZone", 2)
	kubectl(t, c, "", "patch", "service", "spread", "-p", `{"spec":{"trafficDistribution":null}}`)
	check("without", "null", 1)
}
