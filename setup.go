package headless

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/pkg/upstream"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/tools/cache"
)

var log = clog.NewWithPlugin(pluginName)

func init() { plugin.Register(pluginName, setup) }

// source feeds the index.
type source interface {
	start()
	// stop returns when nothing of the source is left: no goroutine, connection or watch.
	stop()
	// String names the source.
	String() string
}

func setup(c *caddy.Controller) error {
	cfg, err := parseStanza(c)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	h, err := newHeadless(cfg, dnsserver.GetConfig(c).Root)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	if h.snapshot != nil {
		if c.Get(snapshotKey(h.snapshot.path)) != nil {
			return plugin.Error(pluginName, fmt.Errorf("snapshot: expected a file of its own for each server block, got %s twice", h.snapshot.path))
		}
		c.Set(snapshotKey(h.snapshot.path), true)
	}
	c.OnStartup(func() error {
		h.local = boundAddrs(dnsserver.GetConfig(c).ListenHosts)
		h.converter.podLabels = dnsserver.GetConfig(c).Handler("metadata") != nil
		h.start()
		return nil
	})
	c.OnShutdown(func() error {
		h.stop()
		return nil
	})
	c.OnRestart(reloading)
	c.OnRestartFailed(reloadFailed)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	addStandIn(dnsserver.GetConfig(c), h)
	return nil
}

// snapshotKey is the key of what Caddy stores for those who want to write to a file.
type snapshotKey string

// newHeadless makes the plugin that cfg describes. Relative manifest paths are below root.
func newHeadless(cfg *config, root string) (*Headless, error) {
	h, feeds := newWithoutSource(cfg, root)
	var err error
	if len(cfg.manifests) > 0 {
		h.source, err = newManifests(cfg, root, feeds)
	} else {
		h.source, err = newAPIServer(cfg, feeds, h.synced)
	}
	return h, err
}

// newWithoutSource makes the plugin that cfg describes, and the stores that its source has to feed, by resource.
func newWithoutSource(cfg *config, root string) (*Headless, map[string]cache.TransformingStore) {
	h := &Headless{
		config: cfg, authorities: cfg.authorities(), index: index.New(cfg.hostnames, cfg.ignoreEmpty, cfg.hold), pods: index.NewPods(),
		upstream: upstream.New(), tally: &tallied, hostSearch: hostSearch(),
	}
	resources := []string{namespacesResource, servicesResource}
	if !cfg.noEndpoints {
		resources = append(resources, slicesResource)
	}
	if cfg.podMode == podsVerified {
		resources = append(resources, podsResource)
	}
	if len(cfg.multicluster) > 0 {
		resources = append(resources, importsResource, importedResource)
	}
	h.synced = newLatch(resources...)
	h.converter = &converter{namespaces: cfg.namespaces, podNames: cfg.podNames, podLabels: len(cfg.manifests) > 0, zones: cfg.zonal, skip: countSkipped}
	feeds := stores(h.index, h.converter, h.synced)
	if len(cfg.multicluster) > 0 {
		h.imports = index.New(cfg.hostnames, cfg.ignoreEmpty, cfg.hold)
		importStores(feeds, h.imports, h.converter, h.synced)
	}
	if cfg.podMode == podsVerified {
		feeds[podsResource] = podStore(h.pods, h.converter, h.synced)
	}
	if h.snapshot = newSnapshotter(h, root); h.snapshot != nil {
		h.synced.onList = h.snapshot.listed
	}
	return h, feeds
}

// instances is a set of plugins.
type instances struct {
	mu  sync.Mutex // guards set
	set map[*Headless]bool
}

func (s *instances) add(h *Headless) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = make(map[*Headless]bool)
	}
	s.set[h] = true
}

func (s *instances) remove(h *Headless) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, h)
}

// all returns the members.
func (s *instances) all() []*Headless {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.set))
}

var (
	// running holds the plugins whose source runs.
	running instances
	// unproven holds those of them that were started by a reload that has not succeeded yet. Caddy drops a server whose
	// start fails without telling it; it tells the old server.
	unproven instances
)

// reloading is called by Caddy on the running server before a reload: whatever was started so far is in use.
func reloading() error {
	for _, h := range unproven.all() {
		unproven.remove(h)
	}
	return nil
}

// reloadFailed is called by Caddy on the running server when a reload failed.
func reloadFailed() error {
	for _, h := range unproven.all() {
		h.stop()
	}
	return nil
}

// start starts the source and waits until the cluster is known, but no longer than startup_timeout.
func (h *Headless) start() {
	h.announce()
	running.add(h)
	unproven.add(h)
	reload := false // and the old plugin goes on answering meanwhile
	if h.snapshot != nil {
		reload = h.snapshot.isShared()
		h.snapshot.load()
		h.snapshot.start()
	}
	h.source.start()
	if h.Ready() && !reload {
		return
	}
	timeout := time.NewTimer(h.startupTimeout)
	defer timeout.Stop()
	select {
	case <-h.synced.open:
	case <-timeout.C:
		if !h.Ready() {
			log.Warningf("starting before the cluster is known: %s not listed yet, answering SERVFAIL", strings.Join(h.synced.missing(), ", "))
		}
	}
}

// stop stops the source. The index goes on answering from what it holds.
func (h *Headless) stop() {
	h.source.stop()
	running.remove(h)
	unproven.remove(h)
	if h.snapshot != nil {
		h.snapshot.stop()
	}
}

// boundAddrs returns the addresses of hosts. An unspecified one, and none at all, stand for those of all interfaces. Loopback
// addresses are left out unless there are no others: nobody else can ask them. Link-local ones always are.
func boundAddrs(hosts []string) []netip.Addr {
	var texts []string
	everywhere := len(hosts) == 0
	for _, host := range hosts {
		addr, err := netip.ParseAddr(host)
		everywhere = everywhere || host == "" || err == nil && addr.IsUnspecified()
		texts = append(texts, host)
	}
	if everywhere {
		addrs, _ := net.InterfaceAddrs() // without addresses there is nothing to find
		for _, addr := range addrs {
			texts = append(texts, addr.String())
		}
	}
	var global, loopback []netip.Addr
	for _, text := range texts {
		host, _, _ := strings.Cut(text, "/") // interface addresses come with a prefix length
		addr, err := netip.ParseAddr(host)
		addr = addr.WithZone("").Unmap()
		switch {
		case err != nil || addr.IsLinkLocalUnicast() || addr.IsUnspecified():
		case addr.IsLoopback():
			loopback = append(loopback, addr)
		default:
			global = append(global, addr)
		}
	}
	if len(global) == 0 {
		global = loopback
	}
	slices.SortFunc(global, netip.Addr.Compare)
	return slices.Compact(global)
}

// config is a stanza of a Corefile.
type config struct {
	zones   []string // lower-case FQDNs
	primary string   // the first of them that is not a reverse zone

	endpoint                  string
	certFile, keyFile, caFile string
	kubeconfig, context       string
	qps                       float32
	burst, maxInflight        int
	startupTimeout            time.Duration
	manifests                 []string // paths; none: there is an API server
	snapshot                  snapshotConfig

	namespaces      []string // none: all
	namespaceLabels labels.Selector
	labels          labels.Selector
	noEndpoints     bool
	headlessOnly    bool // endpoints headless
	ignoreEmpty     bool
	podNames        bool // endpoint_pod_names
	podMode         podMode
	zonal           bool
	multicluster    []string // some of zones
	hostnames       model.Policy
	hold            time.Duration
	noExplain       bool
	fall            fall.F

	ttl, headlessTTL, negativeTTL uint32 // seconds
}

// podMode says which names below pod exist.
type podMode string

const (
	podsDisabled podMode = "disabled" // none
	podsInsecure podMode = "insecure" // those of every address
	podsVerified podMode = "verified" // those of the addresses that Pods of the namespace have
)

const (
	defaultTTL            = 5 // seconds
	maxTTL                = 3600
	defaultStartupTimeout = 5 * time.Second
	defaultHold           = 5 * time.Second
	maxHold               = time.Minute
	defaultMaxAge         = 24 * time.Hour // of a snapshot
	defaultInterval       = 5 * time.Second
)

// option is one property of a stanza.
type option struct {
	min, max int    // number of arguments; max < 0: any
	expected string // the arguments, for the error message
	set      func(cfg *config, args []string) error
}

// errExpected says that an argument is not what the option expects.
var errExpected = errors.New("not what is expected")

var options = map[string]option{
	"endpoint": {1, -1, "a URL", func(cfg *config, args []string) error {
		if len(args) > 1 {
			log.Warningf("only the first endpoint is used: %s", withoutUserinfo(args[0]))
		}
		cfg.endpoint = args[0]
		return nil
	}},
	"tls": {3, 3, "three files: certificate, key and CA certificate", func(cfg *config, args []string) error {
		cfg.certFile, cfg.keyFile, cfg.caFile = args[0], args[1], args[2]
		return nil
	}},
	"kubeconfig": {1, 2, "a file and perhaps a context", func(cfg *config, args []string) error {
		cfg.kubeconfig, cfg.context = args[0], strings.Join(args[1:], "")
		return nil
	}},
	"apiserver_qps": {1, 1, "a number of at least 0", func(cfg *config, args []string) error {
		qps, err := strconv.ParseFloat(args[0], 32)
		if err != nil || !(qps >= 0) {
			return errExpected
		}
		cfg.qps = float32(qps)
		return nil
	}},
	"apiserver_burst": {1, 1, "a whole number of at least 0", func(cfg *config, args []string) (err error) {
		cfg.burst, err = parseInt(args[0], 0, math.MaxInt32)
		return err
	}},
	"apiserver_max_inflight": {1, 1, "a whole number of at least 0", func(cfg *config, args []string) (err error) {
		cfg.maxInflight, err = parseInt(args[0], 0, math.MaxInt32)
		return err
	}},
	"startup_timeout": {1, 1, "a duration of at least 0s", func(cfg *config, args []string) (err error) {
		if cfg.startupTimeout, err = time.ParseDuration(args[0]); err != nil || cfg.startupTimeout < 0 {
			return errExpected
		}
		return nil
	}},
	"manifests": {1, -1, "files or folders", func(cfg *config, args []string) error {
		cfg.manifests = append(cfg.manifests, args...)
		return nil
	}},
	"snapshot": {1, 3, "a file and perhaps its greatest age and the interval of writing it, durations of at least 1s", func(cfg *config, args []string) error {
		s := snapshotConfig{args[0], defaultMaxAge, defaultInterval}
		for i, to := range []*time.Duration{&s.maxAge, &s.interval}[:len(args)-1] {
			d, err := time.ParseDuration(args[i+1])
			if err != nil || d < time.Second {
				return errExpected
			}
			*to = d
		}
		cfg.snapshot = s
		return nil
	}},
	"namespaces": {1, -1, "namespaces", func(cfg *config, args []string) error {
		cfg.namespaces = append(cfg.namespaces, args...)
		return nil
	}},
	"namespace_labels": {1, -1, "a label selector", func(cfg *config, args []string) (err error) {
		cfg.namespaceLabels, err = labels.Parse(strings.Join(args, " "))
		return err
	}},
	"labels": {1, -1, "a label selector", func(cfg *config, args []string) (err error) {
		cfg.labels, err = labels.Parse(strings.Join(args, " "))
		return err
	}},
	"noendpoints": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.noEndpoints = true
		return nil
	}},
	"endpoints": {1, 1, "all or headless", func(cfg *config, args []string) error {
		cfg.headlessOnly = args[0] == "headless"
		return oneOf(args[0], "all", "headless")
	}},
	"ignore": {0, 1, "empty_service", func(cfg *config, args []string) error {
		cfg.ignoreEmpty = cfg.ignoreEmpty || len(args) > 0 // the kubernetes plugin takes it without an argument
		return oneOf(strings.Join(args, ""), "empty_service", "")
	}},
	"endpoint_pod_names": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.podNames = true
		return nil
	}},
	"hostnames": {1, 1, "ready, serving or all", func(cfg *config, args []string) error {
		cfg.hostnames = policies[args[0]]
		return oneOf(args[0], "ready", "serving", "all")
	}},
	"hold": {1, 1, "a duration from 0s to 1m", func(cfg *config, args []string) (err error) {
		if cfg.hold, err = time.ParseDuration(args[0]); err != nil || cfg.hold < 0 || cfg.hold > maxHold {
			return errExpected
		}
		return nil
	}},
	"no_explain": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.noExplain = true
		return nil
	}},
	"pods": {1, 1, "disabled, insecure or verified", func(cfg *config, args []string) error {
		cfg.podMode = podMode(args[0])
		return oneOf(args[0], string(podsDisabled), string(podsInsecure), string(podsVerified))
	}},
	"multicluster": {0, -1, "zones", func(cfg *config, args []string) error {
		cfg.multicluster = plugin.OriginsFromArgsOrServerBlock(args, nil)
		if len(cfg.multicluster) < len(args) {
			return errExpected
		}
		return nil
	}},
	"zonal": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.zonal = true
		return nil
	}},
	"fallthrough": {0, -1, "zones", func(cfg *config, args []string) error {
		cfg.fall.SetZonesFromArgs(args)
		return nil
	}},
	"ttl":          {1, 1, expectedTTL, func(cfg *config, args []string) error { return parseTTL(&cfg.ttl, args[0]) }},
	"headless_ttl": {1, 1, expectedTTL, func(cfg *config, args []string) error { return parseTTL(&cfg.headlessTTL, args[0]) }},
	"negative_ttl": {1, 1, expectedTTL, func(cfg *config, args []string) error { return parseTTL(&cfg.negativeTTL, args[0]) }},
}

// lax are the options that take further arguments and ignore them, because the kubernetes plugin does.
var lax = []string{"ignore", "startup_timeout", "ttl"}

const expectedTTL = "a whole number of seconds from 0 to 3600"

func parseTTL(ttl *uint32, text string) error {
	n, err := parseInt(text, 0, maxTTL)
	*ttl = uint32(n) //nolint:gosec // at most maxTTL
	return err
}

// parseInt reads a decimal number from least to most.
func parseInt(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, errExpected
	}
	return n, nil
}

func oneOf(word string, words ...string) error {
	if !slices.Contains(words, word) {
		return errExpected
	}
	return nil
}

// unsetTTL stands for a time to live that the stanza does not give.
const unsetTTL = maxTTL + 1

// parseStanza reads the stanza of one server block. It has no side effects but warnings in the log.
func parseStanza(c *caddy.Controller) (*config, error) {
	cfg := &config{
		startupTimeout: defaultStartupTimeout,
		hostnames:      model.HostnamesReady,
		hold:           defaultHold,
		podMode:        podsDisabled,
		ttl:            defaultTTL,
		headlessTTL:    unsetTTL,
		negativeTTL:    unsetTTL,
	}
	seen := false
	for c.Next() {
		if seen {
			return nil, c.Errf("%s may stand only once in a server block", pluginName)
		}
		seen = true
		if err := cfg.parseZones(c); err != nil {
			return nil, err
		}
		for c.NextBlock() {
			if err := cfg.parseOption(c); err != nil {
				return nil, err
			}
		}
	}
	if cfg.headlessTTL == unsetTTL {
		cfg.headlessTTL = cfg.ttl
	}
	if cfg.negativeTTL == unsetTTL {
		cfg.negativeTTL = min(cfg.ttl, defaultTTL)
	}
	return cfg, cfg.check(c)
}

// parseZones reads the zones behind the directive, or takes those of the server block.
func (cfg *config) parseZones(c *caddy.Controller) error {
	args := c.RemainingArgs()
	for _, arg := range args {
		if len(plugin.Host(arg).NormalizeExact()) == 0 {
			return c.Errf("expected a zone, got %q", arg)
		}
	}
	cfg.zones = plugin.OriginsFromArgsOrServerBlock(args, c.ServerBlockKeys)
	i := slices.IndexFunc(cfg.zones, func(zone string) bool { return !isReverse(zone) })
	if i < 0 {
		return c.Errf("expected a zone that is not a reverse zone among %s", strings.Join(cfg.zones, " "))
	}
	cfg.primary = cfg.zones[i]
	return nil
}

// isReverse reports whether zone is in-addr.arpa, ip6.arpa, or below one of them.
func isReverse(zone string) bool {
	return qname.InZone(zone, qname.Reverse4) || qname.InZone(zone, qname.Reverse6)
}

// parseOption reads one line of the stanza's block.
func (cfg *config) parseOption(c *caddy.Controller) error {
	name := c.Val()
	o, ok := options[name]
	if !ok {
		return c.Errf("unknown option %q, expected one of %s", name, strings.Join(slices.Sorted(maps.Keys(options)), ", "))
	}
	args := c.RemainingArgs()
	got := strings.Join(args, " ")
	if len(args) > o.max && slices.Contains(lax, name) {
		log.Warningf("%s: ignoring %q", name, args[o.max:])
		args = args[:o.max]
	}
	if len(args) < o.min || o.max >= 0 && len(args) > o.max {
		return c.Errf("%s: expected %s, got %q", name, o.expected, got)
	}
	switch err := o.set(cfg, args); {
	case errors.Is(err, errExpected):
		return c.Errf("%s: expected %s, got %q", name, o.expected, got)
	case err != nil:
		return c.Errf("%s: expected %s, got %q: %v", name, o.expected, got, err)
	}
	return nil
}

// check refuses options that contradict each other.
func (cfg *config) check(c *caddy.Controller) error {
	for _, pair := range []struct {
		both         bool
		first, other string
	}{
		{len(cfg.namespaces) > 0 && cfg.namespaceLabels != nil, "namespaces", "namespace_labels"},
		{cfg.headlessOnly && cfg.noEndpoints, "endpoints headless", "noendpoints"},
		{cfg.headlessOnly && cfg.ignoreEmpty, "endpoints headless", "ignore empty_service"},
		{cfg.headlessOnly && len(cfg.multicluster) > 0, "endpoints headless", "multicluster"},
		{cfg.zonal && cfg.noEndpoints, "zonal", "noendpoints"},
		{len(cfg.manifests) > 0 && cfg.endpoint != "", "manifests", "endpoint"},
		{len(cfg.manifests) > 0 && cfg.kubeconfig != "", "manifests", "kubeconfig"},
		{len(cfg.manifests) > 0 && cfg.snapshot.path != "", "manifests", "snapshot"},
	} {
		if pair.both {
			return c.Errf("%s and %s cannot both be set", pair.first, pair.other)
		}
	}
	for _, zone := range cfg.multicluster {
		if !slices.Contains(cfg.zones, zone) {
			return c.Errf("multicluster: expected some of the zones %s, got %q", strings.Join(cfg.zones, " "), zone)
		}
	}
	return nil
}

// sliceLabels returns the selector of the slices to use, nil for all.
func (cfg *config) sliceLabels() labels.Selector {
	if cfg.headlessOnly {
		return with(cfg.labels, corev1.IsHeadlessService)
	}
	return cfg.labels
}

// with returns a selector for the objects that s, which may be nil for all, selects and that have a label.
func with(s labels.Selector, label string) labels.Selector {
	has, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil {
		panic(fmt.Sprintf("headless: %v", err)) // a constant is wrong
	}
	if s == nil {
		s = labels.NewSelector()
	}
	return s.Add(*has)
}
