package clients

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os/exec"
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

var changing = flag.Duration("changing", 32*time.Second, "how long a cluster changes that secondaries follow, between two restarts of the server")

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
  rrl-ratelimit: 0
remote-control:
  control-enable: no
`, addr, dir)
	for _, zone := range transferredZones {
		fmt.Fprintf(&config, "zone:\n  name: %s\n  zonefile: %[1]szone\n  allow-notify: %[2]s NOKEY\n  request-xfr: %[2]s NOKEY\n"+
			"  max-retry-time: 5\n  provide-xfr: 0.0.0.0/0 NOKEY\n", zone, dnsAddr)
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

// zoneAt transfers a zone from addr, and returns its SOA and its other records as text, sorted.
func zoneAt(t *testing.T, addr, zone string) (soa *dns.SOA, records []string) {
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
			if got, ok := rr.(*dns.SOA); ok {
				soa = got
				continue
			}
			records = append(records, strings.ToLower(rr.String()))
		}
	}
	slices.Sort(records)
	return soa, records
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
	lasting := *changing
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
	c.waitForSerials(t)
	t.Log("from the start on:")
	c.checkWhole(t, transfers(t))
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
	got := transfers(t)
	if got[`transfers_total{kind="difference"}`] == 0 || got[`notifications_total{result="accepted"}`] == 0 {
		t.Error("no transfer was a difference, or no notification was accepted")
	}
	c.checkWhole(t, got)
	c.compare(t)
	c.checkAnswers(t)
	c.checkFiles(t)
	c.logDelays(t)
	t.Logf("%d changes were %d differences of %s, %d octets a change", c.seen, c.differences, zones[0], c.octets/max(1, c.seen))
}

// checkWhole holds the whole transfers of a process against those for which there is a reason: nobody had the zone, or it was of another
// process.
func (c *changes) checkWhole(t *testing.T, counted map[string]float64) {
	t.Helper()
	if whole, most := counted[`transfers_total{kind="whole"}`], float64(len(c.watched)*len(transferredZones)+1); whole > most { // and c's own
		t.Errorf("%v transfers were of a whole zone, want %v at most, one for each secondary and zone", whole, most)
	}
}

// checkAnswers asks secondaries for what is in the zones, and for what is not, and compares with what the server answers. Of a set
// that no message holds each has a part.
func (c *changes) checkAnswers(t *testing.T) {
	t.Helper()
	const most = 2000 // of each zone
	for _, zone := range transferredZones {
		_, records := zoneAt(t, dnsAddr, zone)
		sizes := make(map[string]int) // of sets, by "NAME TYPE"
		for _, rr := range records {
			fields := strings.Fields(rr)
			sizes[fields[0]+" "+strings.ToUpper(fields[3])]++
		}
		questions := slices.Sorted(maps.Keys(sizes))
		c.random.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
		questions = append(questions[:min(most, len(questions))], zone+" MX", "svc."+zone+" A", "nobody.ns.svc."+zone+" A", "few.ns.svc."+zone+" TXT")
		compared := 0
		for _, question := range questions {
			name, qtype, _ := strings.Cut(question, " ")
			if sizes[question] > 900 {
				continue
			}
			compared++
			want := answerAt(t, dnsAddr, name, qtype)
			for _, i := range c.watched {
				if got := answerAt(t, resolverAddrs[i], name, qtype); got != want {
					t.Errorf("%s: %s answers %q, want %q", question, secondaries[i].name, got, want)
				}
			}
		}
		t.Logf("%s: compared %d answers of %d secondaries", zone, compared, len(c.watched))
	}
}

// answerAt returns the response code and the records of an answer over TCP.
func answerAt(t *testing.T, addr, name, qtype string) string {
	t.Helper()
	m := ask(t, "tcp", addr, name, dns.StringToType[qtype])
	lines := dnstest.Lines(m.Answer)
	slices.Sort(lines)
	return strings.ToLower(fmt.Sprint(dns.RcodeToString[m.Rcode], " ", lines))
}

// checkFiles has other programs read the zones of secondaries, as far as they are installed.
func (c *changes) checkFiles(t *testing.T) {
	for _, zone := range transferredZones {
		file := func(addr string) string {
			soa, records := zoneAt(t, addr, zone)
			return write(t, "zone", soa.String()+"\n"+strings.Join(records, "\n")+"\n")
		}
		primary := file(dnsAddr)
		for _, i := range c.watched {
			path := file(resolverAddrs[i])
			for _, command := range [][]string{
				{"named-checkzone", "bind9-utils", "-q", zone, path},
				{"kzonecheck", "knot-dnssecutils", "-o", zone, path},
				{"nsd-checkzone", "nsd", zone, path},
				{"ldns-compare-zones", "ldnsutils", primary, path},
			} {
				t.Run(command[0]+" "+secondaries[i].name+" "+zone, func(t *testing.T) {
					out, err := exec.CommandContext(t.Context(), installed(t, command[0], command[1]), command[2:]...).CombinedOutput()
					if err != nil {
						t.Errorf("%v\n%.2000s", err, out)
					}
				})
			}
		}
	}
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

	// What an observer was sent that asks for differences as a secondary does: of how many changes, in how many transfers.
	serial                    uint32
	seen, differences, octets int
}

func newChanges(t *testing.T) *changes {
	api, seed := kubetest.NewServer(t), rand.Uint64()
	t.Logf("seed %d", seed)
	api.Put(kubetest.Namespace("ns"))
	for i := range comingAndGoing {
		svc := kubetest.Service("web", fmt.Sprintf("10.254.0.%d", i))
		svc.Namespace = fmt.Sprint("come-and-go-", i)
		api.Put(svc)
	}
	return &changes{
		api: api, random: rand.New(rand.NewPCG(seed, 0)), delays: make([][]time.Duration, len(secondaries)),
		services: []*service{newService(api, "few", 0, 3), newService(api, "some", 0, 100), newService(api, "thousands", 0, 5000)},
	}
}

// comingAndGoing is how many Namespaces come and go, each with a Service.
const comingAndGoing = 3

// observe gets what has changed in the first zone since the last time, as a secondary does, after some changes. It returns false if the
// server gives no transfers yet.
func (c *changes) observe(t *testing.T, changes int) bool {
	t.Helper()
	r := new(dns.Msg)
	r.SetIxfr(zones[0], c.serial, ".", ".")
	ch, err := new(dns.Transfer).In(r, dnsAddr+":53")
	fatal.If(t, err)
	n, octets := 0, 0
	isDifference := false
	for e := range ch {
		if e.Error != nil && n == 0 {
			return false
		}
		fatal.If(t, e.Error)
		for _, rr := range e.RR {
			soa, isSOA := rr.(*dns.SOA)
			if n == 0 && isSOA {
				c.serial = soa.Serial
			}
			isDifference = isDifference || n == 1 && isSOA
			n, octets = n+1, octets+dns.Len(rr)
		}
	}
	if isDifference || n == 1 {
		c.seen, c.octets = c.seen+changes, c.octets+octets
	}
	if isDifference {
		c.differences++
	}
	return true
}

// make makes 20 changes a second, and returns when the secondaries have those that are watched.
func (c *changes) make(t *testing.T, lasting time.Duration) {
	t.Helper()
	var watching sync.WaitGroup
	defer watching.Wait()
	next := time.NewTicker(time.Second / 20)
	defer next.Stop()
	if lasting > time.Second {
		kubetest.Eventually(t, "the server gives transfers", func() bool { return c.observe(t, 0) })
	}
	for end, i := time.Now().Add(lasting), 1; time.Now().Before(end); c.n, i = c.n+1, i+1 {
		<-next.C
		if i%20 == 0 && lasting > time.Second && !c.observe(t, 20) {
			t.Error("the server gives no transfer any more")
		}
		switch s := c.services[c.random.IntN(len(c.services))]; c.random.IntN(6) {
		case 0:
			if ns := kubetest.Namespace(fmt.Sprint("come-and-go-", c.random.IntN(comingAndGoing))); c.random.IntN(2) == 0 {
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

// compare holds the zones that secondaries have against those that the server has, once no hold is left that would end later.
// If the server takes a step in between it begins again.
func (c *changes) compare(t *testing.T) {
	t.Helper()
	kubetest.Eventually(t, "no hold is left", func() bool { return measured(t)["held_endpoints"] == 0 })
	for _, zone := range transferredZones {
		var soa *dns.SOA
		var want []string
		owns, records := make([]*dns.SOA, len(c.watched)), make([][]string, len(c.watched))
		kubetest.Eventually(t, "the server takes no step while "+zone+" is read", func() bool {
			c.waitForSerials(t)
			soa, want = zoneAt(t, dnsAddr, zone)
			for n, i := range c.watched {
				owns[n], records[n] = zoneAt(t, resolverAddrs[i], zone)
			}
			return serialAt(t, dnsAddr, zone) == soa.Serial
		})
		for n, i := range c.watched {
			if owns[n].Serial == soa.Serial && slices.Equal(records[n], want) {
				continue
			}
			t.Errorf("%s has %d records of %s at %d, want %d at %d", secondaries[i].name, len(records[n]), zone, owns[n].Serial, len(want), soa.Serial)
			isIn := func(rr string, sorted []string) bool { _, ok := slices.BinarySearch(sorted, rr); return ok }
			for _, rr := range records[n] {
				if !isIn(rr, want) {
					t.Logf("too much: %s", rr)
				}
			}
			for _, rr := range want {
				if !isIn(rr, records[n]) {
					t.Logf("missing: %s", rr)
				}
			}
		}
		t.Logf("%s: %d records at %d, compared with those of %d secondaries", zone, len(want), soa.Serial, len(c.watched))
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
	values := measured(t)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.HasPrefix(name, "transfer") || strings.HasPrefix(name, "notifications") || strings.HasPrefix(name, "journal") {
			t.Log(name, values[name])
		}
	}
	return values
}

// measured returns the server's own metrics, by what is behind the prefix of their names.
func measured(t *testing.T) map[string]float64 {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metricsAddr+"/metrics", nil)
	fatal.If(t, err)
	resp, err := http.DefaultClient.Do(r)
	fatal.If(t, err)
	defer func() { _ = resp.Body.Close() }() // it was only read
	values := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		series, isOurs := strings.CutPrefix(lines.Text(), "coredns_headless_")
		if at := strings.LastIndexByte(series, ' '); isOurs && at > 0 {
			values[series[:at]], err = strconv.ParseFloat(series[at+1:], 64)
			fatal.If(t, err)
		}
	}
	return values
}
