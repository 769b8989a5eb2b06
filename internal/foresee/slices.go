package foresee

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// mostAddrs is how many addresses a pool has.
const mostAddrs = 1<<16 - 2

// pool gives out addresses that no cluster has: half of 198.18.0.0/15, which is for tests of networks
// (RFC 2544), and of 2001:db8::/32, which is for documents (RFC 3849).
type pool struct {
	half  byte // 18 or 19
	taken int
}

// take returns an IPv4 address and an IPv6 address. When all are given out it returns nil.
func (p *pool) take() []string {
	if p.taken == mostAddrs {
		return nil
	}
	p.taken++
	high, low := byte(p.taken>>8), byte(p.taken) //nolint:gosec // at most mostAddrs
	four := netip.AddrFrom4([4]byte{198, p.half, high, low})
	six := netip.AddrFrom16([16]byte{0: 0x20, 0x01, 0x0d, 0xb8, 5: p.half, 14: high, 15: low})
	return []string{four.String(), six.String()}
}

// families returns the IP families of a Service in a cluster of both, whose first is IPv4.
func families(svc *corev1.Service) []corev1.IPFamily {
	all := slices.Clone(svc.Spec.IPFamilies)
	if len(all) == 0 {
		for _, ip := range append(slices.Clone(svc.Spec.ClusterIPs), svc.Spec.ClusterIP) {
			if addr, err := netip.ParseAddr(ip); err == nil && !slices.Contains(all, familyOf(addr)) {
				all = append(all, familyOf(addr))
			}
		}
	}
	if len(all) == 0 {
		all = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if policy := svc.Spec.IPFamilyPolicy; len(all) == 1 && policy != nil && *policy != corev1.IPFamilyPolicySingleStack {
		all = append(all, map[corev1.IPFamily]corev1.IPFamily{
			corev1.IPv4Protocol: corev1.IPv6Protocol, corev1.IPv6Protocol: corev1.IPv4Protocol,
		}[all[0]])
	}
	return all
}

func familyOf(addr netip.Addr) corev1.IPFamily {
	if addr.Unmap().Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// admitted returns a Service as the API server would keep it: with addresses, families and protocols.
func (f *Foresight) admitted(svc *corev1.Service) *corev1.Service {
	svc = svc.DeepCopy()
	for i := range svc.Spec.Ports {
		svc.Spec.Ports[i].Protocol = protocolOf(svc.Spec.Ports[i].Protocol)
	}
	svc.Spec.IPFamilies = families(svc)
	if len(svc.Spec.ClusterIPs) == 0 && svc.Spec.ClusterIP != "" {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone || len(svc.Spec.ClusterIPs) >= len(svc.Spec.IPFamilies) {
		return svc
	}
	ips := f.clusterIPs.take()
	if ips == nil {
		f.notef("no address of Service %s/%s: no more than %d are foreseen", svc.Namespace, svc.Name, mostAddrs)
		return svc
	}
	for _, family := range svc.Spec.IPFamilies[len(svc.Spec.ClusterIPs):] {
		ip := ips[0]
		if family == corev1.IPv6Protocol {
			ip = ips[1]
		}
		svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, ip)
	}
	svc.Spec.ClusterIP = svc.Spec.ClusterIPs[0]
	return svc
}

// group are the endpoints of one family that have the same ports.
type group struct {
	family    corev1.IPFamily
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// mostEndpoints is how many endpoints the control plane puts into a slice.
const mostEndpoints = 100

// addSlices adds the EndpointSlices of a Service, and reports whether one of them lists a Pod that is
// not foreseen.
func (f *Foresight) addSlices(svc *corev1.Service) (observed bool) {
	if len(svc.Spec.Selector) == 0 {
		return false
	}
	selector, both := labels.SelectorFromSet(svc.Spec.Selector), families(svc)
	var groups []*group
	for _, pod := range f.pods[svc.Namespace] {
		isOver := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
		if isOver || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		ports := portsOf(svc, pod)
		for _, family := range both {
			e := endpointOf(svc, pod, family)
			if len(e.Addresses) == 0 {
				continue
			}
			observed = observed || !f.made[pod]
			i := slices.IndexFunc(groups, func(g *group) bool {
				return g.family == family && len(g.endpoints) < mostEndpoints && slices.EqualFunc(g.ports, ports, equalPorts)
			})
			if i < 0 {
				i = len(groups)
				groups = append(groups, &group{family: family, ports: ports})
			}
			groups[i].endpoints = append(groups[i].endpoints, e)
		}
	}
	for i, g := range groups {
		f.Objects = append(f.Objects, g.slice(svc, i))
	}
	return observed
}

// slice returns the ith EndpointSlice of a Service. It has the labels of the Service.
func (g *group) slice(svc *corev1.Service, i int) *discoveryv1.EndpointSlice {
	es := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: svc.Namespace, Name: fmt.Sprintf("%s-foreseen-%d", svc.Name, i), Labels: maps.Clone(svc.Labels)},
		AddressType: discoveryv1.AddressType(g.family), Ports: g.ports, Endpoints: g.endpoints,
	}
	if es.Labels == nil {
		es.Labels = make(map[string]string)
	}
	es.Labels[discoveryv1.LabelServiceName], es.Labels[discoveryv1.LabelManagedBy] = svc.Name, "endpointslice-controller.k8s.io"
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		es.Labels[corev1.IsHeadlessService] = ""
	}
	return es
}

// endpointOf returns what a Pod is in the EndpointSlices of one family of a Service. It has no address
// if the Pod has none in that family.
func endpointOf(svc *corev1.Service, pod *corev1.Pod, family corev1.IPFamily) discoveryv1.Endpoint {
	serving := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	terminating := pod.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	ips := pod.Status.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && familyOf(addr) == family {
			e.Addresses = append(e.Addresses, addr.String())
		}
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == svc.Name {
		e.Hostname = &pod.Spec.Hostname
	}
	return e
}

// portsOf returns the ports of a Service as a Pod has them. One that leads to a port of a name that no
// container has is left out.
func portsOf(svc *corev1.Service, pod *corev1.Pod) (ports []discoveryv1.EndpointPort) {
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		protocol := protocolOf(p.Protocol)
		number := p.TargetPort.IntVal
		switch {
		case p.TargetPort.Type == intstr.String:
			number = ContainerPort(pod, p.TargetPort.StrVal, protocol)
		case number == 0:
			number = p.Port
		}
		if number != 0 {
			ports = append(ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &protocol, Port: &number})
		}
	}
	return ports
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// ContainerPort returns the number of the port that a container of a Pod, or one that runs beside them
// from the start, calls by a name. It returns 0 if no such container has a port of that name.
func ContainerPort(pod *corev1.Pod, name string, protocol corev1.Protocol) int32 {
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Name == name && protocolOf(p.Protocol) == protocol {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// equalPorts reports whether two ports of endpoints of a Service, in which a name is of one protocol, are the same.
func equalPorts(a, b discoveryv1.EndpointPort) bool { return *a.Name == *b.Name && *a.Port == *b.Port }
