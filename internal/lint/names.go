package lint

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/miekg/dns"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// isAddress reports whether text is an IP address.
func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// sentence returns what the server says of a name that it denies.
func sentence(e *headless.Explanation) string {
	text, _ := e.Denial.AppendText(nil) // there is no error
	return string(text)
}

// use is a name in a text that a program reads.
type use struct {
	written string // as it stands in the text, without a dot at its end
	name    string // the same in lower case
	labels  []string
	isWhole bool // it ends in svc, or in svc and the zone
	asked   bool // a port or a scheme stands beside it, so that it is somebody's host
	follows bool // something that is not known stands before it, and a dot
}

var (
	word    = regexp.MustCompile(`[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*`)
	port    = regexp.MustCompile(`^:\d{2,5}([^\w.]|$)`)
	comment = regexp.MustCompile(`(?m)^[ \t]*(#|//|;).*$`)
)

// usesIn returns the names of this zone that text seems to hold. What is next to something that will be
// put in its place, as by $(NAME) or {0..2}, is left out.
func (l *linter) usesIn(text string) (found []use) {
	text = comment.ReplaceAllStringFunc(text, func(line string) string { return strings.Repeat(" ", len(line)) })
	zone := ".svc." + strings.TrimSuffix(l.zone, ".")
	for _, at := range word.FindAllStringIndex(text, -1) {
		before, written, after := text[:at[0]], text[at[0]:at[1]], text[at[1]:]
		name := strings.ToLower(written)
		u := use{
			written: written, name: name, labels: strings.Split(name, "."), follows: strings.HasSuffix(before, "."),
			isWhole: strings.HasSuffix(name, ".svc") || strings.HasSuffix(name, zone),
			asked:   strings.HasSuffix(before, "://") || strings.HasSuffix(before, "@") || port.MatchString(after),
		}
		isPath := strings.HasSuffix(before, "/") && !strings.HasSuffix(before, "://")
		beginsEarlier := before != "" && strings.ContainsAny(before[len(before)-1:], "-)}%>{(<$")
		endsByDot := after == "." || strings.HasPrefix(after, ".:") || strings.HasPrefix(after, ". ")
		endsLater := !endsByDot && strings.IndexAny(after, "-.$({%<*@[") == 0
		if !beginsEarlier && !endsLater && !isPath && (!u.follows || u.isWhole) && !isAddress(name) {
			found = append(found, u)
		}
	}
	return found
}

// text is something that a program reads, and the object that it stands in.
type text struct {
	from  runtime.Object
	place string // the environment variable, or such
	text  string
}

// texts returns what the Pods of a workload read.
func (w *workload) texts() (all []text) {
	spec := &w.template.Spec
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, e := range c.Env {
			all = append(all, text{w.from, "env " + e.Name, e.Value})
		}
		for _, arg := range slices.Concat(c.Command, c.Args) {
			all = append(all, text{w.from, "an argument", arg})
		}
	}
	return all
}

// uses: the names that programs are given.
func (l *linter) uses() {
	for w := range l.allWorkloads() {
		if isMade(w) {
			continue
		}
		var peers []string
		for _, t := range w.texts() {
			peers = append(peers, l.usesOf(t, w.GetNamespace(), w)...)
		}
		if set, ok := w.from.(*appsv1.StatefulSet); ok {
			l.peers(set, peers)
		}
	}
	for _, obj := range l.All {
		if config, ok := obj.(*corev1.ConfigMap); ok {
			for file, content := range config.Data {
				l.usesOf(text{config, file, content}, config.Namespace, nil)
			}
		}
	}
}

// usesOf looks at the names in a text that Pods of a namespace read. It returns those of Pods of the
// workload itself that exist, or will when they are ready.
func (l *linter) usesOf(t text, namespace string, w *workload) (peers []string) {
	for _, u := range l.usesIn(t.text) {
		set, ordinal := l.podOf(u, namespace)
		isMaybe := u.isWhole || set != nil || u.asked && len(u.labels) <= 2 || isService(u.labels)
		if !isMaybe || len(u.labels) == 1 && !u.asked {
			continue
		}
		e := l.resolve(u, namespace)
		if e.Denial == nil || set != nil && l.willBe(set, ordinal, e) {
			if w != nil && set != nil && w.from == runtime.Object(set) {
				peers = append(peers, u.name)
			}
			continue
		}
		isPods := set != nil && e.Denial.Reason != index.ReasonNotReady
		if !isPods && !l.isCertain(e) && !l.isNear(e) {
			continue
		}
		fix := "use a name that will exist"
		if other := l.meant(set, ordinal); other != "" && other != u.name {
			fix = "use " + other
		} else if set != nil && replicasOf(set) > 0 {
			last := startOf(set) + replicasOf(set) - 1
			fix = fmt.Sprintf("use one of %s to %s-%d, or have more replicas", firstPod(set), set.Name, last)
		}
		l.add("name-absent", t.from, place{text: u.written}, fix,
			"%s says %s, which will not exist: %s", t.place, u.name, sentence(e))
	}
	return peers
}

// isService reports whether labels begin with those of an SRV record.
func isService(labels []string) bool {
	return len(labels) > 2 && labels[0][0] == '_' && (labels[1] == "_tcp" || labels[1] == "_udp" || labels[1] == "_sctp")
}

// resolve returns what the server knows of the name that a Pod of a namespace finds, or else of the one
// that is meant.
func (l *linter) resolve(u use, namespace string) *headless.Explanation {
	qtype := dns.TypeA
	if isService(u.labels) {
		qtype = dns.TypeSRV
	}
	suffixes := []string{"." + namespace + ".svc." + l.zone, ".svc." + l.zone, "." + l.zone, "."}
	for _, suffix := range suffixes {
		e := l.plugin.Explain(u.name+suffix, qtype)
		if e.Zone != "" && (e.Denial == nil || e.Denial.Reason == index.ReasonType) {
			e.Denial = nil
			return e
		}
	}
	suffix := suffixes[0]
	switch plain := strings.TrimSuffix(l.zone, "."); {
	case strings.HasSuffix(u.name, ".svc."+plain):
		suffix = suffixes[3]
	case strings.HasSuffix(u.name, ".svc"):
		suffix = suffixes[2]
	case len(u.labels) > 1 && l.namespaces[u.labels[len(u.labels)-1]]:
		suffix = suffixes[1]
	}
	return l.plugin.Explain(u.name+suffix, qtype)
}

// podOf returns the StatefulSet that makes the Pod that the first label of a name is, and its number, which is
// -1 if Kubernetes does not write it so. It returns nil if the name may be another thing: names on the Internet,
// and of files, begin with such a label, too.
func (l *linter) podOf(u use, namespace string) (*appsv1.StatefulSet, int) {
	if len(u.labels) < 2 || u.follows {
		return nil, 0
	}
	i := strings.LastIndexByte(u.labels[0], '-')
	ordinal, err := strconv.Atoi(u.labels[0][i+1:])
	if i < 0 || err != nil {
		return nil, 0
	}
	if len(u.labels) > 2 {
		if namespace = u.labels[2]; !l.namespaces[namespace] {
			return nil, 0
		}
	}
	set, service := l.sets[key{namespace, u.labels[0][:i]}], u.labels[1]
	if set == nil {
		return nil, 0
	}
	isOurs := service == set.Name || service == set.Spec.ServiceName || l.services[key{namespace, service}] != nil
	if !u.asked && !isOurs {
		return nil, 0
	}
	if strconv.Itoa(ordinal) != u.labels[0][i+1:] {
		ordinal = -1 // as in db-01
	}
	return set, ordinal
}

func replicasOf(set *appsv1.StatefulSet) int { return int(ptr.Deref(set.Spec.Replicas, 1)) }

func startOf(set *appsv1.StatefulSet) int {
	return int(ptr.Deref(set.Spec.Ordinals, appsv1.StatefulSetOrdinals{}).Start)
}

// has reports whether a StatefulSet is to have a Pod of a number.
func has(set *appsv1.StatefulSet, ordinal int) bool {
	return ordinal >= startOf(set) && ordinal < startOf(set)+replicasOf(set)
}

// meant returns the name that a Pod of a StatefulSet has, or "".
func (l *linter) meant(set *appsv1.StatefulSet, ordinal int) string {
	if set == nil || !has(set, ordinal) {
		return ""
	}
	for _, svc := range l.servicesIn[set.Namespace] {
		name := l.below(fmt.Sprintf("%s-%d", set.Name, ordinal), svc.Name, svc.Namespace)
		if l.plugin.Explain(name+".", dns.TypeA).Denial == nil {
			return name
		}
	}
	return ""
}

// willBe reports whether the name of a Pod of a StatefulSet lacks just the Pod, which has not been made or is
// not ready, or there are none for now.
func (l *linter) willBe(set *appsv1.StatefulSet, ordinal int, e *headless.Explanation) bool {
	if _, refused := l.foresight.Refused[set]; refused {
		return true
	}
	svc := l.services[key{e.Namespace, e.Service}]
	return svc != nil && svc.Name == set.Spec.ServiceName && selects(svc, set.Spec.Template.Labels) &&
		(has(set, ordinal) || replicasOf(set) == 0 && ordinal >= 0)
}

// isCertain reports whether a name is denied whatever else will be deployed.
func (l *linter) isCertain(e *headless.Explanation) bool {
	switch e.Denial.Reason {
	case index.ReasonNamespace:
		return l.Whole
	case index.ReasonService: // of a cluster a Namespace is known as a whole
		return l.Whole || l.Files == nil && l.namespaces[e.Namespace]
	case index.ReasonHostname, index.ReasonPort: // of a Service whose endpoints are known
		return len(e.Endpoints) > 0
	case index.ReasonExternal, index.ReasonSyntax:
		return true
	}
	return false
}

// isNear reports whether there is no Service of the name, but a workload that is called like it and that other
// Services select: files may not hold all that will be there.
func (l *linter) isNear(e *headless.Explanation) bool {
	if e.Denial.Reason != index.ReasonService || e.Hostname != "" {
		return false
	}
	for _, w := range l.workloads[e.Namespace] {
		if w.GetName() != e.Service {
			continue
		}
		return slices.ContainsFunc(l.servicesIn[e.Namespace], func(svc *corev1.Service) bool {
			return selects(svc, w.template.Labels)
		})
	}
	return false
}

// peers: Pods of a StatefulSet that look each other up before they are ready.
func (l *linter) peers(set *appsv1.StatefulSet, names []string) {
	svc := l.services[key{set.Namespace, set.Spec.ServiceName}]
	slices.Sort(names)
	names = slices.Compact(names)
	if svc == nil || len(names) < 2 || replicasOf(set) < 2 || svc.Spec.PublishNotReadyAddresses ||
		slices.Contains([]string{"serving", "all"}, svc.Annotations[kube.HostnamesAnnotation]) {
		return
	}
	for _, c := range set.Spec.Template.Spec.Containers {
		if c.ReadinessProbe != nil {
			l.add("peers-not-ready", set, at("spec", "template", "spec", "containers", "readinessProbe"),
				fmt.Sprintf("say publishNotReadyAddresses: true in Service %s", svc.Name),
				"its Pods are told %s, and none of these names exists before its Pod passes the readiness probe: "+
					"if that takes the others, none starts", strings.Join(names[:2], ", "))
			return
		}
	}
}
