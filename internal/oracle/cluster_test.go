//go:build !kubernetes

package oracle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// cluster is the objects of a cluster by kind and name. The objects are replaced, never modified.
type cluster struct {
	objects map[clusterKey]kubetest.Object
}

type clusterKey struct {
	kind string
	types.NamespacedName
}

func clusterKeyOf(obj kubetest.Object) clusterKey {
	return clusterKey{fmt.Sprintf("%T", obj), types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}}
}

func (c *cluster) put(obj kubetest.Object) { c.objects[clusterKeyOf(obj)] = obj }

func (c *cluster) clone() *cluster { return &cluster{maps.Clone(c.objects)} }

// keys returns the keys in a fixed order, so that a seed always means the same cluster.
func (c *cluster) keys() []clusterKey {
	return slices.SortedFunc(maps.Keys(c.objects), func(a, b clusterKey) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
}

// difference returns the objects of c that o lacks or has in another version, and those of o that c lacks.
func (c *cluster) difference(o *cluster) (changed, gone []runtime.Object) {
	for _, key := range c.keys() {
		if o.objects[key] != c.objects[key] {
			changed = append(changed, c.objects[key])
		}
	}
	for _, key := range o.keys() {
		if c.objects[key] == nil {
			gone = append(gone, o.objects[key])
		}
	}
	return changed, gone
}

// yaml returns c in a form that the option manifests reads.
func (c *cluster) yaml() string {
	var b bytes.Buffer
	for _, key := range c.keys() {
		raw, err := json.Marshal(kubetest.Typed(c.objects[key].DeepCopyObject()))
		if err != nil {
			return err.Error()
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			return err.Error()
		}
		delete(fields, "status")
		if pod, ok := c.objects[key].(*corev1.Pod); ok {
			fields["status"] = map[string]any{"podIPs": pod.Status.PodIPs}
			delete(fields, "spec")
		}
		delete(fields["metadata"].(map[string]any), "creationTimestamp")
		text, err := yaml.Marshal(fields)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	return b.String()
}

// generator makes clusters and questions about them.
type generator struct {
	*rand.Rand
	clusterIPs int // given out so far
}

func choose[E any](g *generator, list ...E) E { return list[g.IntN(len(list))] }

// one reports true once in n times.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

var (
	someNamespaces = []string{"a", "b", "web", "svc", "pod", "kube-system"}
	someServices   = []string{"web", "db", "svc", "pod", "a", "a-b", "1", "kube-dns"}
	someHostnames  = []string{"web-0", "web-0", "web-1", "Web-2", "a-b", "svc", "1", "10-9-9-9"}
	somePods       = []string{"web-0", "pod-x", "pod.dotted", "pod.dotted", strings.Repeat("p", 70), "10-9-9-8"}
	some4          = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "172.16.5.4", "10.0.0.53", "10.0.0.53", "10.0.0.9"}
	some6          = []string{"fd00::1", "fd00::", "::5", "2001:db8:0:1::2", "::ffff:10.0.0.9", "::ffff:10.0.0.8", "fd00::53"}
	someTargets    = []string{
		"www.example.com", "www.example.com.", "alias.example.com", "refused.example.com", "failing.example.com", "lost.example.com", "nobody.example.com",
		"192.0.2.7", "fd00::9", "nobody.a.svc.cluster.local", "nowhere.cluster.local", "svc.cluster.local", "dns-version.cluster.local",
	}
	someWords = []string{"ready", "serving", "all", "some"}
)

func (g *generator) labels(obj kubetest.Object, extra ...string) {
	set := make(map[string]string)
	if !g.one(4) {
		set["dns"] = "yes"
	}
	for i := 0; i < len(extra); i += 2 {
		set[extra[i]] = extra[i+1]
	}
	obj.SetLabels(set)
}

func (g *generator) namespace(name string) kubetest.Object {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	g.labels(ns)
	return ns
}

func (g *generator) cluster() *cluster {
	c := &cluster{make(map[clusterKey]kubetest.Object)}
	for _, name := range someNamespaces {
		if !g.one(5) {
			c.put(g.namespace(name))
		}
	}
	for range 3 + g.IntN(6) {
		svc := g.service(choose(g, someNamespaces...), choose(g, someServices...))
		c.put(svc)
		for i := range g.IntN(4) {
			c.put(g.slice(svc.GetNamespace(), fmt.Sprint(svc.GetName(), "-", i), svc.GetName()))
		}
		g.overlap(c, svc)
	}
	if g.one(2) {
		c.put(g.slice(choose(g, someNamespaces...), "orphan", choose(g, "", "nobody", "web")))
	}
	for i := range 1 + g.IntN(4) {
		c.put(g.pod(choose(g, someNamespaces...), fmt.Sprint("pod-", i)))
	}
	return c
}

// overlap lists an endpoint of one slice of svc in another as well, ready or not, if svc has two slices.
func (g *generator) overlap(c *cluster, svc kubetest.Object) {
	var list []*discoveryv1.EndpointSlice
	for _, key := range c.keys() {
		es, ok := c.objects[key].(*discoveryv1.EndpointSlice)
		if ok && es.Namespace == svc.GetNamespace() && es.Labels[discoveryv1.LabelServiceName] == svc.GetName() && es.AddressType != discoveryv1.AddressTypeFQDN {
			list = append(list, es)
		}
	}
	if len(list) < 2 || len(list[0].Endpoints) == 0 {
		return
	}
	e := *list[0].Endpoints[g.IntN(len(list[0].Endpoints))].DeepCopy()
	e.Conditions = discoveryv1.EndpointConditions{Ready: new(g.one(2))}
	es := list[1].DeepCopy()
	if e.Hostname != nil && g.one(2) && es.AddressType == discoveryv1.AddressTypeIPv4 { // another address with the same hostname
		e.Addresses[0], e.Conditions = choose(g, some4...), discoveryv1.EndpointConditions{}
		es.Endpoints = append(es.Endpoints, e)
		c.put(es)
		return
	}
	if list[0].AddressType != es.AddressType { // the same address in another spelling, if it has one
		text, isMapped := strings.CutPrefix(e.Addresses[0], "::ffff:")
		switch {
		case es.AddressType == discoveryv1.AddressTypeIPv6:
			text = "::ffff:" + text
		case !isMapped:
			return
		}
		e.Addresses[0] = text
	}
	es.Endpoints = append(es.Endpoints, e)
	c.put(es)
}

func (g *generator) service(namespace, name string) kubetest.Object {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	g.labels(svc)
	next := func(format string) string { return fmt.Sprintf(format, g.clusterIPs) }
	g.clusterIPs = g.clusterIPs%250 + 1
	switch g.IntN(10) {
	case 0, 1, 2, 3, 4:
		svc.Spec.ClusterIP = corev1.ClusterIPNone
		if g.one(2) {
			svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
		}
	case 5, 6:
		svc.Spec.ClusterIP = next("10.96.0.%d")
		if g.one(2) {
			svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
		}
	case 7:
		svc.Spec.ClusterIPs = []string{next("10.96.0.%d"), next("fd96::%x")}
		if g.one(2) {
			slices.Reverse(svc.Spec.ClusterIPs)
		}
		svc.Spec.ClusterIP = svc.Spec.ClusterIPs[0]
	default:
		svc.Spec.Type = corev1.ServiceTypeExternalName
		svc.Spec.ExternalName = choose(g, someTargets...)
		if g.one(2) {
			svc.Spec.ExternalName = choose(g, someServices...) + "." + choose(g, someNamespaces...) + ".svc.cluster.local"
		}
		if g.one(6) {
			svc.Spec.ExternalName = strings.ToLower(choose(g, someHostnames...)) + "." + choose(g, someServices...) + ".a.svc.cluster.local"
		}
	}
	if g.one(10) {
		svc.Annotations = map[string]string{"coredns-headless.github.io/hostnames": choose(g, someWords...)}
	}
	for _, p := range g.ports() {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: p.name, Protocol: corev1.Protocol(p.proto), Port: int32(p.number)})
	}
	return svc
}

func (g *generator) ports() []port {
	return choose(g,
		nil, []port{{"", "TCP", 80}}, []port{{"http", "TCP", 80}}, []port{{"http", "TCP", 8080}}, []port{{"http", "TCP", 80}},
		[]port{{"http", "TCP", 80}, {"dns", "UDP", 53}}, []port{{"dns", "UDP", 53}, {"dns-tcp", "TCP", 53}},
		[]port{{"c", "SCTP", 9}, {"svc", "TCP", 9}}, []port{{"http", "UDP", 80}},
	)
}

func (g *generator) slice(namespace, name, service string) kubetest.Object {
	es := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, AddressType: discoveryv1.AddressTypeIPv4}
	if service == "" {
		g.labels(es)
	} else {
		g.labels(es, discoveryv1.LabelServiceName, service)
	}
	addresses := some4
	switch g.IntN(16) {
	case 0:
		es.AddressType, addresses = discoveryv1.AddressTypeFQDN, []string{"www.example.com"}
	case 1, 2, 3, 4, 5:
		es.AddressType, addresses = discoveryv1.AddressTypeIPv6, some6
	}
	for _, p := range g.ports() {
		proto := corev1.Protocol(p.proto)
		es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: new(p.name), Protocol: &proto, Port: new(int32(p.number))})
	}
	for range g.IntN(4) {
		es.Endpoints = append(es.Endpoints, g.endpoint(addresses))
	}
	return es
}

func (g *generator) endpoint(addresses []string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{choose(g, addresses...)}}
	if g.one(2) {
		e.Hostname = new(choose(g, someHostnames...))
	}
	if g.one(2) {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: choose(g, somePods...)}
	}
	e.Conditions = choose(g,
		discoveryv1.EndpointConditions{}, discoveryv1.EndpointConditions{}, discoveryv1.EndpointConditions{Ready: new(true)},
		discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
		discoveryv1.EndpointConditions{Ready: new(false)},
		discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)},
	)
	return e
}

func (g *generator) pod(namespace, name string) kubetest.Object {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	g.labels(pod)
	pod.Status.PodIPs = []corev1.PodIP{{IP: choose(g, some4...)}}
	if g.one(2) {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: choose(g, some6[:4]...)})
	}
	return pod
}

// mutate returns c after a few changes.
func (g *generator) mutate(c *cluster) *cluster {
	c = c.clone()
	for range 3 + g.IntN(6) {
		keys := c.keys()
		if len(keys) == 0 {
			c.put(g.namespace("a"))
			continue
		}
		key := choose(g, keys...)
		if g.one(4) {
			delete(c.objects, key)
			continue
		}
		switch obj := c.objects[key].DeepCopyObject().(type) {
		case *corev1.Namespace:
			c.put(g.namespace(choose(g, someNamespaces...)))
		case *corev1.Service:
			c.put(g.service(obj.Namespace, obj.Name))
		case *corev1.Pod:
			c.put(g.pod(obj.Namespace, obj.Name))
		case *discoveryv1.EndpointSlice:
			g.mutateSlice(c, obj)
		}
	}
	return c
}

func (g *generator) mutateSlice(c *cluster, es *discoveryv1.EndpointSlice) {
	n := len(es.Endpoints)
	switch {
	case g.one(4):
		c.put(g.slice(es.Namespace, es.Name, choose(g, someServices...)))
		return
	case g.one(4):
		g.labels(es, discoveryv1.LabelServiceName, es.Labels[discoveryv1.LabelServiceName])
	case g.one(4): // other endpoints and ports
		c.put(g.slice(es.Namespace, es.Name, es.Labels[discoveryv1.LabelServiceName]))
		return
	case n > 0 && g.one(3): // an endpoint goes
		i := g.IntN(n)
		es.Endpoints = slices.Delete(es.Endpoints, i, i+1)
	case n > 0 && g.one(2): // an endpoint becomes ready, or stops being so
		e := &es.Endpoints[g.IntN(n)]
		e.Conditions = discoveryv1.EndpointConditions{Ready: new(e.Conditions.Ready != nil && !*e.Conditions.Ready)}
	case n > 0 && g.one(2): // an endpoint moves to a slice of its own
		moved := es.DeepCopy()
		moved.Name += "-moved"
		moved.Endpoints = moved.Endpoints[n-1:]
		c.put(moved)
		es.Endpoints = es.Endpoints[:n-1]
	case es.AddressType == discoveryv1.AddressTypeIPv4:
		es.Endpoints = append(es.Endpoints, g.endpoint(some4))
	}
	c.put(es)
}

// shrunk yields the clusters that are one step smaller than c.
func (c *cluster) shrunk(yield func(*cluster) bool) {
	with := func(key clusterKey, obj kubetest.Object) bool {
		o := c.clone()
		if o.objects[key] = obj; obj == nil {
			delete(o.objects, key)
		}
		return yield(o)
	}
	for _, key := range c.keys() {
		if !with(key, nil) {
			return
		}
	}
	for _, key := range c.keys() {
		switch obj := c.objects[key].(type) {
		case *discoveryv1.EndpointSlice:
			for i := range obj.Endpoints {
				o := obj.DeepCopy()
				if o.Endpoints = slices.Delete(o.Endpoints, i, i+1); !with(key, o) {
					return
				}
			}
			for i := range obj.Ports {
				o := obj.DeepCopy()
				if o.Ports = slices.Delete(o.Ports, i, i+1); !with(key, o) {
					return
				}
			}
		case *corev1.Service:
			for i := range obj.Spec.Ports {
				o := obj.DeepCopy()
				if o.Spec.Ports = slices.Delete(o.Spec.Ports, i, i+1); !with(key, o) {
					return
				}
			}
		}
	}
}

// questionList is a set of questions, in the order in which they were added.
type questionList struct {
	list []dns.Question
	seen map[dns.Question]bool
}

func (qs *questionList) add(name string, types ...uint16) {
	if _, ok := dns.IsDomainName(name); !ok {
		return
	}
	for _, qtype := range types {
		q := dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET}
		if !qs.seen[q] {
			qs.seen[q] = true
			qs.list = append(qs.list, q)
		}
	}
}

var everyType = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeCNAME, dns.TypeTXT, dns.TypeSOA, dns.TypeNS, dns.TypeMX, dns.TypeANY, dns.TypeHTTPS,
}

// questions returns what is asked about c: about each name a few types, in another spelling another, and about a name that is
// nearly that one.
func (g *generator) questions(zones []string, c *cluster) []dns.Question {
	qs := &questionList{seen: make(map[dns.Question]bool)}
	for _, zone := range zones {
		qs.add(zone, dns.TypeSOA, dns.TypeNS)
	}
	for _, name := range g.names(zones, c) {
		if name[0] == '_' {
			qs.add(name, dns.TypeSRV)
		}
		for range 2 {
			qs.add(name, choose(g, everyType...))
		}
		qs.add(name, choose(g, dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR))
		qs.add(g.respell(name), choose(g, everyType...))
		qs.add(g.miss(name), choose(g, everyType...))
	}
	return qs.list
}

// respell returns name with some letters in upper case.
func (g *generator) respell(name string) string {
	if g.one(2) {
		return strings.ToUpper(name)
	}
	b := []byte(name)
	for i, ch := range b {
		if 'a' <= ch && ch <= 'z' && g.one(3) {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// miss returns a name that is nearly name.
func (g *generator) miss(name string) string {
	parts := strings.Split(name, ".")
	i := g.IntN(max(1, len(parts)-2))
	switch g.IntN(7) {
	case 0:
		return choose(g, "x.", "_tcp.", "*.", "any.", "_.", "_http._tcp.", "http.tcp.", "z.pin._zone.", "web-0.") + name
	case 1:
		parts = slices.Delete(parts, i, i+1)
	case 2:
		parts[i] = choose(g, "x", "a", "b", "svc", "pod", "web", "web-0", "_tcp", "_udp", "_http", "http", "tcp", "_", "1", "10-0-0-7", "0--5", "__tcp", "0")
	case 3:
		parts[i] = strings.TrimPrefix(parts[i], "_")
	case 4:
		parts[i] = "_" + parts[i]
	case 5:
		return strings.ReplaceAll(name, "_", "")
	case 6:
		parts = slices.Insert(parts, i, choose(g, "x", "_tcp", "a", "web-0"))
	}
	return strings.Join(parts, ".")
}

// names returns the names that exist according to either plugin, though not every ancestor of a reverse name, and some that
// hang below them.
func (g *generator) names(zones []string, c *cluster) []string {
	var names []string
	seen := make(map[string]bool)
	add := func(list ...string) {
		for _, name := range list {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	services, addresses := []types.NamespacedName{}, []string{"::5"}
	ports, hosts := map[types.NamespacedName][]string{}, map[types.NamespacedName][]string{}
	for _, key := range c.keys() {
		at := key.NamespacedName
		switch obj := c.objects[key].(type) {
		case *corev1.Service:
			services = append(services, at)
			addresses = append(addresses, obj.Spec.ClusterIPs...)
			addresses = append(addresses, obj.Spec.ClusterIP)
			for _, p := range obj.Spec.Ports {
				ports[at] = append(ports[at], "_"+p.Name+"._"+strings.ToLower(string(p.Protocol)))
			}
		case *discoveryv1.EndpointSlice:
			at.Name = obj.Labels[discoveryv1.LabelServiceName]
			services = append(services, at)
			for _, p := range obj.Ports {
				ports[at] = append(ports[at], "_"+*p.Name+"._"+strings.ToLower(string(*p.Protocol)))
			}
			for _, e := range obj.Endpoints {
				addresses = append(addresses, e.Addresses...)
				for _, text := range e.Addresses {
					if addr, err := netip.ParseAddr(text); err == nil {
						hosts[at] = append(hosts[at], AddressLabel(addr.Unmap()), stockLabel(text, "", ""))
					}
				}
				hosts[at] = append(hosts[at], strings.ToLower(deref(e.Hostname)))
				if e.TargetRef != nil {
					hosts[at] = append(hosts[at], e.TargetRef.Name)
				}
			}
		case *corev1.Pod:
			for _, ip := range obj.Status.PodIPs {
				addresses = append(addresses, ip.IP)
				for _, zone := range zones {
					addr := netip.MustParseAddr(ip.IP)
					add(AddressLabel(addr)+"."+obj.Namespace+".pod."+zone, strings.ReplaceAll(addr.StringExpanded(), ":", "-")+"."+obj.Namespace+".pod."+zone)
				}
			}
		}
	}
	for _, zone := range zones {
		add(zone)
		for _, name := range []string{"svc", "pod", "dns", "ns.dns", "dns-version", "x.dns", "x.dns-version", "x"} {
			add(name + "." + zone)
		}
		if inReverse(zone) {
			continue
		}
		for _, namespace := range someNamespaces {
			for _, pod := range []string{"", "10-0-0-1.", "fd00--1.", "0--5.", "1-2-3.", "x.10-0-0-1."} {
				add(pod + namespace + ".pod." + zone)
			}
			add(namespace + ".svc." + zone)
		}
		for _, at := range services {
			base := at.Name + "." + at.Namespace + ".svc." + zone
			if at.Name == "" {
				continue
			}
			add(base, "_._tcp."+base, "_http._."+base)
			under := func(base string) {
				for _, p := range ports[at] {
					_, proto, _ := strings.Cut(p, ".")
					if p[1] != '.' {
						add(p + "." + base)
					}
					add(proto+"."+base, strings.ReplaceAll(p, "_", "")+"."+base)
				}
			}
			under(base)
			for _, host := range hosts[at] {
				if host != "" {
					add(host + "." + base)
					under(host + "." + base)
				}
			}
		}
	}
	for _, text := range addresses {
		name, err := dns.ReverseAddr(text)
		if err != nil {
			continue
		}
		for off, end := 0, false; !end && strings.Count(name[off:], ".") > 2; off, end = dns.NextLabel(name, off) {
			if off == 0 || g.one(4) {
				add(name[off:])
			}
		}
		add("x." + name)
	}
	return names
}
