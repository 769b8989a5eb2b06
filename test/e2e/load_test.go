package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/oracle"
	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"
)

// contestant is one of the servers that are held against the model and each other.
type contestant struct {
	*coredns.Server
	name  string // in the report
	index int
	// judge returns nil if a reply is right by a model.
	judge func(*model, question, reply) error
	asker *asker // of the script

	tally atomic.Pointer[tally] // what is found now goes there

	wake    chan struct{}
	mu      sync.Mutex             // guards the fields below
	pending map[question]time.Time // when the answer changed that it was not seen to give yet
}

// contestants is how many there are.
const contestants = 3

// tally is what was found about a contestant during steps of one kind. The mutex of the contestant guards it.
type tally struct {
	checks, unanswered int
	denials            []denial
	staleness          []time.Duration
	cpu                time.Duration // belongs to the script
}

// denial is an answer that lacks what it should have, unless the subjects had ceased.
type denial struct {
	at       time.Time
	question question
	got      reply
	subjects []*subject // that it lacks
}

// wrong reports whether it denied a subject that goes on for a while: this process hears of the cluster on its own ways, and may
// do so later than the server.
func (d denial) wrong() bool {
	const margin = 3 * time.Second
	return slices.ContainsFunc(d.subjects, func(s *subject) bool {
		ceased := s.ceased.Load()
		return ceased == 0 || time.Unix(0, ceased).Sub(d.at) > margin
	})
}

func newContestant(t *testing.T, s *coredns.Server, name string, index int, judge func(*model, question, reply) error) *contestant {
	t.Helper()
	a, err := newAsker(t.Context(), s.Addr)
	fatal.If(t, err)
	t.Cleanup(a.close)
	c := &contestant{
		Server: s, name: name, index: index, judge: judge, asker: a,
		wake: make(chan struct{}, 1), pending: make(map[question]time.Time),
	}
	c.tally.Store(new(tally))
	return c
}

// changed is told that answers are other ones since some time. A few of them are followed.
func (c *contestant) changed(questions []question, since time.Time) {
	const atOnce, inAll = 20, 400
	c.mu.Lock()
	followed := 0
	for _, i := range rand.Perm(len(questions)) {
		q := questions[i]
		switch _, isPending := c.pending[q]; {
		case isPending:
			c.pending[q] = since
		case followed < atOnce && len(c.pending) < inAll:
			c.pending[q] = since
			followed++
		}
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// follow measures how long the server takes to give the answers that changed, until ctx ends.
func (c *contestant) follow(ctx context.Context, o *observer) error {
	a, err := newAsker(ctx, c.Addr)
	if err != nil {
		return err
	}
	defer a.close()
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return nil
		}
		for {
			c.mu.Lock()
			pending := maps.Clone(c.pending)
			c.mu.Unlock()
			if len(pending) == 0 {
				break
			}
			pause := c.look(a, o, pending)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// look asks for what is pending once. It returns for how long to wait before the next time: a twentieth of what the latest
// change has taken so far, so that it is known as exactly.
func (c *contestant) look(a *asker, o *observer, pending map[question]time.Time) time.Duration {
	questions := slices.Collect(maps.Keys(pending))
	replies := a.ask(questions)
	now := time.Now()
	m := o.current.Load()
	pause := 100 * time.Millisecond
	c.mu.Lock()
	defer c.mu.Unlock()
	tally := c.tally.Load()
	for i, q := range questions {
		since := c.pending[q]
		switch {
		case !since.Equal(pending[q]): // it changed again
			pause = 0
		case c.judge(m, q, replies[i]) == nil:
			tally.staleness = append(tally.staleness, now.Sub(since))
			delete(c.pending, q)
		default:
			pause = min(pause, now.Sub(since)/20)
		}
	}
	if len(c.pending) == 0 {
		pause = 0
	}
	return pause
}

// Kinds of questions about a subject.
const (
	byName = iota
	byAddress
	inService
	kinds
)

// load asks the server about the subjects, hundreds of times a second, until ctx ends.
func (c *contestant) load(ctx context.Context, o *observer) error {
	const (
		interval = 10 * time.Millisecond
		atOnce   = 16
	)
	return c.every(ctx, interval, func(a *asker) {
		subjects := make([]*subject, 0, atOnce)
		questions := make([]question, 0, atOnce)
		for i := range atOnce {
			s := o.pick()
			if s == nil {
				return
			}
			q := question{s.host, addrType(s)}
			if i%2 == byAddress {
				q = question{oracle.ReverseName(s.addr), dns.TypePTR}
			}
			subjects, questions = append(subjects, s), append(questions, q)
		}
		for i, r := range a.ask(questions) {
			want := subjects[i].addr.String()
			if i%2 == byAddress {
				want = subjects[i].host
			}
			var denied []*subject
			if !slices.Contains(r.rdata, want) {
				denied = subjects[i : i+1]
			} else {
				subjects[i].seen[c.index][i%2].Store(true)
			}
			c.check(questions[i], r, i%2, denied)
		}
	})
}

// loadServices asks the server for whole Services, until ctx ends.
func (c *contestant) loadServices(ctx context.Context, o *observer) error {
	const interval = 25 * time.Millisecond
	return c.every(ctx, interval, func(a *asker) {
		group := o.pickGroup()
		if len(group) == 0 {
			return
		}
		service := group[0].service
		q := question{service.Name + "." + service.Namespace + ".svc." + clusterZone, addrType(group[0])}
		r := a.askTCP(q)
		var denied []*subject
		for _, s := range group {
			if _, ok := slices.BinarySearch(r.rdata, s.addr.String()); ok {
				s.seen[c.index][inService].Store(true)
			} else {
				denied = append(denied, s)
			}
		}
		c.check(q, r, inService, denied)
	})
}

func (c *contestant) every(ctx context.Context, interval time.Duration, ask func(*asker)) error {
	a, err := newAsker(ctx, c.Addr)
	if err != nil {
		return err
	}
	defer a.close()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ask(a)
		case <-ctx.Done():
			return nil
		}
	}
}

// check counts an answer that lacks some subjects.
func (c *contestant) check(q question, r reply, kind int, lacks []*subject) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tally := c.tally.Load()
	tally.checks++
	if r.err != nil {
		tally.unanswered++
		return
	}
	var denied []*subject
	for _, s := range lacks {
		if s.seen[c.index][kind].Load() {
			denied = append(denied, s)
		}
	}
	if denied != nil {
		tally.denials = append(tally.denials, denial{at: time.Now(), question: q, got: r, subjects: denied})
	}
}

// pickGroup returns the pods of one family in one Service: as often those of the largest as others.
func (o *observer) pickGroup() []*subject {
	known := *o.known.Load()
	if len(known) == 0 {
		return nil
	}
	return known[rand.IntN(2)*rand.IntN(len(known))]
}

// pick returns one of these.
func (o *observer) pick() *subject {
	group := o.pickGroup()
	if group == nil {
		return nil
	}
	return group[rand.IntN(len(group))]
}

func addrType(s *subject) uint16 {
	if s.addr.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

func (d denial) String() string {
	return fmt.Sprintf("%s: %v lacks %d pods that were ready: got %s %s", d.at.Format("15:04:05.000"), d.question,
		len(d.subjects), dns.RcodeToString[d.got.rcode], short(d.got.rdata))
}
