package headless

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns-headless/headless/internal/snapshot"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
)

// config is a stanza of a Corefile.
type config struct {
	// places are the file and the line where each option stands, alone and with an argument, and where
	// the stanza does, "".
	places map[string]string

	zones   []string // lower-case FQDNs
	primary string   // the first of them that is neither a reverse nor a multicluster zone, or ""

	api            kube.Options
	selection      kube.Selection
	startupTimeout time.Duration
	manifests      []string // paths; empty if the source is an API server
	foresees       bool     // manifests foresee: what the control plane would make of them counts too
	snapshot       snapshot.Config

	namespaces   []string // empty: all
	ignoreEmpty  bool
	podNames     bool // endpoint_pod_names
	podMode      podMode
	zonal        bool
	topology     bool // hints
	searches     bool // search
	node         string
	clientSubnet []netip.Prefix // of the forwarders whose EDNS Client Subnet counts
	multicluster []string       // some of zones
	hostnames    model.Policy
	hold         time.Duration
	noExplain    bool
	smallStacks  bool
	insightAddr  string // "" without the option
	fall         fall.F

	ttl, headlessTTL, negativeTTL uint32 // seconds
	soaRefresh, soaRetry          uint32 // seconds, of the SOA; 0: the defaults, see soaRR and journal.serve
	transferLimit                 int    // records of one set in a zone transfer; 0: as many as a message holds
}

// podMode says which names below pod exist.
type podMode string

const (
	podsDisabled podMode = "disabled" // no name
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
	"endpoint": {1, -1, "a URL of http or https", func(cfg *config, args []string) error {
		if scheme, _, ok := strings.Cut(args[0], "://"); ok && scheme != "http" && scheme != "https" {
			return errExpected
		}
		if len(args) > 1 {
			log.Warningf("only the first endpoint is used: %s", kube.WithoutUserinfo(args[0]))
		}
		cfg.api.Endpoint = args[0]
		return nil
	}},
	"tls": {3, 3, "three files: certificate, key and CA certificate", func(cfg *config, args []string) error {
		cfg.api.CertFile, cfg.api.KeyFile, cfg.api.CAFile = args[0], args[1], args[2]
		return nil
	}},
	"kubeconfig": {1, 2, "a file and perhaps a context", func(cfg *config, args []string) error {
		cfg.api.Kubeconfig, cfg.api.Context = args[0], strings.Join(args[1:], "")
		return nil
	}},
	"apiserver_qps": {1, 1, "a number of at least 0", func(cfg *config, args []string) error {
		qps, err := strconv.ParseFloat(args[0], 32)
		if err != nil || !(qps >= 0) {
			return errExpected
		}
		cfg.api.QPS = float32(qps)
		return nil
	}},
	"apiserver_burst": {1, 1, "a whole number of at least 0", func(cfg *config, args []string) (err error) {
		cfg.api.Burst, err = parseInt(args[0], 0, math.MaxInt32)
		return err
	}},
	"apiserver_max_inflight": {1, 1, "a whole number of at least 0", func(cfg *config, args []string) (err error) {
		cfg.api.MaxInflight, err = parseInt(args[0], 0, math.MaxInt32)
		return err
	}},
	"startup_timeout": {1, 1, "a duration of at least 0s", func(cfg *config, args []string) (err error) {
		if cfg.startupTimeout, err = time.ParseDuration(args[0]); err != nil || cfg.startupTimeout < 0 {
			return errExpected
		}
		return nil
	}},
	"manifests": {1, -1, "files or folders, and perhaps foresee before them", func(cfg *config, args []string) error {
		if args[0] == "foresee" {
			cfg.foresees, args = true, args[1:]
		}
		if len(args) == 0 {
			return errExpected
		}
		cfg.manifests = append(cfg.manifests, args...)
		return nil
	}},
	"snapshot": {1, 3, "a file and perhaps its greatest age and the interval of writing it, durations of at least 1s", func(cfg *config, args []string) error {
		s := snapshot.Config{Path: args[0], MaxAge: defaultMaxAge, Interval: defaultInterval}
		for i, to := range []*time.Duration{&s.MaxAge, &s.Interval}[:len(args)-1] {
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
		cfg.selection.NamespaceLabels, err = kube.ParseSelector(strings.Join(args, " "))
		return err
	}},
	"labels": {1, -1, "a label selector", func(cfg *config, args []string) (err error) {
		cfg.selection.Labels, err = kube.ParseSelector(strings.Join(args, " "))
		return err
	}},
	"noendpoints": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.selection.NoEndpoints = true
		return nil
	}},
	"endpoints": {1, 1, "all or headless", func(cfg *config, args []string) error {
		cfg.selection.HeadlessOnly = args[0] == "headless"
		return oneOf(args[0], "all", "headless")
	}},
	"ignore": {0, 1, "empty_service", func(cfg *config, args []string) error {
		// The kubernetes plugin takes it without an argument.
		cfg.ignoreEmpty = cfg.ignoreEmpty || len(args) > 0
		return oneOf(strings.Join(args, ""), "empty_service", "")
	}},
	"endpoint_pod_names": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.podNames = true
		return nil
	}},
	"hostnames": {1, 1, "ready, serving or all", func(cfg *config, args []string) error {
		var ok bool
		if cfg.hostnames, ok = model.ParsePolicy(args[0]); !ok {
			return errExpected
		}
		return nil
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
	"small_stacks": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.smallStacks = true
		return nil
	}},
	"insight": {0, 1, "an address with a port, such as " + defaultInsight, func(cfg *config, args []string) error {
		cfg.insightAddr = defaultInsight
		if len(args) > 0 {
			cfg.insightAddr = args[0]
		}
		host, port, err := net.SplitHostPort(cfg.insightAddr)
		if _, portErr := parseInt(port, 0, math.MaxUint16); err != nil || portErr != nil {
			return errExpected
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && host != "" {
			return errExpected
		}
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
	"topology": {1, 1, "off or hints", func(cfg *config, args []string) error {
		cfg.topology = args[0] == "hints"
		return oneOf(args[0], "off", "hints")
	}},
	"search": {0, 0, "no argument", func(cfg *config, _ []string) error {
		cfg.searches = true
		return nil
	}},
	"node": {1, 1, "the name of a Node", func(cfg *config, args []string) error {
		if _, ok := model.ParseTarget(args[0]); !ok || args[0] != strings.ToLower(args[0]) {
			return errExpected
		}
		cfg.node = args[0]
		return nil
	}},
	"client_subnet": {1, -1, "addresses or networks of forwarders", func(cfg *config, args []string) error {
		for _, arg := range args {
			p, err := netip.ParsePrefix(arg)
			if addr, addrErr := netip.ParseAddr(arg); addrErr == nil && addr.Zone() == "" {
				p, err = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
			}
			if err != nil || p.Addr().Is4In6() {
				return errExpected
			}
			cfg.clientSubnet = append(cfg.clientSubnet, p)
		}
		return nil
	}},
	"fallthrough": {0, -1, "zones", func(cfg *config, args []string) error {
		cfg.fall.SetZonesFromArgs(args)
		return nil
	}},
	"ttl":          {1, 1, expectedTTL, func(cfg *config, args []string) error { return parseTTL(&cfg.ttl, args[0]) }},
	"headless_ttl": {1, 1, expectedTTL, func(cfg *config, args []string) error { return parseTTL(&cfg.headlessTTL, args[0]) }},
	"negative_ttl": {1, 1, expectedTTL, func(cfg *config, args []string) error { return parseTTL(&cfg.negativeTTL, args[0]) }},
	"soa_refresh": {1, 2, "one or two whole numbers of seconds from 1 to 86400", func(cfg *config, args []string) error {
		refresh, err := parseInt(args[0], 1, soaExpire)
		retry := max(1, refresh/4)
		if err == nil && len(args) == 2 {
			retry, err = parseInt(args[1], 1, soaExpire)
		}
		cfg.soaRefresh, cfg.soaRetry = uint32(refresh), uint32(retry)
		return err
	}},
	"transfer_limit": {1, 1, "a whole number of records from 1 to 65535", func(cfg *config, args []string) (err error) {
		cfg.transferLimit, err = parseInt(args[0], 1, math.MaxUint16)
		return err
	}},
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
		places:         make(map[string]string),
	}
	seen := false
	for c.Next() {
		cfg.placed("", c)
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
	if i := slices.IndexFunc(cfg.zones, func(zone string) bool {
		return !isReverse(zone) && !slices.Contains(cfg.multicluster, zone)
	}); i >= 0 {
		cfg.primary = cfg.zones[i]
	}
	return cfg, cfg.check(c)
}

// parseZones reads the zones behind the directive, or takes those of the server block.
func (cfg *config) parseZones(c *caddy.Controller) error {
	args := c.RemainingArgs()
	for _, arg := range args {
		if strings.ContainsAny(arg, "{}") {
			return c.Errf("expected a zone, got %q; { and } have to be the last words of their lines", arg)
		}
		if len(plugin.Host(arg).NormalizeExact()) == 0 {
			return c.Errf("expected a zone, got %q", arg)
		}
	}
	cfg.zones = plugin.OriginsFromArgsOrServerBlock(args, c.ServerBlockKeys)
	for _, zone := range cfg.zones {
		if !isName(below("dns-version", zone)) {
			return c.Errf("expected a zone that has room for names below it, got %q", zone)
		}
	}
	if !slices.ContainsFunc(cfg.zones, func(zone string) bool { return !isReverse(zone) }) {
		return c.Errf("expected a zone that is not a reverse zone among %s", strings.Join(cfg.zones, " "))
	}
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
		names := slices.Sorted(maps.Keys(options))
		alike := slices.MaxFunc(names, func(a, b string) int {
			return cmp.Compare(index.Likeness(a, name), index.Likeness(b, name))
		})
		if index.Likeness(alike, name) > 0 {
			return c.Errf("unknown option %q, did you mean %s? expected one of %s", name, alike, strings.Join(names, ", "))
		}
		return c.Errf("unknown option %q, expected one of %s", name, strings.Join(names, ", "))
	}
	args := c.RemainingArgs()
	if slices.Contains(args, "}") {
		return c.Errf("%s: expected } on a line of its own", name)
	}
	cfg.placed(name, c)
	for _, arg := range args {
		cfg.placed(name+" "+arg, c)
	}
	got := kube.WithoutUserinfo(strings.Join(args, " "))
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

// placed notes that an option stands where c is.
func (cfg *config) placed(option string, c *caddy.Controller) {
	cfg.places[option] = fmt.Sprintf("%s:%d", c.File(), c.Line())
}

// at returns err, of an option or of the stanza, with its place.
func (cfg *config) at(option string, err error) error {
	return fmt.Errorf("%s - %w", cfg.places[option], err)
}

// check refuses options that contradict each other.
func (cfg *config) check(c *caddy.Controller) error {
	for _, pair := range []struct {
		both         bool
		first, other string
	}{
		{len(cfg.namespaces) > 0 && cfg.selection.NamespaceLabels != nil, "namespaces", "namespace_labels"},
		{cfg.selection.HeadlessOnly && cfg.selection.NoEndpoints, "endpoints headless", "noendpoints"},
		{cfg.selection.HeadlessOnly && cfg.ignoreEmpty, "endpoints headless", "ignore empty_service"},
		{cfg.selection.HeadlessOnly && len(cfg.multicluster) > 0, "endpoints headless", "multicluster"},
		{cfg.zonal && cfg.selection.NoEndpoints, "zonal", "noendpoints"},
		{cfg.topology && cfg.selection.NoEndpoints, "topology hints", "noendpoints"},
		{cfg.searches && cfg.selection.Labels != nil, "search", "labels"}, // a Service may be there that is not known
		{len(cfg.manifests) > 0 && cfg.api.Endpoint != "", "manifests", "endpoint"},
		{len(cfg.manifests) > 0 && cfg.api.Kubeconfig != "", "manifests", "kubeconfig"},
		{len(cfg.manifests) > 0 && cfg.snapshot.Path != "", "manifests", "snapshot"},
	} {
		if pair.both {
			return c.Errf("%s and %s cannot both be set", pair.first, pair.other)
		}
	}
	for _, zone := range cfg.multicluster {
		if !slices.Contains(cfg.zones, zone) {
			return c.Errf("multicluster: expected some of the zones %s, got %q",
				strings.Join(cfg.zones, " "), zone)
		}
	}
	return nil
}
