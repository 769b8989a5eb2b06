package headless

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
)

// TestDifferencesGoOnAfterARestart: with a snapshot a secondary gets what changed since a serial that the process before gave,
// also what changed meanwhile; without one, or with another configuration, it gets the zone, with a later serial.
func TestDifferencesGoOnAfterARestart(t *testing.T) {
	const zone = "cluster.local."
	for _, c := range []struct {
		name, snapshot, after string // lines of both stanzas, and of the second
		whole                 bool
	}{
		{"with a snapshot", "snapshot FILE 1h 1h", "", false},
		{"with another time to live", "snapshot FILE 1h 1h", "ttl 7", true},
		{"without a snapshot", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "snapshot")
			s := kubetest.NewWebServer(t)
			run := func(lines string) *Headless {
				h := watcher(t, strings.ReplaceAll(c.snapshot, "FILE", file), lines, "endpoint "+s.URL)
				h.journal.serves = true
				h.start()
				kubetest.Eventually(t, "it publishes", func() bool { return h.listing.IsKnown() && h.journal.published.Load() != nil })
				return h
			}
			until := func(h *Headless, text string) transferred {
				var got transferred
				kubetest.Eventually(t, text+" is transferred", func() bool {
					got = transferOf(t, h, zone, 0)
					for record := range got.content(t) {
						if strings.Contains(record, text) {
							return true
						}
					}
					return false
				})
				return got
			}
			h := run("")
			first := until(h, "10.0.0.1")
			s.Put(kubetest.Service("second", "10.96.0.2"))
			second := until(h, "10.96.0.2")
			h.index.PutService(&model.Service{Key: model.Key{Namespace: "ns", Name: "lost"}}) // and is not published
			h.stop()

			s.Put(kubetest.Service("third", "10.96.0.3"))
			h = run(c.after)
			defer h.stop()
			third := until(h, "10.96.0.3")
			if int32(third.serial-second.serial) <= 0 {
				t.Errorf("the serial went from %d to %d", second.serial, third.serial)
			}
			for _, before := range []transferred{first, second} {
				got := transferOf(t, h, zone, before.serial)
				if got.whole != c.whole {
					t.Errorf("from %d to %d: the whole zone: %v, want %v", before.serial, got.serial, got.whole, c.whole)
				}
				if !got.whole {
					content := maps.Clone(before.content(t))
					got.apply(t, before.serial, content)
					if wrong := diff(content, third.content(t)); len(wrong) > 0 {
						t.Errorf("from %d to %d:\n%s", before.serial, got.serial, strings.Join(wrong, "\n"))
					}
				}
			}
		})
	}
}

// TestSerialsGrowAfterACrash: a snapshot may be older than what was published last. What is published next has a later
// serial, also if it is what the snapshot has.
func TestSerialsGrowAfterACrash(t *testing.T) {
	const zone = "cluster.local."
	file := filepath.Join(t.TempDir(), "snapshot")
	s := kubetest.NewWebServer(t)
	run := func() *Headless {
		h := watcher(t, "snapshot "+file+" 1h 1h", "endpoint "+s.URL)
		h.journal.serves = true
		h.start()
		kubetest.Eventually(t, "it publishes", func() bool { return h.listing.IsKnown() && h.journal.published.Load() != nil })
		return h
	}
	h := run()
	before := transferOf(t, h, zone, 0)
	h.stop()
	kept, err := os.ReadFile(file)
	fatal.If(t, err)

	h = run()
	s.Put(kubetest.Service("second", "10.96.0.2"))
	var lost transferred
	kubetest.Eventually(t, "a change is published", func() bool {
		lost = transferOf(t, h, zone, 0)
		return len(lost.records) > len(before.records)
	})
	h.stop()
	fatal.If(t, os.WriteFile(file, kept, 0o600)) // as if the process had been killed
	s.Delete(kubetest.Service("second", "10.96.0.2"))

	h = run()
	defer h.stop()
	kubetest.Eventually(t, "the serial grows", func() bool {
		return int32(h.serial(h.authority(zone))-lost.serial) > 0
	})
	got := transferOf(t, h, zone, lost.serial)
	if wrong := diff(got.content(t), before.content(t)); !got.whole || len(wrong) > 0 {
		t.Errorf("from a serial that is lost: the whole zone: %v, wrong: %q", got.whole, wrong)
	}
	got = transferOf(t, h, zone, before.serial)
	if content := before.content(t); got.whole {
		t.Error("from the serial in the snapshot: the whole zone")
	} else if got.apply(t, before.serial, content); len(diff(content, before.content(t))) > 0 {
		t.Error("from the serial in the snapshot: something differs")
	}
}
