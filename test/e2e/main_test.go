// Package e2e tests a CoreDNS with headless in it against a Kubernetes control plane, next to the kubernetes plugin.
//
// It needs bin/cluster and bin/coredns: "make e2e" builds them and runs it.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var (
	clusterProgram = flag.String("cluster", "../../bin/cluster", "the `path` of the program cmd/cluster of this module")
	corednsProgram = flag.String("coredns", "../../bin/coredns", "the `path` of CoreDNS with headless in it")
)

func TestMain(m *testing.M) {
	flag.Parse()
	for _, program := range []string{*clusterProgram, *corednsProgram} {
		if _, err := os.Stat(program); err != nil {
			fmt.Fprintf(os.Stderr, "%v: run make e2e, which builds it\n", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// startCluster starts a cluster for a test. What the test changes of its processes it need not undo.
func startCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{Program: *clusterProgram, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// kubectl runs kubectl, with input, and returns what it prints.
func kubectl(t *testing.T, c *cluster.Cluster, input string, args ...string) string {
	t.Helper()
	args = append([]string{"kubectl", "-dir", filepath.Dir(c.Kubeconfig()), "--"}, args...)
	cmd := exec.CommandContext(t.Context(), *clusterProgram, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl %q: %v\n%s", args[4:], err, errs.String())
	}
	return out.String()
}

// apply applies manifests.
func apply(t *testing.T, c *cluster.Cluster, manifests string) {
	t.Helper()
	kubectl(t, c, manifests, "apply", "-f", "-")
}

// startServer starts CoreDNS with a plugin, "headless" or "kubernetes", that has the rights of deploy/ and these options, one a
// line.
func startServer(t *testing.T, c *cluster.Cluster, plugin string, options ...string) *coredns.Server {
	t.Helper()
	s := newServer(t, c, plugin, c.Config.Host, options...)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// newServer returns such a server that does not run yet, and that reaches the API server by apiServer, a URL.
func newServer(t *testing.T, c *cluster.Cluster, plugin, apiServer string, options ...string) *coredns.Server {
	t.Helper()
	account := applyRBAC(t, c)
	dir := t.TempDir()
	token, err := c.Token(t.Context(), account.Namespace, account.Name)
	if err != nil {
		t.Fatal(err)
	}
	tokenFile, kubeconfig := filepath.Join(dir, "token"), filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteKubeconfig(kubeconfig, apiServer, tokenFile); err != nil {
		t.Fatal(err)
	}
	stanza := plugin + " {\n  kubeconfig " + kubeconfig + "\n"
	for _, option := range options {
		stanza += "  " + option + "\n"
	}
	s, err := coredns.New(coredns.Options{Name: plugin, Dir: dir, Program: *corednsProgram, Stanza: stanza + " }"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			if log, err := os.ReadFile(s.Log()); err == nil {
				t.Logf("the log of %s:\n%s", plugin, log)
			}
		}
	})
	return s
}

// applyRBAC applies the ServiceAccount and its rights as deploy/ has them, and nothing else of it. It returns the ServiceAccount.
func applyRBAC(t *testing.T, c *cluster.Cluster) metav1.PartialObjectMetadata {
	t.Helper()
	kustomized := kubectl(t, c, "", "kustomize", "../../deploy/base")
	var account metav1.PartialObjectMetadata
	for object := range strings.SplitSeq(kustomized, "\n---\n") {
		var head metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(object), &head); err != nil {
			t.Fatalf("deploy/base: %v", err)
		}
		switch head.Kind {
		case "ServiceAccount":
			account = head
			fallthrough
		case "ClusterRole", "ClusterRoleBinding":
			apply(t, c, object)
		}
	}
	if account.Name == "" {
		t.Fatal("deploy/base has no ServiceAccount")
	}
	return account
}

// eventually waits until check returns nil. It fails the test with what check returned last if that takes too long.
func eventually(t *testing.T, within time.Duration, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}
