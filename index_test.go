package headless

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

func TestManifestsFillTheIndexAtStart(t *testing.T) {
	for _, c := range []struct {
		name, options string
		want          index.Counts
	}{
		{"everything", "", index.Counts{Namespaces: 1, Services: 1, Slices: 1, Endpoints: 1}},
		{"noendpoints does not wait for slices", "noendpoints", index.Counts{Namespaces: 1, Services: 1, Slices: 0, Endpoints: 0}},
		{"another namespace", "namespaces b", index.Counts{}},
		{"labels that nothing has", "labels app=none", index.Counts{Namespaces: 1}},
		{"labels that no Namespace has", "namespace_labels team=red", index.Counts{Services: 1, Slices: 1, Endpoints: 1}},
		{"endpoints of headless Services", "endpoints headless", index.Counts{Namespaces: 1, Services: 1}},
	} {
		dir := t.TempDir()
		filetest.Write(t, filepath.Join(dir, "a.yaml"), modeltest.ServiceYAML+"---\n"+modeltest.SliceYAML)
		h := newTestHeadlessFrom(t, "headless cluster.local {\nmanifests "+filepath.Join(dir, "a.yaml")+"\n"+c.options+"\n}")
		if got := h.index.Counts(); got != c.want || !h.Ready() {
			t.Errorf("%s: %+v, ready %v, missing %q, want %+v", c.name, got, h.Ready(), h.listing.Missing(), c.want)
		}
	}
}

func TestManifestReloadChangesTheIndex(t *testing.T) {
	dir := t.TempDir()
	filetest.Write(t, filepath.Join(dir, "a.yaml"), modeltest.ServiceYAML)
	bubble.Test(t, func(t *testing.T) {
		h := newTestHeadlessFrom(t, "headless cluster.local {\nmanifests "+filepath.Join(dir, "a.yaml")+"\n}")
		h.start()
		defer h.stop()
		filetest.Write(t, filepath.Join(dir, "a.yaml"), strings.ReplaceAll(modeltest.ServiceYAML, "web", "db"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got, want := h.index.ServiceKeys(), []model.Key{{Namespace: "a", Name: "db"}}; !slices.Equal(got, want) {
			t.Errorf("Services %v, want %v", got, want)
		}
	})
}

func TestRelativePathsAreBelowTheRoot(t *testing.T) {
	dir := t.TempDir()
	filetest.Write(t, filepath.Join(dir, "d/a.yaml"), modeltest.ServiceYAML)
	for _, c := range []struct {
		name, path, root string
		services         int // -1: there is no such file
	}{
		{"a relative path", "d/a.yaml", dir, 1},
		{"an absolute path", filepath.Join(dir, "d"), "/nowhere", 1},
		{"a relative path that leads nowhere", "d/a.yaml", "/nowhere", -1},
	} {
		cfg, err := stanzaConfig("headless cluster.local {\nmanifests " + c.path + "\n}")
		fatal.If(t, err)
		h, err := newHeadless(cfg, c.root)
		switch {
		case err != nil && c.services >= 0:
			t.Errorf("%s: %v", c.name, err)
		case err == nil && h.index.Counts().Services != c.services:
			t.Errorf("%s: %d Services, want %d", c.name, h.index.Counts().Services, c.services)
		}
	}
}
