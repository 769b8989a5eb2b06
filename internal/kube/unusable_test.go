package kube

import (
	"iter"
	"testing"

	"github.com/coredns-headless/headless/internal/model"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// keeping returns a sink that keeps specs in a map.
func keeping[S spec](into map[model.Key]S) Sink[S] {
	return Sink[S]{
		func(s S) { into[s.ID()] = s },
		func(key model.Key) { delete(into, key) },
		func(iter.Seq[S]) {},
	}
}

// TestChangeThatMakesAnObjectUnusable: nothing of what it was stays.
func TestChangeThatMakesAnObjectUnusable(t *testing.T) {
	services, slices, imported := map[model.Key]*model.Service{}, map[model.Key]*model.Slice{}, map[model.Key]*model.Slice{}
	imports, pods := map[model.Key]*model.Service{}, map[model.Key]*model.Pod{}
	c := &Converter{skip: func(string, Flaw) {}}
	feeds := NewFeeds(c, Selection{}, &Sinks{
		Namespaces: keeping(map[model.Key]*model.Namespace{}), Services: keeping(services), Slices: keeping(slices), Pods: keeping(pods),
		Imports: keeping(imports), Imported: keeping(imported), Kind: func(model.Key) string { return "" },
	})
	meta := metav1.ObjectMeta{Namespace: "n", Name: "web"}
	key := model.Key{Namespace: "n", Name: "web"}
	sliceWith := func(labels map[string]string) *discoveryv1.EndpointSlice {
		number := int32(80)
		es := &discoveryv1.EndpointSlice{
			ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &number}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Hostname: new("web-0")}},
		}
		es.Labels = labels
		return es
	}
	ofImport := func(service, cluster string) *discoveryv1.EndpointSlice {
		return sliceWith(map[string]string{mcsv1beta1.LabelServiceName: service, mcsv1beta1.LabelSourceCluster: cluster})
	}
	pod := func(phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: meta, Status: corev1.PodStatus{Phase: phase, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}}}
	}
	endpoints := func(of map[model.Key]*model.Slice) (n, named, ports int) {
		if s := of[key]; s != nil && s.Service != "" {
			for _, e := range s.Endpoints {
				if n++; e.Name != "" {
					named++
				}
			}
			ports = len(s.Ports)
		}
		return n, named, ports
	}
	for _, row := range []struct {
		name, resource    string
		good, bad         runtime.Object
		n, named, ports   int // what is left of a slice
		isPod, podRemains bool
	}{
		{"the Service's label goes", Slices, sliceWith(map[string]string{discoveryv1.LabelServiceName: "web"}), sliceWith(nil), 0, 0, 0, false, false},
		{"the Service's name is none", Slices, sliceWith(map[string]string{discoveryv1.LabelServiceName: "web"}), sliceWith(map[string]string{discoveryv1.LabelServiceName: "w_b"}), 0, 0, 0, false, false},
		{"the import's label is empty", Imported, ofImport("web", "east"), ofImport("", "east"), 0, 0, 0, false, false},
		{"the import's name is none", Imported, ofImport("web", "east"), ofImport("w_b", "east"), 0, 0, 0, false, false},
		{"the cluster's label is empty", Imported, ofImport("web", "east"), ofImport("web", ""), 1, 0, 0, false, false},
		{"the cluster's label is no label", Imported, ofImport("web", "east"), ofImport("web", "east_1"), 1, 0, 0, false, false},
		{"the cluster changes", Imported, ofImport("web", "east"), ofImport("web", "west"), 1, 1, 1, false, false},
		{"a Pod has succeeded", Pods, pod(corev1.PodRunning), pod(corev1.PodSucceeded), 0, 0, 0, true, false},
		{"a Pod has failed", Pods, pod(corev1.PodRunning), pod(corev1.PodFailed), 0, 0, 0, true, false},
		{"a Pod is pending again", Pods, pod(corev1.PodRunning), pod(corev1.PodPending), 0, 0, 0, true, true},
	} {
		store := feeds.Store(row.resource)
		_ = store.Add(row.good) // a store returns no error
		_, before := pods[key]  // for Pods
		if n, named, ports := endpoints(slices); row.resource == Slices && (n != 1 || named != 1 || ports != 1) || row.isPod && !before {
			t.Fatalf("%s: at first %d endpoints, %d named, %d ports", row.name, n, named, ports)
		}
		_ = store.Update(row.bad)
		of := slices
		if row.resource == Imported {
			of = imported
		}
		n, named, ports := endpoints(of)
		_, remains := pods[key]
		if row.isPod && remains != row.podRemains || !row.isPod && (n != row.n || named != row.named || ports != row.ports) {
			t.Errorf("%s: %d endpoints, %d named, %d ports, a Pod %v; want %d, %d, %d, %v", row.name, n, named, ports, remains, row.n, row.named, row.ports, row.podRemains)
		}
		_ = store.Delete(row.bad)
	}
}
