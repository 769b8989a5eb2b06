package headless

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// snapshotWritten returns how many times a snapshot was written, and how many times that failed.
func snapshotWritten() (successes, errors int) {
	return int(testutil.ToFloat64(snapshotWrites.WithLabelValues("success"))), int(testutil.ToFloat64(snapshotWrites.WithLabelValues("error")))
}

// readBack returns what the snapshot at path holds.
func readBack(t testing.TB, path string) []string {
	t.Helper()
	c := newContents()
	c.indexes = c.indexes[:1]
	if err := c.read(path, anyHeaderAndTime); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c.facts()
}

func TestSnapshotIsKept(t *testing.T) { // not parallel: it reads counters
	path := filepath.Join(t.TempDir(), "snapshot")
	bubble.Test(t, func(t *testing.T) {
		h := watcher(t, "endpoint http://127.0.0.1:1", "snapshot "+path+" 24h 5s")
		s := h.snapshot
		var synced atomic.Bool
		var confirmed atomic.Int64
		confirm := func() { confirmed.Store(time.Now().UnixNano()) }
		s.synced = synced.Load
		s.confirmed = func() time.Time { return time.Unix(0, confirmed.Load()) }
		change := func(i int) {
			h.index.PutNamespace(&model.Namespace{Key: model.KeyOf("", fmt.Sprint("ns-", i))})
		}
		before, failed := snapshotWritten()
		writes := func(what string, least, most int) {
			t.Helper()
			synctest.Wait()
			n, e := snapshotWritten()
			if n-before < least || n-before > most || e != failed {
				t.Errorf("%s: written %d times, want %d to %d; %d errors", what, n-before, least, most, e-failed)
			}
			before = n
		}
		dated := func(what string, want time.Time) {
			t.Helper()
			synctest.Wait()
			if got := modTime(t, path); !got.Equal(want) || !s.confirmedAt().Equal(want) {
				t.Errorf("%s: the time of the file is %v, by the metric %v, want %v", what, got, s.confirmedAt(), want)
			}
		}
		pass := func(d time.Duration) { time.Sleep(d) } // of the bubble's clock

		s.load()
		s.start()
		change(0)
		pass(time.Minute)
		writes("before the cluster is listed", 0, 0)

		synced.Store(true)
		confirm()
		first := time.Now()
		pass(5 * time.Second)
		writes("after the cluster is listed", 1, 1)
		dated("as the cluster was listed", first)

		pass(time.Hour)
		writes("while nothing happens", 0, 0)
		dated("nothing was confirmed since", first)
		confirm()
		second := time.Now()
		pass(5 * time.Second)
		dated("after a watch has confirmed it", second)
		pass(20 * time.Second)
		confirm()
		pass(5 * time.Second)
		dated("20 s later", second)
		pass(10 * time.Second)
		confirm()
		third := time.Now()
		pass(5 * time.Second)
		dated("40 s later", third)
		writes("when it was confirmed only", 0, 0)

		pass(time.Hour)
		change(1)
		pass(5 * time.Second)
		writes("after a change", 1, 1)
		dated("a change that no watch has brought confirms nothing", third)

		for i := range 600 {
			change(2 + i)
			pass(100 * time.Millisecond)
		}
		pass(5 * time.Second)
		writes("in a minute with a change each 100 ms", 12, 13)

		h.index.PutSlice(&model.Slice{Key: model.KeyOf("ns-0", "a"), Service: "absent"})
		pass(5 * time.Second)
		writes("after a change that no transfer would see", 1, 1)
		h.pods.Put(&model.Pod{Key: model.KeyOf("ns-0", "a")})
		pass(5 * time.Second)
		writes("after a change of a Pod", 1, 1)
		h.pods.Put(&model.Pod{Key: model.KeyOf("ns-0", "a")})
		pass(5 * time.Second)
		writes("after a change of a Pod that changes nothing for us", 0, 0)

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		pass(dateEvery)
		confirm()
		pass(10 * time.Second)
		writes("after somebody has removed it", 1, 1)

		change(1000)
		s.stop()
		writes("at the end, when something has changed", 1, 1)
		if got, want := readBack(t, path), s.facts(); !slices.Equal(got, want) {
			t.Errorf("the file has %d facts, want %d", len(got), len(want))
		}
		s.stop()
		writes("at the end, when nothing has changed", 0, 0)

		next := watcher(t, "endpoint http://127.0.0.1:1", "snapshot "+path)
		running.add(next)
		defer running.remove(next)
		change(1001)
		s.stop()
		writes("at the end, when another plugin has the file", 0, 0)
	})
}

func TestSnapshotFaultsOfWriting(t *testing.T) { // not parallel: it reads counters and captures the log
	api := snapshotAPI(t, "one")
	for _, row := range []struct {
		name          string
		harm, relieve func(t *testing.T, path string)
		gone          bool // the old file too
	}{
		{"the folder vanishes", func(t *testing.T, path string) {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, path string) {
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the folder becomes a file", func(t *testing.T, path string) {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			putFile(t, filepath.Dir(path), nil)
		}, func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the file becomes a folder", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "snapshots")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "snapshot")
			checkWriteFault(t, api, path, func() { row.harm(t, path) }, func() { row.relieve(t, path) }, row.gone)
		})
	}
}

// checkWriteFault lets a plugin write a good snapshot, then fail to, and then write again.
func checkWriteFault(t *testing.T, api *stubAPI, path string, harm, relieve func(), gone bool) {
	t.Helper()
	h := snapshotWatcher(t, api, path)
	h.start()
	eventually(t, "the cluster is listed", h.isSynced)
	generation := 0
	change := func() {
		generation++
		h.index.PutNamespace(&model.Namespace{Key: model.KeyOf("", fmt.Sprint("changed-", generation))})
	}
	h.snapshot.keep()
	old := readBack(t, path)

	harm()
	successes, errors := snapshotWritten()
	log := capture(t)
	for range 3 {
		change()
		h.snapshot.keep()
	}
	logged := log.String()
	if n, e := snapshotWritten(); n != successes || e != errors+3 {
		t.Errorf("%d successes and %d errors counted, want 3 errors", n-successes, e-errors)
	}
	if n := strings.Count(logged, "snapshot "+path+": not written: "); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, logged)
	}
	if !gone && !slices.Equal(readBack(t, path), old) {
		t.Error("the old file has changed")
	}

	relieve()
	h.snapshot.keep()
	if n, e := snapshotWritten(); n != successes+1 || e != errors+3 {
		t.Errorf("afterwards %d successes and %d errors, want 1 and no more", n-successes, e-errors-3)
	}
	if got, want := readBack(t, path), h.snapshot.facts(); !slices.Equal(got, want) {
		t.Errorf("afterwards the file has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("afterwards there are %v, %v, want the snapshot alone", files, err)
	}
}

func TestSnapshotLeavesAndFollowsNoDrafts(t *testing.T) {
	api := snapshotAPI(t, "one")
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "snapshot"), filepath.Join(t.TempDir(), "elsewhere")
	putFile(t, elsewhere, []byte("precious"))
	for name, old := range map[string]bool{
		"snapshot.0123456789abcdef.new": true, // by somebody who was killed
		"snapshot.fedcba9876543210.new": false,
		"snapshot.backup.new":           true,
		"snapshots":                     true,
	} {
		putFile(t, filepath.Join(dir, name), nil)
		if old {
			setAge(t, filepath.Join(dir, name), time.Hour)
		}
	}
	h := snapshotWatcher(t, api, path)
	if err := os.Symlink(elsewhere, h.snapshot.draft); err != nil {
		t.Skip(err)
	}
	h.start()
	eventually(t, "the cluster is listed", h.isSynced)
	h.stop()
	readBack(t, path)
	var names []string
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"snapshot", "snapshot.backup.new", "snapshot.fedcba9876543210.new", "snapshots"}; !slices.Equal(names, want) {
		t.Errorf("afterwards there are %q, want %q", names, want)
	}
	if got := readFile(t, elsewhere); string(got) != "precious" {
		t.Errorf("a link was followed, and %q written", got)
	}
	if stat, err := os.Lstat(path); err != nil || !stat.Mode().IsRegular() {
		t.Errorf("the snapshot is %v, %v", stat.Mode(), err)
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
			apiOf := func(uid string) *stubAPI {
				if uid == "" {
					return newWebAPI(t)
				}
				return snapshotAPI(t, uid)
			}
			api := apiOf(row.after)
			path := filepath.Join(t.TempDir(), "snapshot")
			first := snapshotWatcher(t, apiOf(row.before), path)
			first.endpoint = api.url // for the fingerprint: both clusters are reached in the same way
			first.start()
			eventually(t, "the cluster is listed", first.isSynced)
			first.stop()

			releaseNamespaces, releaseOthers := api.hold(namespacesResource), api.hold(servicesResource, slicesResource)
			defer releaseOthers()
			defer releaseNamespaces()
			second := snapshotWatcher(t, api, path)
			log := capture(t)
			second.start()
			checkWeb(t, second)
			releaseNamespaces()
			eventually(t, "the Namespaces are listed", func() bool { return !slices.Contains(second.synced.missing(), namespacesResource) })
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
			eventually(t, "the cluster is listed", second.isSynced)
			checkWeb(t, second)
		})
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
			releases[i] = api.hold(resource)
		}
		h := snapshotWatcher(t, api, path)
		h.start()
		stop := hammer(t, h)
		for _, i := range order {
			if h.isSynced() {
				t.Errorf("synced before %s are listed", everyResource[i])
			}
			releases[i]()
			eventually(t, everyResource[i]+" are listed", func() bool { return !slices.Contains(h.synced.missing(), everyResource[i]) })
		}
		stop()
		if !h.isSynced() {
			t.Error("not synced after all lists")
		}
		h.stop()
	}
}

// freeAddr returns an address of loopback that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nobody has connected
	return l.Addr().String()
}

// readyStatus returns the status of the ready plugin at addr.
func readyStatus(t *testing.T, addr string) int {
	t.Helper()
	r, err := http.Get("http://" + addr + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode
}

func TestServerWithSnapshot(t *testing.T) {
	api := snapshotAPI(t, "one")
	path := filepath.Join(t.TempDir(), "snapshot")
	listen := freeAddr(t)
	file := "cluster.local:0 {\n" + bound + "ready " + listen + "\ntransfer {\nto *\n}\nheadless {\nendpoint " + api.url + "\nstartup_timeout 0s\nsnapshot " + path + "\n}\n}"
	for _, c := range []struct {
		name                    string
		status, answer, answers int // until the cluster is listed
	}{
		{"without one", http.StatusServiceUnavailable, dns.RcodeServerFailure, 0},
		{"with one", http.StatusOK, dns.RcodeSuccess, 1}, // that the other wrote at its end
	} {
		release := api.hold(everyResource...)
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
		eventually(t, "a transfer is given", func() bool { return s.ask(t, "tcp", "cluster.local. AXFR", 0).Rcode == dns.RcodeSuccess })
		if m := s.ask(t, "udp", web, 1232); len(m.Answer) != 1 || extendedError(m) != -1 {
			t.Errorf("%s, after the list: got %s", c.name, m)
		}
		if got := readyStatus(t, listen); got != http.StatusOK {
			t.Errorf("%s: ready says %d after the list", c.name, got)
		}
		s.stop()
		readBack(t, path)
	}
}

func TestReloadHandsTheSnapshotOver(t *testing.T) {
	api := snapshotAPI(t, "one")
	path := filepath.Join(t.TempDir(), "snapshot")
	block := func(options string) string {
		return "cluster.local:0 {\n" + bound + "headless {\nendpoint " + api.url + "\nsnapshot " + path + " 24h 1h\n" + options + "\n}\n}"
	}
	s := startServer(t, block(""))
	reload := func(options string) *dns.Msg {
		t.Helper()
		instance, err := s.instance.Restart(corefile(block(options)))
		if err != nil {
			t.Fatal(err)
		}
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
		api.put(stubSlice("web-a", "web", addr, "web-0"))
		check("after a reload with the API server", reload(""), addr, -1)
	}
	api.put(stubSlice("web-a", "web", "10.0.0.9", "web-0"))
	eventually(t, "the pod has its new address", func() bool {
		m := s.ask(t, "udp", "web-0.web.ns.svc.cluster.local. A", 1232)
		return len(m.Answer) == 1 && m.Answer[0].(*dns.A).A.String() == "10.0.0.9"
	})
	s.stop()
	if facts := readBack(t, path); !strings.Contains(strings.Join(facts, "\n"), "10.0.0.9") {
		t.Errorf("the file has\n%s\nwant the last address", strings.Join(facts, "\n"))
	}

	s = startServer(t, block(""))
	release := api.hold(everyResource...)
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

// BenchmarkSnapshot writes and reads a snapshot of 10,000 Services with ten endpoints each.
func BenchmarkSnapshot(b *testing.B) {
	big := contents{[]*index.Index{index.New(model.HostnamesReady, false, 0)}, index.NewPods()}
	modeltest.BigCluster(big.indexes[0], 10_000, true)
	path := filepath.Join(b.TempDir(), "snapshot")
	write := func(b *testing.B) {
		header := snapshotHeader{Version: snapshotVersion, Endpoints: big.endpoints()}
		if err := big.write(path, path+".new", header, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	write(b)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			write(b)
		}
		b.ReportMetric(float64(len(readFile(b, path)))/1e6, "file-MB")
		b.ReportMetric(heapPeak(func() { write(b) })/1e6, "peak-MB")
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := contents{[]*index.Index{index.New(model.HostnamesReady, false, 0)}, index.NewPods()}
			if err := c.read(path, anyHeaderAndTime); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// heapPeak returns by how many octets what is in use on the heap grows at most while do runs.
func heapPeak(do func()) float64 {
	before := modeltest.HeapInUse()
	most := before
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for {
		select {
		case <-done:
			return most - before
		default:
			most = max(most, modeltest.HeapInUse())
		}
	}
}
