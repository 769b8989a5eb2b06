package headless

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns-headless/headless/internal/snapshot"
	"github.com/coredns/coredns/coremain"
	"github.com/coredns/coredns/plugin/pkg/upstream"
)

// source feeds the index.
type source interface {
	Start()
	// Stop returns when nothing feeds the index any more, and all connections are closed.
	Stop()
	// String names the source.
	String() string
}

// knowledge is what a plugin knows of the cluster.
type knowledge struct {
	index   *index.Index
	imports *index.Index // of the multicluster zones; nil without any
	pods    *index.Pods
	ownNode *atomic.Pointer[model.Node] // of the option node; nil while it is not known

	source    source // feeds them, by way of converter
	converter *kube.Converter
	listing   *kube.Listing    // of all resources
	clock     kube.Clock       // of the source
	keeper    *snapshot.Keeper // stands in until all is listed; nil without one
}

// newHeadless makes the plugin that cfg describes. Relative paths are below root.
func newHeadless(cfg *config, root string) (*Headless, error) {
	h, feeds := newWithoutSource(cfg)
	h.keeper = h.newKeeper(root)
	if cfg.insightAddr != "" {
		h.counter = insight.NewCounter(time.Now())
	}
	option, err := "manifests", error(nil)
	if len(cfg.manifests) > 0 {
		var paths []string
		for _, given := range cfg.manifests {
			path := inFolder(root, given)
			if _, err := os.Stat(path); err != nil {
				return nil, cfg.at("manifests "+given, fmt.Errorf("manifests: %w, expected a file or a folder", err))
			}
			paths = append(paths, path)
		}
		h.source, err = manifests.New(paths, cfg.foresees, feeds, log)
	} else {
		h.source, err = kube.NewServer(&cfg.api, userAgent, feeds, log)
		if wrong := (*kube.OptionError)(nil); errors.As(err, &wrong) {
			option = wrong.Option
		}
	}
	if err != nil {
		return nil, cfg.at(option, err)
	}
	return h, nil
}

// userAgent is what we say of ourselves to an API server.
var userAgent = fmt.Sprintf("%s/%s %s (%s/%s)", coremain.CoreName, coremain.CoreVersion, pluginName,
	runtime.GOOS, runtime.GOARCH)

// inFolder returns path, which is below root if it is relative.
func inFolder(root, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}

// newWithoutSource makes the plugin that cfg describes, and what its source has to feed.
func newWithoutSource(cfg *config) (*Headless, *kube.Feeds) {
	h := &Headless{
		config: cfg, authorities: cfg.authorities(), upstream: upstream.New(), tally: &tallied,
		hostSearch: hostSearch(),
	}
	h.journal = newJournal(h)
	h.index, h.pods = index.New(cfg.hostnames, cfg.ignoreEmpty, cfg.hold), index.NewPods()
	h.ownNode = new(atomic.Pointer[model.Node])
	h.converter = &kube.Converter{
		Namespaces: cfg.namespaces, PodNames: cfg.podNames, PodLabels: len(cfg.manifests) > 0,
		Topologies: cfg.zonal, Hints: cfg.topology,
	}
	cfg.selection.Node = cfg.node
	if cfg.selection.PodsOfNode = cfg.node != "" && cfg.podMode != podsVerified; cfg.selection.PodsOfNode {
		h.converter.Node = cfg.node
	}
	namespaces, services, endpointSlices := sinksOf(h.index)
	sinks := &kube.Sinks{
		Namespaces: namespaces, Services: services, Slices: endpointSlices, Recall: h.index.Recall,
		Kind: func(key model.Key) string {
			return h.index.ShownSpec(key).MetricKind()
		},
	}
	if cfg.node != "" {
		sinks.Nodes = h.nodeSink()
	}
	if cfg.podMode == podsVerified || cfg.node != "" {
		sinks.Pods = kube.Sink[*model.Pod]{Put: h.pods.Put, Drop: h.pods.Drop, Replace: h.pods.Replace}
	}
	if len(cfg.multicluster) > 0 {
		h.imports = index.New(cfg.hostnames, cfg.ignoreEmpty, cfg.hold)
		namespaces, sinks.Imports, sinks.Imported = sinksOf(h.imports)
		sinks.Namespaces = sinks.Namespaces.And(namespaces)
	}
	feeds := kube.NewFeeds(h.converter, cfg.selection, sinks)
	h.listing, h.clock = feeds.Listing, feeds.Clock
	return h, feeds
}

// sinksOf returns what x takes.
func sinksOf(x *index.Index) (
	kube.Sink[*model.Namespace], kube.Sink[*model.Service], kube.Sink[*model.Slice],
) {
	return kube.Sink[*model.Namespace]{
			Put: x.PutNamespace, Drop: x.DropNamespace, Replace: x.ReplaceNamespaces,
		},
		kube.Sink[*model.Service]{Put: x.PutService, Drop: x.DropService, Replace: x.ReplaceServices},
		kube.Sink[*model.Slice]{Put: x.PutSlice, Drop: x.DropSlice, Replace: x.ReplaceSlices}
}

// nodeSink returns what takes the Node of the option node.
func (h *Headless) nodeSink() kube.Sink[*model.Node] {
	drop := func(model.Key) {
		h.ownNode.Store(nil)
		log.Warningf("node %s: the cluster has no such Node, so the topology zones of clients are known from endpoints only", h.node)
	}
	put := func(n *model.Node) {
		if n.Name == h.node { // a file may have others
			h.ownNode.Store(n)
		}
	}
	return kube.Sink[*model.Node]{Put: put, Drop: drop, Replace: func(specs iter.Seq[*model.Node]) {
		found := false
		for n := range specs {
			put(n)
			found = found || n.Name == h.node
		}
		if !found {
			drop(model.Key{})
		}
	}}
}

// Ready implements ready.Readiness.
func (k *knowledge) Ready() bool {
	return k.listing.IsKnown() || k.isRestored()
}

// isRestored reports whether a snapshot stands in for what has not been listed.
func (k *knowledge) isRestored() bool { return k.keeper != nil && k.keeper.Serves() }

// isSynced reports whether all that a needs has been listed: what is imported from other clusters is
// for multicluster zones alone.
func (k *knowledge) isSynced(a *authority) bool {
	if a.grammar == qname.Multicluster {
		return k.listing.IsSettled()
	}
	return k.listing.IsKnown()
}

// answers reports whether queries for names in a can be answered.
func (k *knowledge) answers(a *authority) bool { return k.isSynced(a) || k.isRestored() }

// indexOf returns the index that answers for a.
func (k *knowledge) indexOf(a *authority) *index.Index {
	if a.grammar == qname.Multicluster {
		return k.imports
	}
	return k.index
}

// resourceState is what metrics say of a resource in all plugins together.
type resourceState struct {
	objects int
	synced  float64 // 1, or 0 where one plugin has no list yet
	watched bool    // by an API server; files are not watched
	// heard and listed are the times since Unix's epoch when the API server last did that for the
	// plugin for which it is longest ago.
	heard, listed time.Duration
	// failing is since when one of them cannot watch it, or 0.
	failing time.Duration
}

// addResources adds to all the state of the resources of h.
func (h *Headless) addResources(all map[string]*resourceState) {
	n := h.index.Counts()
	objects := map[string]int{
		kube.Namespaces: n.Namespaces, kube.Services: n.Services, kube.Slices: n.Slices,
		kube.Pods: h.pods.Count(),
	}
	if h.ownNode.Load() != nil {
		objects[kube.Nodes] = 1
	}
	if h.imports != nil {
		n := h.imports.Counts()
		objects[kube.Imports], objects[kube.Imported] = n.Services, n.Slices
	}
	for name, last := range h.clock {
		r := all[name]
		if r == nil {
			r = &resourceState{synced: 1, heard: math.MaxInt64, listed: math.MaxInt64}
			all[name] = r
		}
		r.objects += objects[name]
		if last.Listed.Load() == 0 {
			r.synced = 0
		}
		if len(h.manifests) == 0 {
			r.watched = true
			r.heard = min(r.heard, time.Duration(last.Heard.Load()))
			r.listed = min(r.listed, time.Duration(last.Listed.Load()))
			if failing := time.Duration(last.Failing.Load()); failing > 0 && (r.failing == 0 || failing < r.failing) {
				r.failing = failing
			}
		}
	}
}

// indexes returns the index and, with multicluster zones, that of the imports.
func (k *knowledge) indexes() []*index.Index {
	if k.imports == nil {
		return []*index.Index{k.index}
	}
	return []*index.Index{k.index, k.imports}
}

// inventory returns how much h holds, as text.
func (h *Headless) inventory() string {
	resources := make(map[string]*resourceState)
	h.addResources(resources)
	var list []string
	for _, name := range kube.Resources {
		if r := resources[name]; r != nil {
			list = append(list, fmt.Sprint(r.objects, " ", name))
		}
	}
	endpoints := 0
	for _, x := range h.indexes() {
		endpoints += x.Counts().Endpoints
	}
	return strings.Join(append(list, fmt.Sprint(endpoints, " endpoints")), ", ")
}

// newKeeper returns the keeper of h's snapshot, or nil if the stanza does not ask for one. A relative path
// is below root.
func (h *Headless) newKeeper(root string) *snapshot.Keeper {
	cfg := h.snapshot
	if cfg.Path == "" {
		return nil
	}
	cfg.Path = filepath.Clean(inFolder(root, cfg.Path))
	k := snapshot.NewKeeper(cfg, snapshot.Subject{
		Knowledge: snapshot.Knowledge{Indexes: h.indexes(), Pods: h.pods}, Configuration: h.fingerprint, Cluster: h.converter.ClusterUID,
		Published: h.journal.freeze,
		IsSynced:  h.listing.IsComplete, Confirmed: h.clock.Confirmed, IsShared: h.sharesSnapshot, Log: log,
	})
	h.listing.OnList = k.Listed
	return k
}

// fingerprint returns what tells apart the configurations that keep different things of one
// cluster, or of different ones.
func (h *Headless) fingerprint() string {
	text := fmt.Sprintf("%q %q %q %q %q %q %q %t %t %t %t %t %t %t %q", h.api.Endpoint, h.api.Kubeconfig,
		h.api.Context, h.namespaces, fmt.Sprint(h.selection.NamespaceLabels), fmt.Sprint(h.selection.Labels), h.podMode,
		h.selection.NoEndpoints, h.selection.HeadlessOnly, h.podNames, h.converter.PodLabels,
		h.zonal, len(h.multicluster) > 0, h.topology, h.node)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}
