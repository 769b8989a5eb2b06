package headless

import (
	"errors"
	"fmt"
	"slices"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/snapshot"
	"github.com/miekg/dns"
)

// maxKept is how many octets of steps a snapshot keeps at most: it may be written every few seconds.
const maxKept = 1 << 20

// fingerprint returns what tells apart plugins that make different records of one content.
func (j *journal) fingerprint() string {
	cfg := j.h.config
	return fmt.Sprint(buildinfo.Get(), j.h.fingerprint(), cfg.zones, cfg.multicluster, cfg.hostnames, cfg.ignoreEmpty,
		cfg.ttl, cfg.headlessTTL, cfg.negativeTTL, cfg.soaRefresh, cfg.soaRetry, cfg.transferLimit)
}

// freeze calls take with the indexes that are published, which do not change meanwhile, or with none before there are any.
// If take returns true, it returns the journal that belongs to them.
func (j *journal) freeze(take func(published []*index.Index) bool) *snapshot.Journal {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.published.Load()
	if p == nil {
		take(nil)
		return nil
	}
	if !take(p.indexes()) {
		return nil
	}
	return j.kept(p)
}

// kept returns the newest of the steps. The caller has the lock; nobody alters what is returned.
func (j *journal) kept(p *Headless) *snapshot.Journal {
	kept := &snapshot.Journal{Of: j.fingerprint(), Zones: make(map[string]snapshot.Zone)}
	for g, group := range j.groups {
		costs := make(map[uint32]int) // of the steps from a serial
		for i := range j.zones {
			for _, s := range j.zones[i].steps {
				if p.authorities[i].group() == g {
					costs[s.From] += s.octets
				}
			}
		}
		first, left := len(group.known)-1, maxKept/len(j.groups)
		for first > 0 && costs[group.known[first-1].Number] <= left {
			first--
			left -= costs[group.known[first].Number]
		}
		kept.Groups = append(kept.Groups, slices.Clone(group.known[first:]))
	}
	for i := range j.zones {
		a := &p.authorities[i]
		z := snapshot.Zone{Apex: j.zones[i].apex}
		oldest := kept.Groups[a.group()][0].Number
		for _, s := range j.zones[i].steps {
			if int32(s.From-oldest) >= 0 { //nolint:gosec // RFC 1982
				z.Steps = append(z.Steps, s.Step)
			}
		}
		kept.Zones[a.zone] = z
	}
	return kept
}

// resume publishes what the indexes hold, from a snapshot, and goes on with the journal that it kept. An error says why
// it does not.
func (j *journal) resume(kept *snapshot.Journal) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case kept.Of != j.fingerprint():
		return errors.New("it is of another version, or configuration")
	case len(kept.Groups) != len(j.h.indexes()):
		return errors.New("it is of other indexes")
	}
	zones := make([]zoneJournal, len(j.h.authorities))
	total := 0
	for i := range zones {
		z, ok := kept.Zones[j.h.authorities[i].zone]
		if !ok {
			return errors.New("it is of other zones")
		}
		err := checkRecords(z.Apex)
		zones[i] = zoneJournal{apex: z.Apex, shared: make(map[uint32]*difference)}
		for _, k := range z.Steps {
			err = errors.Join(err, checkRecords(k.Removed), checkRecords(k.Added))
			s := zoneStep{Step: k}
			s.octets = s.cost()
			total += s.octets
			zones[i].steps = append(zones[i].steps, s)
		}
		if err != nil {
			return err
		}
	}
	groups := make([]group, len(kept.Groups))
	for g, known := range kept.Groups {
		if len(known) == 0 {
			return errors.New("it has no serial")
		}
		groups[g] = group{known: known, isKept: true}
		if last := groups[g].current(); j.numbers.next(j.zonesOf(g), last) != last {
			return errors.New("this server has given later serials")
		}
	}
	j.publish(groups)
	j.zones, j.octets = zones, total
	j.measure()
	return nil
}

// checkRecords returns an error unless each of records is one record in wire form.
func checkRecords(records []string) error {
	for _, r := range records {
		if _, end, err := dns.UnpackRR([]byte(r), 0); err != nil || end != len(r) {
			return fmt.Errorf("a record is malformed: %w", err)
		}
	}
	return nil
}
