package headless

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// journal publishes what a plugin holds, for zone transfers: in steps, at most one a second, each of which
// raises the serial of its zones if a record of one differs. It keeps what differed, so that a
// secondary server that knows a serial gets the difference (RFC 1995). Until somebody wants a transfer,
// or the transfer plugin is in the chain, it holds nothing.
type journal struct {
	h         *Headless
	news      chan struct{}            // something changed since the last step
	published atomic.Pointer[Headless] // what h answered at the last step; nil before there is any
	serves    bool                     // the transfer plugin is in the chain
	notify    *notifier                // nil without secondaries to notify
	end       context.CancelFunc       // of what start started; nil before
	running   sync.WaitGroup

	mu      sync.Mutex         // guards the fields below, and what is published
	copies  []*index.Published // of the indexes of h
	groups  []group            // the zones of each of these
	zones   []zoneJournal      // as the authorities of h
	stepped time.Time
	isOver  bool // no further step is taken: a snapshot may be of the last one
	octets  int  // of all steps of all zones
	lent    int  // octets of the differences that transfers have, and of those that the next one may get
	readers int  // transfers that go on
	limits  limits
	moments moments
}

// group is the zones of one index, which share a serial.
type group struct {
	known []knownSerial // from which a difference can be given, in order; the last is the current one
	isCut bool          // in the step that goes on: more differs than is kept
}

// knownSerial is a serial, and when it became current.
type knownSerial struct {
	number uint32
	at     time.Time
}

// zoneJournal is what is kept of a zone.
type zoneJournal struct {
	steps  []zoneStep // those in which it changed, in order
	apex   []string   // its records that are not of Services, as of the last step
	octets int        // of all its records; 0 while that is not known
	shared map[uint32]*difference
	isTold bool // that it is there, to its secondaries
}

// zoneStep is what differs between two serials: records in wire form.
type zoneStep struct {
	from           uint32
	removed, added []string
	octets         int
}

// difference is what differs between a serial and the current one. Transfers from that serial share it.
type difference struct {
	from, octets   int64
	removed, added []string
	readers        int
	isLatest       bool // it is in a zone's shared
}

// limits bound what a journal takes; they are less in tests.
type limits struct {
	octets int           // of the steps of all zones; the difference of one zone in a step has half as many at most
	time   time.Duration // that a step is kept
	lent   int           // octets of the differences that transfers read, all together
	names  int           // that are looked at for one Service, or addresses for one step: with more no difference is made
}

var journalLimits = limits{octets: 16 << 20, time: time.Hour, lent: 32 << 20, names: 200_000}

// recordCost is what a record takes beside its octets.
const recordCost = 32

func newJournal(h *Headless) *journal {
	return &journal{h: h, news: make(chan struct{}, 1), limits: journalLimits}
}

// serve makes j publish from its start on, and notify the secondaries that t names.
func (j *journal) serve(t *transfer.Transfer) {
	j.serves, j.notify = true, newNotifier(t, j.h.zones)
	if cfg := j.h.config; cfg.soaRefresh == 0 {
		cfg.soaRefresh, cfg.soaRetry = transferRefresh, transferRetry
	}
}

// start begins to publish, once the cluster is known, if transfers are to be served.
func (j *journal) start() {
	if !j.serves {
		return
	}
	var ctx context.Context
	ctx, j.end = context.WithCancel(context.Background())
	j.running.Go(func() { j.run(ctx) })
}

// stop returns when no further step is taken, and nobody is notified any more.
func (j *journal) stop() {
	if j.end == nil {
		return
	}
	j.end()
	j.running.Wait()
	j.mu.Lock()
	j.isOver = true
	j.mu.Unlock()
	if j.notify != nil {
		j.notify.stop()
	}
}

// run publishes and takes steps until ctx ends.
func (j *journal) run(ctx context.Context) {
	tick := time.NewTicker(stepTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C: // what has been listed by now may be published
		case <-j.news:
		}
		j.mu.Lock()
		j.advance()
		wait := stepTime - time.Since(j.stepped)
		j.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// stepTime is the time between two steps.
const stepTime = time.Second

// advance publishes if that has not been done, or else takes a step if a second has passed since the last. The
// caller has the lock.
func (j *journal) advance() {
	switch {
	case j.isOver || !j.h.listing.IsKnown():
	case j.published.Load() == nil:
		j.publish()
		j.announce()
	case time.Since(j.stepped) >= stepTime || time.Since(j.stepped) < 0:
		j.step()
		j.announce()
	}
}

// publish begins to follow the indexes.
func (j *journal) publish() {
	still := *j.h
	still.journal, still.tally = nil, new(tally) // which counts what clients get
	for g, x := range j.h.indexes() {
		for _, before := range running.all() { // as in a reload
			if old := before.journal.published.Load(); old != nil && before != j.h && len(old.indexes()) > g {
				x.Follow(old.indexes()[g].Serial(), old.indexes()[g].ExternalSerial())
			}
		}
		p := x.Publish(j.news)
		j.copies = append(j.copies, p)
		j.groups = append(j.groups, group{known: []knownSerial{{p.Serial(), time.Now()}}})
	}
	still.index = j.copies[0].Index
	if still.imports != nil {
		still.imports = j.copies[1].Index
	}
	j.zones = make([]zoneJournal, len(still.authorities))
	for i := range j.zones {
		j.zones[i].apex = still.apexOctets(&still.authorities[i])
		j.zones[i].shared = make(map[uint32]*difference)
	}
	j.stepped = time.Now()
	j.published.Store(&still)
}

// groupOf returns the group of a zone.
func (j *journal) groupOf(a *authority) int {
	if a.grammar == qname.Multicluster {
		return 1
	}
	return 0
}

// pending is what differs in a zone in the step that goes on.
type pending struct {
	zoneStep
	isCut *bool
	most  int
}

// step brings what is published up to what h holds now.
func (j *journal) step() {
	j.stepped = time.Now()
	p := j.published.Load()
	differ := make([]pending, len(j.zones))
	for i := range differ {
		differ[i].isCut, differ[i].most = &j.groups[j.groupOf(&p.authorities[i])].isCut, j.limits.octets/2
	}
	externals := make([]uint32, len(j.copies))
	soas := make([]uint32, len(j.copies))
	stepped := false
	for g, c := range j.copies {
		soas[g], externals[g] = c.Serial(), c.ExternalSerial()
		if g > 0 && !j.h.listing.IsSettled() {
			continue
		}
		if s := c.Next(); s != nil {
			stepped = true
			soas[g], externals[g] = s.SOA, s.External
			j.take(g, s, differ)
		}
	}
	if !stepped {
		return
	}
	for i := range j.zones {
		z := &j.zones[i]
		apex := p.apexOctets(&p.authorities[i])
		differ[i].addOctets(z.apex, apex)
		z.apex = apex
	}
	for g := range j.groups {
		j.close(g, soas[g], externals[g], differ)
	}
	j.trim()
	j.tell(func(zone int) bool {
		return len(differ[zone].removed)+len(differ[zone].added) > 0 || *differ[zone].isCut
	})
	for g := range j.groups {
		j.groups[g].isCut = false
	}
}

// take applies s to the copy of group g, and notes in differ the records that differ.
func (j *journal) take(g int, s *index.Step, differ []pending) {
	p, isCut := j.published.Load(), &j.groups[g].isCut
	var forward []int
	var reverse []lookup
	for i := range p.authorities {
		if a := &p.authorities[i]; j.groupOf(a) == g && !isReverse(a.zone) {
			forward = append(forward, i)
		}
	}
	if g == 0 {
		addrs := s.Addrs()
		*isCut = len(addrs) > j.limits.names
		for _, addr := range addrs {
			if *isCut {
				break
			}
			l := reverseLookup(addr)
			for l.zone = range p.authorities {
				if l.authority = &p.authorities[l.zone]; qname.InZone(l.name, l.authority.zone) {
					reverse = append(reverse, l)
				}
			}
		}
	}
	pointers := j.look(reverse)
	s.Apply(func(u *index.Unit) {
		if *isCut = *isCut || u.Size()*len(forward) > j.limits.names; *isCut {
			u.Take()
			return
		}
		var lookups []lookup
		for _, i := range forward {
			for l := range p.lookups(&p.authorities[i], u.Names(), nil) {
				l.zone = i
				lookups = append(lookups, l)
			}
		}
		var was [][]dns.RR
		if !u.Comes {
			was = j.look(lookups)
		}
		u.Take()
		j.compare(lookups, was, !u.Goes, differ)
	})
	j.compare(reverse, pointers, true, differ)
}

// look returns what is published for each of the lookups.
func (j *journal) look(lookups []lookup) [][]dns.RR {
	p, sets := j.published.Load(), make([][]dns.RR, len(lookups))
	for i := range lookups {
		sets[i] = lookups[i].records(p)
	}
	return sets
}

// compare notes in differ how was, if any, differs from what is published now, or from nothing.
func (j *journal) compare(lookups []lookup, was [][]dns.RR, is bool, differ []pending) {
	p := j.published.Load()
	for i := range lookups {
		var before, after []dns.RR
		if was != nil {
			before = was[i]
		}
		if is {
			after = lookups[i].records(p)
		}
		differ[lookups[i].zone].add(before, after)
	}
}

// close ends the step of a group, whose indexes have these serials.
func (j *journal) close(g int, soa, external uint32, differ []pending) {
	p, group, c := j.published.Load(), &j.groups[g], j.copies[g]
	current := c.Serial()
	isChanged := group.isCut
	for i := range j.zones {
		isChanged = isChanged || j.groupOf(&p.authorities[i]) == g && len(differ[i].removed)+len(differ[i].added) > 0
	}
	if !isChanged {
		c.GiveSerials(current, external)
		return
	}
	if soa == current { // what another index holds is in these zones, too
		soa = max(current+1, uint32(j.stepped.Unix())) //nolint:gosec // until 2106
		j.h.indexes()[g].Follow(soa-1, external-1)
	}
	c.GiveSerials(soa, external)
	if group.isCut {
		group.known = nil
	}
	group.known = append(group.known, knownSerial{soa, j.stepped})
	for i := range j.zones {
		z := &j.zones[i]
		if j.groupOf(&p.authorities[i]) != g {
			continue
		}
		for _, d := range z.shared {
			j.unshare(d)
		}
		clear(z.shared)
		if group.isCut {
			for _, s := range z.steps {
				j.octets -= s.octets
			}
			z.steps, z.octets = nil, 0
			continue
		}
		s := differ[i].zoneStep
		if len(s.removed)+len(s.added) == 0 {
			continue
		}
		s.from, s.octets = current, costOf(s.removed)+costOf(s.added)
		j.octets += s.octets
		z.steps = append(z.steps, s)
		if z.octets > 0 {
			z.octets += costOf(s.added) - costOf(s.removed)
		}
	}
}

// trim forgets the oldest steps, if there are too many or they are too old.
func (j *journal) trim() {
	p := j.published.Load()
	for {
		oldest := -1
		for g := range j.groups {
			if len(j.groups[g].known) > 1 && (oldest < 0 || j.groups[g].known[1].at.Before(j.groups[oldest].known[1].at)) {
				oldest = g
			}
		}
		// A serial is asked for until the next one has been current for that long.
		if oldest < 0 || j.octets <= j.limits.octets && j.stepped.Sub(j.groups[oldest].known[1].at) <= j.limits.time {
			return
		}
		gone := j.groups[oldest].known[0].number
		j.groups[oldest].known = slices.Delete(j.groups[oldest].known, 0, 1)
		for i := range j.zones {
			z := &j.zones[i]
			if j.groupOf(&p.authorities[i]) == oldest && len(z.steps) > 0 && z.steps[0].from == gone {
				j.octets -= z.steps[0].octets
				z.steps = slices.Delete(z.steps, 0, 1)
			}
		}
	}
}

// size returns how many octets the steps have, and when the oldest serial began that is known in every zone,
// the zero time if there is none.
func (j *journal) size() (octets int, since time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, g := range j.groups {
		if at := g.known[0].at; since.Before(at) {
			since = at
		}
	}
	return j.octets, since
}

// announce lets the secondaries know of the zones that can be transferred, once of each.
func (j *journal) announce() {
	j.tell(func(zone int) bool { return !j.zones[zone].isTold })
	for i := range j.zones {
		j.zones[i].isTold = j.zones[i].isTold || j.h.isSynced(&j.h.authorities[i])
	}
}

// tell lets the secondaries know that some zones have changed.
func (j *journal) tell(isChanged func(zone int) bool) {
	if j.notify == nil {
		return
	}
	for i := range j.h.authorities {
		if a := &j.h.authorities[i]; isChanged(i) && j.h.isSynced(a) {
			j.notify.changed(a.zone)
		}
	}
}

// borrow returns the difference between a serial and the current one of a zone, or nil if that is not
// known, is larger than the zone, or would be one too many. The caller has to give it back.
func (j *journal) borrow(zone int, serial uint32) *difference {
	p, z := j.published.Load(), &j.zones[zone]
	if serial == 0 { // of who wants the whole zone
		return nil
	}
	if d := z.shared[serial]; d != nil {
		d.readers++
		return d
	}
	if !slices.ContainsFunc(j.groups[j.groupOf(&p.authorities[zone])].known, func(k knownSerial) bool { return k.number == serial }) {
		return nil
	}
	d := &difference{from: int64(serial), readers: 1, isLatest: true}
	net := make(map[string]int)
	for _, s := range z.steps {
		if int32(s.from-serial) < 0 { //nolint:gosec // RFC 1982
			continue
		}
		for _, r := range s.removed {
			net[r]--
		}
		for _, r := range s.added {
			net[r]++
		}
	}
	for r, n := range net {
		switch {
		case n < 0:
			d.removed = append(d.removed, r)
		case n > 0:
			d.added = append(d.added, r)
		}
	}
	d.octets = int64(costOf(d.removed) + costOf(d.added))
	if z.octets > 0 && int(d.octets) > z.octets || j.lent+int(d.octets) > j.limits.lent {
		return nil
	}
	j.lent += int(d.octets)
	z.shared[serial] = d
	return d
}

// giveBack notes that a transfer of d is over.
func (j *journal) giveBack(d *difference) {
	if d.readers--; d.readers == 0 && !d.isLatest {
		j.lent -= int(d.octets)
	}
}

// unshare notes that no further transfer gets d.
func (j *journal) unshare(d *difference) {
	if d.isLatest = false; d.readers == 0 {
		j.lent -= int(d.octets)
	}
}

// costOf returns how many octets records take.
func costOf(records []string) int {
	n := 0
	for _, r := range records {
		n += len(r) + recordCost
	}
	return n
}

// rdata tells apart the records of one set, with their times to live.
type rdata struct {
	ttl          uint32
	weight, port uint16
	addr         [16]byte
	name         string
}

// rdataOf returns what is in a record of one of the types that Services have.
func rdataOf(rr dns.RR) rdata {
	d := rdata{ttl: rr.Header().Ttl}
	switch rr := rr.(type) {
	case *dns.A:
		copy(d.addr[:], rr.A)
	case *dns.AAAA:
		copy(d.addr[:], rr.AAAA)
	case *dns.SRV:
		d.weight, d.port, d.name = rr.Weight, rr.Port, rr.Target
	case *dns.CNAME:
		d.name = rr.Target
	case *dns.PTR:
		d.name = rr.Ptr
	}
	return d
}

// add notes how a set of records differs.
func (d *pending) add(before, after []dns.RR) {
	if len(before)+len(after) == 0 || *d.isCut {
		return
	}
	gone := make(map[rdata]bool, len(before))
	for _, rr := range before {
		gone[rdataOf(rr)] = true
	}
	for _, rr := range after {
		if key := rdataOf(rr); gone[key] {
			delete(gone, key)
		} else {
			d.added = append(d.added, d.octetsOf(rr))
		}
	}
	if len(gone) == 0 {
		return
	}
	for _, rr := range before {
		if gone[rdataOf(rr)] {
			d.removed = append(d.removed, d.octetsOf(rr))
		}
	}
}

// addOctets notes how records in wire form differ.
func (d *pending) addOctets(before, after []string) {
	if slices.Equal(before, after) {
		return
	}
	gone := make(map[string]bool, len(before))
	for _, r := range before {
		gone[r] = true
	}
	for _, r := range after {
		if gone[r] {
			delete(gone, r)
		} else {
			d.added = append(d.added, r)
		}
	}
	d.removed = slices.AppendSeq(d.removed, maps.Keys(gone))
}

// octetsOf returns a record in wire form, and counts it.
func (d *pending) octetsOf(rr dns.RR) string {
	r := wireOf(rr)
	if d.octets += len(r) + recordCost; d.octets > d.most {
		*d.isCut = true
	}
	return r
}

// wireOf returns a record in wire form.
func wireOf(rr dns.RR) string {
	var room [1024]byte // more than any record of ours has
	size, err := dns.PackRR(rr, room[:], 0, nil, false)
	if err != nil {
		log.Errorf("a record cannot be transferred: %s: %v", rr, err)
		return ""
	}
	return string(room[:size])
}

// recordOf is the inverse of wireOf.
func recordOf(octets string) dns.RR {
	rr, _, err := dns.UnpackRR([]byte(octets), 0)
	if err != nil {
		log.Errorf("a record cannot be transferred: %v", err)
		return nil
	}
	return rr
}
