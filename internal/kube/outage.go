package kube

import (
	"errors"
	"net/url"
	"slices"
	"time"

	clog "github.com/coredns/coredns/plugin/pkg/log"
)

// outage is the time in which a resource cannot be listed or watched. It logs what goes wrong, each
// kind of failure once a minute at most.
type outage struct {
	log    clog.P
	since  time.Time            // of the first failure; zero: the resource is watched
	told   *Times               // where that is told to others; nil: nowhere
	logged [len(ends)]time.Time // by the ending, when it was logged last
}

// isOn reports whether there has been a failure since the resource was watched.
func (o *outage) isOn() bool { return !o.since.IsZero() }

// failure notes that act failed with err, which is a case of why. advice says what to do about it, or
// is "".
func (o *outage) failure(act string, why ending, err error, advice string) {
	now := time.Now()
	if !o.isOn() {
		o.begin(now)
	}
	if now.Sub(o.logged[why]) < time.Minute {
		return
	}
	o.logged[why] = now
	if advice != "" {
		advice = "; " + advice
	}
	o.log.Warningf("cannot %s: %v%s", act, withoutURL(err), advice)
}

// withoutURL returns err, or what it says of a URL.
func withoutURL(err error) error {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err
	}
	return err
}

// end notes that the resource is watched again.
func (o *outage) end(resource string) {
	wasLogged := func(at time.Time) bool { return !at.Before(o.since) }
	if o.isOn() && slices.ContainsFunc(o.logged[:], wasLogged) {
		o.log.Infof("watching %s again, after %v", resource, time.Since(o.since).Round(time.Second))
	}
	o.begin(time.Time{})
}

// begin notes that the outage began at a time. The zero time ends it.
func (o *outage) begin(since time.Time) {
	o.since = since
	if o.told == nil {
		return
	}
	o.told.Failing.Store(0)
	if !since.IsZero() {
		o.told.Failing.Store(since.UnixNano())
	}
}
