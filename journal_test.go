package headless

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// transferred is what a zone transfer gave.
type transferred struct {
	serial  uint32
	whole   bool
	alone   bool // it is the SOA
	records []dns.RR
}

// transferOf returns what a requester with a serial gets of a zone.
func transferOf(t testing.TB, h *Headless, zone string, serial uint32) (got transferred) {
	t.Helper()
	ch, err := h.Transfer(zone, serial)
	fatal.If(t, err)
	for rrs := range ch {
		got.records = append(got.records, rrs...)
	}
	first, ok := got.records[0].(*dns.SOA)
	if !ok {
		t.Fatalf("%s from %d: begins with %v", zone, serial, got.records[0])
	}
	got.serial = first.Serial
	if len(got.records) == 1 {
		got.alone = true
		return got
	}
	if last := got.records[len(got.records)-1]; last.String() != first.String() {
		t.Fatalf("%s from %d: ends with %v, not with %v", zone, serial, last, first)
	}
	_, isDifference := got.records[1].(*dns.SOA)
	got.whole = !isDifference
	return got
}

// contentOf returns the records of a whole transfer, without the SOAs, as text.
func (got *transferred) content(t testing.TB) map[string]bool {
	t.Helper()
	content := make(map[string]bool)
	for _, rr := range got.records[1 : len(got.records)-1] {
		if content[rr.String()] {
			t.Fatalf("twice: %s", rr)
		}
		content[rr.String()] = true
	}
	return content
}

// apply does to content, of a serial, what a difference says, as a secondary does (RFC 1995 section 4).
func (got *transferred) apply(t testing.TB, serial uint32, content map[string]bool) {
	t.Helper()
	rrs := got.records[1:]
	soas := 0
	for _, rr := range rrs {
		if soa, ok := rr.(*dns.SOA); ok {
			if want := map[int]uint32{0: serial, 1: got.serial, 2: got.serial}[soas]; soa.Serial != want {
				t.Fatalf("SOA %d of a difference has the serial %d, want %d", soas, soa.Serial, want)
			}
			soas++
			continue
		}
		switch text := rr.String(); {
		case soas == 1 && !content[text]:
			t.Fatalf("from %d to %d: removed, and was not there: %s", serial, got.serial, text)
		case soas == 1:
			delete(content, text)
		case content[text]:
			t.Fatalf("from %d to %d: added, and was there: %s", serial, got.serial, text)
		default:
			content[text] = true
		}
	}
	if soas != 3 {
		t.Fatalf("a difference has %d SOAs behind the first, want 3", soas)
	}
}

// diff returns what is in one of two sets only.
func diff(got, want map[string]bool) (lines []string) {
	for text := range got {
		if !want[text] {
			lines = append(lines, "too much: "+text)
		}
	}
	for text := range want {
		if !got[text] {
			lines = append(lines, "missing: "+text)
		}
	}
	slices.Sort(lines)
	return lines
}

// randomSlice returns a slice, whose endpoints are of a cluster if that is not "".
func randomSlice(r *rand.Rand, cluster string) *model.Slice {
	s := modeltest.RandomSlice(r)
	for i := range s.Endpoints {
		if e := &s.Endpoints[i]; cluster != "" {
			e.Name = cmp.Or(e.Name, string(model.AppendDashed(nil, e.Addr))) + cluster
		} else if e.Name == "c" && r.IntN(2) == 0 {
			e.Name = strings.Repeat("c", 60)
		}
	}
	return s
}

// change alters x in a random way, and returns what it did.
func change(r *rand.Rand, x *index.Index, slicesOf map[model.Key]*model.Slice, cluster string) string {
	switch r.IntN(16) {
	case 0:
		name := modeltest.PickOne(r, modeltest.Universe.Namespaces)
		x.DropNamespace(model.Key{Name: name})
		return "drop namespace " + name
	case 1, 2:
		name := modeltest.PickOne(r, modeltest.Universe.Namespaces)
		x.PutNamespace(&model.Namespace{Key: model.Key{Name: name}})
		return "put namespace " + name
	case 3:
		key := modeltest.RandomKey(r, modeltest.Universe.Services)
		x.DropService(key)
		return fmt.Sprint("drop service ", key)
	case 4, 5:
		s := modeltest.RandomService(r)
		x.PutService(s)
		return fmt.Sprintf("put service %+v", *s)
	case 6:
		key := modeltest.RandomKey(r, modeltest.Universe.Slices)
		x.DropSlice(key)
		delete(slicesOf, key)
		return fmt.Sprint("drop slice ", key)
	case 7:
		var specs []*model.Slice
		clear(slicesOf)
		for range r.IntN(8) {
			if s := randomSlice(r, cluster); slicesOf[s.Key] == nil {
				slicesOf[s.Key] = s
				specs = append(specs, s)
			}
		}
		x.ReplaceSlices(slices.Values(specs))
		return fmt.Sprintf("replace slices by %d", len(specs))
	default:
		s := randomSlice(r, cluster)
		if keys := slices.SortedFunc(maps.Keys(slicesOf), model.Key.Compare); len(keys) > 0 && r.IntN(2) == 0 {
			changed := *slicesOf[modeltest.PickOne(r, keys)] // some ports or endpoints of one that is there
			if s = &changed; r.IntN(2) == 0 {
				s.Ports = modeltest.PickSome(r, modeltest.Universe.Ports)
			} else {
				s.Endpoints = modeltest.PickSome(r, s.Endpoints)
			}
		}
		x.PutSlice(s)
		slicesOf[s.Key] = s
		return fmt.Sprintf("put slice %+v", *s)
	}
}

// journalled returns a plugin with zones of all kinds, and empty indexes that a hold keeps things in.
func journalled(t testing.TB, options string, hold time.Duration) *Headless {
	t.Helper()
	long := strings.Repeat(strings.Repeat("l", 59)+".", 4) // so that some names are too long
	h := newTestHeadlessFrom(t, "headless cluster.local "+long+" in-addr.arpa 10.in-addr.arpa 1.0.0.10.in-addr.arpa ip6.arpa clusterset.local {\n"+
		"manifests testdata/cluster.yaml\nmulticluster clusterset.local\n"+options+"\n}")
	h.index, h.imports = index.New(h.hostnames, h.ignoreEmpty, hold), index.New(h.hostnames, h.ignoreEmpty, hold)
	h.local = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::2")}
	return h
}

// TestDifferencesLeadToTheZone changes indexes in random ways, and applies differences from old serials, as
// secondaries do: what they have then is the zone.
func TestDifferencesLeadToTheZone(t *testing.T) {
	differences, records := 0, 0
	for seed := range uint64(24) {
		bubble.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 19))
			hold := time.Duration(seed%3) * 2 * time.Second
			h := journalled(t, []string{
				"", "hostnames all", "endpoint_pod_names\nhostnames serving\nheadless_ttl 7", "ignore empty_service",
			}[seed%4], hold)
			own, imported := make(map[model.Key]*model.Slice), make(map[model.Key]*model.Slice)
			known := make(map[string]map[uint32]map[string]bool) // the zones' contents by their serials
			for i := range 40 {
				for range r.IntN(5) {
					if r.IntN(4) == 0 {
						change(r, h.imports, imported, ".c1")
					} else {
						change(r, h.index, own, "")
					}
				}
				wait := time.Duration(r.IntN(2000)) * time.Millisecond
				time.Sleep(wait)
				live := newMoment(h)
				for _, a := range h.authorities {
					if r.IntN(2) == 0 {
						continue
					}
					if known[a.zone] == nil {
						known[a.zone] = make(map[uint32]map[string]bool)
					}
					now := transferOf(t, h, a.zone, 0)
					content := now.content(t)
					if before := known[a.zone][now.serial]; before != nil && len(diff(content, before)) > 0 {
						t.Fatalf("seed %d, %d: %s: the serial %d has two contents:\n%s", seed, i, a.zone, now.serial, strings.Join(diff(content, before), "\n"))
					}
					if wrong := diff(content, live.content(&a)); wait >= stepTime && len(wrong) > 0 {
						t.Fatalf("seed %d, %d: %s: what is published is not what is answered:\n%s", seed, i, a.zone, strings.Join(wrong, "\n"))
					}
					serials := slices.Sorted(maps.Keys(known[a.zone]))
					known[a.zone][now.serial] = content
					if len(serials) == 0 {
						continue
					}
					from := modeltest.PickOne(r, serials)
					got := transferOf(t, h, a.zone, from)
					switch {
					case got.serial != now.serial:
						t.Fatalf("seed %d, %d: %s: serial %d, then %d", seed, i, a.zone, now.serial, got.serial)
					case got.alone != (from == now.serial):
						t.Fatalf("seed %d, %d: %s: at %d, from %d: the SOA alone: %v", seed, i, a.zone, now.serial, from, got.alone)
					case !got.alone && !got.whole:
						had := maps.Clone(known[a.zone][from])
						got.apply(t, from, had)
						if wrong := diff(had, content); len(wrong) > 0 {
							t.Fatalf("seed %d, %d: %s from %d to %d:\n%s", seed, i, a.zone, from, got.serial, strings.Join(wrong, "\n"))
						}
						differences++
						records += len(got.records)
					}
				}
			}
			synctest.Wait()
			h.journal.check(t)
			time.Sleep(2*hold + 2*momentTime) // timers end
		})
	}
	t.Logf("%d differences of %d records", differences, records)
	if differences < 500 {
		t.Errorf("%d transfers were differences, want at least 500", differences)
	}
}

// content returns the records of a zone at the moment, without the SOA, as text.
func (m *moment) content(a *authority) map[string]bool {
	content := make(map[string]bool)
	m.below(a, func(rrs []dns.RR) bool {
		for _, rr := range rrs {
			content[rr.String()] = true
		}
		return true
	})
	return content
}

// journalState is what a journal counts.
type journalState struct{ octets, lent, readers, moments int }

func (j *journal) state() journalState {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.moments.mu.Lock()
	defer j.moments.mu.Unlock()
	return journalState{j.octets, j.lent, j.readers, j.moments.kept}
}

// check holds what j counts against what it has, and returns that. Nobody reads.
func (j *journal) check(t testing.TB) journalState {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	octets, lent := 0, 0
	for _, z := range j.zones {
		for _, s := range z.steps {
			octets += s.cost()
		}
		for _, d := range z.shared {
			lent += d.octets
			if d.readers > 0 {
				t.Errorf("a difference has %d readers, want none", d.readers)
			}
		}
	}
	if octets != j.octets || lent != j.lent || j.readers != 0 {
		t.Errorf("it counts %d octets of steps, %d lent, %d readers; there are %d, %d and none", j.octets, j.lent, j.readers, octets, lent)
	}
	for _, x := range j.copies {
		if err := x.Check(); err != nil {
			t.Error(err)
		}
	}
	return journalState{octets: j.octets, lent: j.lent, readers: j.readers}
}

// TestJournalIsBounded: whatever the churn. What is larger is transferred as a whole.
func TestJournalIsBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newTestHeadless(t, "")
		h.index = podsIndex(110)
		j := h.journal
		j.limits.octets, j.limits.lent, j.limits.time = 60_000, 50_000, 20*time.Second
		first := transferOf(t, h, "cluster.local.", 0)
		flip := func(lo, hi int, state model.State) uint32 {
			s := modeltest.BigSlice(0, 100, model.Ready)
			for i := lo; i < hi; i++ {
				s.Endpoints[i].State = state
			}
			h.index.PutSlice(s)
			time.Sleep(stepTime)
			return transferOf(t, h, "cluster.local.", first.serial).serial
		}
		bounded := func() {
			t.Helper()
			if s := j.check(t); s.octets > j.limits.octets || s.lent > j.limits.lent {
				t.Fatalf("the journal has %d octets and lends %d, want %d and %d at most", s.octets, s.lent, j.limits.octets, j.limits.lent)
			}
		}
		last, whole := first.serial, 0
		for i := range 60 {
			before := last
			last = flip(0, 10, model.State(2*(i%2)))
			synctest.Wait()
			bounded()
			if got := transferOf(t, h, "cluster.local.", before); got.whole || got.alone {
				t.Fatalf("flip %d: from the serial before the records are all, or the SOA alone", i)
			}
			if transferOf(t, h, "cluster.local.", first.serial).whole {
				whole++
			}
		}
		if whole < 30 {
			t.Errorf("%d transfers from the first serial were whole, want those behind the time that is kept", whole)
		}
		now := flip(0, 100, model.NotReady) // which is more than half of the bound
		synctest.Wait()
		bounded()
		if got := transferOf(t, h, "cluster.local.", last); !got.whole || got.serial != now {
			t.Errorf("a step larger than what is kept was transferred as a difference")
		}
		before := now
		now = flip(1, 100, model.NotReady)
		if got := transferOf(t, h, "cluster.local.", before); got.whole || got.serial != now {
			t.Errorf("behind such a step the next was not transferred as a difference")
		}
		j.limits.time = time.Second
		time.Sleep(2 * time.Second)
		flip(2, 100, model.NotReady)
		if transferOf(t, h, "cluster.local.", before); len(j.groups[0].known) > 2 {
			t.Errorf("%d serials are known, some of which are older than is kept", len(j.groups[0].known))
		}
		time.Sleep(2 * momentTime)
	})
}

// TestDifferencesThatNobodyReads: they are few, and shared by those that begin at one serial.
func TestDifferencesThatNobodyReads(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newTestHeadless(t, "")
		h.index = podsIndex(100)
		j := h.journal
		j.limits.lent = 20_000
		first := transferOf(t, h, "cluster.local.", 0).serial
		for i := range 30 {
			s := modeltest.BigSlice(0, 100, model.Ready)
			for k := range s.Endpoints[:10] {
				s.Endpoints[k].State = model.State(2 * (i % 2))
			}
			h.index.PutSlice(s)
			time.Sleep(stepTime)
			synctest.Wait() // transfers that end now are over
			for range 2 {
				_, err := h.Transfer("cluster.local.", first+uint32(i))
				if s := j.state(); err != nil && s.readers < maxTransfers && s.moments < maxMoments {
					t.Fatal(err)
				}
			}
			if s := j.state(); s.lent > j.limits.lent {
				t.Fatalf("%d octets are lent, want %d at most", s.lent, j.limits.lent)
			}
		}
		time.Sleep(stallTime + momentTime)
		h.index.PutSlice(modeltest.BigSlice(0, 10, model.NotReady))
		transferOf(t, h, "cluster.local.", 0)
		synctest.Wait()
		if s := j.check(t); s.lent != 0 || s.readers != 0 {
			t.Errorf("%d octets are lent, and %d read, when nobody does", s.lent, s.readers)
		}
		time.Sleep(2 * momentTime)
	})
}

// TestNoTransfersNoJournal: without the transfer plugin in the chain nothing is published.
func TestNoTransfersNoJournal(t *testing.T) {
	s := kubetest.NewWebServer(t)
	h := watching(t, s)
	eventuallySays(t, h, "web-0.web A", "NOERROR 10.0.0.1")
	s.Put(kubetest.Slice("web-a", "web", "10.0.0.2", "web-0"))
	eventuallySays(t, h, "web-0.web A", "NOERROR 10.0.0.2")
	if j := h.journal; j.published.Load() != nil || j.copies != nil || len(j.news) > 0 {
		t.Error("something is published")
	}
}

// TestPartsInTransfers: a set is given up to transfer_limit, from its first member on, and every transfer has the
// same part.
func TestPartsInTransfers(t *testing.T) {
	h := newTestHeadless(t, "transfer_limit 7")
	h.index = podsIndex(100)
	sets := func() map[string][]string {
		sets := make(map[string][]string)
		for rr := range newMoment(h).content(h.authority("cluster.local.")) {
			fields := strings.Fields(rr)
			key := fields[0] + " " + fields[3]
			sets[key] = append(sets[key], rr)
		}
		return sets
	}
	first, again := sets(), sets()
	for key, records := range first {
		if len(records) > 7 {
			t.Errorf("%s: %d records, want 7 at most", key, len(records))
		}
		slices.Sort(records)
		slices.Sort(again[key])
		if !slices.Equal(records, again[key]) {
			t.Errorf("%s: %q, then %q", key, records, again[key])
		}
	}
	for _, key := range []string{"web.n.svc.cluster.local. A", "_http._tcp.web.n.svc.cluster.local. SRV", "web.n.svc.cluster.local. SRV"} {
		if len(first[key]) != 7 {
			t.Errorf("%s: %d records, want 7", key, len(first[key]))
		}
	}
}

// TestDifferencesAreSmall: a difference is as large as what changed, not as the zone, or the Service.
func TestDifferencesAreSmall(t *testing.T) {
	flip := func(x *index.Index, pods int) {
		flipped := modeltest.BigSlice(0, min(pods, 100), model.Ready)
		flipped.Endpoints[1].State = model.NotReady
		x.PutSlice(flipped)
	}
	leave := func(x *index.Index, _ int) { x.DropNamespace(model.Key{Name: "gone"}) }
	for _, c := range []struct {
		what       string
		pods, most int // records that the difference may have
		change     func(x *index.Index, pods int)
	}{
		{"one endpoint of 3 flips", 3, 20, flip},
		{"one endpoint of 100 flips", 100, 20, flip},
		{"one endpoint of 5,000 flips", 5000, 20, flip},
		{"a Namespace with 1,000 endpoints goes", 5000, 7 * 1000, leave}, // A three times, SRV four times
	} {
		bubble.Test(t, func(t *testing.T) {
			h := newTestHeadless(t, "")
			h.local = nil // so that the Service is not the DNS Service
			h.index = podsIndex(c.pods)
			h.index.PutNamespace(&model.Namespace{Key: model.Key{Name: "gone"}})
			h.index.PutService(&model.Service{Key: model.Key{Namespace: "gone", Name: "web"}, Kind: model.Headless})
			for lo := 0; lo < 1000; lo += 100 {
				slice := modeltest.BigSlice(lo, lo+100, model.Ready)
				slice.Namespace = "gone"
				h.index.PutSlice(slice)
			}
			before := transferOf(t, h, "cluster.local.", 0)
			c.change(h.index, c.pods)
			time.Sleep(stepTime)
			got := transferOf(t, h, "cluster.local.", before.serial)
			octets := 0
			for _, rr := range got.records {
				octets += dns.Len(rr)
			}
			n := len(got.records) - 4 // without SOA records
			t.Logf("%s: a difference of %d records and %d octets, of %d records in all", c.what, n, octets, len(before.records))
			if got.whole || n == 0 || n > c.most+10 {
				t.Errorf("%s: %d records, whole: %v; want a difference of about %d at most", c.what, n, got.whole, c.most)
			}
			time.Sleep(2 * momentTime)
		})
	}
}

// TestOneSerialIsOneContent: also where two plugins give serials of a zone at one time, as in a reload.
func TestOneSerialIsOneContent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		old, next := newTestHeadless(t, ""), newTestHeadless(t, "")
		next.journal.numbers = old.journal.numbers
		contents := make(map[uint32]map[string]bool)
		last := uint32(0)
		for i := range 20 {
			for _, h := range []*Headless{old, next} {
				h.index.PutService(&model.Service{
					Key:        model.Key{Namespace: "default", Name: fmt.Sprint("new-", i%3, h == old)},
					ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i)})},
				})
				got := transferOf(t, h, "cluster.local.", 0)
				if before := contents[got.serial]; before != nil && len(diff(before, got.content(t))) > 0 {
					t.Fatalf("%d: the serial %d has two contents", i, got.serial)
				}
				contents[got.serial] = got.content(t)
				last = max(last, got.serial)
			}
			time.Sleep(stepTime)
		}
		if now := uint32(time.Now().Unix()); last > now+2 || last < now-2 {
			t.Errorf("the serial is %d, and the time %d", last, now)
		}
		time.Sleep(2 * momentTime)
	})
}

// TestServersHaveNumbers: a reload goes on with those of the plugin before.
func TestServersHaveNumbers(t *testing.T) {
	stanza := func(options string) string {
		return "cluster.local:0 other.local:0 {\n" + bound + "transfer {\nto *\n}\nheadless {\nmanifests testdata/cluster.yaml\n" + options + "\n}\n}"
	}
	s := startServer(t, stanza(""))
	serial := func() uint32 {
		r := new(dns.Msg)
		r.SetAxfr("cluster.local.")
		soa, ok := s.exchange(t, "tcp", r).Answer[0].(*dns.SOA)
		if !ok {
			t.Fatal("no SOA")
		}
		return soa.Serial
	}
	for i := range 5 {
		before := serial()
		var err error
		s.instance, err = s.instance.Restart(corefile(stanza(fmt.Sprint("ttl ", i+1))))
		fatal.If(t, err)
		s.findPorts()
		if now := serial(); int32(now-before) <= 0 {
			t.Fatalf("reload %d: the serial went from %d to %d, with another time to live", i, before, now)
		}
	}
}

// TestWhatIsShownOfTheJournal: the page has the serial that is answered, and metrics wait for nobody who has the lock.
func TestWhatIsShownOfTheJournal(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newTestHeadless(t, "")
		transferOf(t, h, "cluster.local.", 0)
		time.Sleep(2 * stepTime)
		h.index.PutService(&model.Service{Key: model.Key{Namespace: "default", Name: "new"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.9.9")}})
		if got, want := h.status().Serial, h.serial(h.authority("cluster.local.")); got != want || got == h.index.Serial() {
			t.Errorf("the page has the serial %d, the SOA %d, and the index %d", got, want, h.index.Serial())
		}
		h.journal.mu.Lock()
		defer h.journal.mu.Unlock()
		seen := make(chan prometheus.Metric, 1000)
		newStateCollector(func() []*Headless { return []*Headless{h} }).Collect(seen)
		time.Sleep(2 * momentTime)
	})
}
