// Package e2e tests a CoreDNS with headless in it against a Kubernetes control plane, next to the kubernetes plugin.
//
// It needs bin/cluster and bin/coredns: "make e2e" builds them and runs it.
package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"
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
	code := m.Run()
	if err := printReport(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// startCluster starts a cluster for a test. What the test changes of its processes it need not undo.
func startCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{Program: *clusterProgram, Dir: t.TempDir()})
	fatal.If(t, err)
	t.Cleanup(c.Stop)
	return c
}

// kubectl runs kubectl, with input, and returns what it prints.
func kubectl(t *testing.T, c *cluster.Cluster, input string, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), input, args...)
	fatal.If(t, err)
	return out
}

// apply applies manifests.
func apply(t *testing.T, c *cluster.Cluster, manifests string) {
	t.Helper()
	fatal.If(t, c.Apply(t.Context(), manifests))
}

// startServer starts CoreDNS with a plugin, "headless" or "kubernetes", that has the rights of deploy/ and these options, one a
// line.
func startServer(t *testing.T, c *cluster.Cluster, plugin string, options ...string) *coredns.Server {
	t.Helper()
	s := newServer(t, c, plugin, "", options...)
	fatal.If(t, s.Start(t.Context()))
	return s
}

// newServer returns such a server that does not run yet, and that reaches the API server by the URL apiServer; empty stands for
// its own.
func newServer(t *testing.T, c *cluster.Cluster, plugin, apiServer string, options ...string) *coredns.Server {
	t.Helper()
	return newServerOf(t, c, coredns.Options{Plugin: plugin, Options: options, APIServer: apiServer})
}

// newServerOf returns a server that does not run yet. Of its options the program, the folder and, unless o has one, the
// kustomization are chosen here.
func newServerOf(t *testing.T, c *cluster.Cluster, o coredns.Options) *coredns.Server {
	t.Helper()
	o.Program, o.Dir, o.Deploy = *corednsProgram, t.TempDir(), cmp.Or(o.Deploy, "../../deploy/base")
	s, err := coredns.New(t.Context(), c, o)
	fatal.If(t, err)
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			if log, err := os.ReadFile(s.Log()); err == nil {
				t.Logf("the log of %s %q:\n%s", o.Plugin, o.Options, log)
			}
		}
	})
	return s
}

// eventually waits until check returns nil. It fails the test with what check returned last if that takes too long.
func eventually(t *testing.T, within time.Duration, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil { // else it tells of that only
			last = err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", within, last)
		}
	}
}
