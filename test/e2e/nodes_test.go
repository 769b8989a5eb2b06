package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
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
	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodes run the CoreDNS of pods: each is a process, on loopback, with the Corefile of the ConfigMap that the pod mounts. A pod is
// ready when its process says so, and a pod that is deleted ends it by SIGTERM. The kubelets of the cluster do the rest; their
// annotation ReadyAnnotation has to be "false" in what makes the pods.
type nodes struct {
	t       *testing.T
	cluster *cluster.Cluster
	dir     string
	outside string // a resolver, as the nodes have it, that knows no name
	done    sync.WaitGroup

	processes map[types.UID]*cluster.Process // run's, until that has ended

	mu    sync.Mutex            // guards the field below
	addrs map[netip.Addr]string // where the process of the pod with this address listens, address and port
}

// startNodes starts them. They end with the test.
func startNodes(t *testing.T, c *cluster.Cluster) *nodes {
	t.Helper()
	n := &nodes{t: t, cluster: c, dir: t.TempDir(), processes: make(map[types.UID]*cluster.Process), addrs: make(map[netip.Addr]string)}
	n.outside = dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(r, dns.RcodeNameError) })
	account, err := c.ApplyRBAC(t.Context(), "../../deploy/base")
	fatal.If(t, err)
	fatal.If(t, c.WriteCredentials(t.Context(), n.kubeconfig(), c.Config.Host, account))
	ctx, cancel := context.WithCancel(t.Context())
	n.done.Go(func() { n.run(ctx) })
	t.Cleanup(func() {
		cancel()
		n.done.Wait()
		for _, p := range n.processes {
			p.Kill()
		}
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(n.dir, "*.log")) // the pattern is one
			for _, log := range logs {
				t.Logf("%s:\n%s", filepath.Base(log), filetest.Read(t, log))
			}
		}
	})
	return n
}

func (n *nodes) kubeconfig() string { return filepath.Join(n.dir, "kubeconfig") }

// addr returns where the process of the pod with an address listens.
func (n *nodes) addr(pod netip.Addr) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := n.addrs[pod]
	return addr, ok
}

// run looks at the pods again and again until ctx ends.
func (n *nodes) run(ctx context.Context) {
	for ctx.Err() == nil {
		pods, err := n.cluster.Client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
		if err == nil {
			there := make(map[types.UID]bool)
			for _, pod := range pods.Items {
				there[pod.UID] = pod.DeletionTimestamp == nil
				if err = n.look(ctx, &pod); err != nil {
					break
				}
			}
			n.end(there)
		}
		if err != nil && ctx.Err() == nil {
			n.t.Errorf("nodes: %v", err)
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// look starts the process of a pod that has an address and no process yet.
func (n *nodes) look(ctx context.Context, pod *corev1.Pod) error {
	c := pod.Spec.Containers[0]
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || c.Name != "coredns" || pod.DeletionTimestamp != nil {
		return nil
	}
	if n.processes[pod.UID] != nil {
		return nil
	}
	volume := pod.Spec.Volumes[slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.ConfigMap != nil })]
	config, err := n.cluster.Client.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	ports, err := cluster.FreePorts(4)
	if err != nil {
		return err
	}
	file := filepath.Join(n.dir, pod.Name+".Corefile")
	if err := os.WriteFile(file, []byte(n.onLoopback(config.Data["Corefile"], pod, ports)), 0o600); err != nil {
		return err
	}
	p := &cluster.Process{
		Name: pod.Name, Dir: n.dir, Program: *corednsProgram, Args: []string{"-conf", file},
		Ready: func(ctx context.Context) error {
			return coredns.Probe(ctx, fmt.Sprintf("http://127.0.0.1:%d/ready", ports[1]))
		},
	}
	if p.Program, err = filepath.Abs(p.Program); err != nil {
		return err
	}
	n.processes[pod.UID] = p
	n.mu.Lock()
	n.addrs[ip] = fmt.Sprintf("127.0.0.1:%d", ports[0])
	n.mu.Unlock()
	n.done.Go(func() {
		err := p.Start(ctx)
		if err == nil {
			err = n.report(ctx, pod)
		}
		if err != nil && ctx.Err() == nil {
			n.t.Errorf("pod %s: %v", pod.Name, err)
		}
	})
	return nil
}

// report has the readiness probe of a pod succeed.
func (n *nodes) report(ctx context.Context, pod *corev1.Pod) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{cluster.ReadyAnnotation: "true"}}})
	if err != nil {
		return err
	}
	_, err = n.cluster.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// end tells the processes of pods that are deleted to end. They may take their time.
func (n *nodes) end(there map[types.UID]bool) {
	for uid, p := range n.processes {
		if !there[uid] {
			delete(n.processes, uid)
			n.done.Go(p.Stop)
		}
	}
}

var (
	headOfBlock = regexp.MustCompile(`(?m)^([^\s#{}][^{}]*?)(:53)?[ \t]*\{$`)
	stanzaHead  = regexp.MustCompile(`(?m)^[ \t]+(?:kubernetes|headless)\b[^{}\n]*\{$`)
)

// onLoopback returns a Corefile as it is in the pod, but for what a process on loopback cannot have: its ports, the credentials of
// the pod, its folders, and resolvers of the node.
func (n *nodes) onLoopback(corefile string, pod *corev1.Pod, ports []int) string {
	corefile = headOfBlock.ReplaceAllStringFunc(corefile, func(head string) string {
		var keys []string
		for key := range strings.FieldsSeq(strings.TrimSuffix(head, "{")) {
			zone, _, _ := strings.Cut(strings.TrimPrefix(key, "dns://"), ":")
			keys = append(keys, fmt.Sprintf("%s:%d", zone, ports[0]))
		}
		return strings.Join(keys, " ") + " {\n    bind 127.0.0.1"
	})
	corefile = stanzaHead.ReplaceAllString(corefile, "$0\n        kubeconfig "+n.kubeconfig())
	return strings.NewReplacer(
		"ready\n", fmt.Sprintf("ready 127.0.0.1:%d\n", ports[1]),
		"health {", fmt.Sprintf("health 127.0.0.1:%d {", ports[2]),
		"prometheus :9153", fmt.Sprintf("prometheus 127.0.0.1:%d", ports[3]),
		"forward . /etc/resolv.conf", "forward . "+n.outside,
		"/var/lib/coredns/snapshot", filepath.Join(n.dir, pod.Name+".snapshot"),
		"{$NODE_NAME}", pod.Spec.NodeName,
		"    loop\n", "",
	).Replace(corefile)
}
