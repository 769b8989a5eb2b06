package headless

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/snapshot"
)

// patience is how long a test waits for what has to happen, on a busy machine as well. Reflectors wait up to two seconds before
// they list again.
const patience = time.Minute

// eventually waits until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// watchingOver returns a plugin that watches over n. It stops with the test.
func watchingOver(t testing.TB, n *kubetest.Network, lines ...string) *Headless {
	t.Helper()
	h := watcher(t, append(lines, n.Stanza)...)
	h.api.Dial = n.Dial
	h.start()
	t.Cleanup(h.stop)
	return h
}

// answersFromItsSnapshot makes h, which knows its cluster, one that has started again and has not listed it yet.
func answersFromItsSnapshot(t testing.TB, h *Headless) {
	t.Helper()
	h.snapshot = snapshot.Config{Path: filepath.Join(t.TempDir(), "snapshot"), MaxAge: time.Hour, Interval: time.Hour}
	h.keeper = h.newKeeper("")
	h.keeper.Stop() // which writes it
	h.listing = kube.NewListing(kube.Services)
	h.keeper = h.newKeeper("")
	if !loads(h) {
		t.Fatal("it does not answer from its snapshot")
	}
}

// Objects as YAML, for manifests.
const (
	webYAML      = "{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web}, spec: {clusterIP: 10.96.0.1}}\n"
	webSliceYAML = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: a, name: web-1, " +
		"labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.1]}]}\n"
)

// writeBelow writes a file of a name below dir.
func writeBelow(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func fileContent(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func putContent(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
