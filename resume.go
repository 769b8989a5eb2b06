package headless

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/miekg/dns"
)

// keptJournal is what a snapshot keeps of a journal, beside what is published.
type keptJournal struct {
	Of     string // what shapes the records, see journal.fingerprint
	Groups [][]keptSerial
	Zones  map[string]keptZone
}

type (
	keptSerial struct {
		Number uint32
		At     time.Time
	}
	keptZone struct {
		Apex  [][]byte
		Steps []keptStep
	}
	keptStep struct {
		From           uint32
		Removed, Added [][]byte
	}
)

// maxKept is how many octets of steps a snapshot keeps at most: it may be written every few seconds.
const maxKept = 1 << 20

// fingerprint returns what tells apart plugins that make different records of one content.
func (j *journal) fingerprint() string {
	cfg := j.h.config
	return fmt.Sprint(buildinfo.Get(), j.h.fingerprint(), cfg.zones, cfg.multicluster, cfg.hostnames, cfg.ignoreEmpty,
		cfg.ttl, cfg.headlessTTL, cfg.negativeTTL, cfg.soaRefresh, cfg.soaRetry, cfg.transferLimit)
}

// held returns what is published, and what encodes the journal of it, or nothing before there is any. Neither changes
// until release is called.
func (j *journal) held() (indexes []*index.Index, encode func() []byte, release func()) {
	j.mu.Lock()
	if p := j.published.Load(); p != nil {
		return p.indexes(), j.encode, j.mu.Unlock
	}
	return nil, nil, j.mu.Unlock
}

// encode returns the newest of the steps. The caller has the lock.
func (j *journal) encode() []byte {
	p := j.published.Load()
	kept := keptJournal{Of: j.fingerprint(), Zones: make(map[string]keptZone)}
	for g, group := range j.groups {
		costs := make(map[uint32]int) // of the steps from a serial
		for i := range j.zones {
			for _, s := range j.zones[i].steps {
				if j.groupOf(&p.authorities[i]) == g {
					costs[s.from] += s.octets
				}
			}
		}
		first, left := len(group.known)-1, maxKept/len(j.groups)
		for first > 0 && costs[group.known[first-1].number] <= left {
			first--
			left -= costs[group.known[first].number]
		}
		var serials []keptSerial
		for _, k := range group.known[first:] {
			serials = append(serials, keptSerial{k.number, k.at})
		}
		kept.Groups = append(kept.Groups, serials)
	}
	for i := range j.zones {
		a := &p.authorities[i]
		z := keptZone{Apex: octetsOf(j.zones[i].apex)}
		oldest := kept.Groups[j.groupOf(a)][0].Number
		for _, s := range j.zones[i].steps {
			if int32(s.from-oldest) >= 0 { //nolint:gosec // RFC 1982
				z.Steps = append(z.Steps, keptStep{s.from, octetsOf(s.removed), octetsOf(s.added)})
			}
		}
		kept.Zones[a.zone] = z
	}
	octets, err := json.Marshal(kept)
	if err != nil {
		log.Errorf("the journal of zone transfers is not kept: %v", err)
	}
	return octets
}

// resume publishes what the indexes hold, from a snapshot, and goes on with the journal that it kept. An error says why
// it does not.
func (j *journal) resume(octets []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var kept keptJournal
	if err := json.Unmarshal(octets, &kept); err != nil {
		return err
	}
	if kept.Of != j.fingerprint() {
		return errors.New("it is of another version, or configuration")
	}
	if len(kept.Groups) != len(j.h.indexes()) {
		return errors.New("it is of other indexes")
	}
	var groups []group
	for _, serials := range kept.Groups {
		var g group
		for _, k := range serials {
			g.known = append(g.known, knownSerial{k.Number, k.At})
		}
		if len(g.known) == 0 {
			return errors.New("it has no serial")
		}
		groups = append(groups, g)
	}
	zones := make([]zoneJournal, len(j.h.authorities))
	total := 0
	for i := range zones {
		z, ok := kept.Zones[j.h.authorities[i].zone]
		if !ok {
			return errors.New("it is of other zones")
		}
		var err error
		texts := func(octets [][]byte) []string {
			list, wrong := textsOfRecords(octets)
			err = errors.Join(err, wrong)
			return list
		}
		zones[i] = zoneJournal{apex: texts(z.Apex), shared: make(map[uint32]*difference)}
		for _, k := range z.Steps {
			s := zoneStep{from: k.From, removed: texts(k.Removed), added: texts(k.Added)}
			s.octets = costOf(s.removed) + costOf(s.added)
			total += s.octets
			zones[i].steps = append(zones[i].steps, s)
		}
		if err != nil {
			return err
		}
	}
	j.publish()
	j.groups, j.zones, j.octets = groups, zones, total
	for g, c := range j.copies {
		known := groups[g].known
		c.GiveSerials(known[len(known)-1].number, c.ExternalSerial())
	}
	j.stepped = time.Time{} // what has been listed is a step as soon as it is known
	return nil
}

// octetsOf and textsOfRecords turn records in wire form into octets and back.
func octetsOf(records []string) [][]byte {
	octets := make([][]byte, len(records))
	for i, r := range records {
		octets[i] = []byte(r)
	}
	return octets
}

func textsOfRecords(octets [][]byte) ([]string, error) {
	records := make([]string, len(octets))
	for i, o := range octets {
		if _, end, err := dns.UnpackRR(o, 0); err != nil || end != len(o) {
			return nil, fmt.Errorf("a record is malformed: %w", err)
		}
		records[i] = string(o)
	}
	return records, nil
}
