package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var (
	faultsRounds = flag.Int("faults.rounds", 1, "how `often` TestFaults goes through all faults")
	faultsOnly   = flag.String("faults.only", "", "the faults of TestFaults whose names match this `expression`")
	faultsLong   = flag.Duration("faults.long", 0, "for how much longer the faults of TestFaults last")
)

// fault is something that happens to a control plane, or on the way to it.
type fault struct {
	name  string
	times int // a round; 0 stands for 1
	// begins brings it about. What needs to be awaited, so that it is felt, is.
	begins func(*faultsRun)
	// code is the label of requests that is counted while the fault lasts, which it does until then; "": none.
	code string
	// relists is set if the server lists everything after it, or may: one whose watches are cut at once does.
	relists bool
	// isAway is set if nobody reaches the API server meanwhile. Otherwise something changes, and is not seen until the end.
	isAway bool
	// ends ends it; nil: it has no end but what the server makes of it.
	ends func(*faultsRun)
	// undo takes back what is left after what has changed is seen.
	undo func(*faultsRun)
	// bound is what docs/failures.md promises: how long after the end a change may go unseen.
	bound time.Duration
}

// The bounds that docs/failures.md has.
const (
	soon      = 5 * time.Second  // after the return of the API server, or of a right
	restored  = 15 * time.Second // after the return of one that was restored
	deadHTTP2 = 45 * time.Second // what is dead behind a connection is noticed
	tokenRead = time.Minute      // a token is read again

	// busy is what a busy machine may add. A list that pays for five before it is later than that.
	busy = 20 * time.Second
	// worthwhile is for how long a watch has to last for the next list not to wait.
	worthwhile = 10 * time.Second
)

// clockFaults are faults of the server's clock, where these can be brought about.
var clockFaults []fault

// A backup is made when etcd is killed, and knows nothing of later tokens.
var faults = []fault{
	{name: "token dead, and renewed", relists: true, code: "401", bound: tokenRead + soon, begins: (*faultsRun).killToken, ends: (*faultsRun).renewToken},
	{name: "API server stopped (SIGSTOP)", isAway: true, bound: soon, begins: (*faultsRun).stop, ends: func(r *faultsRun) { r.check("continue", syscall.Kill(r.c.APIServer.PID(), syscall.SIGCONT)) }},
	{name: "API server killed", relists: true, code: "<error>", isAway: true, bound: soon, begins: func(r *faultsRun) { r.c.APIServer.Kill() }, ends: func(r *faultsRun) { r.start(r.c.APIServer) }},
	{name: "etcd killed", isAway: true, bound: soon, begins: (*faultsRun).killEtcd, ends: (*faultsRun).startEtcd},
	{name: "API server restarted, etcd compacted", relists: true, code: "<error>", bound: soon, begins: (*faultsRun).compact, ends: func(r *faultsRun) { r.proxy.set(harm{}) }},
	{name: "connections reset", times: 2, bound: soon, begins: func(r *faultsRun) { r.proxy.cut() }},
	{name: "connections cut within a frame", times: 2, bound: soon, begins: func(r *faultsRun) { r.proxy.truncate() }},
	{name: "all delayed by 300 ms", bound: soon, begins: func(r *faultsRun) { r.proxy.set(harm{delay: 300 * time.Millisecond}) }, undo: func(r *faultsRun) { r.proxy.set(harm{}) }},
	{name: "new connections reset", code: "<error>", bound: soon, begins: func(r *faultsRun) { r.harm(harm{reset: true}) }, ends: func(r *faultsRun) { r.proxy.set(harm{}) }},
	{name: "new connections silent", code: "<error>", bound: soon, begins: func(r *faultsRun) { r.harm(harm{silent: true}) }, ends: func(r *faultsRun) { r.harm(harm{}) }},
	{name: "requests answered with 500", code: "500", bound: soon, begins: func(r *faultsRun) { r.harm(harm{server: r.broken}) }, ends: func(r *faultsRun) { r.harm(harm{}) }},
	{name: "requests answered with 429", code: "429", bound: soon, begins: func(r *faultsRun) { r.harm(harm{server: r.busy}) }, ends: func(r *faultsRun) { r.harm(harm{}) }},
	{name: "rights taken away", relists: true, code: "403", bound: soon, begins: (*faultsRun).revoke, ends: (*faultsRun).grant},
	{name: "connections dead without a sign", bound: deadHTTP2 + soon, begins: func(r *faultsRun) { r.proxy.swallow() }},
	{name: "etcd restored from a backup", relists: true, code: "<error>", isAway: true, bound: restored, begins: (*faultsRun).killAll, ends: (*faultsRun).restore},
}

// faultTally is what happened while a fault lasted, and until all that had changed was seen.
type faultTally struct {
	injected, answers, wrong, unanswered int
	lasted, stale, next                  time.Duration // the longest of each
	silence                              time.Duration // since the last news of some resource, at the end, as metrics say
}

// faultsRun is a run of TestFaults.
type faultsRun struct {
	*history
	server *coredns.Server
	proxy  *proxy
	broken string // the address of a server that answers 500
	busy   string // and 429

	bindings []rbacv1.ClusterRoleBinding // taken away
	account  types.NamespacedName
	backup   string // a folder
	saved    state  // what is in backup

	tallying sync.Mutex // guards the fields below
	tallies  map[string]*faultTally
	present  *faultTally
	total    faultTally
	unseen   []time.Duration // for how long each change was after the end of a fault
}

// TestFaults holds faults against a server that is never restarted, one after the other, while clients ask it.
func TestFaults(t *testing.T) {
	c := startCluster(t)
	apply(t, c, string(filetest.Read(t, "../../examples/cassandra.yaml")))
	r := &faultsRun{
		history: newHistory(t, c), proxy: startProxy(t, c),
		broken: startStatusServer(t, c, http.StatusInternalServerError), busy: startStatusServer(t, c, http.StatusTooManyRequests),
		backup: t.TempDir(), tallies: make(map[string]*faultTally), present: new(faultTally),
	}
	r.server = newServer(t, c, "headless", r.proxy.url())
	var err error
	r.account, err = c.ApplyRBAC(t.Context(), "../../deploy/base")
	r.check("apply the rights", err)
	r.check("start the server", r.server.Start(t.Context()))
	lasting := r.lasting()
	r.await()
	stopped := make(chan struct{})
	var clients sync.WaitGroup
	defer clients.Wait()
	stop := sync.OnceFunc(func() { close(stopped) })
	defer stop()
	for range 3 {
		clients.Go(func() { r.load(stopped, lasting) })
	}

	var first usage // when the server has been over a fault
	only := regexp.MustCompile(*faultsOnly)
	for range *faultsRounds {
		for _, f := range slices.Concat(clockFaults, faults) {
			for range max(1, f.times) {
				if only.MatchString(f.name) {
					r.inject(f)
				}
			}
			if first.files == 0 {
				first = r.usage()
			}
		}
		t.Logf("the server uses %v", r.usage())
	}
	r.checkUsage(first)
	stop()
	clients.Wait()
	r.print()
	select {
	case <-r.server.Exited():
		t.Error("the server has ended")
	default:
	}
}

// lasting returns questions whose answers have to be the same all the time, from what the cluster has.
func (r *faultsRun) lasting() []stateQuestion {
	ctx := r.t.Context()
	const service = "cassandra.default.svc.cluster.local."
	var questions []stateQuestion
	eventually(r.t, time.Minute, func(context.Context) error {
		pods, err := r.c.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=cassandra"})
		if err != nil {
			return err
		}
		var addresses, ports []string
		questions = nil
		for _, pod := range pods.Items {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					addresses = append(addresses, pod.Status.PodIP)
					ports = append(ports, "0 33 9042 "+pod.Name+"."+service)
					questions = append(questions, always(pod.Name+"."+service, dns.TypeA, pod.Status.PodIP))
				}
			}
		}
		if len(addresses) != 3 {
			return fmt.Errorf("%d pods are ready", len(addresses))
		}
		questions = append(questions, always(service, dns.TypeA, addresses...), always("_cql._tcp."+service, dns.TypeSRV, ports...))
		return nil
	})
	kubernetes, err := r.c.Client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	fatal.If(r.t, err)
	return append(questions, always("kubernetes.default.svc.cluster.local.", dns.TypeA, kubernetes.Spec.ClusterIP),
		always("_tcp."+service, dns.TypeA, noData), always("nobody.default.svc.cluster.local.", dns.TypeA, nameError))
}

// load asks questions until it is stopped.
func (r *faultsRun) load(stopped chan struct{}, lasting []stateQuestion) {
	for {
		select {
		case <-stopped:
			return
		case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
			r.ask(r.draw())
			r.ask(lasting[rand.IntN(len(lasting))])
		}
	}
}

// ask asks a question, and counts what comes of it.
func (r *faultsRun) ask(q stateQuestion) {
	network := "udp"
	if rand.IntN(10) == 0 {
		network = "tcp"
	}
	floor := r.floor(q.resource)
	m, err := r.server.Ask(context.Background(), network, q.name, q.qtype) // it has a limit of its own
	isAnswered := err == nil && m.Rcode != dns.RcodeServerFailure
	switch {
	case isAnswered:
		err = r.judge(q, floor, text(m))
	case err == nil:
		err = fmt.Errorf("%s: SERVFAIL", q)
	}
	r.tallying.Lock()
	defer r.tallying.Unlock()
	for _, n := range []*faultTally{r.present, &r.total} {
		switch {
		case !isAnswered:
			n.unanswered++
		case err != nil:
			n.wrong++
		}
		if isAnswered {
			n.answers++
		}
	}
	if err == nil {
		return
	}
	r.t.Fail()
	if r.total.wrong+r.total.unanswered <= 20 {
		r.t.Log(err)
	}
}

// patience is how long anything may take on a busy machine, besides what it has to take.
const patience = 3 * time.Minute

// await waits until the server shows the last state, and returns how long that took.
func (r *faultsRun) await() time.Duration {
	r.t.Helper()
	began := time.Now()
	eventually(r.t, patience, func(context.Context) error {
		for _, q := range r.news() {
			r.ask(q)
		}
		if !r.isCurrent() {
			return errors.New("what has changed is not seen")
		}
		return nil
	})
	return time.Since(began)
}

// inject brings a fault about, and waits until the server is over it.
func (r *faultsRun) inject(f fault) {
	r.t.Helper()
	r.tallying.Lock()
	n := r.tallies[f.name]
	if n == nil {
		n = new(faultTally)
		r.tallies[f.name] = n
	}
	r.present = n
	r.tallying.Unlock()
	n.injected++

	before := r.requests(f.code)
	began := time.Now()
	f.begins(r)
	if !f.isAway {
		r.change()
	}
	if f.code != "" {
		r.awaitRequests(f.code, before+3) // one for each resource
	}
	if f.ends != nil {
		select {
		case <-time.After(*faultsLong): // a part of what is tested
		case <-r.t.Context().Done():
		}
		if at, ok := r.lastNews(); ok {
			n.silence = max(n.silence, time.Since(at))
		}
		f.ends(r)
	}
	n.lasted = max(n.lasted, time.Since(began))
	stale := r.await() // a backup has something to see
	if f.isAway {
		r.change()
		stale += r.await()
	}
	n.stale, r.unseen = max(n.stale, stale), append(r.unseen, stale)
	if stale > f.bound+busy {
		r.t.Errorf("%s: what has changed is seen %v after the end, want at most %v", f.name, stale, f.bound)
	}
	if at, ok := r.lastNews(); ok && at.Before(began.Truncate(time.Second)) {
		r.t.Errorf("%s: what has changed is seen, but the last news are of %v", f.name, at)
	}
	if n := r.metric("coredns_headless_synced"); n < 1 {
		r.t.Errorf("%s: the server says that it is not synced", f.name)
	}
	if f.undo != nil {
		f.undo(r)
	}
	r.change()
	n.next = max(n.next, r.await())
	if f.relists {
		time.Sleep(worthwhile + time.Second) // docs/failures.md promises nothing to outages that come sooner
	}
}

// metric returns the sum of the values of a metric.
func (r *faultsRun) metric(name string, labels ...string) float64 {
	r.t.Helper()
	v, err := r.server.Metric(r.t.Context(), name, labels...)
	r.check("metrics", err)
	return v
}

// requests returns how many requests of the server have come to a code.
func (r *faultsRun) requests(code string) float64 {
	r.t.Helper()
	return r.metric("coredns_headless_rest_client_requests_total", "code="+code)
}

// awaitRequests waits until at least n have.
func (r *faultsRun) awaitRequests(code string, n float64) {
	r.t.Helper()
	eventually(r.t, patience, func(context.Context) error {
		if got := r.requests(code); got < n {
			return fmt.Errorf("%v requests are counted with code %s, want %v", got, code, n)
		}
		return nil
	})
}

// lastNews returns since when, at most, the server has heard nothing of some resource, as metrics say.
func (r *faultsRun) lastNews() (at time.Time, ok bool) {
	families, err := r.server.Metrics(r.t.Context())
	r.check("metrics", err)
	for _, m := range families["coredns_headless_last_event_timestamp_seconds"].GetMetric() {
		heard := time.UnixMilli(int64(m.GetGauge().GetValue() * 1000))
		if !ok || heard.Before(at) {
			at, ok = heard, true
		}
	}
	return at, ok
}

// harm makes the proxy do harm to all connections, of which the present ones end.
func (r *faultsRun) harm(h harm) {
	r.proxy.set(h)
	r.proxy.cut()
}

func (r *faultsRun) check(doing string, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%s: %v", doing, err)
	}
}

func (r *faultsRun) start(p *cluster.Process) {
	r.t.Helper()
	r.check("start "+p.Name, p.Start(r.t.Context()))
}

// stop stops the API server until others feel it.
func (r *faultsRun) stop() {
	r.check("stop", syscall.Kill(r.c.APIServer.PID(), syscall.SIGSTOP))
	eventually(r.t, patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if r.c.APIServer.Ready(ctx) == nil {
			return errors.New("the API server answers")
		}
		return nil
	})
}

// cutUntil cuts the server's connections until its requests come to a code: what has changed in the API server takes effect in
// a moment, and none on watches that there are.
func (r *faultsRun) cutUntil(code string) {
	r.t.Helper()
	before, last := r.requests(code), time.Time{}
	eventually(r.t, patience, func(context.Context) error {
		if r.requests(code) > before {
			return nil
		}
		if time.Since(last) > 500*time.Millisecond {
			r.proxy.cut()
			last = time.Now()
		}
		return fmt.Errorf("no request is counted with code %s", code)
	})
}

// revoke takes away the rights of the server.
func (r *faultsRun) revoke() {
	ctx, client := r.t.Context(), r.c.Client.RbacV1().ClusterRoleBindings()
	all, err := client.List(ctx, metav1.ListOptions{})
	r.check("list ClusterRoleBindings", err)
	r.bindings = nil
	for _, binding := range all.Items {
		for _, subject := range binding.Subjects {
			if subject.Kind == rbacv1.ServiceAccountKind && subject.Name == r.account.Name && subject.Namespace == r.account.Namespace {
				r.bindings = append(r.bindings, binding)
				r.check("revoke", client.Delete(ctx, binding.Name, metav1.DeleteOptions{}))
			}
		}
	}
	r.cutUntil("403")
}

// grant gives them back.
func (r *faultsRun) grant() {
	for _, binding := range r.bindings {
		binding.ObjectMeta = metav1.ObjectMeta{Name: binding.Name}
		_, err := r.c.Client.RbacV1().ClusterRoleBindings().Create(r.t.Context(), &binding, metav1.CreateOptions{})
		r.check("grant", err)
	}
}

// killToken makes the server's token one of a ServiceAccount that is no more.
func (r *faultsRun) killToken() {
	ctx, client := r.t.Context(), r.c.Client.CoreV1().ServiceAccounts(r.account.Namespace)
	r.check("delete the ServiceAccount", client.Delete(ctx, r.account.Name, metav1.DeleteOptions{}))
	_, err := client.Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.account.Namespace, Name: r.account.Name},
	}, metav1.CreateOptions{})
	r.check("create the ServiceAccount", err)
	r.cutUntil("401")
}

// renewToken gives the server a new token.
func (r *faultsRun) renewToken() {
	token, err := r.c.Token(r.t.Context(), r.account)
	r.check("renew the token", err)
	r.check("renew the token", os.WriteFile(r.server.TokenFile, []byte(token), 0o600))
}

// etcdDir is the folder of etcd's data.
func (r *faultsRun) etcdDir() string { return r.c.Etcd.Args[1] }

// killEtcd kills etcd, copies its data for restore, and waits until the API server feels it.
func (r *faultsRun) killEtcd() {
	r.c.Etcd.Kill()
	r.backup = r.t.TempDir()
	r.check("back up etcd", os.CopyFS(r.backup, os.DirFS(r.etcdDir())))
	r.saved = r.last()
	eventually(r.t, patience, func(ctx context.Context) error {
		if r.c.APIServer.Ready(ctx) == nil {
			return errors.New("the API server is ready without etcd")
		}
		return nil
	})
}

func (r *faultsRun) startEtcd() {
	r.start(r.c.Etcd)
	eventually(r.t, patience, r.c.APIServer.Ready)
}

// compact makes the API server and etcd forget what they were before, while the server does not reach them.
func (r *faultsRun) compact() {
	r.harm(harm{reset: true})
	before, err := r.c.Client.CoreV1().Namespaces().List(r.t.Context(), metav1.ListOptions{Limit: 1})
	r.check("list", err)
	r.change()
	r.c.APIServer.Kill()
	var now struct {
		Header struct{ Revision string }
	}
	r.etcd("kv/range", map[string]any{"key": "AA=="}, &now)
	r.etcd("kv/compaction", map[string]any{"revision": now.Header.Revision, "physical": true}, &now)
	r.start(r.c.APIServer)
	said, err := r.c.Client.CoreV1().RESTClient().Get().Resource("namespaces").Param("watch", "true").Param("timeoutSeconds", "1").
		Param("resourceVersion", before.ResourceVersion).DoRaw(r.t.Context())
	if r.check("watch", err); !strings.Contains(string(said), `"code":410`) {
		r.t.Errorf("a watch at a version that was compacted says %q, want 410", said)
	}
}

// etcd calls etcd.
func (r *faultsRun) etcd(method string, request, reply any) {
	r.t.Helper()
	resp, err := http.Post(r.c.Etcd.Args[2]+"/v3/"+method, "application/json", strings.NewReader(toJSON(r.t, request)))
	r.check(method, err)
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %s", method, resp.Status)
	}
	r.check(method, json.NewDecoder(resp.Body).Decode(reply))
}

// killAll kills the API server and etcd, a while after the backup: what the API server and the controllers write when they start
// must not take the restored one beyond what the server knows, for then nothing tells the two histories apart.
func (r *faultsRun) killAll() {
	ctx, maps := r.t.Context(), r.c.Client.CoreV1().ConfigMaps("changing")
	for range 500 {
		made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "later-"}}, metav1.CreateOptions{})
		r.check("write", err)
		r.check("write", maps.Delete(ctx, made.Name, metav1.DeleteOptions{}))
	}
	r.c.APIServer.Kill()
	r.c.Etcd.Kill()
}

// restore starts the API server with what etcd had when it was killed.
func (r *faultsRun) restore() {
	r.check("clear etcd", os.RemoveAll(r.etcdDir()))
	r.check("restore etcd", os.CopyFS(r.etcdDir(), os.DirFS(r.backup)))
	old := r.saved
	old.marker = r.last().n // which has not come yet
	r.add(old)
	r.start(r.c.Etcd)
	r.start(r.c.APIServer)
}

// usage is what the server uses.
type usage struct{ resident, heap, goroutines, files float64 }

func (r *faultsRun) usage() usage {
	// The heap is half of what it may grow to: what the last collection left.
	return usage{
		r.metric("process_resident_memory_bytes"), r.metric("go_memstats_next_gc_bytes") / 2, r.metric("go_goroutines"),
		r.metric("process_open_fds"),
	}
}

// checkUsage waits until the server uses hardly more than at first: goroutines and connections end some time after a fault.
func (r *faultsRun) checkUsage(first usage) {
	r.t.Helper()
	eventually(r.t, patience, func(context.Context) error {
		last := r.usage()
		if last.resident > 1.5*first.resident || last.heap > 2*first.heap+8e6 || last.goroutines > first.goroutines+10 || last.files > first.files+10 {
			return fmt.Errorf("at first the server used %v, and now %v", first, last)
		}
		return nil
	})
}

func (u usage) String() string {
	return fmt.Sprintf("%.0f MB, %.1f MB of it heap, %.0f goroutines and %.0f files", u.resident/1e6, u.heap/1e6, u.goroutines, u.files)
}

// print prints what was injected and what came of it.
func (r *faultsRun) print() {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...any) { _, _ = fmt.Fprintf(w, strings.Repeat("%v\t", len(cells)-1)+"%v\n", cells...) } // to b
	row("fault", "injected", "lasted", "silence shown", "answers meanwhile", "wrong", "unanswered", "then unseen for", "of at most", "next change after")
	for _, f := range slices.Concat(clockFaults, faults) {
		if n := r.tallies[f.name]; n != nil {
			row(f.name, n.injected, seconds(n.lasted), seconds(n.silence), n.answers, n.wrong, n.unanswered, seconds(n.stale), f.bound, seconds(n.next))
			r.total.injected += n.injected
		}
	}
	row("all", r.total.injected, "", "", r.total.answers, r.total.wrong, r.total.unanswered, "", "", "")
	r.check("print", w.Flush())
	r.t.Logf("%d changes\n%s", r.n, &b)
	report(finding{
		scenario: "faults", server: "headless", checks: r.total.answers, wrong: r.total.wrong, staleness: r.unseen,
		note: fmt.Sprintf("staleness after the end of %d faults; %d unanswered", r.total.injected, r.total.unanswered),
	})
}

// seconds returns d in seconds.
func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
