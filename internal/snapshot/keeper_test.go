package snapshot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/logtest"
	"github.com/coredns-headless/headless/internal/model"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/transfer"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// newTestKeeper returns the keeper of c at path. All has been listed, and is confirmed all the time.
func newTestKeeper(path string, c Knowledge) *Keeper {
	return NewKeeper(Config{path, 24 * time.Hour, time.Hour}, Subject{
		Knowledge: c, Configuration: func() string { return "" }, Cluster: func() string { return "" },
		IsSynced: func() bool { return true }, Confirmed: time.Now, IsShared: func() bool { return false }, Log: clog.NewWithPlugin("headless"),
	})
}

// putNamespace puts a Namespace into each index, as it is fed to them.
func putNamespace(c Knowledge, name string) {
	for _, x := range c.Indexes {
		x.PutNamespace(&model.Namespace{Key: model.KeyOf("", name)})
	}
}

// snapshotWritten returns how many times a snapshot was written, and how many times that failed.
func snapshotWritten() (successes, errors int) {
	return int(testutil.ToFloat64(writes.WithLabelValues("success"))), int(testutil.ToFloat64(writes.WithLabelValues("error")))
}

// readBack returns what the snapshot at path holds.
func readBack(t testing.TB, path string) []string {
	t.Helper()
	c := newKnowledge()
	if err := c.readIf(path, anyHeaderAndTime); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c.facts()
}

func TestSnapshotIsKept(t *testing.T) { // not parallel: it reads counters
	path := filepath.Join(t.TempDir(), "snapshot")
	bubble.Test(t, func(t *testing.T) {
		c := newKnowledge()
		s := newTestKeeper(path, c)
		s.config.Interval = 5 * time.Second
		var synced, shared atomic.Bool
		var confirmed atomic.Int64
		confirm := func() { confirmed.Store(time.Now().UnixNano()) }
		s.of.IsSynced, s.of.IsShared = synced.Load, shared.Load
		s.of.Confirmed = func() time.Time { return time.Unix(0, confirmed.Load()) }
		change := func(i int) { putNamespace(c, fmt.Sprint("ns-", i)) }
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
			if got := modTime(t, path); !got.Equal(want) || !s.Dated().Equal(want) {
				t.Errorf("%s: the time of the file is %v, by the metric %v, want %v", what, got, s.Dated(), want)
			}
		}
		pass := func(d time.Duration) { time.Sleep(d) } // of the bubble's clock

		s.Load()
		s.Start()
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

		c.Indexes[0].PutSlice(&model.Slice{Key: model.KeyOf("ns-0", "a"), Service: "absent"})
		pass(5 * time.Second)
		writes("after a change that no transfer would see", 1, 1)
		c.Pods.Put(&model.Pod{Key: model.KeyOf("ns-0", "a")})
		pass(5 * time.Second)
		writes("after a change of a Pod", 1, 1)
		c.Pods.Put(&model.Pod{Key: model.KeyOf("ns-0", "a")})
		pass(5 * time.Second)
		writes("after a change of a Pod that changes nothing for us", 0, 0)

		fatal.If(t, os.Remove(path))
		pass(dateEvery)
		confirm()
		pass(10 * time.Second)
		writes("after somebody has removed it", 1, 1)

		change(1000)
		s.Stop()
		writes("at the end, when something has changed", 1, 1)
		if got, want := readBack(t, path), c.facts(); !slices.Equal(got, want) {
			t.Errorf("the file has %d facts, want %d", len(got), len(want))
		}
		s.Stop()
		writes("at the end, when nothing has changed", 0, 0)

		shared.Store(true)
		change(1001)
		s.Stop()
		writes("at the end, when another plugin has the file", 0, 0)
	})
}

func TestSnapshotFaultsOfWriting(t *testing.T) { // not parallel: it reads counters and captures the log
	for _, row := range []struct {
		name          string
		harm, relieve func(t *testing.T, path string)
		gone          bool // the old file too
	}{
		{"the folder vanishes", func(t *testing.T, path string) { fatal.If(t, os.RemoveAll(filepath.Dir(path))) }, func(t *testing.T, path string) {
			fatal.If(t, os.Mkdir(filepath.Dir(path), 0o700))
		}, true},
		{"the folder becomes a file", func(t *testing.T, path string) {
			fatal.If(t, os.RemoveAll(filepath.Dir(path)))
			filetest.Write(t, filepath.Dir(path), "")
		}, func(t *testing.T, path string) {
			fatal.If(t, os.Remove(filepath.Dir(path)))
			fatal.If(t, os.Mkdir(filepath.Dir(path), 0o700))
		}, true},
		{"the file becomes a folder", func(t *testing.T, path string) {
			fatal.If(t, os.Remove(path))
			fatal.If(t, os.Mkdir(path, 0o700))
		}, func(t *testing.T, path string) { fatal.If(t, os.Remove(path)) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "snapshots")
			fatal.If(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "snapshot")
			checkWriteFault(t, path, func() { row.harm(t, path) }, func() { row.relieve(t, path) }, row.gone)
		})
	}
}

// checkWriteFault lets a plugin write a good snapshot, then fail to, and then write again.
func checkWriteFault(t *testing.T, path string, harm, relieve func(), gone bool) {
	t.Helper()
	c := smallKnowledge()
	k := newTestKeeper(path, c)
	generation := 0
	change := func() {
		generation++
		putNamespace(c, fmt.Sprint("changed-", generation))
	}
	k.keep()
	old := readBack(t, path)

	harm()
	successes, errors := snapshotWritten()
	log := logtest.Capture(t)
	for range 3 {
		change()
		k.keep()
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
	k.keep()
	if n, e := snapshotWritten(); n != successes+1 || e != errors+3 {
		t.Errorf("afterwards %d successes and %d errors, want 1 and no more", n-successes, e-errors-3)
	}
	if got, want := readBack(t, path), c.facts(); !slices.Equal(got, want) {
		t.Errorf("afterwards the file has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("afterwards there are %v, %v, want the snapshot alone", files, err)
	}
}

func TestSnapshotLeavesAndFollowsNoDrafts(t *testing.T) {
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "snapshot"), filepath.Join(t.TempDir(), "elsewhere")
	filetest.Write(t, elsewhere, []byte("precious"))
	for name, old := range map[string]bool{
		"snapshot.0123456789abcdef.new": true, // by somebody who was killed
		"snapshot.fedcba9876543210.new": false,
		"snapshot.backup.new":           true,
		"snapshots":                     true,
	} {
		filetest.Write(t, filepath.Join(dir, name), "")
		if old {
			setAge(t, filepath.Join(dir, name), time.Hour)
		}
	}
	k := newTestKeeper(path, smallKnowledge())
	if err := os.Symlink(elsewhere, k.draft); err != nil {
		t.Skip(err)
	}
	k.Load()
	k.Start()
	k.Stop()
	readBack(t, path)
	var names []string
	files, err := os.ReadDir(dir)
	fatal.If(t, err)
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"snapshot", "snapshot.backup.new", "snapshot.fedcba9876543210.new", "snapshots"}; !slices.Equal(names, want) {
		t.Errorf("afterwards there are %q, want %q", names, want)
	}
	if got := filetest.Read(t, elsewhere); string(got) != "precious" {
		t.Errorf("a link was followed, and %q written", got)
	}
	if stat, err := os.Lstat(path); err != nil || !stat.Mode().IsRegular() {
		t.Errorf("the snapshot is %v, %v", stat.Mode(), err)
	}
}

// snapshotFault is what may stand where a snapshot is expected.
type snapshotFault struct {
	name   string
	plant  func(t *testing.T, path string)
	logged string // in the log
	served bool
	stays  bool // it cannot be replaced
}

// writeSmall leaves at path the snapshot of smallKnowledge, as of age ago.
func writeSmall(t testing.TB, path string, age time.Duration) {
	t.Helper()
	fatal.If(t, smallKnowledge().freeze().write(path, path+".new", testHeader, time.Now().Add(-age)))
}

// edited returns a fault's plant that changes the good snapshot.
func edited(edit func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		writeSmall(t, path, 0)
		filetest.Write(t, path, edit(filetest.Read(t, path)))
	}
}

// aged returns a fault's plant of the good snapshot at an age.
func aged(age time.Duration) func(*testing.T, string) {
	return func(t *testing.T, path string) { writeSmall(t, path, age) }
}

func setAge(t testing.TB, path string, age time.Duration) {
	t.Helper()
	fatal.If(t, os.Chtimes(path, time.Now(), time.Now().Add(-age)))
}

func linkTo(target string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := os.Symlink(target, path); err != nil {
			t.Skip(err)
		}
	}
}

func content(text string) func(*testing.T, string) {
	return func(t *testing.T, path string) { filetest.Write(t, path, []byte(text)) }
}

// checkFaults starts with each fault, before anything is listed, looks at what is done and said,
// and then at what is written.
func checkFaults(t *testing.T, faults func() []snapshotFault) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot")
			f.plant(t, path)
			log := logtest.Capture(t)
			c := newKnowledge()
			k := newTestKeeper(path, c)
			k.Load()
			logged := log.String()
			if n := strings.Count(logged, "snapshot "+path+": "); n != 1 || !strings.Contains(logged, f.logged) {
				t.Errorf("%d lines of the log are about it, want one with %q:\n%s", n, f.logged, logged)
			}
			if k.Serves() != f.served {
				t.Errorf("it is served: %v, want %v", k.Serves(), f.served)
			}
			if f.served && !slices.Equal(c.facts(), smallKnowledge().facts()) {
				t.Errorf("it has\n%s", strings.Join(c.facts(), "\n"))
			}
			putNamespace(c, "listed")
			k.keep()
			next := newKnowledge()
			if err := next.readIf(path, anyHeaderAndTime); (err != nil) != f.stays || err == nil && !slices.Equal(next.facts(), c.facts()) {
				t.Errorf("the next process reads %v\n%s", err, strings.Join(next.facts(), "\n"))
			}
		})
	}
}

func TestSnapshotThatIsNoGoodIsReplaced(t *testing.T) { // not parallel: it captures the log
	elsewhere := t.TempDir()
	checkFaults(t, func() []snapshotFault {
		linked := filepath.Join(elsewhere, "linked")
		writeSmall(t, linked, 0)
		before := filetest.Read(t, linked)
		t.Cleanup(func() {
			if !bytes.Equal(filetest.Read(t, linked), before) {
				t.Error("a file was written through a link")
			}
		})
		return []snapshotFault{
			{"a good one", edited(func(b []byte) []byte { return b }), "answering from it", true, false},
			{"no file", func(*testing.T, string) {}, "there is none yet", false, false},
			{"an empty file", content(""), "not used: not a snapshot", false, false},
			{"the first line alone", content("headless snapshot\n"), "not used: damaged", false, false},
			{"a foreign file", content("hello\n"), "not used: not a snapshot", false, false},
			{"a truncated one", edited(func(b []byte) []byte { return b[:len(b)/2] }), "not used: damaged", false, false},
			{"a flipped bit", edited(func(b []byte) []byte { b[len(b)/2] ^= 4; return b }), "not used: damaged", false, false},
			{"a greater version", content(string(sealed(t, header{Version: version + 1}))), "not used: of version 4, not 3", false, false},
			{"malformed", content(string(sealed(t, testHeader, 1))), "not used", false, false},
			{"of another configuration", content(string(sealed(t, header{Version: version, Configuration: "other"}))), "not used: made with another configuration", false, false},
			{"too old", aged(24*time.Hour + time.Minute), "not used: last confirmed 24h1m0s ago, more than 24h0m0s", false, false},
			{"just not too old", aged(24*time.Hour - time.Minute), "answering from it", true, false},
			{"of a time to come", aged(-time.Hour), "not used: last confirmed in 1h0m0s", false, false},
			{"of a time just to come, after the clock was set", aged(-maxAhead / 2), "answering from it", true, false},
			{"a huge file", func(t *testing.T, path string) {
				content("headless snapshot\n")(t, path)
				if err := os.Truncate(path, maxSnapshot+1); err != nil {
					t.Skip(err)
				}
			}, "not used: not a regular file of at most", false, false},
			{"a folder", func(t *testing.T, path string) { fatal.If(t, os.Mkdir(path, 0o700)) }, "not used: ", false, true},
			{"no folder", func(t *testing.T, path string) { fatal.If(t, os.Remove(filepath.Dir(path))) }, "there is none yet", false, true},
			{"a link to a good one", linkTo(linked), "answering from it", true, false},
			{"a link to nothing", linkTo("nothing"), "there is none yet", false, false},
			{"a link to itself", linkTo("snapshot"), "not used: ", false, false},
		}
	})
}

// TestKeeperDatesOnlyWhatItWrote: of several processes that share a file, and of links, each vouches for its own content.
func TestKeeperDatesOnlyWhatItWrote(t *testing.T) {
	for _, row := range []struct {
		name string
		harm func(t *testing.T, path string)
	}{
		{"another process wrote what it knows, which is less", func(t *testing.T, path string) { newTestKeeper(path, newKnowledge()).keep() }},
		{"a link to another file", func(t *testing.T, path string) {
			fatal.If(t, os.Remove(path))
			writeSmall(t, path+".precious", 0)
			fatal.If(t, os.Symlink(path+".precious", path))
		}},
		{"nothing", func(t *testing.T, path string) { fatal.If(t, os.Remove(path)) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, c := filepath.Join(t.TempDir(), "snapshot"), newKnowledge()
			putNamespace(c, "known")
			k := newTestKeeper(path, c)
			now := time.Now()
			k.of.Confirmed = func() time.Time { return now }
			k.keep()
			row.harm(t, path)
			before, _ := os.Stat(path + ".precious") // only one row has it
			now = now.Add(2 * dateEvery)
			k.keep() // finds that the file is not its own
			k.keep() // and writes its own
			if got, want := readBack(t, path), c.facts(); !slices.Equal(got, want) || !modTime(t, path).Equal(now) {
				t.Errorf("the file has %q of %v, want %q of %v", got, modTime(t, path), want, now)
			}
			if stat, err := os.Lstat(path); err != nil || !stat.Mode().IsRegular() {
				t.Errorf("%v, %v: want a regular file", stat, err)
			}
			if before != nil && !modTime(t, path+".precious").Equal(before.ModTime()) {
				t.Error("what the link leads to has another time now")
			}
		})
	}
}

// TestSnapshotOfTheFutureIsNotServed: its age is not known.
func TestSnapshotOfTheFutureIsNotServed(t *testing.T) {
	for age, served := range map[time.Duration]bool{-20 * 365 * 24 * time.Hour: false, -2 * maxAhead: false, -maxAhead / 2: true, time.Hour: true} {
		path := filepath.Join(t.TempDir(), "snapshot")
		newTestKeeper(path, smallKnowledge()).keep()
		setAge(t, path, age)
		k := newTestKeeper(path, newKnowledge())
		if k.Load(); k.Serves() != served {
			t.Errorf("confirmed %v ago: served is %v, want %v", age, !served, served)
		}
	}
}

// TestSnapshotOfManySlices reads back a Service of more slices than the library takes by itself.
func TestSnapshotOfManySlices(t *testing.T) {
	const size = 131_073
	path, c := filepath.Join(t.TempDir(), "snapshot"), newKnowledge()
	for i := range size {
		c.Indexes[0].PutSlice(&model.Slice{Key: model.KeyOf("n", fmt.Sprint("s", i)), Service: "web"})
	}
	newTestKeeper(path, c).keep()
	k := newTestKeeper(path, newKnowledge())
	if k.Load(); !k.Serves() || k.of.Indexes[0].Counts().Slices != size {
		t.Errorf("%d slices are read back, want %d", k.of.Indexes[0].Counts().Slices, size)
	}
}

// TestNobodyWaitsForFiles: what is published is taken before anything is written, and comes back with its journal.
func TestNobodyWaitsForFiles(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "snapshot")
	journal := &Journal{Of: "x", Groups: [][]Serial{{{Number: 7, At: time.Unix(1e9, 0)}}}, Zones: map[string]Zone{
		"cluster.local.": {Apex: []string{"\x00\xff"}, Steps: []Step{{From: 6, Removed: []string{"\xc3\x28"}, Added: []string{}}}},
	}}
	k := newTestKeeper(path, newKnowledge())
	takes := 0
	k.of.Published = func(take func([]*index.Index) bool) *Journal {
		takes++
		if !take(smallKnowledge().Indexes) {
			return nil
		}
		if files, err := os.ReadDir(folder); err != nil || len(files) > 0 {
			t.Errorf("%v is being written, %v", files, err)
		}
		return journal
	}
	k.keep()
	other := newTestKeeper(path, newKnowledge())
	other.Load()
	got := other.Journal()
	if takes != 1 || !reflect.DeepEqual(got, journal) {
		t.Errorf("the journal is %+v, want %+v", got, journal)
	}
}

// TestJournalsOfOldForm: a snapshot is read without the journal that it has.
func TestJournalsOfOldForm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	old := map[string]any{"version": version, "journal": []byte(`{"Of":"x"}`)}
	fatal.If(t, os.WriteFile(path, sealed(t, old, "n", nil, nil, nil, nil), 0o600))
	k := newTestKeeper(path, newKnowledge())
	if k.Load(); !k.Serves() || k.Journal() != nil || !k.of.Indexes[0].HasNamespace("n") {
		t.Errorf("served: %v, with the journal %v", k.Serves(), k.Journal())
	}
}
