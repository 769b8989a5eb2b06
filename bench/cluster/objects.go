package cluster

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// NamespaceObject returns a Namespace as an API server has it.
func NamespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{
		ObjectMeta: objectMeta("", name, map[string]string{corev1.LabelMetadataName: name}),
		Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	}
}

// Object returns the Service as an API server has it, with all that is of no use for DNS.
func (s Service) Object() *corev1.Service {
	single, internal := corev1.IPFamilyPolicySingleStack, corev1.ServiceInternalTrafficPolicyCluster
	svc := &corev1.Service{
		ObjectMeta: objectMeta(s.Namespace, s.Name, map[string]string{"app": s.Name, "app.kubernetes.io/managed-by": "Helm"}),
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeClusterIP,
			Selector:              map[string]string{"app": s.Name},
			SessionAffinity:       corev1.ServiceAffinityNone,
			IPFamilyPolicy:        &single,
			InternalTrafficPolicy: &internal,
			Ports: []corev1.ServicePort{{
				Name: Port, Protocol: corev1.ProtocolTCP, Port: PortNumber, TargetPort: intstr.FromInt32(PortNumber),
			}},
		},
	}
	for _, ip := range s.ClusterIPs() {
		svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, ip.String())
	}
	if s.Headless {
		svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
	}
	svc.Spec.ClusterIP = svc.Spec.ClusterIPs[0]
	if s.IPv4 {
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, corev1.IPv4Protocol)
	}
	if s.IPv6 {
		svc.Spec.IPFamilies = append(svc.Spec.IPFamilies, corev1.IPv6Protocol)
	}
	return svc
}

// Slices returns the slices of all endpoints, which are ready: of each family its own, first those of the first PerSlice endpoints.
func (s Service) Slices() []*discoveryv1.EndpointSlice {
	var slices []*discoveryv1.EndpointSlice
	for first := 0; first < s.Endpoints; first += PerSlice {
		for _, family := range s.families() {
			slice := s.slice(first/PerSlice, family)
			for i := first; i < min(s.Endpoints, first+PerSlice); i++ {
				slice.Endpoints = append(slice.Endpoints, s.Endpoint(i, 0, family))
			}
			slices = append(slices, slice)
		}
	}
	return slices
}

func (s Service) families() []discoveryv1.AddressType {
	var families []discoveryv1.AddressType
	if s.IPv4 {
		families = append(families, discoveryv1.AddressTypeIPv4)
	}
	if s.IPv6 {
		families = append(families, discoveryv1.AddressTypeIPv6)
	}
	return families
}

func (s Service) slice(number int, family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	labels := map[string]string{
		"app":                          s.Name,
		"app.kubernetes.io/managed-by": "Helm",
		discoveryv1.LabelServiceName:   s.Name,
		discoveryv1.LabelManagedBy:     "endpointslice-controller.k8s.io",
	}
	if s.Headless {
		labels[corev1.IsHeadlessService] = ""
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  objectMeta(s.Namespace, fmt.Sprintf("%s-%s-%d", s.Name, strings.TrimPrefix(string(family), "IPv"), number), labels),
		AddressType: family,
		Ports:       []discoveryv1.EndpointPort{{Name: new(Port), Protocol: new(corev1.ProtocolTCP), Port: new(int32(PortNumber))}},
	}
	slice.GenerateName = s.Name + "-"
	slice.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Service", Name: s.Name, UID: uid("Service", s.Name), Controller: new(true), BlockOwnerDeletion: new(true),
	}}
	return slice
}

// Endpoint returns a ready endpoint of s in a slice of the family. generation counts the restarts of its pod.
func (s Service) Endpoint(endpoint, generation int, family discoveryv1.AddressType) discoveryv1.Endpoint {
	var address netip.Addr
	for _, a := range s.Addresses(endpoint, generation) {
		if a.Is4() == (family == discoveryv1.AddressTypeIPv4) {
			address = a
		}
	}
	pod := s.PodName(endpoint)
	e := discoveryv1.Endpoint{
		Addresses:  []string{address.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
		NodeName:   new(fmt.Sprintf("node-%d", endpoint%50)),
		Zone:       new(fmt.Sprintf("zone-%d", endpoint%3)),
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: s.Namespace, Name: pod, UID: uid("Pod", pod)},
	}
	if s.Headless {
		e.Hostname = &pod
	}
	return e
}

// created is when all objects were created.
var created = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))

func objectMeta(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: uid(namespace, name), CreationTimestamp: created, Labels: labels,
		ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1",
			FieldsType: "FieldsV1", Time: &created, FieldsV1: metav1.NewFieldsV1(managedFields),
		}},
	}
}

// managedFields is as long as what the controllers of Kubernetes leave behind.
const managedFields = `{"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:annotations":{".":{},` +
	`"f:endpoints.kubernetes.io/last-change-trigger-time":{}},"f:generateName":{},"f:labels":{".":{},"f:app":{},` +
	`"f:endpointslice.kubernetes.io/managed-by":{},"f:kubernetes.io/service-name":{},"f:service.kubernetes.io/headless":{}},` +
	`"f:ownerReferences":{".":{},"k:{\"uid\":\"9e6f3d4c-4a0f-4c55-8c07-0d4c8a7ff4e8\"}":{}}},"f:ports":{}}`

// uid returns a text that looks like a UID and is the same for the same words.
func uid(kind, name string) types.UID {
	text := fmt.Sprintf("%016x%016x", hash(kind+"/"+name), hash(name+"/"+kind))
	return types.UID(text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:])
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // a hash takes everything
	return h.Sum64()
}
