package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// kubeadmDNS is a Deployment as kubeadm v1.36 makes it, without what matters to kubelets only, and its Corefile.
const kubeadmDNS = `
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
        errors
        health {
           lameduck 5s
        }
        ready
        kubernetes cluster.local in-addr.arpa ip6.arpa {
           pods insecure
           fallthrough in-addr.arpa ip6.arpa
           ttl 30
        }
        prometheus :9153
        forward . /etc/resolv.conf {
           max_concurrent 1000
        }
        cache 30 {
           disable success cluster.local
           disable denial cluster.local
        }
        loop
        reload
        loadbalance
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 1}}
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}, annotations: {kubelets.test/ready: "false"}}
    spec:
      dnsPolicy: Default
      containers:
      - name: coredns
        image: registry.k8s.io/coredns/coredns:v1.14.2
        args: [-conf, /etc/coredns/Corefile]
        volumeMounts: [{name: config-volume, mountPath: /etc/coredns, readOnly: true}]
      volumes:
      - name: config-volume
        configMap: {name: coredns, items: [{key: Corefile, path: Corefile}]}
`

// TestSwitch does what docs/switching.md says, by the commands that headless-switch prints, with a real process for each pod of
// CoreDNS, while a client asks without a pause, as kube-proxy would lead it.
func TestSwitch(t *testing.T) {
	c := startCluster(t)
	programs := buildPrograms(t, "headless-switch", "dnsdiff")
	y := newScore(t, "headless")
	n := startNodes(t, c)
	_, err := c.Client.CoreV1().Services(metav1.NamespaceSystem).Create(t.Context(), kubeadmService(), metav1.CreateOptions{})
	fatal.If(t, err)
	apply(t, c, kubeadmDNS)
	apply(t, c, workload)
	p := startKubeProxy(t, c)
	waitForEndpoints := func(what string, isRight func(before, after map[string]string) bool, before map[string]string) map[string]string {
		t.Helper()
		var now map[string]string
		eventually(t, 2*time.Minute, func(context.Context) error {
			if now = p.endpoints(t); !isRight(before, now) {
				return fmt.Errorf("%s: the endpoints of kube-dns are %v, held against %v", what, now, before)
			}
			return nil
		})
		t.Logf("%s: the endpoints of kube-dns are %v", what, slices.Sorted(maps.Values(now)))
		return now
	}
	old := waitForEndpoints("kubeadm's", func(_, now map[string]string) bool { return len(now) == 2 }, nil)
	before, err := c.Client.AppsV1().Deployments(metav1.NamespaceSystem).Get(t.Context(), "coredns", metav1.GetOptions{})
	fatal.If(t, err)

	// The overlay, and the commands.
	folder := filepath.Join(t.TempDir(), "mine")
	page, err := exec.CommandContext(t.Context(), filepath.Join(programs, "headless-switch"), "-kubeconfig", c.Kubeconfig(),
		"-deploy", "../../deploy", "-image", "registry.example.com/coredns:v1.15.0", folder).CombinedOutput()
	if err != nil {
		t.Fatalf("headless-switch: %v\n%s", err, page)
	}
	t.Logf("%s", page)
	// The pods are ready when their processes are.
	kustomization := filepath.Join(folder, "beside", "kustomization.yaml")
	filetest.Write(t, kustomization, string(filetest.Read(t, kustomization))+"commonAnnotations: {"+cluster.ReadyAnnotation+": \"false\"}\n")
	commands := regexp.MustCompile(`(?m)^  kubectl (.*)$`).FindAllStringSubmatch(string(page), -1)
	next := func(want string) {
		t.Helper()
		if len(commands) == 0 {
			t.Fatalf("there are no more commands, want one with %q", want)
		}
		command := commands[0][1]
		if !strings.Contains(command, want) {
			t.Fatalf("the next command is %q, want one with %q", command, want)
		}
		commands = commands[1:]
		if strings.Contains(command, "logs -f") {
			return // there is no kubelet to ask
		}
		kubectl(t, c, "", words(command)...)
	}
	same := func(before, now map[string]string) bool { return maps.Equal(before, now) }

	client := startClient(t, n, p)
	next("apply -k " + folder + "/beside")
	next("rollout status")
	beside := waitForEndpoints("beside", same, old)
	ownService, err := c.Client.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem).List(t.Context(),
		metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=coredns-headless"})
	fatal.If(t, err)
	if len(ownService.Items) != 2 || len(ownService.Items[0].Endpoints) != 2 {
		t.Errorf("our own Service has %v, want two endpoints of each family", ownService.Items)
	}

	next("apply -k " + folder + "/compare")
	next("--for jsonpath=.status.ready=1")
	next("logs -f")
	y.check(runComparison(t, c, n, programs))
	next("--for condition=complete")
	y.check(client.sinceLast("beside", old, "kubernetes"))

	next("apply -k " + folder + "/serving")
	next("rollout status")
	both := waitForEndpoints("both", func(before, now map[string]string) bool {
		return len(now) == 4 && contains(now, before)
	}, beside)
	y.check(client.sinceLast("both", both, "kubernetes", "headless"))
	next("patch service")
	ours := maps.Clone(both)
	maps.DeleteFunc(ours, func(ip, _ string) bool { return old[ip] != "" })
	onlyOurs := waitForEndpoints("switched", same, ours)
	client.ask(t, 500)
	y.check(client.sinceLast("switched", onlyOurs, "kubernetes", "headless")) // kubernetes, until kube-proxy knew
	client.ask(t, 500)
	y.check(client.sinceLast("after", onlyOurs, "headless"))

	next("patch service")
	waitForEndpoints("rolled back, first command", same, both)
	next("apply -k " + folder + "/beside")
	kubectl(t, c, "", "-n", "kube-system", "rollout", "status", "deployment", "coredns-headless")
	waitForEndpoints("rolled back", same, old)
	client.ask(t, 500)
	y.check(client.sinceLast("rolled back", old, "kubernetes", "headless"))
	y.note = client.stop(t)
	if len(commands) > 0 {
		t.Errorf("left are %q", commands)
	}
	t.Run("helm", func(t *testing.T) { testHelm(t, c, p) })
	t.Run("managed", func(t *testing.T) { testManaged(t, c) })
	after, err := c.Client.AppsV1().Deployments(metav1.NamespaceSystem).Get(t.Context(), "coredns", metav1.GetOptions{})
	fatal.If(t, err)
	if after.Generation != before.Generation || after.Status.ReadyReplicas != 2 {
		t.Errorf("the Deployment coredns has the generation %d and %d ready pods, want %d, as before, and 2", after.Generation, after.Status.ReadyReplicas, before.Generation)
	}
}

func contains(all, some map[string]string) bool {
	for key, value := range some {
		if all[key] != value {
			return false
		}
	}
	return true
}

// words takes a command apart: at spaces, but for those in single quotes.
func words(command string) (words []string) {
	for _, match := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(command, -1) {
		words = append(words, match[1]+match[2])
	}
	return words
}

// buildPrograms builds programs of the plugin's module and returns their folder.
func buildPrograms(t *testing.T, names ...string) string {
	t.Helper()
	folder := t.TempDir()
	args := []string{"build", "-C", "../..", "-o", folder + "/"}
	for _, name := range names {
		args = append(args, "./cmd/"+name)
	}
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, out)
	}
	return folder
}

// workload is what the client asks for, and dnsdiff.
const workload = `
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {clusterIP: 10.96.0.77, ports: [{name: http, port: 80}], selector: {app: web}}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: default}, spec: {clusterIP: None, ports: [{name: sql, port: 5432}], selector: {app: db}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  serviceName: db
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: pause}]}
`

// clientQuestions are those of the client, with what is right: addresses, or nil for a name that does not exist.
var clientQuestions = map[string][]string{
	"web.default.svc.cluster.local.":          {"10.96.0.77"},
	"kube-dns.kube-system.svc.cluster.local.": {cluster.ClusterDNS},
	"nobody.default.svc.cluster.local.":       nil,
}

// kubeProxy knows the ready endpoints of the Service kube-dns, as kube-proxy does.
type kubeProxy struct {
	slices discoverylisters.EndpointSliceNamespaceLister
}

func startKubeProxy(t *testing.T, c *cluster.Cluster) *kubeProxy {
	t.Helper()
	factory := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithNamespace(metav1.NamespaceSystem))
	lister := factory.Discovery().V1().EndpointSlices().Lister()
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	return &kubeProxy{lister.EndpointSlices(metav1.NamespaceSystem)}
}

// endpoints returns the addresses of the ready endpoints, with the names of their pods.
func (p *kubeProxy) endpoints(t *testing.T) map[string]string {
	t.Helper()
	found, err := p.slices.List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: "kube-dns"}))
	fatal.If(t, err)
	endpoints := make(map[string]string)
	for _, slice := range found {
		for _, e := range slice.Endpoints {
			if *e.Conditions.Ready && slice.AddressType == discoveryv1.AddressTypeIPv4 {
				endpoints[e.Addresses[0]] = e.TargetRef.Name
			}
		}
	}
	return endpoints
}

// client asks the Service kube-dns without a pause, over UDP and TCP in turn.
type client struct {
	nodes  *nodes
	proxy  *kubeProxy
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	asked   int
	since   map[string]int // by the plugin that answered, since the last time that somebody looked
	totals  map[string]int
	wrong   []error
	changed chan struct{} // closed, and replaced, with every answer
}

func startClient(t *testing.T, n *nodes, p *kubeProxy) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &client{nodes: n, proxy: p, cancel: cancel, since: make(map[string]int), totals: make(map[string]int), changed: make(chan struct{})}
	for range 4 {
		c.done.Go(func() { c.run(ctx, t) })
	}
	t.Cleanup(func() {
		cancel()
		c.done.Wait()
	})
	return c
}

func (c *client) run(ctx context.Context, t *testing.T) {
	names := slices.Sorted(maps.Keys(clientQuestions))
	for i := 0; ctx.Err() == nil; i++ {
		plugin, err := c.askOne(ctx, t, names[rand.IntN(len(names))], []string{"udp", "tcp"}[i%2])
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.asked++
		c.since[plugin]++
		c.totals[plugin]++
		if err != nil {
			c.wrong = append(c.wrong, err)
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
	}
}

// askOne asks one of the ready endpoints. It returns the plugin that answers there.
func (c *client) askOne(ctx context.Context, t *testing.T, name, network string) (plugin string, err error) {
	endpoints := c.proxy.endpoints(t)
	if len(endpoints) == 0 {
		return "", errors.New("kube-dns has no ready endpoint")
	}
	ips := slices.Sorted(maps.Keys(endpoints))
	ip := ips[rand.IntN(len(ips))]
	plugin = "kubernetes"
	if strings.HasPrefix(endpoints[ip], "coredns-headless-") {
		plugin = "headless"
	}
	addr, ok := c.nodes.addr(netip.MustParseAddr(ip))
	if !ok {
		return plugin, fmt.Errorf("%s is ready without a process", endpoints[ip])
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := dnstest.Exchange(ctx, network, addr, dnstest.Query(name, dns.TypeA, 1232))
	if err != nil {
		return plugin, fmt.Errorf("%s over %s, of %s: lost: %w", name, network, endpoints[ip], err)
	}
	want := clientQuestions[name]
	rcode := dns.RcodeSuccess
	if want == nil {
		rcode = dns.RcodeNameError
	}
	if got := dnstest.Data(m.Answer); m.Rcode != rcode || !slices.Equal(got, want) {
		err = fmt.Errorf("%s over %s, of %s: got %s %q, want %q", name, network, endpoints[ip], dns.RcodeToString[m.Rcode], got, want)
	}
	return plugin, err
}

// ask waits until so many more questions were asked.
func (c *client) ask(t *testing.T, more int) {
	t.Helper()
	c.mu.Lock()
	until := c.asked + more
	for c.asked < until {
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the client asks no more")
		}
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// sinceLast returns what was wrong since it was called before, or which plugins answered if not these.
func (c *client) sinceLast(phase string, endpoints map[string]string, plugins ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, wrong := c.since, c.wrong
	c.since, c.wrong = make(map[string]int), nil
	c.nodes.t.Logf("%s: answers by plugin %v, %d wrong or lost; endpoints %v", phase, got, len(wrong), slices.Sorted(maps.Values(endpoints)))
	if len(wrong) > 0 {
		return fmt.Errorf("%s: %d questions without the right answer, such as %w", phase, len(wrong), wrong[0])
	}
	slices.Sort(plugins)
	if all := slices.Sorted(maps.Keys(got)); !slices.Equal(all, plugins) {
		return fmt.Errorf("%s: %v answered, want %q", phase, got, plugins)
	}
	return nil
}

// stop ends the client and returns what it has seen.
func (c *client) stop(t *testing.T) string {
	t.Helper()
	c.cancel()
	c.done.Wait()
	if c.totals["headless"] == 0 || c.totals["kubernetes"] == 0 {
		t.Errorf("got %v answers, want some of each", c.totals)
	}
	return fmt.Sprintf("%d queries: %v", c.asked, c.totals)
}

// runComparison runs the Job's pod: dnsdiff with its arguments and the rights of its account. In place of the addresses of the
// Services it asks a pod of each.
func runComparison(t *testing.T, c *cluster.Cluster, n *nodes, programs string) error {
	t.Helper()
	ctx := t.Context()
	pods, err := c.Client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	fatal.If(t, err)
	var job *corev1.Pod
	addrs := make(map[string]string)
	for i, pod := range pods.Items {
		switch owner := pod.Labels["app.kubernetes.io/name"]; {
		case owner == "dnsdiff":
			job = &pods.Items[i]
		case owner == "coredns-headless":
			addrs["-new"], _ = n.addr(netip.MustParseAddr(pod.Status.PodIP))
		case pod.Labels["k8s-app"] == "kube-dns":
			addrs["-old"], _ = n.addr(netip.MustParseAddr(pod.Status.PodIP))
		}
	}
	if job == nil {
		return errors.New("the Job dnsdiff has no pod")
	}
	account := types.NamespacedName{Namespace: job.Namespace, Name: job.Spec.ServiceAccountName}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	fatal.If(t, c.WriteCredentials(ctx, kubeconfig, c.Config.Host, account))
	args := []string{"-kubeconfig", kubeconfig}
	for _, arg := range job.Spec.Containers[0].Args {
		switch name, value, _ := strings.Cut(arg, "="); {
		case name == "-old" && value == cluster.ClusterDNS, name == "-new" && value == "coredns-headless.kube-system":
			args = append(args, name, addrs[name])
		case name == "-rate":
			args = append(args, "-rate=1000")
		case name == "-wait":
			args = append(args, "-wait=2s") // the cache of kubeadm's Corefile is off for the cluster's names
		default:
			args = append(args, arg)
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(programs, "dnsdiff"), args...).CombinedOutput()
	t.Logf("dnsdiff %q:\n%s", args, out)
	if err != nil {
		return fmt.Errorf("dnsdiff: %w", err)
	}
	_, err = c.Client.CoreV1().Pods(job.Namespace).Patch(ctx, job.Name, types.StrategicMergePatchType,
		[]byte(`{"status":{"phase":"Succeeded"}}`), metav1.PatchOptions{}, "status")
	return err
}

// documented returns a fenced block of docs/switching.md that has a text in it.
func documented(t *testing.T, text string) string {
	t.Helper()
	for _, match := range regexp.MustCompile("(?ms)^~~~ \\w+\n(.*?)^~~~$").FindAllStringSubmatch(string(filetest.Read(t, "../../docs/switching.md")), -1) {
		if strings.Contains(match[1], text) {
			return match[1]
		}
	}
	t.Fatalf("docs/switching.md: got no block with %q", text)
	return ""
}

// testHelm applies what helm makes of deploy/helm/values.yaml, starts its pods, and does the switch and the way back that
// docs/switching.md has for it.
func testHelm(t *testing.T, c *cluster.Cluster, p *kubeProxy) {
	y := newScore(t, "kube-apiserver")
	y.note = "rendered by helm, applied, started, switched and back"
	out, err := exec.CommandContext(t.Context(), "go", "run", "-C", "../../deploy/helm", ".", "testdata/chart", "coredns-headless").Output()
	if err != nil {
		t.Fatalf("go run: %v", err)
	}
	before := p.endpoints(t)
	ofKubeadm := func() error {
		if now := p.endpoints(t); !maps.Equal(now, before) {
			return fmt.Errorf("the endpoints of kube-dns are %v, held against %v", now, before)
		}
		return nil
	}
	kubectl(t, c, "", "-n", "kube-system", "delete", "deployment,service,configmap", "-l", "app.kubernetes.io/name=coredns-headless") // of the same name
	objects := strings.Split(string(out), "\n---\n")
	y.check(dryRun(t, c, objects))
	y.check(checkRights(t, c, "coredns", append(slices.Clone(watched), "list /pods", "watch /pods"), objects))
	kubectl(t, c, string(out), "apply", "-f", "-")
	kubectl(t, c, "", "-n", "kube-system", "patch", "deployment", "coredns-headless", "-p",
		`{"spec":{"template":{"metadata":{"annotations":{"`+cluster.ReadyAnnotation+`":"false"}}}}}`) // ready when their processes are
	kubectl(t, c, "", "-n", "kube-system", "rollout", "status", "deployment", "coredns-headless")
	y.check(ofKubeadm())

	block := documented(t, `"app.kubernetes.io/instance":"coredns-headless"`)
	there, back, _ := strings.Cut(strings.TrimSpace(block), "\n")
	kubectl(t, c, "", words(strings.TrimPrefix(there, "kubectl "))...)
	eventually(t, time.Minute, func(context.Context) error {
		now := p.endpoints(t)
		for ip, pod := range now {
			if !strings.HasPrefix(pod, "coredns-headless-") || before[ip] != "" {
				return fmt.Errorf("the endpoints of kube-dns are %v", now)
			}
		}
		if len(now) != 2 {
			return fmt.Errorf("the endpoints of kube-dns are %v, want two", now)
		}
		return nil
	})
	kubectl(t, c, "", words(strings.TrimPrefix(back, "kubectl "))...)
	eventually(t, time.Minute, func(context.Context) error { return ofKubeadm() })
}

// testManaged has the policy of docs/switching.md give a pod another resolver, and leave alone what it is not for.
func testManaged(t *testing.T, c *cluster.Cluster) {
	y := newScore(t, "kube-apiserver")
	y.note = "MutatingAdmissionPolicy"
	// What the policy cannot do is told here, and not only that nothing is done.
	apply(t, c, strings.Replace(documented(t, "kind: MutatingAdmissionPolicyBinding"), "failurePolicy: Ignore", "failurePolicy: Fail", 1))
	apply(t, c, `
{apiVersion: v1, kind: Namespace, metadata: {name: by-headless, labels: {dns: headless}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: by-default}}
`)
	create := func(namespace string, policy corev1.DNSPolicy) *corev1.Pod {
		t.Helper()
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
			Spec:       corev1.PodSpec{DNSPolicy: policy, Containers: []corev1.Container{{Name: "c", Image: "pause"}}},
		}
		pod, err := c.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
		fatal.If(t, err)
		return pod
	}
	var given *corev1.PodDNSConfig
	eventually(t, time.Minute, func(context.Context) error { // the API server takes a moment to know a policy
		if given = create("by-headless", "").Spec.DNSConfig; given == nil {
			return errors.New("a pod has no dnsConfig")
		}
		return nil
	})
	var err error
	if want := []string{"by-headless.svc.cluster.local", "svc.cluster.local", "cluster.local"}; !slices.Equal(given.Searches, want) ||
		!slices.Equal(given.Nameservers, []string{"10.96.131.7"}) || len(given.Options) != 1 || *given.Options[0].Value != "5" {
		err = fmt.Errorf("got %v", given)
	}
	for _, other := range []*corev1.Pod{create("by-default", ""), create("by-headless", corev1.DNSDefault)} {
		if other.Spec.DNSConfig != nil {
			err = errors.Join(err, fmt.Errorf("a pod of %s with %s has %v, want what it had", other.Namespace, other.Spec.DNSPolicy, other.Spec.DNSConfig))
		}
	}
	y.check(err)
}
