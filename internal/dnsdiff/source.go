package dnsdiff

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns-headless/headless/internal/oracle"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// source is where a cluster is read from.
type source struct {
	manifests  []string // files and folders; empty: the API server
	input      []byte   // what manifests.Stdin stands for: it can be read once, and each round reads it
	client     *listing.Client
	namespaces []string // empty: all
	pods       bool
	imports    bool // ServiceImports are listed
}

// newSource returns the source that o describes.
func newSource(o *options) (s *source, err error) {
	s = &source{manifests: o.manifests, namespaces: o.namespaces, pods: o.pods}
	if slices.Contains(o.manifests, manifests.Stdin) {
		if s.input, err = io.ReadAll(o.stdin); err != nil {
			return nil, err
		}
	}
	if len(o.manifests) > 0 {
		return s, nil
	}
	s.imports = slices.ContainsFunc(o.zones, func(z zone) bool { return z.multicluster })
	if s.client, err = o.client(); err != nil {
		return nil, fmt.Errorf("no cluster to take names from (-kubeconfig or -manifests say which): %w", err)
	}
	return s, nil
}

// read returns the cluster as it is now.
func (s *source) read(ctx context.Context) (*cluster, error) {
	b := newBuilder()
	take := func(obj runtime.Object) error {
		if o, ok := obj.(metav1.Object); !ok || len(s.namespaces) == 0 || slices.Contains(s.namespaces, namespaceOf(o)) {
			b.add(obj)
		}
		return nil
	}
	for _, name := range s.namespaces {
		b.namespaces[name] = true
	}
	if len(s.manifests) > 0 {
		files, err := manifests.Load(bytes.NewReader(s.input), s.manifests...)
		if err != nil {
			return nil, err
		}
		for _, obj := range files.Objects {
			if _, isPod := obj.(*corev1.Pod); s.pods || !isPod {
				_ = take(obj) // it returns no error
			}
		}
		return b.cluster(), nil
	}
	if err := s.list(ctx, take); err != nil {
		return nil, err
	}
	return b.cluster(), nil
}

// list calls take with each object.
func (s *source) list(ctx context.Context, take func(runtime.Object) error) error {
	namespaces := s.namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
		if err := s.client.Each(ctx, kube.Namespaces, metav1.NamespaceAll, metav1.ListOptions{}, take); err != nil {
			return err
		}
	}
	resources := []string{kube.Services, kube.Slices}
	if s.imports {
		resources = append(resources, kube.Imports)
	}
	if s.pods {
		resources = append(resources, kube.Pods)
	}
	for _, name := range namespaces {
		for _, resource := range resources {
			if err := s.client.Each(ctx, resource, name, metav1.ListOptions{}, take); err != nil {
				return err
			}
		}
	}
	return nil
}

// service returns a cluster that has nothing but one Service or ServiceImport as it is now, or nil if the source does not change.
func (s *source) service(ctx context.Context, key serviceKey) (*cluster, error) {
	if len(s.manifests) > 0 {
		return nil, nil
	}
	b := newBuilder()
	take := func(obj runtime.Object) error {
		b.add(obj)
		return nil
	}
	resource, label := kube.Services, discoveryv1.LabelServiceName
	if key.imported {
		resource, label = kube.Imports, mcsv1beta1.LabelServiceName
	}
	if err := s.client.Each(ctx, resource, key.namespace, listing.Named(key.name), take); err != nil {
		return nil, err
	}
	labelled := metav1.ListOptions{LabelSelector: labels.Set{label: key.name}.String()}
	if err := s.client.Each(ctx, kube.Slices, key.namespace, labelled, take); err != nil {
		return nil, err
	}
	return b.cluster(), nil
}

// namespaceOf returns the namespace that an object is in, or is.
func namespaceOf(obj metav1.Object) string {
	if _, ok := obj.(*corev1.Namespace); ok {
		return obj.GetName()
	}
	if obj.GetNamespace() == "" {
		return metav1.NamespaceDefault // as kubectl apply does
	}
	return obj.GetNamespace()
}

// add adds an object. Objects of other kinds are ignored.
func (b *builder) add(obj runtime.Object) {
	switch obj := obj.(type) {
	case *corev1.Namespace:
		b.namespaces[obj.Name] = true
	case *corev1.Service:
		b.addService(serviceOf(obj))
	case *mcsv1beta1.ServiceImport:
		b.addService(importOf(obj))
	case *discoveryv1.EndpointSlice:
		b.addSlice(obj)
	case *corev1.Pod:
		for _, ip := range obj.Status.PodIPs {
			if addr, err := netip.ParseAddr(ip.IP); err == nil {
				b.pods[pod{namespaceOf(obj), addr.Unmap()}] = true
			}
		}
	}
}

// serviceOf returns what we keep of svc.
func serviceOf(svc *corev1.Service) *service {
	s := &service{serviceKey: serviceKey{namespace: namespaceOf(svc), name: svc.Name}}
	clusterIPs := svc.Spec.ClusterIPs
	if len(clusterIPs) == 0 {
		clusterIPs = []string{svc.Spec.ClusterIP}
	}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		s.kind = externalName
	case slices.Contains(clusterIPs, corev1.ClusterIPNone):
		s.kind = headless
	}
	for _, ip := range clusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil && s.kind == clusterIP {
			s.addrs = append(s.addrs, addr.Unmap())
		}
	}
	for _, p := range svc.Spec.Ports {
		s.ports = append(s.ports, portOf(p.Name, string(p.Protocol)))
	}
	return s
}

// importOf returns what we keep of si: it is a Service of the multicluster zones.
func importOf(si *mcsv1beta1.ServiceImport) *service {
	svc := &corev1.Service{ObjectMeta: si.ObjectMeta, Spec: corev1.ServiceSpec{ClusterIPs: si.Spec.IPs}}
	if si.Spec.Type == mcsv1beta1.Headless {
		svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
	}
	for _, p := range si.Spec.Ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol})
	}
	s := serviceOf(svc)
	s.imported = true
	return s
}

// portOf returns a port; no protocol is TCP.
func portOf(name, proto string) port {
	if proto == "" {
		proto = string(corev1.ProtocolTCP)
	}
	return port{strings.ToLower(name), strings.ToLower(proto)}
}

// addSlice adds the endpoints of es, to a Service or a ServiceImport or both.
func (b *builder) addSlice(es *discoveryv1.EndpointSlice) {
	b.addEndpoints(serviceKey{namespaceOf(es), es.Labels[discoveryv1.LabelServiceName], false}, "", es)
	cluster := strings.ToLower(es.Labels[mcsv1beta1.LabelSourceCluster])
	if len(validation.IsDNS1123Label(cluster)) == 0 {
		b.addEndpoints(serviceKey{namespaceOf(es), es.Labels[mcsv1beta1.LabelServiceName], true}, cluster, es)
	}
}

// addEndpoints adds the endpoints of es to svc, as of a cluster if that is not "".
func (b *builder) addEndpoints(svc serviceKey, cluster string, es *discoveryv1.EndpointSlice) {
	if es.AddressType == discoveryv1.AddressTypeFQDN {
		b.named[svc] = true
		return
	}
	var ports []port
	for _, p := range es.Ports {
		var name, proto string
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			proto = string(*p.Protocol)
		}
		ports = append(ports, portOf(name, proto))
	}
	for _, e := range es.Endpoints {
		for _, text := range e.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				continue
			}
			own := &endpoint{
				addr: addr.Unmap(), cluster: cluster, ports: ports, mapped: addr.Is4In6(),
				ready: e.Conditions.Ready == nil || *e.Conditions.Ready,
			}
			if e.Hostname != nil {
				if name := strings.ToLower(*e.Hostname); len(validation.IsDNS1123Label(name)) == 0 {
					own.hostname = name
				}
			}
			if e.Zone != nil {
				own.zone = strings.ToLower(*e.Zone)
			}
			if e.Hints != nil {
				for _, hint := range e.Hints.ForZones {
					own.hints = append(own.hints, "zone "+hint.Name)
				}
				for _, hint := range e.Hints.ForNodes {
					own.hints = append(own.hints, "node "+hint.Name)
				}
			}
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				own.pod = e.TargetRef.Name
			}
			if odd := stockDashed(text); own.hostname == "" && odd != oracle.AddressLabel(own.addr) {
				own.odd = odd
			}
			b.addEndpoint(svc, own)
		}
	}
}
