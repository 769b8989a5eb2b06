package headless

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/snapshot"
)

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
