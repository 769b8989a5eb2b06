package soak

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	_ "github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/snapshot"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/metadata"
	_ "github.com/coredns/coredns/plugin/ready"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

var (
	soakDuration = flag.Duration("soak.duration", 0, "how long TestSoak injects faults; 0: it is skipped")
	soakSeed     = flag.Uint64("soak.seed", 0, "what TestSoak draws its faults and changes from; 0: another one each time")
)

// soakHistory is what something has been, with the numbers of the changes that made it so.
type soakHistory[T any] struct {
	at     []int
	states []T
}

func (h *soakHistory[T]) add(at int, state T) {
	h.at, h.states = append(h.at, at), append(h.states, state)
}

func (h *soakHistory[T]) last() T { return h.states[len(h.states)-1] }

// since returns what it was after change floor, and what it has become since.
func (h *soakHistory[T]) since(floor int) []T {
	i, found := slices.BinarySearch(h.at, floor)
	if !found {
		i = max(0, i-1)
	}
	return h.states[i:]
}

// soakPod is a pod behind a headless Service.
type soakPod struct {
	ip, hostname string
	ready        bool
	slice        int // the slice that lists it
}

// soakService is a Service. It has a clusterIP, or is headless.
type soakService struct {
	exists    bool
	clusterIP string
}

// soakTruth is what the API server has, and has had. A server may lag behind it, but no further than floor: what it has
// shown it must not forget. Changes of one resource arrive in their order, but for those that one list brings, which come in any
// order. So a mark is set after some changes, and the next one when a server has shown that; and when it shows the next one, all
// that was before the first has arrived.
type soakTruth struct {
	mu         sync.Mutex // guards the fields below
	changes    int
	namespaces map[string]*soakHistory[bool]
	services   map[model.Key]*soakHistory[soakService]
	pods       map[model.Key]*soakHistory[[]soakPod]
	marks      []int          // the number of changes before each mark
	floor      map[string]int // by resource
	epoch      int            // grows with each start and end of a server, and with each reload
	isUp       bool           // a server has said that it is ready, and nobody has ended it
	isReloaded bool           // a reload is under way; it ends connections
	origin     soakOrigin
	isAway     bool // so is the API server
}

// soakOrigin is what a server answers from. It begins with its snapshot, if that is of use, and says so in its answers; but once it
// has listed the cluster it never does again.
type soakOrigin int

const (
	anyOrigin    soakOrigin = iota // nobody knows
	fromSnapshot                   // the API server has been away since before the server was started
	fromCluster                    // an answer has shown it
)

// soakMoment is what a client knows when it sends a query.
type soakMoment struct {
	floor      map[string]int
	epoch      int
	isUp       bool
	isReloaded bool
	origin     soakOrigin
}

func (s *soakTruth) now() soakMoment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return soakMoment{maps.Clone(s.floor), s.epoch, s.isUp, s.isReloaded, s.origin}
}

// next begins the next epoch. The caller holds mu.
func (s *soakTruth) next() {
	s.epoch++
	s.origin = anyOrigin
}

// isStale reports whether m, the answer to a query r that was sent at a moment, is from a snapshot. Where nobody knows it is as m says.
func (s *soakTruth) isStale(r, m *dns.Msg, sent soakMoment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	isMarked := slices.ContainsFunc(hostile.ExtendedErrors(m), func(e dns.EDNS0_EDE) bool { return e.InfoCode == dns.ExtendedErrorCodeStaleAnswer })
	switch {
	case sent.origin == fromCluster:
		return false
	case sent.origin == fromSnapshot && s.origin == fromSnapshot:
		return true
	case !isMarked && r.IsEdns0() != nil && s.epoch == sent.epoch && !s.isReloaded: // while there is a reload two servers answer
		s.origin = fromCluster
	}
	return isMarked
}

// isOwed reports whether a query that was sent at a moment has to be answered.
func (s *soakTruth) isOwed(network string, sent soakMoment) bool {
	return sent.isUp && s.now().epoch == sent.epoch && (network == "udp" || !sent.isReloaded)
}

// soakQuestion asks for a name of, or below, a Service.
type soakQuestion struct {
	name  string
	qtype uint16
	of    model.Key
	// answer returns what the answer is: whether the name exists, and the records, each as text. It is called only if the
	// Namespace and the Service exist.
	answer func(soakService, []soakPod) (exists bool, records []string)
}

func (q *soakQuestion) String() string { return q.name + " " + dns.TypeToString[q.qtype] }

// isWrong returns what is wrong with the reply m to a query that was sent at a moment, or "".
func (s *soakTruth) isWrong(q *soakQuestion, m *dns.Msg, sent soakMoment) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	always, ever := map[string]bool{}, map[string]bool{}
	isFirst, mayExist, mayBeMissing, mayBeEmpty := true, false, false, false
	try := func(exists bool, records []string) {
		mayExist, mayBeMissing, mayBeEmpty = mayExist || exists, mayBeMissing || !exists, mayBeEmpty || exists && len(records) == 0
		here := map[string]bool{}
		for _, r := range records {
			here[r], ever[r] = true, true
		}
		if isFirst {
			always = here
		}
		maps.DeleteFunc(always, func(r string, _ bool) bool { return !here[r] })
		isFirst = false
	}
	services, namespaces := []soakService{{}}, []bool{false}
	pods := [][]soakPod{nil}
	if h := s.namespaces[q.of.Namespace]; h != nil {
		namespaces = h.since(sent.floor[kube.Namespaces])
	}
	if h := s.services[q.of]; h != nil {
		services = h.since(sent.floor[kube.Services])
	}
	if h := s.pods[q.of]; h != nil {
		pods = h.since(sent.floor[kube.Slices])
	}
	for _, hasNamespace := range namespaces {
		for _, service := range services {
			if !hasNamespace || !service.exists {
				try(false, nil)
				continue
			}
			for _, p := range pods {
				try(q.answer(service, p))
			}
		}
	}

	var got []string
	for _, rr := range m.Answer {
		text := ""
		switch rr := rr.(type) {
		case *dns.A:
			text = rr.A.String()
		case *dns.PTR:
			text = rr.Ptr
		case *dns.SRV:
			text = fmt.Sprint(rr.Port, " ", rr.Target)
			if !m.Truncated && int(rr.Weight) != max(1, 100/len(m.Answer)) {
				return fmt.Sprintf("weight %d of %d", rr.Weight, len(m.Answer))
			}
		default:
			text = rr.String()
		}
		if rr.Header().Ttl > 5 || !strings.EqualFold(rr.Header().Name, q.name) || rr.Header().Rrtype != q.qtype {
			return "the record " + rr.String()
		}
		got = append(got, text)
	}
	slices.Sort(got)
	known := fmt.Sprintf("always %q, at times %q", slices.Sorted(maps.Keys(always)), slices.Sorted(maps.Keys(ever)))
	switch {
	case m.Rcode == dns.RcodeNameError && len(got) == 0:
		if !mayBeMissing {
			return "NXDOMAIN, want " + known
		}
	case m.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[m.Rcode] + ", want " + known
	case !mayExist:
		return fmt.Sprintf("NOERROR %q, want NXDOMAIN", got)
	case len(got) == 0:
		if !mayBeEmpty && !m.Truncated {
			return "no data, want " + known
		}
	case len(slices.Compact(slices.Clone(got))) < len(got):
		return fmt.Sprintf("a record twice: %q", got)
	case slices.ContainsFunc(got, func(r string) bool { return !ever[r] }):
		return fmt.Sprintf("%q, want %s", got, known)
	}
	if len(got) > 0 && !m.Truncated {
		for r := range always {
			if !slices.Contains(got, r) {
				return fmt.Sprintf("%q without %s, want %s", got, r, known)
			}
		}
	}
	return ""
}

const soakZone = ".svc.cluster.local."

// The Services of the soak, all in namespace ns but one. still, edited and vip never change for clients.
const (
	soakChanging   = 5 // headless ones
	soakClusterIPs = 3
	soakStill      = 20 // pods
	soakEdited     = 60 // pods
	soakEditedEach = 10 // pods in a slice
)

// soakSet is the soak: an API server and the truth about it, a CoreDNS that is another process, and clients.
type soakSet struct {
	*soakTruth
	t         *testing.T
	api       *kubetest.Server
	apiAddr   string
	dnsAddr   string
	readyAddr string
	snapshot  string
	began     time.Time
	child     *soakChild
	nextIP    int
	rand      *rand.Rand // of the faults
	editing   sync.Mutex // one change after the other

	tallyMu sync.Mutex // guards the fields below
	faults  map[string]*soakTally
	active  map[string]int
	total   soakTally
	wrong   []string
	longest time.Duration // from a mark to when it was seen

	paused  sync.RWMutex // clients hold it for each thing they do
	clients sync.WaitGroup
	stopped chan struct{}
}

// soakTally is what happened while a fault lasted.
type soakTally struct {
	injected, answers, wrong, unanswered int
}

// count counts for all faults that are active.
func (s *soakSet) count(add func(*soakTally)) {
	s.tallyMu.Lock()
	defer s.tallyMu.Unlock()
	add(&s.total)
	for name, n := range s.active {
		if n > 0 {
			add(s.faults[name])
		}
	}
}

// fault notes that a fault is injected, until end is called.
func (s *soakSet) fault(name string) (end func()) {
	s.tallyMu.Lock()
	defer s.tallyMu.Unlock()
	if s.faults[name] == nil {
		s.faults[name] = &soakTally{}
	}
	s.faults[name].injected++
	s.active[name]++
	return func() {
		s.tallyMu.Lock()
		defer s.tallyMu.Unlock()
		s.active[name]--
	}
}

// fail notes a wrong answer, or a fault of another kind.
func (s *soakSet) fail(format string, args ...any) {
	s.count(func(n *soakTally) { n.wrong++ })
	s.tallyMu.Lock()
	defer s.tallyMu.Unlock()
	var during []string
	for name, n := range s.active {
		if n > 0 {
			during = append(during, name)
		}
	}
	slices.Sort(during)
	s.wrong = append(s.wrong, fmt.Sprintf("%8.3f s: %s (during %q)", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...), during))
}

// isHopeless reports whether so much went wrong that there is no use in going on.
func (s *soakSet) isHopeless() bool {
	s.tallyMu.Lock()
	defer s.tallyMu.Unlock()
	return len(s.wrong) >= soakMostWrong
}

const soakMostWrong = 20

// change makes a change of the truth and then tells the API server.
func (s *soakSet) change(note func(at int), objects ...apiruntime.Object) {
	s.mu.Lock()
	s.changes++
	note(s.changes)
	s.mu.Unlock()
	s.api.Put(objects...)
}

func noted[K comparable, T any](m map[K]*soakHistory[T], key K, state T) func(int) {
	return func(at int) {
		if m[key] == nil {
			m[key] = &soakHistory[T]{}
		}
		m[key].add(at, state)
	}
}

func (s *soakSet) setNamespace(name string, exists bool) {
	if !exists {
		s.change(noted(s.namespaces, name, false))
		s.api.Delete(kubetest.Namespace(name))
		return
	}
	s.change(noted(s.namespaces, name, true), kubetest.Namespace(name))
}

func (s *soakSet) setService(of model.Key, state soakService) {
	object := kubetest.Changed(kubetest.Service(of.Name, cmp.Or(state.clusterIP, corev1.ClusterIPNone)), func(o *corev1.Service) { o.Namespace = of.Namespace })
	if !state.exists {
		s.change(noted(s.services, of, state))
		s.api.Delete(object)
		return
	}
	s.change(noted(s.services, of, state), object)
}

// setPods sets the pods of a Service, whose slices are called 0, 1 and so on. The changed ones are put in order.
func (s *soakSet) setPods(of model.Key, pods []soakPod, order ...int) {
	var objects []apiruntime.Object
	for _, i := range order {
		objects = append(objects, soakSlice(of, i, "http", pods))
	}
	s.change(noted(s.pods, of, pods), objects...)
}

func soakSlice(of model.Key, i int, port string, pods []soakPod) *discoveryv1.EndpointSlice {
	return kubetest.Changed(kubetest.EmptySlice(fmt.Sprint(of.Name, "-", i), of.Name), func(o *discoveryv1.EndpointSlice) {
		o.Namespace = of.Namespace
		o.Ports[0].Name = new(port)
		for _, p := range pods {
			if p.slice == i {
				o.Endpoints = append(o.Endpoints, discoveryv1.Endpoint{
					Addresses: []string{p.ip}, Hostname: new(p.hostname), Conditions: discoveryv1.EndpointConditions{Ready: new(p.ready)},
				})
			}
		}
	})
}

// ip returns an address that nobody has had.
func (s *soakSet) ip() string {
	s.nextIP++
	return netip.AddrFrom4([4]byte{10, byte(s.nextIP >> 16), byte(s.nextIP >> 8), byte(s.nextIP)}).String()
}

func (s *soakSet) podsOf(of model.Key) []soakPod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pods[of].last())
}

func (s *soakSet) lastService(of model.Key) soakService {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[of].last()
}

func (s *soakSet) newPods(n, each int) (pods []soakPod) {
	for i := range n {
		pods = append(pods, soakPod{s.ip(), fmt.Sprint("p-", i), true, i / each})
	}
	return pods
}

var (
	soakStillKey  = model.KeyOf("ns", "still")
	soakEditedKey = model.KeyOf("ns", "edited")
	soakVIPKey    = model.KeyOf("ns", "vip")
)

func soakChangingKey(i int) model.Key {
	if i == 0 {
		return model.KeyOf("comes-and-goes", "h-0")
	}
	return model.KeyOf("ns", fmt.Sprint("h-", i))
}

func soakClusterIPKey(i int) model.Key { return model.KeyOf("ns", fmt.Sprint("c-", i)) }

// populate makes the cluster.
func (s *soakSet) populate() {
	s.setNamespace("ns", true)
	s.setNamespace("comes-and-goes", true)
	s.api.Put(kubetest.Changed(kubetest.Namespace(metav1.NamespaceSystem), func(ns *corev1.Namespace) { ns.UID = "soak" }))
	s.setService(soakStillKey, soakService{exists: true})
	s.setPods(soakStillKey, s.newPods(soakStill, 10), 0, 1)
	s.setService(soakVIPKey, soakService{true, "10.250.0.1"})
	s.setService(soakEditedKey, soakService{exists: true})
	s.setPods(soakEditedKey, s.newPods(soakEdited, soakEditedEach), 0, 1, 2, 3, 4, 5)
	for i := range soakChanging {
		s.setService(soakChangingKey(i), soakService{exists: true})
		s.setPods(soakChangingKey(i), s.newPods(6, 4), 0, 1)
	}
	for i := range soakClusterIPs {
		s.setService(soakClusterIPKey(i), soakService{true, fmt.Sprintf("10.250.1.%d", i+1)})
	}
	s.api.Put(kubetest.Namespace("default"))
	for name, target := range map[string]string{ // which hostile packets ask for
		"ext": "www.example.com", "inside": "vip.ns.svc.cluster.local", "nowhere": "nobody.default.svc.cluster.local", "circle": "self.default.svc.cluster.local",
		"self": "circle.default.svc.cluster.local", "hop-1": "inside.default.svc.cluster.local", "nodata": "_tcp.vip.ns.svc.cluster.local",
	} {
		s.api.Put(kubetest.Changed(kubetest.Service(name, ""), func(o *corev1.Service) {
			o.Namespace, o.Spec.Type, o.Spec.ExternalName = "default", corev1.ServiceTypeExternalName, target
		}))
	}
	s.mark()
}

// churn changes one thing.
func (s *soakSet) churn(r *rand.Rand) {
	s.editing.Lock()
	defer s.editing.Unlock()
	i := r.IntN(soakChanging)
	of := soakChangingKey(i)
	pods := s.podsOf(of)
	switch kind := r.IntN(20); {
	case kind == 0:
		s.mu.Lock()
		exists := s.namespaces["comes-and-goes"].last()
		s.mu.Unlock()
		s.setNamespace("comes-and-goes", !exists)
		return
	case kind == 1:
		s.setService(of, soakService{exists: !s.lastService(of).exists})
		return
	case kind < 5:
		of = soakClusterIPKey(r.IntN(soakClusterIPs))
		if s.lastService(of).exists {
			s.setService(of, soakService{})
		} else {
			s.setService(of, soakService{true, fmt.Sprintf("10.250.%d.%d", 2+r.IntN(250), 1+r.IntN(250))})
		}
		return
	case kind < 8: // scale up
		if len(pods) < 15 {
			pods = append(pods, soakPod{s.ip(), fmt.Sprint("p-", len(pods)), true, r.IntN(2)})
		}
	case kind < 11: // scale down
		pods = pods[:max(0, len(pods)-1-r.IntN(2))]
	case kind < 15 && len(pods) > 0: // another pod in its place
		p := &pods[r.IntN(len(pods))]
		p.ip, p.slice = s.ip(), r.IntN(2)
	case kind < 18 && len(pods) > 0: // readiness
		p := &pods[r.IntN(len(pods))]
		p.ready = !p.ready
	case len(pods) > 0: // to the other slice, which lists it first
		p := &pods[r.IntN(len(pods))]
		p.slice = 1 - p.slice
		order := []int{p.slice, 1 - p.slice}
		s.setPods(of, pods, order...)
		return
	}
	s.setPods(of, pods, 0, 1)
}

// mark sets the next mark. It has a number, and shows in each resource.
func (s *soakSet) mark() {
	s.editing.Lock()
	defer s.editing.Unlock()
	s.mu.Lock()
	n := len(s.marks)
	s.marks = append(s.marks, s.changes)
	s.mu.Unlock()
	s.api.Put(kubetest.Namespace(fmt.Sprint("mark-", n)), kubetest.Service("mark-service", markAddr(251, n)), kubetest.Service("mark-slice", corev1.ClusterIPNone),
		kubetest.Slice("mark-slice", "mark-slice", markAddr(252, n), "mark"))
	s.api.Delete(kubetest.Namespace(fmt.Sprint("mark-", n-1)))
}

func markAddr(net byte, n int) string {
	return netip.AddrFrom4([4]byte{10, net, byte(n >> 8), byte(n)}).String()
}

// shown notes that a server has shown mark n of a resource.
func (s *soakTruth) shown(resource string, n, epoch int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 && s.epoch == epoch {
		s.floor[resource] = max(s.floor[resource], s.marks[n-1])
	}
}

// sees reports whether the server shows mark n of a resource.
func (s *soakSet) sees(c *soakClient, resource string, n int) bool {
	name, want := "", ""
	switch resource {
	case kube.Namespaces:
		name = fmt.Sprint("mark-", n, soakZone)
	case kube.Services:
		name, want = "mark-service.ns"+soakZone, markAddr(251, n)
	case kube.Slices:
		name, want = "mark-slice.ns"+soakZone, markAddr(252, n)
	}
	m, _, err := c.exchange("udp", dnstest.Query(name, dns.TypeA, 1232))
	if err != nil || m.Rcode != dns.RcodeSuccess {
		return false
	}
	return want == "" || slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return rr.(*dns.A).A.String() == want })
}

// soakMostLag is how long a change may take to be seen while the API server is there, at worst: lists are a minute apart when there
// were many of them, and CI's machines are slow.
const soakMostLag = 100 * time.Second

// follow sets marks until stop, one after the other has been seen.
func (s *soakSet) follow() {
	c := &soakClient{addr: s.dnsAddr}
	defer c.close()
	for !s.isStopped() {
		s.mark()
		n, began, late := len(s.marks)-1, time.Now(), false // only this goroutine sets marks
		seen := map[string]int{}                            // the epoch
		for len(seen) < len(resources) && !s.isStopped() {
			for _, resource := range resources {
				if before := s.now(); seen[resource] != before.epoch && s.sees(c, resource, n) {
					s.shown(resource, n, before.epoch)
					seen[resource] = before.epoch
				}
			}
			if lag := time.Since(began); lag > soakMostLag && !late {
				late = true
				s.fail("a change is not seen after %v, only those of %q", lag, slices.Collect(maps.Keys(seen)))
			}
			s.wait(20 * time.Millisecond)
		}
		s.tallyMu.Lock()
		s.longest = max(s.longest, time.Since(began))
		s.tallyMu.Unlock()
		s.wait(200 * time.Millisecond)
	}
}

func (s *soakSet) isStopped() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// wait waits, at most until stop.
func (s *soakSet) wait(d time.Duration) {
	select {
	case <-s.stopped:
	case <-time.After(d):
	}
}

// isCaughtUp waits for the server to have all that there is now, but for no longer than limit.
func (s *soakSet) isCaughtUp(limit time.Duration) bool {
	s.mu.Lock()
	want := len(s.marks) // one that comes now
	s.mu.Unlock()
	for began := time.Now(); time.Since(began) < limit; time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		isThere := want < len(s.marks)
		for _, resource := range resources {
			isThere = isThere && s.floor[resource] >= s.marks[want]
		}
		s.mu.Unlock()
		if isThere {
			return true
		}
	}
	return false
}

// soakClient asks over connections that it keeps.
type soakClient struct {
	addr  string
	conns map[string]*dnstest.Conn
	used  int
}

func (c *soakClient) close() {
	for _, conn := range c.conns {
		_ = conn.Close() // all is said
	}
	c.conns = nil
}

const soakPatience = 5 * time.Second

// exchange asks once. isFresh is set if the connection was a new one.
func (c *soakClient) exchange(network string, r *dns.Msg) (m *dns.Msg, isFresh bool, err error) {
	if c.used++; c.used%50 == 0 {
		c.close()
	}
	conn := c.conns[network]
	if conn == nil {
		dialed, err := net.DialTimeout(network, c.addr, soakPatience)
		if err != nil {
			return nil, true, err
		}
		if c.conns == nil {
			c.conns = make(map[string]*dnstest.Conn)
		}
		conn, isFresh = dnstest.NewConn(dialed, network), true
		conn.Timeout = soakPatience
		c.conns[network] = conn
	}
	if m, err = conn.Ask(r); err != nil {
		_ = conn.Close() // it is of no use
		delete(c.conns, network)
	}
	return m, isFresh, err
}

// question returns one at random.
func (s *soakSet) question(r *rand.Rand) *soakQuestion {
	of := modeltest.PickOne(r, []model.Key{
		soakStillKey, soakStillKey, soakEditedKey, soakVIPKey, model.KeyOf("ns", "nobody"), model.KeyOf("nowhere", "still"),
		soakChangingKey(r.IntN(soakChanging)), soakChangingKey(r.IntN(soakChanging)), soakClusterIPKey(r.IntN(soakClusterIPs)),
	})
	q := &soakQuestion{name: of.Name + "." + of.Namespace + soakZone, qtype: dns.TypeA, of: of}
	ready := func(pods []soakPod, selected func(soakPod) bool, text func(soakPod) string) (texts []string) {
		for _, p := range pods {
			if p.ready && selected(p) {
				texts = append(texts, text(p))
			}
		}
		return texts
	}
	found := func(records []string) (bool, []string) { return len(records) > 0, records }
	all := func(soakPod) bool { return true }
	ip := func(p soakPod) string { return p.ip }
	target := func(p soakPod) string { return p.hostname + "." + of.Name + "." + of.Namespace + soakZone }
	s.mu.Lock()
	defer s.mu.Unlock()
	history := s.services[of]
	if history == nil {
		q.answer = func(soakService, []soakPod) (bool, []string) { return false, nil }
		return q
	}
	if pods := s.pods[of]; pods != nil {
		known := modeltest.PickOne(r, pods.states[max(0, len(pods.states)-5):])
		switch kind := r.IntN(8); {
		case kind == 0:
			q.qtype = dns.TypeAAAA
			q.answer = func(_ soakService, pods []soakPod) (bool, []string) { return len(ready(pods, all, ip)) > 0, nil }
		case kind == 1 && of != soakEditedKey:
			q.name, q.qtype = "_http._tcp."+q.name, dns.TypeSRV
			q.answer = func(_ soakService, pods []soakPod) (bool, []string) {
				return found(ready(pods, all, func(p soakPod) string { return "80 " + target(p) }))
			}
		case kind <= 3:
			hostname := fmt.Sprint("p-", r.IntN(max(2, len(known)+2))) // one or two that are not there
			q.name = hostname + "." + q.name
			q.answer = func(_ soakService, pods []soakPod) (bool, []string) {
				return found(ready(pods, func(p soakPod) bool { return p.hostname == hostname }, ip))
			}
		case kind == 4 && len(known) > 0:
			addr := modeltest.PickOne(r, known).ip
			q.name, _ = dns.ReverseAddr(addr)
			q.qtype = dns.TypePTR
			q.answer = func(_ soakService, pods []soakPod) (bool, []string) {
				return found(ready(pods, func(p soakPod) bool { return p.ip == addr }, target))
			}
		default:
			q.answer = func(_ soakService, pods []soakPod) (bool, []string) {
				return found(ready(pods, all, ip))
			}
		}
		return q
	}
	switch r.IntN(4) {
	case 0:
		q.qtype = dns.TypeAAAA
		q.answer = func(soakService, []soakPod) (bool, []string) { return true, nil }
	case 1:
		q.name, q.qtype = "_http._tcp."+q.name, dns.TypeSRV
		q.answer = func(soakService, []soakPod) (bool, []string) {
			return true, []string{"80 " + of.Name + "." + of.Namespace + soakZone}
		}
	default:
		q.answer = func(service soakService, _ []soakPod) (bool, []string) { return true, []string{service.clusterIP} }
	}
	return q
}

// ask asks questions and judges the answers until stop.
func (s *soakSet) ask(seed uint64) {
	r := rand.New(rand.NewPCG(seed, *soakSeed))
	c := &soakClient{addr: s.dnsAddr}
	for !s.isStopped() {
		s.paused.RLock()
		for range 50 {
			s.askOne(c, r)
			s.wait(time.Duration(r.IntN(4)) * time.Millisecond)
		}
		c.close()
		s.paused.RUnlock()
	}
}

func (s *soakSet) askOne(c *soakClient, r *rand.Rand) {
	q := s.question(r)
	network := modeltest.PickOne(r, []string{"udp", "udp", "udp", "tcp"})
	size := modeltest.PickOne(r, []uint16{0, 1232, 4096})
	sent, query := s.now(), dnstest.Query(q.name, q.qtype, size)
	m, isFresh, err := c.exchange(network, query)
	if err != nil && network == "tcp" && !isFresh { // the server may have ended it
		m, _, err = c.exchange(network, query)
	}
	if err != nil || m.Rcode == dns.RcodeServerFailure {
		s.count(func(n *soakTally) { n.unanswered++ })
		isExplained := err == nil && len(hostile.ExtendedErrors(m)) == 1 && hostile.ExtendedErrors(m)[0].InfoCode == dns.ExtendedErrorCodeNotReady
		switch {
		case s.isOwed(network, sent):
			s.fail("%s over %s: no answer: %v", q, network, cmp.Or(err, errors.New("SERVFAIL")))
		case err == nil && isExplained != (size > 0):
			s.fail("%s over %s with a buffer of %d: SERVFAIL with the extended errors %v", q, network, size, hostile.ExtendedErrors(m))
		default:
			s.wait(5 * time.Millisecond)
		}
		return
	}
	s.count(func(n *soakTally) { n.answers++ })
	if s.now().epoch != sent.epoch {
		return // which of the servers has answered is not known
	}
	wrong := s.isWrong(q, m, sent)
	if limit := max(dns.MinMsgSize, int(size)); wrong == "" {
		if network == "tcp" {
			limit = dns.MaxMsgSize
		}
		if err := hostile.ExplanationFault(query, m, limit, s.isStale(query, m, sent)); err != nil {
			wrong = err.Error()
		}
	}
	if wrong != "" {
		s.fail("%s over %s with a buffer of %d: %s", q, network, size, wrong)
	}
}

// soakEnv holds the path of the child's Corefile.
const soakEnv = "HEADLESS_SOAK_CHILD"

// soakStats is what a child uses.
type soakStats struct {
	Goroutines, Heap, Files int
}

// TestSoakChild is no test but the child process of the next one: a CoreDNS. It does what it is told on its standard input, says
// how that went, and ends with its parent.
func TestSoakChild(t *testing.T) {
	path := os.Getenv(soakEnv)
	if path == "" {
		t.Skip("this is not the child")
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	s := startServer(t, string(filetest.Read(t, path)))
	commands := make(chan string)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			commands <- lines.Text()
		}
		os.Exit(1) // the parent is gone
	}()
	for {
		select {
		case <-terminated:
			s.stop()
			return
		case command := <-commands:
			if file, ok := strings.CutPrefix(command, "reload "); ok {
				instance, err := s.instance.Restart(corefile(string(filetest.Read(t, file))))
				s.instance = instance
				fmt.Println("soak:", err == nil)
				continue
			}
			files, err := os.ReadDir("/proc/self/fd")
			fatal.If(t, err)
			stats, err := json.Marshal(soakStats{runtime.NumGoroutine(), int(modeltest.HeapInUse()), len(files)})
			fatal.If(t, err)
			fmt.Println("soak:", string(stats))
		}
	}
}

// soakChild is a process that runs CoreDNS.
type soakChild struct {
	process *exec.Cmd
	stdin   io.WriteCloser
	lines   *bufio.Scanner
	log     bytes.Buffer
	settled *soakStats // what it used once it had settled
	conns   int64      // and how many connections to the API server it had
}

// tell gives the child a command and returns what it says.
func (c *soakChild) tell(command string) (string, error) {
	if _, err := fmt.Fprintln(c.stdin, command); err != nil {
		return "", err
	}
	for c.lines.Scan() {
		if text, ok := strings.CutPrefix(c.lines.Text(), "soak: "); ok {
			return text, nil
		}
	}
	return "", fmt.Errorf("the child has ended: %w", cmp.Or(c.lines.Err(), io.EOF))
}

// corefile writes the Corefile of the child, with something more in it, and returns its path.
func (s *soakSet) corefile(name, more string) string {
	path := filepath.Join(filepath.Dir(s.snapshot), name)
	host, port, _ := net.SplitHostPort(s.dnsAddr)
	filetest.Write(s.t, path, []byte(strings.Join(hostile.Zones, ":"+port+" ")+":"+port+" {\nbind "+host+"\nmetadata\nready "+s.readyAddr+
		"\nheadless {\nendpoint http://"+s.apiAddr+"\nstartup_timeout 1s\nsnapshot "+s.snapshot+" 24h 1s\n}\n"+more+"}\n"))
	return path
}

// start starts a child. If it has no snapshot to use it has to list everything.
func (s *soakSet) start() {
	floor, usable := s.inSnapshot()
	s.mu.Lock()
	s.next()
	if s.isAway && usable {
		s.origin = fromSnapshot
	}
	for _, resource := range resources {
		s.floor[resource] = s.changes
		if usable {
			s.floor[resource] = floor[resource]
		}
	}
	s.mu.Unlock()
	c := &soakChild{process: exec.Command(os.Args[0], "-test.run=^TestSoakChild$", "-test.v=false", "-test.timeout=0")}
	c.process.Env = append(os.Environ(), soakEnv+"="+s.corefile("Corefile", ""))
	stdin, errIn := c.process.StdinPipe()
	out, errOut := c.process.StdoutPipe()
	c.process.Stderr = &c.log
	fatal.If(s.t, errors.Join(errIn, errOut))
	c.stdin, c.lines = stdin, bufio.NewScanner(out)
	fatal.If(s.t, c.process.Start())
	s.child = c
}

// inSnapshot returns the marks that the snapshot has surely passed, as numbers of changes by resource.
func (s *soakSet) inSnapshot() (floor map[string]int, usable bool) {
	c := snapshot.Knowledge{Indexes: []*index.Index{index.New(model.HostnamesReady, false, 0)}, Pods: index.NewPods()}
	if err := c.Read(s.snapshot); err != nil {
		return nil, false
	}
	marks := map[string]int{}
	note := func(resource string, n int) { marks[resource] = max(marks[resource], n) }
	for _, ns := range c.Indexes[0].NamespaceKeys() {
		if n, ok := strings.CutPrefix(ns.Name, "mark-"); ok {
			number, err := strconv.Atoi(n)
			fatal.If(s.t, err)
			note(kube.Namespaces, number)
		}
	}
	number := func(addr netip.Addr) int { return int(addr.As4()[2])<<8 | int(addr.As4()[3]) }
	for content := range c.Indexes[0].Moment().Services() {
		switch {
		case content.Name == "mark-service" && content.Service != nil:
			note(kube.Services, number(content.Service.ClusterIPs[0]))
		case content.Name == "mark-slice":
			for _, sl := range content.Slices {
				for _, e := range sl.Endpoints {
					note(kube.Slices, number(e.Addr))
				}
			}
		}
	}
	// The last mark may come from a list that is not all there.
	const lag = 4
	s.mu.Lock()
	defer s.mu.Unlock()
	floor = map[string]int{}
	for _, resource := range resources {
		if n := marks[resource] - lag; n >= 0 {
			floor[resource] = s.marks[n]
		}
	}
	return floor, true
}

// ready waits until the child says that it is ready, which it may do before it listens, and answers. From then on it has to.
func (s *soakSet) ready() {
	client := &http.Client{Timeout: soakPatience}
	defer client.CloseIdleConnections()
	isReady := func() bool {
		r, err := client.Get("http://" + s.readyAddr + "/ready")
		if err != nil {
			return false
		}
		_ = r.Body.Close() // nothing of it is read
		return r.StatusCode == http.StatusOK
	}
	answers := func() bool {
		c := &soakClient{addr: s.dnsAddr}
		defer c.close()
		query := dnstest.Query(soakZone[1:], dns.TypeA, 0)
		_, _, errUDP := c.exchange("udp", query)
		_, _, errTCP := c.exchange("tcp", query)
		return errUDP == nil && errTCP == nil
	}
	for began := time.Now(); !isReady() || !answers(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > soakMostLag {
			s.t.Fatalf("the child is not ready after %v\n%s", soakMostLag, &s.child.log)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isUp = true
}

// endChild sends the child a signal and waits until it has ended.
func (s *soakSet) endChild(sig syscall.Signal) {
	s.mu.Lock()
	s.isUp = false
	s.next()
	s.mu.Unlock()
	if err := s.child.process.Process.Signal(sig); err != nil {
		s.t.Fatalf("the child has ended: %v\n%s", err, &s.child.log)
	}
	for s.child.lines.Scan() { // until it has ended
	}
	err := s.child.process.Wait()
	if sig == syscall.SIGTERM && err != nil || sig == syscall.SIGKILL && (err == nil || err.Error() != "signal: killed") {
		s.t.Fatalf("the child ends with %v\n%s", err, &s.child.log)
	}
}

// reload has the child read another Corefile.
func (s *soakSet) reload(path string, want bool) {
	floor, _ := s.inSnapshot()
	s.mu.Lock()
	s.next()
	s.isReloaded = true
	for _, resource := range resources { // without the API server the new plugin begins with the snapshot
		s.floor[resource] = min(s.floor[resource], floor[resource])
	}
	s.mu.Unlock()
	said, err := s.child.tell("reload " + path)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, &s.child.log)
	}
	if said != fmt.Sprint(want) {
		s.fail("a reload succeeds: %s, want %v", said, want)
	}
	s.mu.Lock()
	s.isReloaded = false
	s.next()
	s.mu.Unlock()
}

// settle stops the clients and looks at what the child uses then. Nothing of that may grow.
func (s *soakSet) settle() {
	s.paused.Lock()
	defer s.paused.Unlock()
	var stats soakStats
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		said, err := s.child.tell("stats")
		if err == nil {
			err = json.Unmarshal([]byte(said), &stats)
		}
		if err != nil {
			s.t.Fatalf("%v\n%s", err, &s.child.log)
		}
		conns := s.api.Conns.Load()
		first := s.child.settled
		switch {
		case first == nil:
			if time.Since(began) > time.Second {
				s.child.settled, s.child.conns = &stats, conns
				return
			}
		case stats.Goroutines <= first.Goroutines+50 && stats.Heap <= first.Heap*3/2+5<<20 && stats.Files <= first.Files+20 && conns <= s.child.conns+3:
			s.t.Logf("%v: uses %+v and %d connections to the API server, at first %+v and %d", time.Since(s.began).Round(time.Second), stats, conns, *first, s.child.conns)
			return
		case time.Since(began) > 20*time.Second:
			s.fail("the child uses %+v and %d connections to the API server, at first %+v and %d", stats, conns, *first, s.child.conns)
			return
		}
	}
}

// shut ends the API server.
func (s *soakSet) shut() {
	s.api.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isAway = true
}

// reopen starts the API server again at its address.
func (s *soakSet) reopen() {
	s.mu.Lock()
	s.isAway = false
	if s.origin == fromSnapshot {
		s.origin = anyOrigin
	}
	s.mu.Unlock()
	var listener net.Listener
	kubetest.Eventually(s.t, "the address is free", func() bool {
		l, err := net.Listen("tcp", s.apiAddr)
		listener = l
		return err == nil
	})
	s.api.Reopen(s.t, listener)
}

// sleep waits for a random time between two.
func (s *soakSet) sleep(least, most time.Duration) {
	s.wait(least + time.Duration(s.rand.Int64N(int64(most-least))))
}

// soakFault is one that is injected.
type soakFault struct {
	name string
	does func(*soakSet)
	// lists is set if everything is listed anew afterwards, which headless does ever more seldom when it has to again and again.
	lists bool
}

var soakGarbage = []func(*kubetest.Watch) []byte{
	func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Added, &corev1.Pod{}) },
	func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Deleted, kubetest.Service("none", "")) },
	func(w *kubetest.Watch) []byte { return w.Event("NONSENSE", &corev1.Pod{}) },
	func(w *kubetest.Watch) []byte { return w.RawEvent(apiwatch.Modified, []byte(`{}`)) },
	func(w *kubetest.Watch) []byte { return w.Frame([]byte("\xff\xfe\xfd")) },
	func(*kubetest.Watch) []byte { return []byte("\x00\x00\x00\x40garbage") },
}

func soakRefusal(code int) soakFault {
	return soakFault{fmt.Sprint("requests refused with ", code), func(s *soakSet) {
		s.api.Refuse(code)
		s.api.End()
		s.sleep(300*time.Millisecond, 3*time.Second)
		s.api.Refuse(0)
	}, false}
}

// soakAPIFaults are those of the API server.
var soakAPIFaults = []soakFault{
	{"API server away", func(s *soakSet) {
		s.shut()
		s.sleep(300*time.Millisecond, 4*time.Second)
		s.reopen()
	}, false},
	{"API server restored from a backup", func(s *soakSet) {
		s.shut()
		s.sleep(300*time.Millisecond, 2*time.Second)
		s.editing.Lock()
		s.api.Restore(s.api.Version() - soakVersions)
		s.editing.Unlock()
		s.reopen()
	}, true},
	{"watches ended", func(s *soakSet) { s.api.End() }, false},
	{"connections cut", func(s *soakSet) { s.api.Cut() }, false},
	{"versions forgotten (410)", func(s *soakSet) {
		s.api.Compact()
		s.api.Fail(kubetest.ErrExpired)
	}, true},
	{"lists held", func(s *soakSet) {
		release := s.api.Hold(resources...)
		s.api.Compact()
		s.api.Fail(kubetest.ErrExpired)
		s.sleep(300*time.Millisecond, 3*time.Second)
		release()
	}, true},
	{"garbage on watches", func(s *soakSet) {
		s.api.Inject(modeltest.PickOne(s.rand, resources), modeltest.PickOne(s.rand, soakGarbage))
	}, true},
	soakRefusal(http.StatusForbidden), soakRefusal(http.StatusTooManyRequests), soakRefusal(http.StatusInternalServerError),
	soakRefusal(http.StatusServiceUnavailable),
}

// soakVersions is how far a backup is back in versions, more than there are in any soak.
const soakVersions = 1 << 20

// soakReloads are the faults that a child survives, besides those.
var soakReloads = []soakFault{
	{"reload", func(s *soakSet) {
		// loadbalance looks at records; in the other chains the plugin writes octets.
		s.reload(s.corefile("Corefile.next", modeltest.PickOne(s.rand, []string{"", "errors\n", "loadbalance\n"})), true)
	}, true},
	{"reload of a broken Corefile", func(s *soakSet) {
		s.reload(s.corefile("Corefile.broken", modeltest.PickOne(s.rand, []string{"bind 192.0.2.1\n", "nonsense\n", "headless\n"})), false)
	}, false},
}

// soakEdits are what the control plane does to live pods. Clients see nothing of it.
var soakEdits = []soakFault{
	{"port edited", func(s *soakSet) {
		s.editing.Lock()
		defer s.editing.Unlock()
		pods := s.podsOf(soakEditedKey)
		s.rand.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
		s.nextIP++
		port := fmt.Sprint("port-", s.nextIP) // which it has not had
		for i := range pods {
			pods[i].slice = i / soakEditedEach
		}
		for i := range soakEdited / soakEditedEach {
			s.api.Put(soakSlice(soakEditedKey, i, port, pods))
			s.sleep(time.Millisecond, 50*time.Millisecond)
		}
		s.change(noted(s.pods, soakEditedKey, pods))
	}, false},
	{"EndpointSlice deleted and made again", func(s *soakSet) {
		s.editing.Lock()
		defer s.editing.Unlock()
		sl := soakSlice(soakEditedKey, s.rand.IntN(soakEdited/soakEditedEach), "http", s.podsOf(soakEditedKey))
		s.api.Delete(sl)
		s.sleep(100*time.Millisecond, time.Second)
		s.api.Put(sl)
	}, false},
}

// soakEnds end the child and start another.
var soakEnds = []soakFault{
	{"kill -9", func(s *soakSet) {
		s.endChild(syscall.SIGKILL)
		s.start()
		s.ready()
	}, false},
	{"kill -9 while the API server is away", func(s *soakSet) {
		s.shut()
		s.sleep(time.Millisecond, time.Second)
		s.endChild(syscall.SIGKILL)
		s.start()
		s.ready()
		s.sleep(time.Second, 2*time.Second)
		s.reopen()
	}, false},
	{"SIGTERM", func(s *soakSet) {
		s.endChild(syscall.SIGTERM)
		s.start()
		s.ready()
	}, false},
	{"snapshot damaged while the child is down", func(s *soakSet) {
		s.shut()
		s.endChild(syscall.SIGKILL)
		b := filetest.Read(s.t, s.snapshot)
		b[s.rand.IntN(len(b))] ^= 1 << s.rand.IntN(8)
		filetest.Write(s.t, s.snapshot, b[:len(b)-s.rand.IntN(2)])
		s.start()
		s.sleep(time.Second, 2*time.Second)
		s.reopen()
		s.ready()
	}, false},
}

// isWritten waits for the snapshot to have all that there is now.
func (s *soakSet) isWritten() bool {
	s.mu.Lock()
	want := s.changes
	s.mu.Unlock()
	for began := time.Now(); time.Since(began) < soakMostLag; time.Sleep(50 * time.Millisecond) {
		if floor, _ := s.inSnapshot(); floor[kube.Slices] >= want {
			return true
		}
	}
	return false
}

// survive injects faults until a time, but none that ends the child.
func (s *soakSet) survive(until time.Time) {
	for time.Now().Before(until) && !s.isHopeless() {
		f := modeltest.PickOne(s.rand, soakAPIFaults)
		switch n := s.rand.IntN(10); {
		case n == 0:
			f = modeltest.PickOne(s.rand, soakReloads)
		case n < 3:
			f = modeltest.PickOne(s.rand, soakEdits)
		}
		isEdit := slices.ContainsFunc(soakEdits, func(e soakFault) bool { return e.name == f.name })
		if (f.lists || isEdit) && !s.isCaughtUp(2*time.Second) {
			continue
		}
		end := s.fault(f.name)
		f.does(s)
		if isEdit && !s.isWritten() { // nothing is held from a snapshot of a moment in the midst of it
			s.fail("no snapshot in %v", soakMostLag)
		}
		s.sleep(time.Millisecond, time.Second) // some of them take no time, but what follows does
		end()
	}
}

// attack sends what no client should until stop, and checks that the replies are what they have to be.
func (s *soakSet) attack(seed uint64) {
	r := rand.New(rand.NewPCG(seed, *soakSeed))
	packets := slices.Concat(hostile.Packets(), hostile.Numbered())
	for !s.isStopped() {
		s.paused.RLock()
		s.attackOnce(r, packets)
		s.paused.RUnlock()
	}
}

// attackOnce sends some packets over one connection.
func (s *soakSet) attackOnce(r *rand.Rand, packets []hostile.Packet) {
	network := modeltest.PickOne(r, []string{"udp", "tcp"})
	epoch := s.now().epoch
	dialed, err := net.DialTimeout(network, s.dnsAddr, soakPatience)
	if err != nil {
		s.wait(10 * time.Millisecond)
		return
	}
	defer func() { _ = dialed.Close() }() // all is said
	conn := dnstest.NewConn(dialed, network)
	conn.Timeout = soakPatience
	for range 20 {
		p := modeltest.PickOne(r, packets)
		message := p.Packet
		if network == "udp" {
			if message = message[:min(len(message), dns.MinMsgSize)]; len(message) == 0 {
				continue
			}
		}
		before := s.now()
		if before.epoch != epoch {
			return // the connection is to a server that has ended, or is about to end it
		}
		end := s.fault("hostile packet over " + network)
		reply, err := hostile.Exchange(conn, message)
		switch isOwed := s.isOwed(network, before); {
		case err != nil && isOwed:
			s.fail("%s over %s: %x: %v", p.Name, network, message, err)
		case err == nil && isOwed && hostile.IsAnswered(message):
			isStale := func(r, m *dns.Msg) bool { return s.isStale(r, m, before) }
			if err := hostile.Fault(network == "tcp", message, reply, isStale); err != nil {
				s.fail("%s over %s: %x: %v", p.Name, network, message, err)
			}
		}
		end()
		if err != nil {
			return
		}
		s.wait(time.Duration(r.IntN(4)) * time.Millisecond)
	}
}

// stall opens connections that say half of a query, or read half of the answers, and leaves them open for a while, until stop.
func (s *soakSet) stall(seed uint64) {
	r := rand.New(rand.NewPCG(seed, *soakSeed))
	message := hostile.Query(hostile.Name("edited", "ns", "svc", "cluster", "local"), dns.TypeA)
	whole := append([]byte{0, byte(len(message))}, message...)
	for !s.isStopped() {
		s.paused.RLock()
		var ends []func()
		for range 30 {
			conn, err := net.DialTimeout("tcp", s.dnsAddr, soakPatience)
			if err != nil {
				continue
			}
			name, sent := "client that stalls", whole[:r.IntN(len(whole))]
			if r.IntN(3) == 0 {
				name, sent = "client that does not read", bytes.Repeat(whole, 200)
			}
			end := s.fault(name)
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // it is open
			_, _ = conn.Write(sent)                                // the server may have had enough of it
			ends = append(ends, func() {
				_ = conn.Close() // all is said
				end()
			})
		}
		s.wait(time.Duration(500+r.IntN(3000)) * time.Millisecond)
		for _, end := range ends {
			end()
		}
		s.paused.RUnlock()
	}
}

// TestSoak injects faults of all kinds for a while, many at a time, and judges each answer. In the first part of that time servers
// are ended and started again; in the second one server has to survive everything.
func TestSoak(t *testing.T) { // not parallel: it wants all of the machine
	if *soakDuration == 0 {
		t.Skip("make soak runs it: -soak.duration is 0")
	}
	if *soakSeed == 0 {
		*soakSeed = rand.Uint64()
	}
	t.Logf("-soak.seed=%d", *soakSeed)
	api := kubetest.NewServer(t)
	api.Restore(1 << 40)
	s := &soakSet{
		soakTruth: &soakTruth{
			namespaces: make(map[string]*soakHistory[bool]), services: make(map[model.Key]*soakHistory[soakService]),
			pods: make(map[model.Key]*soakHistory[[]soakPod]), floor: make(map[string]int),
		},
		t: t, api: api, apiAddr: strings.TrimPrefix(api.URL, "http://"), dnsAddr: dnstest.FreeAddr(t), readyAddr: dnstest.FreeAddr(t),
		snapshot: filepath.Join(t.TempDir(), "snapshot"), began: time.Now(), rand: rand.New(rand.NewPCG(0, *soakSeed)),
		faults: make(map[string]*soakTally), active: make(map[string]int), stopped: make(chan struct{}),
	}
	defer s.report()
	s.populate()
	s.start()
	s.ready()
	for i := range uint64(4) {
		s.clients.Go(func() { s.ask(10 + i) })
	}
	s.clients.Go(s.follow)
	s.clients.Go(func() { s.attack(20) })
	s.clients.Go(func() { s.stall(30) })
	s.clients.Go(func() {
		r := rand.New(rand.NewPCG(40, *soakSeed))
		for !s.isStopped() {
			s.churn(r)
			s.wait(time.Duration(r.IntN(100)) * time.Millisecond)
		}
	})
	stop := sync.OnceFunc(func() {
		close(s.stopped)
		s.clients.Wait()
	})
	defer stop()

	s.sleep(2*time.Second, 3*time.Second) // pools and caches get what they keep
	s.settle()
	for half := s.began.Add(*soakDuration * 2 / 5); time.Now().Before(half) && !s.isHopeless(); {
		s.survive(time.Now().Add(time.Duration(s.rand.Int64N(int64(4 * time.Second)))))
		f := modeltest.PickOne(s.rand, soakEnds)
		end := s.fault(f.name)
		f.does(s)
		end()
	}
	s.sleep(2*time.Second, 3*time.Second)
	s.settle()
	for end := s.began.Add(*soakDuration); time.Now().Before(end) && !s.isHopeless(); {
		s.survive(time.Now().Add(min(*soakDuration/5, time.Minute, max(0, time.Until(end)))))
		s.settle()
	}
	if !s.isHopeless() && !s.isCaughtUp(soakMostLag) {
		s.fail("changes are not seen after %v", soakMostLag)
	}
	s.sleep(time.Second, 2*time.Second)
	s.settle()
	stop()
	s.endChild(syscall.SIGTERM)
}

// report prints what was injected and what was lost.
func (s *soakSet) report() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name string, n soakTally) {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", name, n.injected, n.answers, n.wrong, n.unanswered) // Flush returns the error
	}
	_, _ = fmt.Fprintln(w, "fault\tinjected\tanswers meanwhile\twrong\tnot answered")
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		row(name, *s.faults[name])
		s.total.injected += s.faults[name].injected
	}
	row("all", s.total)
	if err := w.Flush(); err != nil {
		s.t.Error(err)
	}
	s.t.Logf("%v, %d changes, each seen within %v\n%s", time.Since(s.began).Round(time.Second), s.changes, s.longest.Round(time.Millisecond), &b)
	if len(s.wrong) > 0 && s.child != nil {
		s.t.Logf("the log of the last child:\n%s", &s.child.log)
	}
	for i, wrong := range s.wrong {
		if i == soakMostWrong {
			s.t.Errorf("and %d more", len(s.wrong)-i)
			break
		}
		s.t.Error(wrong)
	}
}

// soaked is the CoreDNS that the child runs.
type soaked struct{ instance *caddy.Instance }

type corefile string

func (c corefile) Body() []byte     { return []byte(c) }
func (corefile) Path() string       { return "Corefile" }
func (corefile) ServerType() string { return "dns" }

func startServer(t *testing.T, text string) *soaked {
	t.Helper()
	stock := dnsserver.Directives
	dnsserver.Directives = slices.Insert(slices.Clone(stock), slices.Index(stock, "kubernetes"), "headless")
	caddy.Quiet, dnsserver.Quiet = true, true
	instance, err := caddy.Start(corefile(text))
	if err != nil {
		t.Fatalf("%s\ndoes not start: %v", text, err)
	}
	return &soaked{instance}
}

// stop is what happens at the end of a process.
func (s *soaked) stop() {
	_ = s.instance.Stop() // it was started
	s.instance.ShutdownCallbacks()
}

// resources are what the plugin watches.
var resources = []string{kube.Namespaces, kube.Services, kube.Slices}
