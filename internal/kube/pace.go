package kube

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// pace spaces events: the more of them come in a row, the longer it makes each wait, up to a limit.
// A new row begins when an event could have come for a minute, and did not.
type pace struct {
	backoff wait.Backoff  // of a new row
	rest    *wait.Backoff // of the present one
	next    time.Time     // when the next event may come
}

const calm = time.Minute

// waitFor waits until the next event may come at each of paces. It returns an error when ctx ends before.
func waitFor(ctx context.Context, paces ...*pace) error {
	for _, p := range paces {
		timer := time.NewTimer(time.Until(p.next))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return ctx.Err()
}

// came notes that an event came at a time. The next may not come sooner than delay from now, a
// little more for some.
func (p *pace) came(at time.Time, delay time.Duration) {
	if p.rest == nil || at.Sub(p.next) > calm {
		backoff := p.backoff
		p.rest = &backoff
	}
	p.next = at.Add(p.rest.Step())
	if asked := time.Now().Add(wait.Jitter(delay, 0.5)); delay > 0 && asked.After(p.next) {
		p.next = asked
	}
}

// restart begins a new row: the next event may come at once.
func (p *pace) restart() { *p = pace{backoff: p.backoff} }
