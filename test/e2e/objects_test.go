package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
)

// manifests returns those of examples and those of testdata.
func manifests(t *testing.T) string {
	t.Helper()
	text, err := cluster.Manifests("testdata/namespaces.yaml", "../../examples/*.yaml", "testdata/*.yaml")
	fatal.If(t, err)
	return text
}

// endpoint is what the control plane makes of a pod, for one family of one Service.
type endpoint struct {
	namespace, service, addr, hostname string
	ready, serving, terminating        bool
}

// waitForControllers waits until every workload has its pods, every pod has its addresses and is as ready as it will be, and the
// slices of each Service list the pods that it selects.
func waitForControllers(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	eventually(t, 2*time.Minute, func(ctx context.Context) error {
		if err := workloadsHavePods(ctx, c.Client); err != nil {
			return err
		}
		want, err := endpointsOfPods(ctx, c.Client)
		if err != nil {
			return err
		}
		got, err := endpointsOfSlices(ctx, c.Client)
		if err != nil {
			return err
		}
		for e := range want {
			if !got[e] {
				return fmt.Errorf("no EndpointSlice has %+v", e)
			}
		}
		for e := range got {
			if !want[e] {
				return fmt.Errorf("an EndpointSlice has %+v", e)
			}
		}
		return nil
	})
}

func workloadsHavePods(ctx context.Context, client kubernetes.Interface) error {
	statefulSets, err := client.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range statefulSets.Items {
		if s.Status.Replicas != *s.Spec.Replicas {
			return fmt.Errorf("StatefulSet %s has %d pods", s.Name, s.Status.Replicas)
		}
	}
	deployments, err := client.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		if d.Status.Replicas != *d.Spec.Replicas {
			return fmt.Errorf("Deployment %s has %d pods", d.Name, d.Status.Replicas)
		}
	}
	jobs, err := client.BatchV1().Jobs("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, j := range jobs.Items {
		if j.Status.Active != *j.Spec.Parallelism {
			return fmt.Errorf("Job %s has %d pods", j.Name, j.Status.Active)
		}
	}
	mirrored, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{
		LabelSelector: discovery.LabelManagedBy + "=endpointslicemirroring-controller.k8s.io",
	})
	if err == nil && len(mirrored.Items) == 0 {
		err = fmt.Errorf("no Endpoints are mirrored")
	}
	return err
}

// endpointsOfPods returns the endpoints that the Services with a selector ought to have. It is an error if a pod is not yet what
// it will be.
func endpointsOfPods(ctx context.Context, client kubernetes.Interface) (map[endpoint]bool, error) {
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	endpoints := make(map[endpoint]bool)
	for _, pod := range pods.Items {
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if len(pod.Status.PodIPs) == 0 || ready != (pod.Annotations[cluster.ReadyAnnotation] != "false") {
			return nil, fmt.Errorf("pod %s has the addresses %v and ready is %v", pod.Name, pod.Status.PodIPs, ready)
		}
		for _, svc := range services.Items {
			if svc.Namespace != pod.Namespace || len(svc.Spec.Selector) == 0 ||
				!labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels)) {
				continue
			}
			terminating := pod.DeletionTimestamp != nil
			e := endpoint{
				namespace: svc.Namespace, service: svc.Name,
				ready: svc.Spec.PublishNotReadyAddresses || ready && !terminating, serving: ready, terminating: terminating,
			}
			if pod.Spec.Subdomain == svc.Name {
				e.hostname = pod.Spec.Hostname
			}
			for _, ip := range pod.Status.PodIPs {
				e.addr = ip.IP
				v6 := netip.MustParseAddr(ip.IP).Is6()
				if slices.ContainsFunc(svc.Spec.IPFamilies, func(f corev1.IPFamily) bool { return (f == corev1.IPv6Protocol) == v6 }) {
					endpoints[e] = true
				}
			}
		}
	}
	return endpoints, nil
}

// endpointsOfSlices returns the endpoints in the slices that the control plane has made of pods.
func endpointsOfSlices(ctx context.Context, client kubernetes.Interface) (map[endpoint]bool, error) {
	list, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{
		LabelSelector: discovery.LabelManagedBy + "=endpointslice-controller.k8s.io",
	})
	if err != nil {
		return nil, err
	}
	endpoints := make(map[endpoint]bool)
	for _, slice := range list.Items {
		for _, ep := range slice.Endpoints {
			e := endpoint{
				namespace: slice.Namespace, service: slice.Labels[discovery.LabelServiceName], addr: ep.Addresses[0],
				ready: *ep.Conditions.Ready, serving: *ep.Conditions.Serving, terminating: *ep.Conditions.Terminating,
			}
			if ep.Hostname != nil {
				e.hostname = *ep.Hostname
			}
			endpoints[e] = true
		}
	}
	return endpoints, nil
}

// chosen are the values that the control plane has chosen, by what the rows call them. A pod is called by its name, or by the
// value of its label app and its number among the pods with that in the order of names, as in web.0; a Service is svc/NAME. This
// stands for the IPv4 address. Behind it may stand
//
//	:6      for the IPv6 address
//	:dash   for the IPv4 address as one label
//	:dash6  for the IPv6 address as one label
//	:arpa   for the name of the IPv4 address in the reverse zone
//	:arpa6  for that of the IPv6 address
//	:name   for the name of the pod
type chosen map[string]string

// chosenValues reads them from the API server.
func chosenValues(t *testing.T, c *cluster.Cluster) chosen {
	t.Helper()
	v := make(chosen)
	pods, err := c.Client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	fatal.If(t, err)
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	count := make(map[string]int)
	for _, pod := range pods.Items {
		app := pod.Labels["app"]
		for _, name := range []string{pod.Name, fmt.Sprintf("%s.%d", app, count[app])} {
			for _, ip := range pod.Status.PodIPs {
				v.add(name, ip.IP)
			}
			v[name+":name"] = pod.Name
		}
		count[app]++
	}
	services, err := c.Client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	fatal.If(t, err)
	for _, svc := range services.Items {
		for _, ip := range svc.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				v.add("svc/"+svc.Name, ip)
			}
		}
	}
	return v
}

func (v chosen) add(name, ip string) {
	addr := netip.MustParseAddr(ip)
	arpa, err := dns.ReverseAddr(ip)
	if err != nil {
		panic(err) // it has been parsed above
	}
	if addr.Is4() {
		v[name], v[name+":arpa"], v[name+":dash"] = ip, arpa, strings.ReplaceAll(ip, ".", "-")
	} else {
		v[name+":6"], v[name+":arpa6"], v[name+":dash6"] = addr.String(), arpa, strings.ReplaceAll(addr.String(), ":", "-")
	}
}

// fill replaces what stands in braces.
func (v chosen) fill(text string) (string, error) {
	var err error
	filled := os.Expand(strings.NewReplacer("{", "${").Replace(text), func(name string) string {
		value, ok := v[name]
		if !ok {
			err = fmt.Errorf("there is no %s among %q", name, slices.Sorted(maps.Keys(v)))
		}
		return value
	})
	return filled, err
}
