package dnsdiff

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/miekg/dns"
)

// help is what -h prints.
const help = `Usage: dnsdiff -old SERVER -new SERVER [OPTION...]

dnsdiff compares two DNS servers for a whole Kubernetes cluster, before the new
one takes the old one's place. It lists Services and EndpointSlices, asks both
servers for every name that should exist, and for names that are nearly those,
over UDP and TCP, and reports differences, grouped by cause. Differences that
headless means to have from CoreDNS's kubernetes plugin are reported apart.

Answers are compared as sets. The order of records, SOA serials, the AA flag and
EDNS options are not compared. A truncated answer must be a part of the same
server's answer over TCP. What differs is asked again before it is reported,
because a cluster changes meanwhile; what agrees then is reported as transient.

SERVER is HOST[:PORT]. The port is 53 unless it is given.

Where names come from:
  -kubeconfig FILE    of the cluster; default: as kubectl does, or in a pod the
                      ServiceAccount, which needs to list namespaces, services,
                      endpointslices, with -pods pods, and with -multicluster
                      serviceimports
  -context NAME       of the kubeconfig; default: its current context
  -manifests PATH     read files or folders, or - for the input, in place of an
                      API server; may be given more than once
  -namespaces A,B     only these namespaces; then they are not listed
  -zones A,B          the zones of the cluster; default: cluster.local. Reverse
                      names are asked for whatever the zones are
  -multicluster A,B   zones of ServiceImports beside -zones; default: none. Both
                      servers need the option "multicluster" for these
  -pods               names of Pods, too: 10-244-1-21.NAMESPACE.pod.ZONE
  -endpoints headless no names of endpoints of ClusterIP Services, for a server
                      that has "endpoints headless" too; default: all
  -zonal              names of topology zones, too: eu-1.pin._zone.SERVICE....
                      Both servers need the option "zonal" for these

How to ask:
  -net NETWORKS       udp,tcp (the default), udp or tcp
  -bufsize OCTETS     of the client, in EDNS; default: 1232; 0: without EDNS
  -rate N             queries a second to each server at most; default: 200
  -concurrency N      names asked for at a time; default: 16
  -timeout DURATION   for one reply; default: 2s
  -retries N          after a time-out; default: 2
  -again N            ask again what differs, so often; default: 3
  -wait DURATION      before asking again; default: 2s. Longer than half of what
                      a cache in front of a server keeps an answer for
  -repeat N           go through all names so often, with names listed anew;
                      default: 1, or without end if there is a -duration
  -duration DURATION  stop after that long, as in 24h; default: at the end. What
                      differs is asked again until -again times -wait and 10s
                      later, and what was not is reported apart
  -seed N             draws near misses and the order; default: another one each
                      time, which the report says

What is a difference, and how to report it:
  -ttl                compare times to live, too. Not behind a cache
  -strict             no difference is deliberate: both are the same software
  -o FORMAT           text (the default), json or yaml
  -examples N         of each cause, at most; default: 5; 0: all
  -progress DURATION  between lines on stderr; default: 10s; 0: none
  -version            print the version, and nothing else

Exit status: 0 there are no unexpected differences, 1 there are, 2 the servers
could not be compared, or not all names were asked for, or not all that differs
was asked again. Ctrl-C prints what was found so far.

Examples:
  dnsdiff -old 10.96.0.10 -new 127.0.0.1:1053
  dnsdiff -old 10.96.0.10 -new 10.244.1.7 -rate 50 -duration 24h -o json
`

// Formats are those of a report.
var Formats = []string{"text", "json", "yaml"}

// options are what the command line says.
type options struct {
	old, new     string // HOST:PORT
	client       func() (*listing.Client, error)
	manifests    []string // in place of a cluster
	stdin        io.Reader
	namespaces   []string // empty: all
	zones        []zone
	pods         bool
	headlessOnly bool     // no names of endpoints of ClusterIP Services
	zonal        bool     // names of topology zones, too
	networks     []string // "udp", "tcp"
	bufsize      uint16   // 0: no EDNS
	rate         int      // queries a second
	concurrency  int
	timeout      time.Duration
	retries      int
	again        int
	wait         time.Duration
	repeat       int           // 0: without end
	duration     time.Duration // 0: without end
	seed         uint64
	ttl          bool
	strict       bool
	output       string // one of Formats
	examples     int    // 0: all
	progress     time.Duration
	version      bool
}

// list is a flag.Value that takes words separated by commas, and may be given more than once.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word == "" {
			return errors.New("expected words with commas between them")
		}
		*l = append(*l, word)
	}
	return nil
}

// parsed is a command line that is being read.
type parsed struct {
	*options
	zones, multicluster, networks list
	bufsize                       int
	endpoints                     string
}

// flags returns the options that every program takes.
func (p *parsed) flags(name string) *flag.FlagSet {
	o, f := p.options, flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed once, by who gets them
	f.StringVar(&o.old, "old", "", usage("old"))
	f.StringVar(&o.new, "new", "", usage("new"))
	f.Var(&p.zones, "zones", usage("zones"))
	f.Var(&p.multicluster, "multicluster", usage("multicluster"))
	f.BoolVar(&o.pods, "pods", false, usage("pods"))
	f.StringVar(&p.endpoints, "endpoints", "all", usage("endpoints"))
	f.BoolVar(&o.zonal, "zonal", false, usage("zonal"))
	f.Var(&p.networks, "net", usage("net"))
	f.IntVar(&p.bufsize, "bufsize", 1232, usage("bufsize"))
	f.IntVar(&o.rate, "rate", 200, usage("rate"))
	f.IntVar(&o.concurrency, "concurrency", 16, usage("concurrency"))
	f.DurationVar(&o.timeout, "timeout", 2*time.Second, usage("timeout"))
	f.IntVar(&o.retries, "retries", 2, usage("retries"))
	f.IntVar(&o.again, "again", 3, usage("again"))
	f.DurationVar(&o.wait, "wait", 2*time.Second, usage("wait"))
	f.IntVar(&o.repeat, "repeat", 0, usage("repeat"))
	f.DurationVar(&o.duration, "duration", 0, usage("duration"))
	f.Uint64Var(&o.seed, "seed", 0, usage("seed"))
	f.BoolVar(&o.ttl, "ttl", false, usage("ttl"))
	f.BoolVar(&o.strict, "strict", false, usage("strict"))
	f.IntVar(&o.examples, "examples", 5, usage("examples"))
	f.DurationVar(&o.progress, "progress", 10*time.Second, usage("progress"))
	return f
}

// parseOptions returns what args say. The error is flag.ErrHelp if they ask for help.
func parseOptions(args []string) (*options, error) {
	o := &options{}
	p := &parsed{options: o}
	f := p.flags("dnsdiff")
	var kubeconfig, context string
	f.StringVar(&kubeconfig, "kubeconfig", "", "")
	f.StringVar(&context, "context", "", "")
	f.Var((*list)(&o.manifests), "manifests", "")
	f.Var((*list)(&o.namespaces), "namespaces", "")
	f.StringVar(&o.output, "o", "text", "")
	f.BoolVar(&o.version, "version", false, "")
	if err := f.Parse(args); err != nil || o.version {
		return o, err
	}
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("expected options only, got %q", f.Args())
	case len(o.manifests) > 0 && (kubeconfig != "" || context != ""):
		return nil, errors.New("-manifests takes the place of -kubeconfig and -context")
	}
	o.client = func() (*listing.Client, error) { return listing.New(kubeconfig, context, "dnsdiff", 0) }
	return o, p.check(given)
}

// check completes the options, and returns what is wrong with them. Given are the names of those that were said.
func (p *parsed) check(given map[string]bool) error {
	o, zones, multicluster, networks, bufsize, endpoints := p.options, p.zones, p.multicluster, p.networks, p.bufsize, p.endpoints
	var err error
	if o.old, err = address("-old", o.old); err != nil {
		return err
	}
	if o.new, err = address("-new", o.new); err != nil {
		return err
	}
	if len(zones) == 0 {
		zones = list{"cluster.local"}
	}
	if err := o.addZones("-zones", zones, false); err != nil {
		return err
	}
	if err := o.addZones("-multicluster", multicluster, true); err != nil {
		return err
	}
	if o.networks = networks; len(networks) == 0 {
		o.networks = []string{"udp", "tcp"}
	}
	if !given["repeat"] && o.duration == 0 {
		o.repeat = 1
	}
	if !given["seed"] {
		o.seed = rand.Uint64N(1e6) // short enough to type
	}
	o.headlessOnly = endpoints == "headless"
	unknownNetwork := func(n string) bool { return n != "udp" && n != "tcp" }
	for _, wrong := range []struct {
		is  bool
		why string
	}{
		{o.old == o.new, fmt.Sprintf("-old and -new are the same server, %s", o.old)},
		{slices.ContainsFunc(o.networks, unknownNetwork), fmt.Sprintf("-net: expected udp or tcp, got %q", o.networks)},
		{endpoints != "all" && endpoints != "headless", fmt.Sprintf("-endpoints: expected all or headless, got %q", endpoints)},
		{bufsize != 0 && bufsize < dns.MinMsgSize || bufsize > dns.MaxMsgSize, fmt.Sprintf("-bufsize: expected 0, or from 512 up to 65535, got %d", bufsize)},
		{o.rate < 1, fmt.Sprintf("-rate: expected at least 1, got %d", o.rate)},
		{o.concurrency < 1 || o.concurrency > 1000, fmt.Sprintf("-concurrency: expected from 1 up to 1000, got %d", o.concurrency)},
		{o.timeout <= 0, fmt.Sprintf("-timeout: expected a positive duration, got %v", o.timeout)},
		{o.retries < 0, fmt.Sprintf("-retries: expected at least 0, got %d", o.retries)},
		{o.again < 0, fmt.Sprintf("-again: expected at least 0, got %d", o.again)},
		{o.wait < 0, fmt.Sprintf("-wait: expected no negative duration, got %v", o.wait)},
		{given["repeat"] && o.repeat < 1, fmt.Sprintf("-repeat: expected at least 1, got %d", o.repeat)},
		{o.duration < 0, fmt.Sprintf("-duration: expected no negative duration, got %v", o.duration)},
		{o.examples < 0, fmt.Sprintf("-examples: expected at least 0, got %d", o.examples)},
		{o.progress < 0, fmt.Sprintf("-progress: expected no negative duration, got %v", o.progress)},
	} {
		if wrong.is {
			return errors.New(wrong.why)
		}
	}
	o.bufsize = uint16(bufsize) //nolint:gosec // it was checked
	return output.Check(o.output, Formats...)
}

// address returns HOST:PORT of a server, given as HOST[:PORT] by an option.
func address(option, server string) (string, error) {
	if server == "" {
		return "", fmt.Errorf("%s: expected a server, HOST[:PORT]", option)
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		host, port = strings.Trim(server, "[]"), "53"
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", fmt.Errorf("%s: expected HOST[:PORT], got %q", option, server)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", fmt.Errorf("%s: expected HOST[:PORT], got %q", option, server)
	}
	return net.JoinHostPort(host, port), nil
}

// addZones adds zones, given by an option, to those of the cluster.
func (o *options) addZones(option string, zones []string, multicluster bool) error {
	for _, name := range zones {
		z := zone{strings.ToLower(dns.Fqdn(name)), multicluster}
		if _, ok := dns.IsDomainName(name); !ok || z.name == "." {
			return fmt.Errorf("%s: expected the names of zones, got %q", option, name)
		}
		if slices.ContainsFunc(o.zones, func(other zone) bool { return other.name == z.name }) {
			return fmt.Errorf("%s: expected each zone once, got %q again", option, name)
		}
		o.zones = append(o.zones, z)
	}
	return nil
}
