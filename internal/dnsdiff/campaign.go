package dnsdiff

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coredns-headless/headless/internal/output"
	"github.com/miekg/dns"
)

// campaign is one run of the program: rounds of all questions to both servers.
type campaign struct {
	*options
	log      *log.Logger
	source   *source
	old, new *server
	cluster  *cluster
	findings *findings
	started  time.Time
	rounds   int   // that are complete
	total    int   // questions of this round
	before   int   // questions of the rounds before it
	failed   error // why the campaign ended before its time; nil: it did not
}

func newCampaign(o *options, logger *log.Logger) *campaign {
	return &campaign{
		options: o, log: logger, old: newServer("old", o.old, o), new: newServer("new", o.new, o), findings: newFindings(o.examples),
	}
}

// patience is how long a server may know nothing of the cluster at the beginning, or say nothing later.
const patience = 30 * time.Second

// prepare finds out whether there is something to compare.
func (c *campaign) prepare(ctx context.Context) (err error) {
	if c.source, err = newSource(c.options); err != nil {
		return err
	}
	if err := c.read(ctx); err != nil {
		return err
	}
	if len(c.cluster.services) == 0 {
		return errors.New("there is no Service to ask for")
	}
	deadline := time.Now().Add(patience)
	for _, s := range []*server{c.old, c.new} {
		for _, zone := range c.zones {
			var errs []error
			for _, network := range c.networks {
				errs = append(errs, s.serves(ctx, network, zone.name, deadline))
			}
			if !slices.Contains(errs, nil) { // a server that fails over one of them is a finding
				return errs[0]
			}
		}
	}
	return nil
}

// read reads the cluster anew and says what is in it.
func (c *campaign) read(ctx context.Context) error {
	now, err := c.source.read(ctx)
	if err != nil {
		return err
	}
	c.cluster = now
	endpoints, imported := 0, 0
	for _, svc := range now.services {
		endpoints += len(svc.endpoints)
		if svc.imported {
			imported++
		}
	}
	parts := []string{output.Count(len(now.namespaces), "namespace"), output.Count(len(now.services)-imported, "Service"), output.Count(endpoints, "endpoint")}
	if imported > 0 {
		parts = append(parts, output.Count(imported, "ServiceImport"))
	}
	c.log.Print(strings.Join(parts, ", "))
	return nil
}

// errOver ends a campaign whose time is over.
var errOver = errors.New("the time was over before all names were asked for")

// grace is for how long after its -duration a campaign goes on to ask again: long enough for the last difference. Replies that are
// under way then are waited for.
func (c *campaign) grace() time.Duration { return time.Duration(c.again)*c.wait + 10*time.Second }

// run asks until all rounds are through, the time is over, or ctx ends.
func (c *campaign) run(ctx context.Context) {
	c.started = time.Now()
	defer c.old.close()
	defer c.new.close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	over := make(<-chan time.Time)
	if c.duration > 0 {
		over = time.After(c.duration)
		// Not a deadline of ctx: at one, a limiter gives up before ctx ends.
		end := time.AfterFunc(c.duration+c.grace(), func() { fail(errOver) })
		defer end.Stop()
	}
	for round := 0; (c.repeat == 0 || round < c.repeat) && ctx.Err() == nil; round++ {
		if round > 0 {
			if err := c.read(ctx); err != nil && ctx.Err() == nil {
				c.log.Printf("%v; asking for the names of the last round", err)
			}
		}
		g := c.generator(c.cluster, c.seed+uint64(round))
		c.before, _ = c.findings.count(different)
		c.total = 0
		for range g.questions() {
			c.total++
		}
		if !c.round(ctx, fail, g, over) {
			break
		}
		c.rounds++
	}
	switch why := context.Cause(ctx); {
	case why != nil && !errors.Is(why, errOver):
		c.failed = why
	case c.rounds == 0:
		c.failed = errOver
	}
}

// round asks all questions of g and reports whether it got through them.
func (c *campaign) round(ctx context.Context, fail context.CancelCauseFunc, g *generator, over <-chan time.Time) bool {
	questions := make(chan question)
	doubts := make(chan *result, 1000)
	var asking, doubting, watching sync.WaitGroup
	for range c.concurrency {
		asking.Go(func() {
			for q := range questions {
				c.take(ctx, fail, q, doubts)
			}
		})
		doubting.Go(func() {
			for r := range doubts {
				c.settle(ctx, r)
			}
		})
	}
	done := make(chan struct{})
	watching.Go(func() { c.showProgress(done) })

	complete := true
	for q := range g.questions() {
		select {
		case questions <- q:
			continue
		case <-over:
		case <-ctx.Done():
		}
		complete = false
		break
	}
	close(questions)
	asking.Wait()
	complete = complete && ctx.Err() == nil
	close(doubts)
	doubting.Wait()
	close(done)
	watching.Wait()
	return complete
}

// take asks one question. What differs unexpectedly goes to doubts.
func (c *campaign) take(ctx context.Context, fail context.CancelCauseFunc, q question, doubts chan<- *result) {
	r, err := c.ask(ctx, q)
	if err != nil {
		return // ctx has ended
	}
	for _, s := range []*server{c.old, c.new} {
		if s.isGone() {
			fail(fmt.Errorf("the %s server %s has not answered for %v", s.role, s.addr, patience))
		}
	}
	if len(r.unexpected()) == 0 || c.again == 0 || c.findings.believed(r) {
		c.findings.add(r, different)
		return
	}
	doubts <- r
}

// settle asks again what differed, a few times. A cluster changes, and one server hears of it a little earlier.
func (c *campaign) settle(ctx context.Context, r *result) {
	last := r
	for range c.again {
		err := sleep(ctx, c.wait)
		if err == nil {
			last, err = c.ask(ctx, r.question)
		}
		if err != nil {
			c.findings.add(r, unconfirmed)
			return
		}
		if len(last.unexpected()) == 0 {
			c.findings.add(r, transient)
			return
		}
	}
	// The cluster may have come to be another one since its names were made.
	if now, ok := c.anew(ctx, r.subject); ok {
		if again, err := c.ask(ctx, question{now, r.qtype}); err == nil {
			last = again
		}
	}
	c.findings.add(last, different)
}

// anew returns what a Service's name is now.
func (c *campaign) anew(ctx context.Context, sub subject) (subject, bool) {
	if sub.service == nil || sub.addr.IsValid() {
		return sub, false // who else has an address, one Service does not tell
	}
	now, err := c.source.service(ctx, sub.service.serviceKey)
	if err != nil || now == nil {
		return sub, false // then what is known already must do
	}
	return c.generator(now, c.seed).find(sub)
}

// generator returns what makes the names of a cluster.
func (c *campaign) generator(of *cluster, seed uint64) *generator {
	return &generator{cluster: of, zones: c.zones, headlessOnly: c.headlessOnly, zonal: c.zonal, seed: seed}
}

// ask asks both servers one question over all networks and compares the replies. An error means that ctx has ended.
func (c *campaign) ask(ctx context.Context, q question) (*result, error) {
	r := &result{question: q}
	replies := make(map[string][2]reply)
	get := func(network string) ([2]reply, error) {
		if both, ok := replies[network]; ok {
			return both, nil
		}
		var both [2]reply
		for i, s := range []*server{c.old, c.new} {
			both[i].msg, both[i].err = s.ask(ctx, network, q.name, q.qtype)
		}
		if ctx.Err() != nil {
			return both, ctx.Err()
		}
		replies[network] = both
		return both, nil
	}
	for _, network := range c.networks {
		both, err := get(network)
		if err != nil {
			return nil, err
		}
		old, fresh := both[0], both[1]
		if old.msg == nil || fresh.msg == nil {
			r.add(finding{cause: noReply(old, fresh) + " over " + network, old: old.summary(), new: fresh.summary()}, network, nil)
			continue
		}
		cmp := &comparison{
			question: q, network: network, old: old.msg, new: fresh.msg, zones: c.zones, bufsize: int(c.bufsize), ttl: c.ttl,
			confirms: func(name string, addr netip.Addr) bool { return c.oldConfirms(ctx, name, addr) },
		}
		if old.msg.Truncated || fresh.msg.Truncated {
			whole, err := get("tcp")
			if err != nil {
				return nil, err
			}
			cmp.newWhole = whole[1].msg
		}
		for _, d := range cmp.differences() {
			f := finding{cause: d.group(), old: old.summary(), new: fresh.summary()}
			if !c.strict {
				f.rule = cmp.allowed(d)
			}
			r.add(f, network, d.rr)
		}
	}
	return r, ctx.Err()
}

// noReply says which server does not reply.
func noReply(old, fresh reply) string {
	switch {
	case fresh.msg != nil:
		return "the old server does not reply"
	case old.msg != nil:
		return "the new server does not reply"
	}
	return "neither server replies"
}

// oldConfirms reports whether the old server says that a name has an address.
func (c *campaign) oldConfirms(ctx context.Context, name string, addr netip.Addr) bool {
	qtype := dns.TypeA
	if addr.Is6() {
		qtype = dns.TypeAAAA
	}
	m, err := c.old.ask(ctx, c.networks[len(c.networks)-1], name, qtype)
	return err == nil && slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return addressOf(rr) == addr })
}

// showProgress prints a line now and then, until done.
func (c *campaign) showProgress(done <-chan struct{}) {
	if c.progress == 0 {
		return
	}
	tick := time.NewTicker(c.progress)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		questions, differences := c.findings.count(different)
		_, passing := c.findings.count(transient)
		_, known := c.findings.count(deliberate)
		c.log.Printf("round %d, %d of %d questions, %d differences, %d deliberate, %d transient, %v",
			c.rounds+1, questions-c.before, c.total, differences, known, passing, time.Since(c.started).Round(time.Second))
	}
}
