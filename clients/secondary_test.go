package clients

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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
	name  string // of the test
	start func(t *testing.T, addr string)
}

// secondaries are those that are tested. None of them asks by itself within the test: what they know they know by
// notifications.
var secondaries = []secondary{{"NSD", startNSD}, {"Knot", startKnot}, {"BIND", startSecondaryBIND}}

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

// startPrimary starts a CoreDNS for the cluster of api that notifies some addresses.
func startPrimary(t *testing.T, api *kubetest.Server, notified []string) {
	t.Helper()
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
    }
}
`, strings.Join(zones, " "), dnsAddr, metricsAddr, strings.Join(notified, " "), api.URL)
	start(t, *corednsProgram, "-conf", write(t, "Corefile", corefile)).waitForZone(t, dnsAddr, zones[0])
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

// TestSecondariesKeepUp changes a cluster many times a second, while secondaries have its zones. In the end each has
// what the server has, record by record.
func TestSecondariesKeepUp(t *testing.T) {
	needWorld(t)
	const changesPerSecond, lasting = 20, 20 * time.Second
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"))
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	services := []*service{newService(api, "few", 0, 3), newService(api, "some", 0, 100), newService(api, "thousands", 0, 5000)}
	var notified []string
	for i := range secondaries {
		notified = append(notified, resolverAddrs[i]+":53")
	}
	startPrimary(t, api, notified)
	var running []int // their positions
	for i, s := range secondaries {
		t.Run(s.name+" starts", func(t2 *testing.T) {
			installed(t2, map[string]string{"NSD": "nsd", "Knot": "knotd", "BIND": "named"}[s.name], s.name)
			s.start(t, resolverAddrs[i]) // until the end of t
			running = append(running, i)
		})
	}
	if len(running) == 0 {
		t.Skip("none of the servers is installed")
	}

	var mu sync.Mutex                                   // guards delays
	delays := make([][]time.Duration, len(secondaries)) // from a change to a secondary
	var watching sync.WaitGroup
	end := time.Now().Add(lasting)
	change := time.NewTicker(time.Second / changesPerSecond)
	defer change.Stop()
	for n := 0; time.Now().Before(end); n++ {
		<-change.C
		switch s := services[r.IntN(len(services))]; r.IntN(6) {
		case 0:
			name := fmt.Sprint("come-and-go-", r.IntN(3))
			if r.IntN(2) == 0 {
				api.Put(kubetest.Namespace(name))
			} else {
				api.Delete(kubetest.Namespace(name))
			}
		case 1, 2:
			s.scaleUp()
		case 3, 4:
			s.remove(r.IntN(len(s.pods())))
			if len(s.pods()) == 0 {
				s.scaleUp()
			}
		default: // one whose coming is timed
			name, began := fmt.Sprint("timed-", n), time.Now()
			api.Put(kubetest.Service(name, fmt.Sprintf("10.255.%d.%d", n/256, n%256)))
			for _, i := range running {
				watching.Go(func() {
					for time.Since(began) < time.Minute {
						m, err := dnstest.Exchange(t.Context(), "udp", resolverAddrs[i]+":53", dnstest.Query(name+suffix, dns.TypeA, 1232))
						if err == nil && len(m.Answer) > 0 {
							mu.Lock()
							delays[i] = append(delays[i], time.Since(began))
							mu.Unlock()
							return
						}
						time.Sleep(20 * time.Millisecond)
					}
					t.Errorf("%s: not at %s within a minute", name, secondaries[i].name)
				})
			}
		}
	}
	watching.Wait()
	for _, i := range running {
		addr, name := resolverAddrs[i], secondaries[i].name
		for _, zone := range transferredZones {
			kubetest.Eventually(t, name+" has the current serial of "+zone, func() bool {
				return serialAt(t, addr, zone) == serialAt(t, dnsAddr, zone)
			})
			serial, want := zoneAt(t, dnsAddr, zone)
			got, records := zoneAt(t, addr, zone)
			if got != serial || !slices.Equal(records, want) {
				t.Errorf("%s has %d records of %s at %d, want %d at %d", name, len(records), zone, got, len(want), serial)
				for _, rr := range records {
					if !slices.Contains(want, rr) {
						t.Errorf("too much: %s", rr)
						break
					}
				}
				for _, rr := range want {
					if !slices.Contains(records, rr) {
						t.Errorf("missing: %s", rr)
						break
					}
				}
			} else {
				t.Logf("%s has the %d records of %s at %d", name, len(records), zone, got)
			}
		}
		slices.Sort(delays[i])
		if n := len(delays[i]); n > 0 {
			t.Logf("%s: %d changes took %v (p50), %v (p99), %v (max)", name, n, delays[i][n/2], delays[i][n*99/100], delays[i][n-1])
		}
	}
	logTransfers(t)
}

// logTransfers logs what the server's metrics say of transfers and notifications, and fails the test if none of these was
// accepted or no transfer was a difference.
func logTransfers(t *testing.T) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+metricsAddr+"/metrics", nil)
	fatal.If(t, err)
	resp, err := http.DefaultClient.Do(r)
	fatal.If(t, err)
	defer func() { _ = resp.Body.Close() }() // it was only read
	seen := make(map[string]bool)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		for _, name := range []string{"transfers_total{", "transferred_records_total{", "notifications_total{", "journal_"} {
			if strings.HasPrefix(line, "coredns_headless_"+name) {
				t.Log(line)
				seen[strings.TrimPrefix(line, "coredns_headless_")] = true
			}
		}
	}
	for _, none := range []string{`transfers_total{kind="difference"} 0`, `notifications_total{result="accepted"} 0`} {
		if seen[none] {
			t.Errorf("%s: want more", none)
		}
	}
}
