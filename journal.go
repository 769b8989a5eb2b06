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
	"github.com/coredns-headless/headless/internal/snapshot"
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
	numbers   *numbers                 // that the server gives
	extent    atomic.Pointer[extent]   // as of the last step; nil before there is any
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
	known []snapshot.Serial // from which a difference can be given, in order; the last is the current one
	isCut bool              // in the step that goes on: more differs than is kept
	// isKept says that a snapshot is what is known of the time before. Others may have been given since
	// it was written, if the process before was killed: so the next step gives a later one, whatever differs.
	isKept bool
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
	snapshot.Step
	octets int
}

// difference is what differs between a serial and the current one. Transfers from that serial share it.
type difference struct {
	zoneStep
	readers  int
	isLatest bool // it is in a zone's shared
}

// extent is how many octets the steps of a journal have, and when the oldest serial began that is known in every zone.
type extent struct {
	octets int
	since  time.Time
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
	return &journal{h: h, news: make(chan struct{}, 1), numbers: new(numbers), limits: journalLimits}
}

// serve makes j publish from its start on, with the numbers of a server, and notify the secondaries that t names.
func (j *journal) serve(t *transfer.Transfer, of *numbers) {
	j.serves, j.numbers, j.notify = true, of, newNotifier(t, j.h.zones)
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
		select {
		case <-ctx.Done():
			return
		case <-time.After(j.keepUp()):
		}
	}
}

// keepUp is advance for callers that do not have the lock. It returns how long there is nothing to do.
func (j *journal) keepUp() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.advance()
	return stepTime - time.Since(j.stepped)
}

// stepTime is the time between two steps.
const stepTime = time.Second

// advance publishes if that has not been done, or else takes a step if a second has passed since the last. The
// caller has the lock.
func (j *journal) advance() {
	switch {
	case j.isOver || !j.h.listing.IsKnown():
	case j.published.Load() == nil:
		j.publish(nil)
		j.announce()
	case j.isDue():
		j.step()
		j.announce()
	}
}

// isDue reports whether a step may be taken: when a second has passed since the last, and the time is later than the serials.
// That they are not ahead of it lets a process that starts anew come after those that it does not know. If the clock
// was set back, they wait for it no longer than a second.
func (j *journal) isDue() bool {
	isAhead := slices.ContainsFunc(j.copies, func(c *index.Published) bool {
		return int32(c.Serial()-uint32(time.Now().Unix())) >= 0 //nolint:gosec // RFC 1982
	})
	passed := time.Since(j.stepped)
	return passed >= 2*stepTime || passed >= stepTime && !isAhead
}

// publish begins to follow the indexes, with what is known of the serials before, or nil.
func (j *journal) publish(groups []group) {
	still := *j.h
	still.journal, still.tally = nil, new(tally) // which counts what clients get
	for g, x := range j.h.indexes() {
		p := x.Publish(j.news)
		if g == len(groups) {
			soa := j.numbers.next(j.zonesOf(g), p.Serial())
			groups = append(groups, group{known: []snapshot.Serial{{Number: soa, At: time.Now()}}})
		}
		p.GiveSerials(groups[g].current(), p.ExternalSerial())
		j.copies = append(j.copies, p)
	}
	j.groups = groups
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
	j.measure()
	j.published.Store(&still)
}

// current returns the serial that is current.
func (g *group) current() uint32 { return g.known[len(g.known)-1].Number }

// group returns the position of the group of a.
func (a *authority) group() int {
	if a.grammar == qname.Multicluster {
		return 1
	}
	return 0
}

// zonesOf returns the zones of a group.
func (j *journal) zonesOf(g int) (zones []string) {
	for i := range j.h.authorities {
		if a := &j.h.authorities[i]; a.group() == g {
			zones = append(zones, a.zone)
		}
	}
	return zones
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
		differ[i].isCut, differ[i].most = &j.groups[p.authorities[i].group()].isCut, j.limits.octets/2
	}
	externals := make([]uint32, len(j.copies))
	stepped := false
	for g, c := range j.copies {
		externals[g] = c.ExternalSerial()
		stepped = stepped || j.groups[g].isKept
		if g > 0 && !j.h.listing.IsSettled() {
			continue
		}
		if s := c.Next(); s != nil {
			stepped = true
			externals[g] = s.External
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
		j.close(g, externals[g], differ)
	}
	j.trim()
	j.measure()
	j.tell(func(zone int) bool { return !differ[zone].isEmpty() || *differ[zone].isCut })
	for g := range j.groups {
		j.groups[g].isCut, j.groups[g].isKept = false, false
	}
}

// take applies s to the copy of group g, and notes in differ the records that differ.
func (j *journal) take(g int, s *index.Step, differ []pending) {
	p, isCut := j.published.Load(), &j.groups[g].isCut
	var forward []int
	var reverse []lookup
	for i := range p.authorities {
		if a := &p.authorities[i]; a.group() == g && !isReverse(a.zone) {
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

// close ends the step of a group, with the serial of its index for external names.
func (j *journal) close(g int, external uint32, differ []pending) {
	p, group, c := j.published.Load(), &j.groups[g], j.copies[g]
	current := c.Serial()
	isChanged := group.isCut || group.isKept
	for i := range j.zones {
		isChanged = isChanged || p.authorities[i].group() == g && !differ[i].isEmpty()
	}
	if !isChanged {
		c.GiveSerials(current, external)
		return
	}
	soa := j.numbers.next(j.zonesOf(g), uint32(j.stepped.Unix())) //nolint:gosec // serial arithmetic wraps around
	c.GiveSerials(soa, external)
	if group.isCut {
		group.known = nil
	}
	group.known = append(group.known, snapshot.Serial{Number: soa, At: j.stepped})
	for i := range j.zones {
		z := &j.zones[i]
		if p.authorities[i].group() != g {
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
		if s.isEmpty() {
			continue
		}
		s.From, s.octets = current, s.cost()
		j.octets += s.octets
		z.steps = append(z.steps, s)
		if z.octets > 0 {
			z.octets += costOf(s.Added) - costOf(s.Removed)
		}
	}
}

// trim forgets the oldest steps, if there are too many or they are too old.
func (j *journal) trim() {
	p := j.published.Load()
	for {
		oldest := -1
		for g := range j.groups {
			if len(j.groups[g].known) > 1 && (oldest < 0 || j.groups[g].known[1].At.Before(j.groups[oldest].known[1].At)) {
				oldest = g
			}
		}
		// A serial is asked for until the next one has been current for that long.
		if oldest < 0 || j.octets <= j.limits.octets && j.stepped.Sub(j.groups[oldest].known[1].At) <= j.limits.time {
			return
		}
		gone := j.groups[oldest].known[0].Number
		j.groups[oldest].known = slices.Delete(j.groups[oldest].known, 0, 1)
		for i := range j.zones {
			z := &j.zones[i]
			if p.authorities[i].group() == oldest && len(z.steps) > 0 && z.steps[0].From == gone {
				j.octets -= z.steps[0].octets
				z.steps = slices.Delete(z.steps, 0, 1)
			}
		}
	}
}

// measure notes the extent of what is kept, for those who do not wait for the lock.
func (j *journal) measure() {
	e := extent{octets: j.octets}
	for _, g := range j.groups {
		if at := g.known[0].At; e.since.Before(at) {
			e.since = at
		}
	}
	j.extent.Store(&e)
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
	if !slices.ContainsFunc(j.groups[p.authorities[zone].group()].known, func(k snapshot.Serial) bool { return k.Number == serial }) {
		return nil
	}
	d := &difference{zoneStep: zoneStep{Step: snapshot.Step{From: serial}}, readers: 1, isLatest: true}
	net := make(map[string]int)
	for _, s := range z.steps {
		if int32(s.From-serial) < 0 { //nolint:gosec // RFC 1982
			continue
		}
		for _, r := range s.Removed {
			net[r]--
		}
		for _, r := range s.Added {
			net[r]++
		}
	}
	for r, n := range net {
		switch {
		case n < 0:
			d.Removed = append(d.Removed, r)
		case n > 0:
			d.Added = append(d.Added, r)
		}
	}
	d.octets = d.cost()
	if z.octets > 0 && d.octets > z.octets || j.lent+d.octets > j.limits.lent {
		return nil
	}
	j.lent += d.octets
	z.shared[serial] = d
	return d
}

// giveBack notes that a transfer of d is over.
func (j *journal) giveBack(d *difference) {
	if d.readers--; d.readers == 0 && !d.isLatest {
		j.lent -= d.octets
	}
}

// unshare notes that no further transfer gets d.
func (j *journal) unshare(d *difference) {
	if d.isLatest = false; d.readers == 0 {
		j.lent -= d.octets
	}
}

// isEmpty reports whether nothing differs.
func (s *zoneStep) isEmpty() bool { return len(s.Removed)+len(s.Added) == 0 }

// cost returns how many octets the records of s take.
func (s *zoneStep) cost() int { return costOf(s.Removed) + costOf(s.Added) }

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
			d.Added = append(d.Added, d.octetsOf(rr))
		}
	}
	if len(gone) == 0 {
		return
	}
	for _, rr := range before {
		if gone[rdataOf(rr)] {
			d.Removed = append(d.Removed, d.octetsOf(rr))
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
			d.Added = append(d.Added, r)
		}
	}
	d.Removed = slices.AppendSeq(d.Removed, maps.Keys(gone))
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
