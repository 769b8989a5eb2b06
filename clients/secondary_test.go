package clients

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"
)

// secondary is a server that has the cluster's zones by transfers from the server at dnsAddr.
type secondary struct {
	name, program, pkg string
	start              func(t *testing.T, addr string)
}

// secondaries are those that are tested. None of them asks by itself within the test: what they know they know by
// notifications.
var secondaries = []secondary{
	{"NSD", "nsd", "nsd", startNSD}, {"Knot", "knotd", "knot", startKnot}, {"BIND", "named", "bind9", startSecondaryBIND},
}

func startNSD(t *testing.T, addr string) {
	t.Helper()
	path, dir := installed(t, "nsd", "nsd"), t.TempDir()
	var config strings.Builder
	fmt.Fprintf(&config, `server:
  ip-address: %s
  username: ""
  chroot: ""
  zonesdir: "%[2]s"
  database: ""
  pidfile: ""
  zonelistfile: "%[2]s/zone.list"
  xfrdfile: "%[2]s/xfrd.state"
  xfrdir: "%[2]s"
  verbosity: 2
  xfrd-reload-timeout: 0
remote-control:
  control-enable: no
`, addr, dir)
	for _, zone := range transferredZones {
		fmt.Fprintf(&config, "zone:\n  name: %s\n  zonefile: %[1]szone\n  allow-notify: %[2]s NOKEY\n  request-xfr: %[2]s NOKEY\n"+
			"  provide-xfr: 0.0.0.0/0 NOKEY\n", zone, dnsAddr)
	}
	start(t, path, "-d", "-c", write(t, "nsd.conf", config.String())).waitForZone(t, addr, zones[0])
}

func startKnot(t *testing.T, addr string) {
	t.Helper()
	path, dir := installed(t, "knotd", "knot"), t.TempDir()
	var config strings.Builder
	fmt.Fprintf(&config, `server:
  listen: %s@53
  rundir: %s
log:
  - target: stderr
    any: info
database:
  storage: %[2]s
remote:
  - id: primary
    address: %[3]s@53
acl:
  - id: notified
    address: %[3]s
    action: notify
  - id: read
    address: 127.0.0.0/8
    action: transfer
template:
  - id: default
    storage: %[2]s
    master: primary
    acl: [notified, read]
zone:
`, addr, dir, dnsAddr)
	for _, zone := range transferredZones {
		fmt.Fprintf(&config, "  - domain: %s\n", zone)
	}
	start(t, path, "-c", write(t, "knot.conf", config.String())).waitForZone(t, addr, zones[0])
}

func startSecondaryBIND(t *testing.T, addr string) {
	t.Helper()
	path := installed(t, "named", "bind9")
	var config strings.Builder
	fmt.Fprintf(&config, `options {
  directory "%s"; listen-on { %s; }; listen-on-v6 { none; }; pid-file none; session-keyfile none;
  recursion no; notify no; allow-transfer { any; }; empty-zones-enable no; max-records-per-type 0;
};
controls {};
`, t.TempDir(), addr)
	for i, zone := range transferredZones {
		fmt.Fprintf(&config, "zone \"%s\" { type secondary; primaries { %s; }; file \"%d\"; };\n", zone, dnsAddr, i)
	}
	start(t, path, "-g", "-c", write(t, "named.conf", config.String())).waitForZone(t, addr, zones[0])
}

// transferredZones are those that secondaries have.
var transferredZones = zones[:2]

// metricsAddr is where the server's metrics are.
const metricsAddr = "127.0.0.10:9153"

// startPrimary starts a CoreDNS for the cluster of api that notifies some addresses, with or without a snapshot at a path.
func startPrimary(t *testing.T, api *kubetest.Server, notified []string, snapshot string) *program {
	t.Helper()
	option := ""
	if snapshot != "" {
		option = "snapshot " + snapshot
	}
	corefile := fmt.Sprintf(`%s {
    bind %s
    errors
    prometheus %s
    transfer {
        to * %s
        source %[2]s
    }
    headless {
        endpoint %[5]s
        soa_refresh 3600
        %[6]s
    }
}
`, strings.Join(zones, " "), dnsAddr, metricsAddr, strings.Join(notified, " "), api.URL, option)
	p := start(t, *corednsProgram, "-conf", write(t, "Corefile", corefile))
	p.waitForZone(t, dnsAddr, zones[0])
	return p
}

// zoneAt transfers a zone from addr, and returns its serial and its other records as text, sorted.
func zoneAt(t *testing.T, addr, zone string) (serial uint32, records []string) {
	t.Helper()
	r := new(dns.Msg)
	r.SetAxfr(zone)
	ch, err := new(dns.Transfer).In(r, addr+":53")
	fatal.If(t, err)
	for e := range ch {
		if e.Error != nil {
			t.Fatalf("%s from %s: %v", zone, addr, e.Error)
		}
		for _, rr := range e.RR {
			if soa, ok := rr.(*dns.SOA); ok {
				serial = soa.Serial
				continue
			}
			records = append(records, strings.ToLower(rr.String()))
		}
	}
	slices.Sort(records)
	return serial, records
}

// serialAt returns the serial of a zone at addr.
func serialAt(t *testing.T, addr, zone string) uint32 {
	t.Helper()
	m := ask(t, "udp", addr, zone, dns.TypeSOA)
	if len(m.Answer) == 0 {
		return 0
	}
	return m.Answer[0].(*dns.SOA).Serial
}

// TestSecondariesKeepUp changes a cluster many times a second, while secondaries have its zones, and the server is started
// anew, first with a snapshot and then without. Each time each of them comes to have what the server has, record by record.
func TestSecondariesKeepUp(t *testing.T) {
	needWorld(t)
	const lasting = 10 * time.Second
	c := newChanges(t)
	var notified []string
	for i := range secondaries {
		notified = append(notified, resolverAddrs[i]+":53")
	}
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	primary := startPrimary(t, c.api, notified, snapshot)
	for i, s := range secondaries {
		t.Run(s.name+" starts", func(t2 *testing.T) {
			installed(t2, s.program, s.pkg)
			s.start(t, resolverAddrs[i]) // until the end of t
			c.watched = append(c.watched, i)
		})
	}
	if len(c.watched) == 0 {
		t.Skip("none of the servers is installed")
	}
	c.make(t, lasting)
	c.compare(t)

	primary.stop()
	c.make(t, time.Second) // nobody sees these
	primary = startPrimary(t, c.api, notified, snapshot)
	c.make(t, lasting)
	c.waitForSerials(t)
	t.Log("behind a restart with a snapshot:")
	if transfers(t)[`transfers_total{kind="whole"}`] > 0 {
		t.Error("behind a restart with a snapshot a zone was transferred as a whole")
	}
	c.compare(t)

	primary.stop()
	startPrimary(t, c.api, notified, "")
	c.make(t, lasting/2)
	c.waitForSerials(t)
	t.Log("behind a restart without one:")
	if got := transfers(t); got[`transfers_total{kind="difference"}`] == 0 || got[`notifications_total{result="accepted"}`] == 0 {
		t.Error("no transfer was a difference, or no notification was accepted")
	}
	c.compare(t)
	c.logDelays(t)
}

// changes are made to a cluster, and some of them are watched until they come to secondaries.
type changes struct {
	api      *kubetest.Server
	random   *rand.Rand
	services []*service
	watched  []int // positions of secondaries
	n        int   // so far

	mu     sync.Mutex // guards the field below
	delays [][]time.Duration
}

func newChanges(t *testing.T) *changes {
	api, seed := kubetest.NewServer(t), rand.Uint64()
	t.Logf("seed %d", seed)
	api.Put(kubetest.Namespace("ns"))
	return &changes{
		api: api, random: rand.New(rand.NewPCG(seed, 0)), delays: make([][]time.Duration, len(secondaries)),
		services: []*service{newService(api, "few", 0, 3), newService(api, "some", 0, 100), newService(api, "thousands", 0, 5000)},
	}
}

// make makes 20 changes a second, and returns when the secondaries have those that are watched.
func (c *changes) make(t *testing.T, lasting time.Duration) {
	t.Helper()
	var watching sync.WaitGroup
	defer watching.Wait()
	next := time.NewTicker(time.Second / 20)
	defer next.Stop()
	for end := time.Now().Add(lasting); time.Now().Before(end); c.n++ {
		<-next.C
		switch s := c.services[c.random.IntN(len(c.services))]; c.random.IntN(6) {
		case 0:
			if ns := kubetest.Namespace(fmt.Sprint("come-and-go-", c.random.IntN(3))); c.random.IntN(2) == 0 {
				c.api.Put(ns)
			} else {
				c.api.Delete(ns)
			}
		case 1, 2:
			s.scaleUp()
		case 3, 4:
			if len(s.pods()) > 1 {
				s.remove(c.random.IntN(len(s.pods())))
			}
		default:
			name := fmt.Sprint("timed-", c.n)
			c.api.Put(kubetest.Service(name, fmt.Sprintf("10.255.%d.%d", c.n/256, c.n%256)))
			if lasting > time.Second {
				c.watch(t, &watching, name)
			}
		}
	}
}

// watch notes how long it takes until a new Service's name is answered by each secondary.
func (c *changes) watch(t *testing.T, watching *sync.WaitGroup, name string) {
	began := time.Now()
	for _, i := range c.watched {
		watching.Go(func() {
			for time.Since(began) < time.Minute {
				m, err := dnstest.Exchange(t.Context(), "udp", resolverAddrs[i]+":53", dnstest.Query(name+suffix, dns.TypeA, 1232))
				if err == nil && len(m.Answer) > 0 {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.delays[i] = append(c.delays[i], time.Since(began))
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("%s: not at %s within a minute", name, secondaries[i].name)
		})
	}
}

// waitForSerials waits until the secondaries have the server's serials.
func (c *changes) waitForSerials(t *testing.T) {
	t.Helper()
	for _, i := range c.watched {
		for _, zone := range transferredZones {
			kubetest.Eventually(t, secondaries[i].name+" has the current serial of "+zone, func() bool {
				return serialAt(t, resolverAddrs[i], zone) == serialAt(t, dnsAddr, zone)
			})
		}
	}
}

// compare holds the zones that secondaries have against those that the server has.
func (c *changes) compare(t *testing.T) {
	t.Helper()
	c.waitForSerials(t)
	for _, zone := range transferredZones {
		serial, want := zoneAt(t, dnsAddr, zone)
		for _, i := range c.watched {
			got, records := zoneAt(t, resolverAddrs[i], zone)
			if got == serial && slices.Equal(records, want) {
				continue
			}
			t.Errorf("%s has %d records of %s at %d, want %d at %d", secondaries[i].name, len(records), zone, got, len(want), serial)
			isIn := func(rr string, sorted []string) bool { _, ok := slices.BinarySearch(sorted, rr); return ok }
			for _, rr := range records {
				if !isIn(rr, want) {
					t.Logf("too much: %s", rr)
				}
			}
			for _, rr := range want {
				if !isIn(rr, records) {
					t.Logf("missing: %s", rr)
				}
			}
		}
		t.Logf("%s: %d records at %d, compared with those of %d secondaries", zone, len(want), serial, len(c.watched))
	}
}

// logDelays logs how long changes took.
func (c *changes) logDelays(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.watched {
		if d := c.delays[i]; len(d) > 0 {
			slices.Sort(d)
			t.Logf("%s: %d changes took %v (p50), %v (p99), %v (max)", secondaries[i].name, len(d), d[len(d)/2], d[len(d)*99/100], d[len(d)-1])
		}
	}
}

// transfers returns, and logs, what the server's metrics say of transfers and notifications.
func transfers(t *testing.T) map[string]float64 {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metricsAddr+"/metrics", nil)
	fatal.If(t, err)
	resp, err := http.DefaultClient.Do(r)
	fatal.If(t, err)
	defer func() { _ = resp.Body.Close() }() // it was only read
	values := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		series, ok := strings.CutPrefix(lines.Text(), "coredns_headless_")
		name, value, _ := strings.Cut(series, " ")
		if ok && strings.HasPrefix(name, "transfer") || strings.HasPrefix(name, "notifications") || strings.HasPrefix(name, "journal") {
			values[name], err = strconv.ParseFloat(value, 64)
			fatal.If(t, err)
			t.Log(series)
		}
	}
	return values
}
