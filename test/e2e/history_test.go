package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// state is what the changing objects are at some moment: the EndpointSlice of the Service "pods" lists the pods n to n+listed-1, the
// Service "alias" is an alias of n-<n>.example.org, and the Namespaces era-<era> exist.
type state struct {
	n      int
	eras   []int
	marker int // the era that tells this state from the one before
}

const (
	listed       = 5 // pods
	changingZone = "changing.svc.cluster.local."
)

// podNumber returns the hostname and the address of a pod.
func podNumber(i int) (hostname, address string) {
	return fmt.Sprint("p-", i), fmt.Sprintf("10.250.%d.%d", i>>8, i&0xff)
}

func (s state) lists(pod int) bool { return s.n <= pod && pod < s.n+listed }

// The resources, each of which is watched by itself: one may be known in an older state than another.
const (
	namespacesResource = "namespaces"
	servicesResource   = "services"
	slicesResource     = "endpointslices"
)

// history is what the states of a cluster have been, in order, and which of them a server has shown to know. Each answer has to
// be right for a state that is not older than what the server has shown before.
type history struct {
	t *testing.T
	c *cluster.Cluster

	mu     sync.Mutex // guards the fields below
	n      int        // changes
	states []state
	shown  map[string]int // by resource: the first of the states that the server may have
}

// newHistory makes the changing objects.
func newHistory(t *testing.T, c *cluster.Cluster) *history {
	t.Helper()
	h := &history{t: t, c: c, states: []state{{}}, shown: make(map[string]int)}
	apply(t, c, `
{apiVersion: v1, kind: Namespace, metadata: {name: changing}}
---
{apiVersion: v1, kind: Service, metadata: {name: pods, namespace: changing}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias, namespace: changing}, spec: {type: ExternalName, externalName: n-0.example.org}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
  metadata: {name: pods, namespace: changing, labels: {kubernetes.io/service-name: pods, service.kubernetes.io/headless: ""}},
  addressType: IPv4, ports: [{name: http, port: 80}], endpoints: `+toJSON(t, h.states[0].endpoints())+"}")
	return h
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	fatal.If(t, err)
	return string(b)
}

func (s state) endpoints() (endpoints []discoveryv1.Endpoint) {
	for i := range listed {
		hostname, address := podNumber(s.n + i)
		endpoints = append(endpoints, discoveryv1.Endpoint{Hostname: &hostname, Addresses: []string{address}})
	}
	return endpoints
}

func (h *history) last() state {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[len(h.states)-1]
}

// add adds a state that may be known from now on.
func (h *history) add(s state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states = append(h.states, s)
}

// change changes an object of each resource: a pod comes and another one goes, a Service becomes another, and a Namespace comes.
func (h *history) change() {
	h.t.Helper()
	h.n++
	s := h.last()
	s.n, s.eras, s.marker = h.n, append(slices.Clone(s.eras), h.n), h.n
	h.add(s)
	ctx, merge := h.t.Context(), types.MergePatchType
	_, errSlice := h.c.Client.DiscoveryV1().EndpointSlices("changing").Patch(ctx, "pods", merge,
		[]byte(toJSON(h.t, map[string]any{"endpoints": s.endpoints()})), metav1.PatchOptions{})
	_, errService := h.c.Client.CoreV1().Services("changing").Patch(ctx, "alias", merge,
		fmt.Appendf(nil, `{"spec": {"externalName": "n-%d.example.org"}}`, s.n), metav1.PatchOptions{})
	_, errNamespace := h.c.Client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("era-", s.n)}}, metav1.CreateOptions{})
	for _, err := range []error{errSlice, errService, errNamespace} {
		if err != nil {
			h.t.Fatalf("change %d: %v", s.n, err)
		}
	}
}

// stateQuestion is one whose answer follows from a state.
type stateQuestion struct {
	name     string
	qtype    uint16
	resource string // whose state the answer shows; "": it is always the same
	want     func(state) string
}

func (q stateQuestion) String() string { return q.name + " " + dns.TypeToString[q.qtype] }

const (
	nameError = "NXDOMAIN"
	noData    = ""
)

// text returns what an answer says: the data of its records, or how it fails.
func text(r *dns.Msg) string {
	if r.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[r.Rcode]
	}
	return strings.Join(dnstest.Data(r.Answer), ", ")
}

// always returns a question whose answer never changes.
func always(name string, qtype uint16, want ...string) stateQuestion {
	slices.Sort(want)
	return stateQuestion{name, qtype, "", func(state) string { return strings.Join(want, ", ") }}
}

func askPods() stateQuestion {
	return stateQuestion{"pods." + changingZone, dns.TypeA, slicesResource, func(s state) string {
		var addresses []string
		for i := range listed {
			_, address := podNumber(s.n + i)
			addresses = append(addresses, address)
		}
		slices.Sort(addresses)
		return strings.Join(addresses, ", ")
	}}
}

func askPorts() stateQuestion {
	return stateQuestion{"_http._tcp.pods." + changingZone, dns.TypeSRV, slicesResource, func(s state) string {
		var ports []string
		for i := range listed {
			hostname, _ := podNumber(s.n + i)
			ports = append(ports, fmt.Sprintf("0 %d 80 %s.pods.%s", 100/listed, hostname, changingZone))
		}
		slices.Sort(ports)
		return strings.Join(ports, ", ")
	}}
}

// askPod asks for the records of a type that a pod has under its name.
func askPod(i int, qtype uint16) stateQuestion {
	hostname, address := podNumber(i)
	return stateQuestion{hostname + ".pods." + changingZone, qtype, slicesResource, func(s state) string {
		switch {
		case !s.lists(i):
			return nameError
		case qtype == dns.TypeA:
			return address
		}
		return noData
	}}
}

// askAddress asks whose the address of a pod is.
func askAddress(i int) stateQuestion {
	hostname, address := podNumber(i)
	name, err := dns.ReverseAddr(address)
	if err != nil {
		panic(err) // it is an address
	}
	return stateQuestion{name, dns.TypePTR, slicesResource, func(s state) string {
		if !s.lists(i) {
			return nameError
		}
		return hostname + ".pods." + changingZone
	}}
}

func askAlias() stateQuestion {
	return stateQuestion{"alias." + changingZone, dns.TypeCNAME, servicesResource, func(s state) string {
		return fmt.Sprintf("n-%d.example.org.", s.n)
	}}
}

func askEra(era int) stateQuestion {
	return stateQuestion{fmt.Sprintf("era-%d.svc.cluster.local.", era), dns.TypeA, namespacesResource, func(s state) string {
		if slices.Contains(s.eras, era) {
			return noData
		}
		return nameError
	}}
}

// news returns the questions whose answers tell the last state from the one before.
func (h *history) news() []stateQuestion {
	return []stateQuestion{askPods(), askAlias(), askEra(h.last().marker)}
}

// draw returns a question at random about what changes.
func (h *history) draw() stateQuestion {
	s := h.last()
	i := s.n + rand.IntN(listed+6) - 3 // some have not come, or gone
	return []stateQuestion{
		askPods(), askPorts(), askPod(max(0, i), dns.TypeA), askPod(max(0, i), dns.TypeAAAA), askAddress(max(0, i)), askAlias(),
		askEra(max(1, s.n-rand.IntN(5)+1)),
	}[rand.IntN(7)]
}

// floor returns the first of the states that the server may have of a resource.
func (h *history) floor(resource string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shown[resource]
}

// isCurrent reports whether the server has shown that it knows the last state.
func (h *history) isCurrent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, resource := range []string{namespacesResource, servicesResource, slicesResource} {
		if h.shown[resource] < len(h.states)-1 {
			return false
		}
	}
	return true
}

// judge takes in an answer to a question that was sent when the floor of its resource was the one given. It returns an error if the
// answer is right for no state since then.
func (h *history) judge(q stateQuestion, floor int, got string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := floor; i < len(h.states); i++ {
		if q.want(h.states[i]) == got {
			if q.resource != "" {
				h.shown[q.resource] = max(h.shown[q.resource], i)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: got %q, want %q, or what was right after that", q, got, q.want(h.states[floor]))
}
