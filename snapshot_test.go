package headless

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// FuzzSnapshotAnswers holds that what is served from a snapshot of any content can be sent.
func FuzzSnapshotAnswers(f *testing.F) {
	cfg, err := stanzaConfig("headless cluster.local clusterset.local {\nendpoint http://127.0.0.1:1\nmulticluster clusterset.local\nhostnames all\nhold 0s\n" +
		"snapshot snapshot\n}")
	fatal.If(f, err)
	newPlugin := func(root string) *Headless {
		h, _ := newWithoutSource(cfg)
		h.keeper = h.newKeeper(root)
		return h
	}
	for seed := range uint64(6) {
		h, r := newPlugin(f.TempDir()), rand.New(rand.NewPCG(seed, 8))
		for i, x := range h.indexes() {
			for _, name := range modeltest.Universe.Namespaces {
				x.PutNamespace(&model.Namespace{Key: model.KeyOf("", name)})
			}
			for range 20 {
				x.PutService(modeltest.RandomService(r))
				if i == 0 { // those of ServiceImports have names of another form
					x.PutSlice(modeltest.RandomSlice(r))
				}
			}
		}
		for resource, at := range h.clock {
			at.Heard.Store(time.Now().UnixNano())
			h.listing.Listed(resource)
		}
		h.keeper.Stop() // which writes it
		if next := newPlugin(filepath.Dir(h.keeper.Path())); !loads(next) || next.index.Counts() != h.index.Counts() {
			f.Fatalf("of %+v it reads %+v", h.index.Counts(), next.index.Counts())
		}
		f.Add(filetest.Read(f, h.keeper.Path()))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if end := len(file) - crc32.Size; end >= 0 { // as a file that somebody has written
			file = binary.BigEndian.AppendUint32(file[:end:end], crc32.Checksum(file[:end], crc32.MakeTable(crc32.Castagnoli)))
		}
		dir := t.TempDir()
		filetest.Write(t, filepath.Join(dir, "snapshot"), file)
		h := newPlugin(dir)
		h.keeper.Load()
		for _, zone := range cfg.zones {
			checkPackable(t, h, zone)
		}
	})
}

// checkPackable packs all RRsets that a transfer of a zone would send.
func checkPackable(t *testing.T, h *Headless, zone string) {
	t.Helper()
	for rrs := range newMoment(h).records(h.authority(zone)) {
		for _, rr := range rrs {
			if _, err := dns.PackRR(rr, make([]byte, dns.MaxMsgSize), 0, nil, false); err != nil {
				t.Errorf("%s: %v", rr, err)
			}
		}
	}
}

// snapshotAPI returns the API of newWebAPI with a cluster's UID.
func snapshotAPI(t testing.TB, uid string) *kubetest.Server {
	s := kubetest.NewWebServer(t)
	s.Put(kubetest.Changed(kubetest.Namespace(metav1.NamespaceSystem), func(ns *corev1.Namespace) { ns.UID = types.UID(uid) }))
	return s
}

// snapshotWatcher returns a plugin that watches s and has a snapshot at path, not started. It writes the file when keep is called.
func snapshotWatcher(t testing.TB, s *kubetest.Server, path string, lines ...string) *Headless {
	h := watcher(t, append([]string{"startup_timeout 0s", "endpoint " + s.URL, "snapshot " + path + " 24h 1h"}, lines...)...)
	t.Cleanup(h.stop)
	return h
}

// loads reports whether h, which is not started, uses its snapshot.
func loads(h *Headless) bool {
	h.keeper.Load()
	return h.Ready()
}

// writeSnapshot leaves at path what a plugin with these lines writes.
func writeSnapshot(t testing.TB, s *kubetest.Server, path string, lines ...string) {
	t.Helper()
	h := snapshotWatcher(t, s, path, lines...)
	h.start()
	kubetest.Eventually(t, "the cluster is listed", h.listing.IsComplete)
	h.stop()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotIsServedWithoutTheAPIServer(t *testing.T) {
	s := kubetest.NewWebServer(t)
	stanza := []string{"snapshot " + filepath.Join(t.TempDir(), "snapshot"), "endpoint " + s.URL, "ttl 30", "startup_timeout 1m"}
	first := watcher(t, stanza...)
	first.start()
	checkWeb(t, first)
	first.stop()

	release := s.Hold(everyResource...)
	second := watcher(t, stanza...)
	second.start() // which does not wait for the cluster
	t.Cleanup(second.stop)
	t.Cleanup(release)
	checkWeb(t, second)
	if !second.Ready() || second.listing.IsComplete() {
		t.Errorf("ready %v, synced %v, want ready from the snapshot", second.Ready(), second.listing.IsComplete())
	}
	checkSnapshotMetrics(t, second, 1)
	for _, c := range []struct {
		question string
		rcode    int
		records  []string
	}{
		{"web-0.web.ns.svc.cluster.local. A", dns.RcodeSuccess, []string{"web-0.web.ns.svc.cluster.local. 5 IN A 10.0.0.1"}},
		{"1.0.0.10.in-addr.arpa. PTR", dns.RcodeSuccess, []string{"1.0.0.10.in-addr.arpa. 5 IN PTR web-0.web.ns.svc.cluster.local."}},
		{"nobody.ns.svc.cluster.local. A", dns.RcodeNameError, nil},
		{"web.ns.svc.cluster.local. AAAA", dns.RcodeSuccess, nil},
	} {
		m := ask(t, second, c.question, func(r *dns.Msg) { r.SetEdns0(1232, false) })
		if got := dnstest.Lines(m.Answer); m.Rcode != c.rcode || !slices.Equal(got, c.records) {
			t.Errorf("%s: got %s %q, want %s %q", c.question, dns.RcodeToString[m.Rcode], got, dns.RcodeToString[c.rcode], c.records)
		}
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); !ok || soa.Hdr.Ttl != 0 || soa.Minttl != 0 {
				t.Errorf("%s: the denial may be kept: %s", c.question, rr)
			}
		}
		if code := extendedError(m); code != int(dns.ExtendedErrorCodeStaleAnswer) {
			t.Errorf("%s: extended error %d, want 3 (Stale Answer)", c.question, code)
		}
	}
	release()
	kubetest.Eventually(t, "the cluster is listed", second.listing.IsComplete)
	m := ask(t, second, "web-0.web.ns.svc.cluster.local. A", func(r *dns.Msg) { r.SetEdns0(1232, false) })
	if code := extendedError(m); code != -1 || m.Answer[0].Header().Ttl != 30 {
		t.Errorf("after the list: extended error %d, %s", code, m.Answer[0])
	}
	checkSnapshotMetrics(t, second, 0)
}

// checkSnapshotMetrics holds the metrics of h's snapshot against the file.
func checkSnapshotMetrics(t *testing.T, h *Headless, served int) {
	t.Helper()
	stat, err := os.Stat(h.keeper.Path())
	fatal.If(t, err)
	at := float64(stat.ModTime().Unix())
	want := fmt.Sprintf(`
		# HELP coredns_headless_snapshot_served 1 while a server block answers from a snapshot, else 0.
		# TYPE coredns_headless_snapshot_served gauge
		coredns_headless_snapshot_served %d
		# HELP coredns_headless_snapshot_timestamp_seconds Unix time up to which the oldest snapshot was confirmed, or 0.
		# TYPE coredns_headless_snapshot_timestamp_seconds gauge
		coredns_headless_snapshot_timestamp_seconds %g
`, served, at)
	c := newStateCollector(func() []*Headless { return []*Headless{h} })
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "coredns_headless_snapshot_served", "coredns_headless_snapshot_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}

func TestClockIsConfirmedByBookmarks(t *testing.T) {
	t.Parallel()
	api := kubetest.NewWebServer(t)
	began := time.Now()
	h := watching(t, api)
	listed := time.Now()
	if at := h.clock.Confirmed(); at.Before(began) || at.After(listed) {
		t.Errorf("after the lists: confirmed at %v, want between %v and %v", at, began, listed)
	}
	for _, resource := range everyResource {
		heard := &h.clock[resource].Heard
		if at := h.clock.Confirmed(); at.UnixNano() > heard.Load() {
			t.Errorf("confirmed at %v, and of %s nothing has been heard since %v", at, resource, time.Unix(0, heard.Load()))
		}
		kubetest.Eventually(t, "a bookmark of "+resource+" is heard", func() bool {
			api.Bookmark(resource)
			return heard.Load() > listed.UnixNano()
		})
	}
	if at := h.clock.Confirmed(); !at.After(listed) {
		t.Errorf("after a bookmark of each resource: confirmed at %v, want later than %v", at, listed)
	}
}

// TestStaleAnswersLeaveTheRecordsOfOthersAlone: other plugins may hand out records that they keep.
func TestStaleAnswersLeaveTheRecordsOfOthersAlone(t *testing.T) {
	h := newTestHeadless(t, "ttl 60\nfallthrough")
	answersFromItsSnapshot(t, h)
	outside := new(dns.Msg)
	outside.Answer = []dns.RR{addressRR("www.example.com.", 3600, netip.MustParseAddr("192.0.2.80"))}
	h.upstream = fixed{outside, nil}
	m := ask(t, h, "ext.default.svc.cluster.local. A")
	want := []string{"ext.default.svc.cluster.local. 5 IN CNAME www.example.com.", "www.example.com. 5 IN A 192.0.2.80"}
	if got := dnstest.Lines(m.Answer); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	outside.Answer, outside.Ns = nil, []dns.RR{h.soaRR("example.com.", 3600, &h.authorities[0], 1, 3600)}
	shared := outside.Ns[0]
	if m := ask(t, h, "ext.default.svc.cluster.local. AAAA"); len(m.Ns) != 1 || m.Ns[0].Header().Ttl != 0 {
		t.Errorf("a denial of somebody else: %v, want a time to live of 0", m.Ns)
	}
	if outside.Ns[0] != shared || shared.Header().Ttl != 3600 {
		t.Errorf("the record of somebody else is now %v", outside.Ns[0])
	}
	// Where the next plugin denies what is here, the denial is ours.
	asked := false
	h.Next = behind(dns.RcodeNameError, &asked)
	m = ask(t, h, "_tcp.web.default.svc.cluster.local. A")
	if soa, ok := m.Ns[0].(*dns.SOA); !asked || !ok || soa.Hdr.Ttl != 0 || soa.Minttl != 0 {
		t.Errorf("asked: %v; %v may be kept", asked, m.Ns)
	}
}

// TestStaleAnswersLeaveRoomForSayingSo: a large set is cut before the extended error makes the reply too long.
func TestStaleAnswersLeaveRoomForSayingSo(t *testing.T) {
	h := newTestHeadless(t, "")
	h.index = podsIndex(5000)
	answersFromItsSnapshot(t, h)
	for _, question := range []string{"web.n.svc.cluster.local. A", "web.n.svc.cluster.local. SRV"} {
		for tcp, limit := range map[bool]int{false: 1232, true: dns.MaxMsgSize} {
			m, octets := askSized(t, h, question, tcp, 1232)
			if octets > limit || m.Truncated == tcp || len(m.Answer) == 0 {
				t.Errorf("%s tcp %v: got %d octets, tc %v, %d records, want at most %d octets", question, tcp, octets, m.Truncated, len(m.Answer), limit)
			}
		}
	}
}

// extendedError returns the code of m's extended error, or -1.
func extendedError(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}

func TestSnapshotIsOfTheConfigurationThatShapesIt(t *testing.T) {
	fingerprint := func(line string) string {
		cfg, err := stanzaConfig("headless cluster.local clusterset.local {\n" + line + "\n}")
		fatal.If(t, err)
		h, _ := newWithoutSource(cfg)
		return h.fingerprint()
	}
	known := map[string]bool{"manifests": true} // which cannot stand beside a snapshot
	seen := map[string]string{fingerprint(""): "no option"}
	for _, line := range []string{
		"zonal", "topology hints", "node a", "node b", "endpoint_pod_names", "pods verified", "pods insecure", "noendpoints", "endpoints headless", "labels app=web", "namespace_labels app=web",
		"namespaces ns", "namespaces ns other", "multicluster clusterset.local", "endpoint http://127.0.0.1:1", "kubeconfig file", "kubeconfig file context",
	} {
		known[strings.Fields(line)[0]] = true
		got := fingerprint(line)
		if other, ok := seen[got]; ok {
			t.Errorf("%s: got the fingerprint of %s, want another, for it shapes what is kept", line, other)
		}
		seen[got] = line
	}
	for _, line := range []string{
		"client_subnet 10.0.0.1", "search", "ttl 30", "headless_ttl 30", "negative_ttl 3", "hostnames all", "hold 0s", "fallthrough", "ignore empty_service", "snapshot file", "no_explain", "small_stacks", "soa_refresh 60", "transfer_limit 100", "insight",
		"apiserver_qps 5", "apiserver_burst 5", "apiserver_max_inflight 5", "startup_timeout 1s", "tls cert key ca",
	} {
		known[strings.Fields(line)[0]] = true
		if other := seen[fingerprint(line)]; other != "no option" {
			t.Errorf("%s: got another fingerprint, want that of no option, for it does not shape what is kept", line)
		}
	}
	for name := range options {
		if !known[name] {
			t.Errorf("%s: got no row here, want one", name)
		}
	}
}

func TestSnapshotOfAnotherClusterIsNotServedForLong(t *testing.T) { // not parallel: it captures the log
	for _, row := range []struct {
		name          string
		before, after string // the UID of kube-system; "": there is none
		served        bool
	}{
		{"of the same cluster", "one", "one", true},
		{"of another cluster", "one", "two", false},
		{"the cluster was not known", "", "two", true},
		{"the cluster is not known", "one", "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			apiOf := func(uid string) *kubetest.Server {
				if uid == "" {
					return kubetest.NewWebServer(t)
				}
				return snapshotAPI(t, uid)
			}
			api := apiOf(row.after)
			path := filepath.Join(t.TempDir(), "snapshot")
			first := snapshotWatcher(t, apiOf(row.before), path)
			first.api.Endpoint = api.URL // for the fingerprint: both clusters are reached in the same way
			first.start()
			kubetest.Eventually(t, "the cluster is listed", first.listing.IsComplete)
			first.stop()

			releaseNamespaces, releaseOthers := api.Hold(kube.Namespaces), api.Hold(kube.Services, kube.Slices)
			defer releaseOthers()
			defer releaseNamespaces()
			second := snapshotWatcher(t, api, path)
			log := logtest.Capture(t)
			second.start()
			checkWeb(t, second)
			releaseNamespaces()
			kubetest.Eventually(t, "the Namespaces are listed", func() bool { return !slices.Contains(second.listing.Missing(), kube.Namespaces) })
			logged := log.String()
			if second.Ready() != row.served {
				t.Errorf("ready: %v, want %v", second.Ready(), row.served)
			}
			want := fmt.Sprintf("snapshot %s: not used any more: it is of cluster %s, and this is %s", path, row.before, row.after)
			if n := strings.Count(logged, want); n > 1 || (n == 1) == row.served {
				t.Errorf("the log has %d times %q:\n%s", n, want, logged)
			}
			if got := says(second, "web A"); (got == "SERVFAIL") == row.served {
				t.Errorf("got %s, served %v", got, row.served)
			}
			releaseOthers()
			kubetest.Eventually(t, "the cluster is listed", second.listing.IsComplete)
			checkWeb(t, second)
		})
	}
}

// TestSnapshotIsOfOnePlugin: in a reload the old plugin leaves the file to the new one.
func TestSnapshotIsOfOnePlugin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	for _, c := range []struct {
		name, other string
		written     bool
	}{
		{"another plugin has the same file", path, false},
		{"another plugin has another file", path + ".other", true},
	} {
		watchers := []*Headless{}
		for _, p := range []string{path, c.other} {
			h := watcher(t, "endpoint http://127.0.0.1:1", "snapshot "+p)
			for resource := range h.clock {
				h.listing.Listed(resource)
			}
			watchers = append(watchers, h)
		}
		running.add(watchers[1])
		watchers[0].keeper.Stop()
		running.remove(watchers[1])
		if _, err := os.Stat(path); (err == nil) != c.written {
			t.Errorf("%s: %v, want that it is written: %v", c.name, err, c.written)
		}
	}
}

// TestSnapshotThatIsRefusedIsNotServed: not even what was read before the fault was found.
func TestSnapshotThatIsRefusedIsNotServed(t *testing.T) {
	api := snapshotAPI(t, "one")
	for _, c := range []struct {
		name, line string
		edit       func([]byte) []byte
	}{
		{"a flipped bit", "", func(b []byte) []byte { b[len(b)/2] ^= 4; return b }},
		{"no end, under a checksum that is right", "", func(b []byte) []byte {
			b = b[:len(b)-crc32.Size-3]
			return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
		}},
		{"another configuration", "zonal", func(b []byte) []byte { return b }},
	} {
		path := filepath.Join(t.TempDir(), "snapshot")
		writeSnapshot(t, api, path)
		filetest.Write(t, path, c.edit(filetest.Read(t, path)))
		release := api.Hold(everyResource...)
		h := snapshotWatcher(t, api, path, c.line)
		h.start()
		if got := says(h, "web A"); got != "SERVFAIL" {
			t.Errorf("%s: web A: %s, want SERVFAIL", c.name, got)
		}
		release()
		kubetest.Eventually(t, "the cluster is listed", h.listing.IsComplete)
		checkWeb(t, h)
	}
}

// TestSnapshotGivesWayToLists lets the lists come in one by one, in each order, while queries are answered from the snapshot.
func TestSnapshotGivesWayToLists(t *testing.T) {
	t.Parallel()
	api := snapshotAPI(t, "one")
	path := filepath.Join(t.TempDir(), "snapshot")
	writeSnapshot(t, api, path)
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		releases := make([]func(), len(everyResource))
		for i, resource := range everyResource {
			releases[i] = api.Hold(resource)
		}
		h := snapshotWatcher(t, api, path)
		h.start()
		stop := hammer(t, h)
		for _, i := range order {
			if h.listing.IsComplete() {
				t.Errorf("synced before %s are listed", everyResource[i])
			}
			releases[i]()
			kubetest.Eventually(t, everyResource[i]+" are listed", func() bool { return !slices.Contains(h.listing.Missing(), everyResource[i]) })
		}
		stop()
		if !h.listing.IsComplete() {
			t.Error("not synced after all lists")
		}
		h.stop()
	}
}

// readyStatus returns the status of the ready plugin at addr.
func readyStatus(t *testing.T, addr string) int {
	t.Helper()
	r, err := http.Get("http://" + addr + "/ready")
	fatal.If(t, err)
	defer func() { _ = r.Body.Close() }()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode
}

func TestServerWithSnapshot(t *testing.T) {
	api := snapshotAPI(t, "one")
	path := filepath.Join(t.TempDir(), "snapshot")
	listen := dnstest.FreeAddr(t)
	file := "cluster.local:0 {\n" + bound + "ready " + listen + "\ntransfer {\nto *\n}\nheadless {\nendpoint " + api.URL + "\nstartup_timeout 0s\nsnapshot " + path + "\n}\n}"
	for _, c := range []struct {
		name                    string
		status, answer, answers int // until the cluster is listed
	}{
		{"without one", http.StatusServiceUnavailable, dns.RcodeServerFailure, 0},
		{"with one", http.StatusOK, dns.RcodeSuccess, 1}, // that the other wrote at its end
	} {
		release := api.Hold(everyResource...)
		s := startServer(t, file)
		if got := readyStatus(t, listen); got != c.status {
			t.Errorf("%s: ready says %d, want %d", c.name, got, c.status)
		}
		const web = "web-0.web.ns.svc.cluster.local. A"
		if m := s.ask(t, "udp", web, 1232); m.Rcode != c.answer || len(m.Answer) != c.answers {
			t.Errorf("%s: got %s", c.name, m)
		}
		if m := s.ask(t, "tcp", "cluster.local. AXFR", 0); m.Rcode != dns.RcodeRefused {
			t.Errorf("%s: a transfer gets %s, want REFUSED", c.name, dns.RcodeToString[m.Rcode])
		}
		release()
		kubetest.Eventually(t, "a transfer is given", func() bool { return s.ask(t, "tcp", "cluster.local. AXFR", 0).Rcode == dns.RcodeSuccess })
		if m := s.ask(t, "udp", web, 1232); len(m.Answer) != 1 || extendedError(m) != -1 {
			t.Errorf("%s, after the list: got %s", c.name, m)
		}
		if got := readyStatus(t, listen); got != http.StatusOK {
			t.Errorf("%s: ready says %d after the list", c.name, got)
		}
		s.stop()
		if next := snapshotWatcher(t, api, path); !loads(next) {
			t.Errorf("%s: what it leaves is not used", c.name)
		}
	}
}

func TestReloadHandsTheSnapshotOver(t *testing.T) {
	api := snapshotAPI(t, "one")
	path := filepath.Join(t.TempDir(), "snapshot")
	block := func(options string) string {
		return "cluster.local:0 {\n" + bound + "headless {\nendpoint " + api.URL + "\nsnapshot " + path + " 24h 1h\n" + options + "\n}\n}"
	}
	s := startServer(t, block(""))
	reload := func(options string) *dns.Msg {
		t.Helper()
		instance, err := s.instance.Restart(corefile(block(options)))
		fatal.If(t, err)
		s.instance = instance
		s.findPorts()
		return s.ask(t, "udp", "web-0.web.ns.svc.cluster.local. A", 1232)
	}
	check := func(when string, m *dns.Msg, addr string, code int) {
		t.Helper()
		if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != addr || extendedError(m) != code {
			t.Errorf("%s: got %s\nwant %s and extended error %d", when, m, addr, code)
		}
	}
	for i := range 5 {
		// The snapshot is one behind: an hour is not over.
		addr := fmt.Sprint("10.0.0.", 2+i)
		api.Put(kubetest.Slice("web-a", "web", addr, "web-0"))
		check("after a reload with the API server", reload(""), addr, -1)
	}
	api.Put(kubetest.Slice("web-a", "web", "10.0.0.9", "web-0"))
	kubetest.Eventually(t, "the pod has its new address", func() bool {
		m := s.ask(t, "udp", "web-0.web.ns.svc.cluster.local. A", 1232)
		return len(m.Answer) == 1 && m.Answer[0].(*dns.A).A.String() == "10.0.0.9"
	})
	s.stop()
	if next := snapshotWatcher(t, api, path); !loads(next) || says(next, "web-0.web A") != "NOERROR 10.0.0.9" {
		t.Errorf("from the file: web-0.web is %s, want the last address", says(next, "web-0.web A"))
	}

	s = startServer(t, block(""))
	release := api.Hold(everyResource...)
	defer release()
	begin := time.Now()
	check("after a reload without the API server", reload("startup_timeout 200ms"), "10.0.0.9", int(dns.ExtendedErrorCodeStaleAnswer))
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("the reload waited for the API server for %v, want 200ms: the old plugin goes on answering", took)
	}
}

func TestServerBlocksNeedSnapshotsOfTheirOwn(t *testing.T) {
	registerDirective()
	dir := t.TempDir()
	file := func(first, second string) corefile {
		block := "%s:0 {\n" + bound + "root " + dir + "\nheadless {\nendpoint http://127.0.0.1:1\nstartup_timeout 0s\nsnapshot %s\n}\n}\n"
		return corefile(fmt.Sprintf(block, "a.local b.local", first) + fmt.Sprintf(block, "c.local", second))
	}
	for _, same := range []string{"one", "./x/../one", filepath.Join(dir, "one"), dir + "//one"} {
		instance, err := caddy.Start(file("one", same))
		if want := "snapshot: expected a file of its own for each server block, got " + filepath.Join(dir, "one") + " twice"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("one and %s: %v, want %s", same, err, want)
		}
		if err == nil {
			_ = instance.Stop()
		}
	}
	startServer(t, string(file("one", "other")))
}
