package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/foresee"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/miekg/dns"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// firstPod returns the name of the first Pod of a StatefulSet.
func firstPod(set *appsv1.StatefulSet) string {
	return fmt.Sprintf("%s-%d", set.Name, startOf(set))
}

// serviceNames: the Service that the Pods of a StatefulSet are named in.
func (l *linter) serviceNames() {
	for _, set := range l.sets {
		name, where := set.Spec.ServiceName, at("spec", "serviceName")
		if name == "" || len(l.services) == 0 && !l.Whole { // files without any Service are a part of something
			continue
		}
		pod := l.below(firstPod(set), name, set.Namespace)
		var headless []string // Services that select its Pods
		for _, svc := range l.servicesIn[set.Namespace] {
			if isHeadless(svc) && selects(svc, set.Spec.Template.Labels) {
				headless = append(headless, svc.Name)
			}
		}
		fix := fmt.Sprintf("make a Service %s with clusterIP: None and the selector %s", name, pairs(set.Spec.Template.Labels))
		if len(headless) > 0 {
			fix = fmt.Sprintf("say serviceName: %s, or call that Service %s", strings.Join(headless, " or "), name)
		}
		switch svc := l.services[key{set.Namespace, name}]; {
		case svc == nil:
			l.add("service-name-missing", set, where, fix, "there is no Service %s, so %s and its like will not exist: the Pods have no names of their own", name, pod)
		case svc.Spec.Type == corev1.ServiceTypeExternalName, len(svc.Spec.Selector) > 0 && !selects(svc, set.Spec.Template.Labels):
			l.add("service-name-other", set, where, fix, "Service %s does not select these Pods, so %s and its like will not exist", name, pod)
		case !isHeadless(svc):
			if len(headless) == 0 {
				fix = fmt.Sprintf("say clusterIP: None in Service %s, or make a second Service that does and name that", name)
			}
			l.add("service-name-not-headless", set, where, fix,
				"Service %s has a ClusterIP: %s leads to that address, not to the Pods, and the specification gives names such as %s to Pods of headless Services only",
				name, l.below(name, set.Namespace), pod)
		}
	}
}

// selectors: whom Services select, and by which ports.
func (l *linter) selectors() {
	for _, svc := range l.services {
		if svc.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		l.refusedPorts(svc)
		if len(svc.Spec.Selector) == 0 {
			continue
		}
		var pods []*corev1.Pod
		for _, pod := range l.pods[svc.Namespace] {
			if selects(svc, pod.Labels) {
				pods = append(pods, pod)
			}
		}
		if len(pods) == 0 {
			l.selectsNothing(svc)
			continue
		}
		l.targetPorts(svc, pods)
	}
}

// selectsNothing says that a Service selects no Pod of those that are known, if some could be meant.
func (l *linter) selectsNothing(svc *corev1.Service) {
	e := l.plugin.Explain(l.below(svc.Name, svc.Namespace)+".", dns.TypeA)
	if len(e.Endpoints) > 0 { // of EndpointSlices whose Pods are not among the objects
		return
	}
	closest, most, any := "", 0, false
	for _, w := range l.workloads[svc.Namespace] {
		any = true
		if selects(svc, w.template.Labels) || w.isOff() && svc.Spec.Selector[appsv1.StatefulSetPodNameLabel] != "" {
			return // there will be some
		}
		if _, refused := l.foresight.Refused[w.from]; refused {
			return // that is told of the workload
		}
		agree := 0 // twice as many labels, and one more for what makes Pods
		for name, value := range svc.Spec.Selector {
			if w.template.Labels[name] == value {
				agree += 2
			}
		}
		if agree > 0 && !isMade(w) {
			agree++
		}
		if agree > most {
			closest, most = nameOf(w.from)+" has "+pairs(w.template.Labels), agree
		}
	}
	// Operators make Pods of which the files do not know.
	if !any || most == 0 && l.Files != nil && l.Files.HasCustom() {
		return
	}
	text := fmt.Sprintf("no Pod has the labels %s: ", pairs(svc.Spec.Selector))
	if e.Denial != nil {
		text += l.below(svc.Name, svc.Namespace) + " will not exist"
	} else {
		text += "nothing answers at its address"
	}
	fix := "select labels of the template of a workload"
	if closest != "" {
		text += "; " + closest
		fix = "let the selector and the labels of that template agree"
	}
	l.add("selects-nothing", svc, at("spec", "selector"), fix, "%s", text)
}

// isOff reports whether a workload is a StatefulSet of no Pods.
func (w *workload) isOff() bool {
	set, ok := w.from.(*appsv1.StatefulSet)
	return ok && replicasOf(set) == 0
}

// refusedPorts says that the API server would refuse the ports of a Service.
func (l *linter) refusedPorts(svc *corev1.Service) {
	names := make(map[string]bool)
	for _, p := range svc.Spec.Ports {
		switch {
		case p.Name == "" && len(svc.Spec.Ports) > 1:
			l.add("ports-refused", svc, at("spec", "ports"), fmt.Sprintf("give port %d a name, which is also that of its SRV records", p.Port),
				"port %d has no name, and there are several: the API server refuses the Service, so that none of its names will exist", p.Port)
		case names[p.Name]:
			l.add("ports-refused", svc, at("spec", "ports"), "give each port a name of its own",
				"two ports are called %s: the API server refuses the Service, so that none of its names will exist", p.Name)
		}
		names[p.Name] = true
	}
}

// targetPorts says which ports lead to none of the Pods.
func (l *linter) targetPorts(svc *corev1.Service, pods []*corev1.Pod) {
	for _, p := range svc.Spec.Ports {
		if p.TargetPort.Type != intstr.String {
			continue
		}
		isThere := slices.ContainsFunc(pods, func(pod *corev1.Pod) bool {
			return foresee.ContainerPort(pod, p.TargetPort.StrVal, protocolOf(p)) != 0
		})
		if isThere {
			continue
		}
		text := fmt.Sprintf("no container of its Pods has a port called %s, so port %d leads nowhere", p.TargetPort.StrVal, p.Port)
		if isHeadless(svc) && p.Name != "" {
			text += fmt.Sprintf(", and _%s._%s.%s will not exist", p.Name, strings.ToLower(string(protocolOf(p))), l.below(svc.Name, svc.Namespace))
		}
		fix := fmt.Sprintf("call the port of a container %s, or say its number", p.TargetPort.StrVal)
		if others := portNames(pods, protocolOf(p)); len(others) > 0 {
			fix = "say a number, or one of the names that there are: " + strings.Join(others, ", ")
		}
		l.add("target-port-missing", svc, place{text: p.TargetPort.StrVal}, fix, "%s", text)
	}
}

// portNames returns the names that ports of Pods have, and a targetPort of a protocol may be.
func portNames(pods []*corev1.Pod, protocol corev1.Protocol) (names []string) {
	for _, pod := range pods {
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			for _, p := range c.Ports {
				if p.Name != "" && !slices.Contains(names, p.Name) &&
					foresee.ContainerPort(pod, p.Name, protocol) != 0 {
					names = append(names, p.Name)
				}
			}
		}
	}
	return names
}

func protocolOf(p corev1.ServicePort) corev1.Protocol {
	if p.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return p.Protocol
}

// longest is how many characters a name has, at most, as people write it.
const longest = 253

// refusals: names that are too long or none.
func (l *linter) refusals() {
	for w := range l.allWorkloads() {
		if why, refused := l.foresight.Refused[w.from]; refused {
			fix := "choose shorter names, of small letters, digits and hyphens"
			if strings.Contains(why, "its selector does not match") {
				fix = "let the selector and the labels of the template agree"
			}
			l.add("name-refused", w.from, at("metadata", "name"), fix, "%s", why)
		}
	}
	for _, svc := range l.services {
		if errs := validation.IsDNS1123Label(svc.Name); len(errs) > 0 {
			l.add("name-refused", svc, at("metadata", "name"), "choose a name of letters, digits and hyphens, of up to 63 characters",
				"the API server refuses the Service, for its name is no label of DNS: %s", errs[0])
		}
	}
	told := make(map[runtime.Object]bool) // one Pod of a workload is enough
	for pod := range l.allPods() {
		fqdn := l.below(pod.Spec.Hostname, pod.Spec.Subdomain, pod.Namespace)
		if pod.Spec.Hostname == "" || pod.Spec.Subdomain == "" || len(fqdn) <= longest {
			continue
		}
		owner := l.ownerOf(pod)
		if told[owner] {
			continue
		}
		told[owner] = true
		l.add("name-refused", owner, at("metadata", "name"), "choose shorter names",
			"a Pod's name would have %d characters, and one has up to %d, so it will not exist: %.64s...", len(fqdn), longest, fqdn)
	}
}

// deadOfServices are annotations that are no longer read, with what to say in their place.
var deadOfServices = map[string]string{"service.alpha.kubernetes.io/tolerate-unready-endpoints": "publishNotReadyAddresses: true"}

// deadOfPods are those of Pods, with the field that took their place.
var deadOfPods = map[string]string{"pod.beta.kubernetes.io/hostname": "hostname", "pod.beta.kubernetes.io/subdomain": "subdomain"}

// annotations: those that are dead, where what took their place is not said as well.
func (l *linter) annotations() {
	for _, svc := range l.services {
		for name, now := range deadOfServices {
			if svc.Annotations[name] == "true" && !svc.Spec.PublishNotReadyAddresses {
				l.add("dead-annotation", svc, at("metadata", "annotations", name), "say "+now+" in spec",
					"Kubernetes reads %s no longer: Pods that are not ready have no names, and do not count for %s", name, l.below(svc.Name, svc.Namespace))
			}
		}
	}
	for w := range l.allWorkloads() {
		said := map[string]string{"hostname": w.template.Spec.Hostname, "subdomain": w.template.Spec.Subdomain}
		path := []string{"spec", "template", "metadata", "annotations"}
		if w.kind == "Pod" {
			path = path[2:]
		}
		for name, now := range deadOfPods {
			if w.template.Annotations[name] != "" && said[now] == "" && w.kind != "StatefulSet" && !isMade(w) {
				l.add("dead-annotation", w.from, at(append(slices.Clone(path), name)...), fmt.Sprintf("say %s: %s in the spec of the Pod", now, w.template.Annotations[name]),
					"Kubernetes reads %s no longer: the Pods have no names of their own", name)
			}
		}
	}
}

// externalNames: what they lead to.
func (l *linter) externalNames() {
	for _, svc := range l.services {
		if svc.Spec.Type != corev1.ServiceTypeExternalName {
			continue
		}
		own, target, where := l.below(svc.Name, svc.Namespace), strings.TrimSuffix(svc.Spec.ExternalName, "."), at("spec", "externalName")
		if isAddress(target) {
			l.add("external-name", svc, where, "make a Service without a selector, and an EndpointSlice with the address",
				"%s is an address, and a CNAME leads to names only: %s will lead nowhere", target, own)
			continue
		}
		if l.circles(svc) {
			l.add("external-name", svc, where, "let externalName be a name that has addresses",
				"%s is a CNAME for %s, and that leads in a circle: it will have no address", own, target)
			continue
		}
		e := l.plugin.Explain(target+".", dns.TypeA)
		if e.Denial == nil || e.Denial.Reason == index.ReasonType { // it may have IPv6 addresses only
			continue
		}
		if l.isCertain(e) {
			l.add("external-name", svc, where, "let externalName be a name that exists", "%s is a CNAME for %s, which will not exist: %s", own, target, sentence(e))
		}
	}
}

// circles reports whether the external name of svc leads, by those of others or at once, to one for the second time.
func (l *linter) circles(svc *corev1.Service) bool {
	for range l.services { // a way that is longer comes by one of them again
		e := l.plugin.Explain(strings.TrimSuffix(svc.Spec.ExternalName, ".")+".", dns.TypeA)
		svc = l.services[key{e.Namespace, e.Service}]
		if svc == nil || e.Kind != qname.ServiceName || svc.Spec.Type != corev1.ServiceTypeExternalName {
			return false
		}
	}
	return true
}

// hostnames: names that several claim.
func (l *linter) hostnames() {
	type own struct{ namespace, subdomain, hostname string }
	owners := make(map[own]string)
	for pod := range l.allPods() {
		o := own{pod.Namespace, pod.Spec.Subdomain, pod.Spec.Hostname}
		if o.hostname == "" || o.subdomain == "" || l.services[key{o.namespace, o.subdomain}] == nil {
			continue
		}
		owner := l.ownerOf(pod)
		name := nameOf(owner)
		if other := owners[o]; other != "" && other != name {
			l.add("hostname-twice", owner, at("metadata", "name"), "choose another hostname or subdomain for one of them",
				"Pods of %s are called %s, too: the name has the addresses of both", other, l.below(o.hostname, o.subdomain, o.namespace))
			continue
		}
		owners[o] = name
	}
	const annotation = "external-dns.alpha.kubernetes.io/hostname"
	claimed := make(map[string]*corev1.Service)
	for _, svc := range l.sorted {
		for name := range strings.SplitSeq(svc.Annotations[annotation], ",") {
			name = strings.TrimSuffix(strings.TrimSpace(name), ".")
			if other := claimed[name]; other != nil && other != svc {
				l.add("hostname-twice", svc, at("metadata", "annotations", annotation), "let one of them claim it",
					"%s claims %s, too: the name has the addresses of both, or of one that you did not choose", nameOf(other), name)
			}
			if name != "" {
				claimed[name] = svc
			}
		}
	}
}

// ownerOf returns the workload among the objects that makes a Pod, or else the Pod.
func (l *linter) ownerOf(pod *corev1.Pod) runtime.Object {
	for _, w := range l.workloads[pod.Namespace] {
		for _, ref := range pod.OwnerReferences {
			isIt := w.kind == ref.Kind && w.GetName() == ref.Name || // or makes the ReplicaSet that makes the Pod
				w.kind == "Deployment" && ref.Kind == "ReplicaSet" && ref.Name[:max(0, strings.LastIndexByte(ref.Name, '-'))] == w.GetName()
			if isIt {
				return w.from
			}
		}
		if w.kind == "Pod" && w.GetName() == pod.Name {
			return w.from
		}
	}
	return pod
}

// domains are top-level domains whose names people use most.
var domains = []string{"biz", "cn", "co", "com", "de", "edu", "eu", "fr", "gov", "info", "int", "io", "jp", "mil", "net", "nl", "org", "uk", "us"}

// shadows: short names that are found before what they mean.
func (l *linter) shadows() {
	for k, svc := range l.services {
		if slices.Contains(domains, k.namespace) {
			l.add("namespace-is-domain", svc, at("metadata", "namespace"), "give the Namespace another name",
				"with the search list of a Pod, %s.%s is this Service in the whole cluster, not the host of that name on the Internet", k.name, k.namespace)
		}
		if !l.namespaces[k.name] || k.name == k.namespace {
			continue
		}
		for _, other := range l.servicesIn[k.name] {
			fqdn := l.below(other.Name, k.name, k.namespace)
			if l.plugin.Explain(fqdn+".", dns.TypeA).Denial != nil {
				continue
			}
			l.add("name-shadowed", svc, at("metadata", "name"), "give the Service another name, or write the whole name in this Namespace",
				"in Namespace %s, %s.%s is %s, an endpoint of this Service, and not Service %s/%s", k.namespace, other.Name, k.name, fqdn, other.Namespace, other.Name)
		}
	}
}
