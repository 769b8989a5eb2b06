package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// outsideZone is what the names outside the cluster have.
const outsideZone = `
$TTL 5
. IN SOA ns.invalid. hostmaster.invalid. 1 60 60 60 5
. IN NS ns.invalid.
billing.example.com. IN A 192.0.2.1
www.example.com. IN A 192.0.2.2
www.example.com. IN AAAA 2001:db8:2::2
`

// TestBehaviour asks servers with all kinds of options for the names of one cluster, which has what real clusters have.
func TestBehaviour(t *testing.T) {
	c := startCluster(t)
	t.Run("deploy", func(t *testing.T) { testDeploy(t, c) })
	t.Run("rows", func(t *testing.T) { testRows(t, c) })
	t.Run("conformance", func(t *testing.T) { testConformance(t, c) })
	t.Run("resolvers", func(t *testing.T) { testResolvers(t, c) })
}

// testRows asks servers that were there before the objects, which write octets, and one that was not, which makes records: loadbalance
// looks at them.
func testRows(t *testing.T, c *cluster.Cluster) {
	verified := kustomization(t, "resources: [DEPLOY/base]\ncomponents: [DEPLOY/components/pods-verified]\nnamePrefix: verified-")
	servers := make(map[string]*coredns.Server)
	for _, o := range optionRows {
		options := coredns.Options{Plugin: "headless", Options: []string{o.name}, Outside: outsideZone}
		if o.name == podsVerified {
			options.Deploy = verified
		}
		servers[o.name] = newServerOf(t, c, options)
	}
	const byDefault = "by default"
	servers[byDefault] = newServerOf(t, c, coredns.Options{Plugin: "headless", Outside: outsideZone})
	startAll(t, servers)

	apply(t, c, manifests(t))
	waitForControllers(t, c)
	fatal.If(t, c.Client.CoreV1().Pods("rows").Delete(t.Context(), "raft-2", metav1.DeleteOptions{}))
	waitForControllers(t, c)
	apply(t, c, marker)
	var values chosen
	eventually(t, time.Minute, func(context.Context) error {
		values = chosenValues(t, c)
		return values.has("marker-pod")
	})
	for name, s := range servers {
		waitForMarker(t, s, name, values)
	}

	listed := newServerOf(t, c, coredns.Options{Plugin: "headless", Front: "loadbalance", Outside: outsideZone})
	fatal.If(t, listed.Start(t.Context()))
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) { judgeScenario(t, sc, values, servers[byDefault], listed) })
	}
	for _, sc := range optionRows {
		t.Run("option "+sc.name, func(t *testing.T) { judgeScenario(t, sc, values, servers[sc.name]) })
	}
}

// judgeScenario asks the servers for each row.
func judgeScenario(t *testing.T, sc scenario, values chosen, servers ...*coredns.Server) {
	y := newScore(t, "headless")
	y.note = fmt.Sprintf("%d rows", len(sc.rows))
	for _, r := range sc.rows {
		for i, s := range servers {
			for _, err := range r.judge(t.Context(), s, values) {
				if err != nil {
					err = fmt.Errorf("%s (server %d of %d): %w", r.sentence, i+1, len(servers), err)
				}
				y.check(err)
			}
		}
	}
}

// startAll starts servers at a time.
func startAll(t *testing.T, servers map[string]*coredns.Server) {
	t.Helper()
	var wait sync.WaitGroup
	errs := make(chan error, len(servers))
	for _, s := range servers {
		wait.Go(func() { errs <- s.Start(t.Context()) })
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		fatal.If(t, err)
	}
}

// kustomization returns the folder of a new kustomization. In its text DEPLOY stands for the path of a copy of deploy/, in which the
// example has the zone and the address of this cluster.
func kustomization(t *testing.T, text string) string {
	t.Helper()
	deploy, err := filepath.EvalSymlinks(t.TempDir())
	fatal.If(t, err)
	fatal.If(t, os.CopyFS(deploy, os.DirFS("../../deploy")))
	filetest.Write(t, filepath.Join(deploy, "example", "cluster.env"), "zone=cluster.local\nclusterIP="+cluster.ClusterDNS+"\n")
	filetest.Write(t, filepath.Join(deploy, "secondary", "cluster.env"), "primary="+strings.TrimSuffix(cluster.ClusterDNS, "10")+"53\n")
	dir := filepath.Join(deploy, "overlay")
	filetest.Write(t, filepath.Join(dir, "kustomization.yaml"), strings.ReplaceAll(text, "DEPLOY", ".."))
	return dir
}

// marker is made after all others, of each kind that servers watch: one that knows it knows them. What options ask for it has.
const marker = `
{apiVersion: v1, kind: Namespace, metadata: {name: marker, labels: {exposed: "yes"}}}
---
{apiVersion: v1, kind: Service, metadata: {name: marker, namespace: marker, labels: {tier: front}}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: marker-vip, namespace: marker, labels: {tier: front}}, spec: {ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: marker
  namespace: marker
  labels: {kubernetes.io/service-name: marker, service.kubernetes.io/headless: "", tier: front}
addressType: IPv4
ports: [{name: "", port: 80}]
endpoints: [{addresses: [203.0.113.200]}]
---
{apiVersion: v1, kind: Pod, metadata: {name: marker-pod, namespace: marker}, spec: {containers: [{name: c, image: pause}]}}
`

func (v chosen) has(name string) error {
	if v[name] == "" {
		return errors.New("there is no " + name)
	}
	return nil
}

// waitForMarker waits until a server with an option knows the marker.
func waitForMarker(t *testing.T, s *coredns.Server, option string, v chosen) {
	t.Helper()
	rows := []row{{question: "marker.marker.svc A", want: "203.0.113.200"}}
	switch option {
	case "noendpoints":
		rows[0] = row{question: "marker-vip.marker.svc A", want: "{svc/marker-vip}"}
	case podsVerified:
		rows = append(rows, row{question: "{marker-pod:dash}.marker.pod A", want: "{marker-pod}"})
	}
	eventually(t, time.Minute, func(ctx context.Context) error {
		for _, r := range rows {
			if err := errors.Join(r.judge(ctx, s, v)...); err != nil {
				return err
			}
		}
		return nil
	})
}
