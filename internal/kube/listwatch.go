package kube

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// listWatch sends the requests of one reflector, which come one after the other. It spaces them,
// because the reflector itself does so after some failures only, and has the reflector resume a
// watch where that is possible.
type listWatch struct {
	resource string
	versions *versions
	tap      *tap
	labels   Selector
	fields   string // a field selector
	access   access

	failed  pace // requests, since one was answered
	watches pace // that began
	lists   pace // that were answered, or began to be streamed
	last    *countedWatch
	lost    bool   // the last watch broke off, and the server has not been asked since
	heard   func() // called when the server says that it has got to a version
	outage  outage
}

// newListWatch returns one that asks the API server of rc, by way of transport.
func newListWatch(resource string, rc *rest.Config, transport http.RoundTripper) (*listWatch, error) {
	l := &listWatch{
		resource: resource, tap: &tap{next: transport},
		failed: pace{backoff: requestBackoff}, watches: pace{backoff: requestBackoff},
		lists: pace{backoff: listBackoff},
	}
	for _, end := range WatchEnds {
		watchRestarts.WithLabelValues(resource, end) // it is there before one ends
	}
	var err error
	l.versions, err = newVersions(rc, l.tap, watched[resource].versions)
	return l, err
}

var (
	// requestBackoff lets a change be seen within 5 s of the API server's return. Meanwhile 20
	// replicas with 3 resources send it 20 requests a second.
	requestBackoff = wait.Backoff{
		Duration: 200 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 10,
		Cap: 2 * time.Second,
	}
	// listBackoff has the limit of a reflector's own: a list is much work, and it is lost when no
	// watch follows.
	listBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 1, Steps: 10, Cap: 30 * time.Second}
)

// Worthwhile is how long a watch has to tell of changes. The list before a shorter one was in vain.
const Worthwhile = 10 * time.Second

// maxResuming is how long a watch is asked for again before everything is listed: the server may be
// one that refuses watches.
const maxResuming = time.Minute

// list implements cache.ListWithContextFunc.
func (l *listWatch) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	isFirst := o.Continue == "" // the pages of a list follow at once
	if isFirst {
		l.ended()
		if err := waitFor(ctx, &l.failed, &l.lists); err != nil {
			return nil, err
		}
		l.versions.choose(ctx, watched[l.resource].path)
	}
	began := time.Now()
	list, err := l.request(o).Do(ctx).Get()
	if err == nil && !isList(list) {
		err = errNoList
	}
	switch {
	case err != nil:
		l.fail(ctx, "list", began, err)
	case isFirst:
		l.settle()
		l.failed.restart()
		l.lists.came(began, 0)
		l.watches.restart() // what follows a list is spaced as lists are
	}
	return list, err
}

var errNoList = errors.New("the reply is no list")

// isList reports whether list is one of an API server: all of these have a resource version. The
// client library takes null, and objects of other kinds, for an empty list.
func isList(list runtime.Object) bool {
	m, err := meta.ListAccessor(list)
	return err == nil && m.GetResourceVersion() != ""
}

// watch implements cache.WatchFuncWithContext. It asks again, as long as that may help: a reflector
// would list everything after most failures.
func (l *listWatch) watch(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
	l.ended()
	isList := o.SendInitialEvents != nil && *o.SendInitialEvents
	successes := &l.watches
	if isList {
		successes = &l.lists
	}
	for {
		if err := waitFor(ctx, &l.failed, successes); err != nil {
			return nil, err
		}
		l.versions.choose(ctx, watched[l.resource].path)
		began := time.Now()
		w, err := l.open(ctx, o)
		if err == nil {
			l.settle()
			l.failed.restart()
			successes.came(began, 0)
			l.outage.end(l.resource)
			l.last = w
			return w, nil
		}
		verb := "watch"
		if isList {
			verb = "list" // by way of a watch that begins with it
		}
		l.fail(ctx, verb, began, err)
		if isList || !ends[classify(err)].resumes || time.Since(l.outage.since) >= maxResuming {
			return nil, err
		}
	}
}

// ended notes that the last watch has ended: a reflector has one at a time, and asks for the next
// list or watch as soon as one is over. If it was worth its list, the next list begins a new
// row: it does not wait because of what was lost before.
func (l *listWatch) ended() {
	if l.last == nil {
		return
	}
	if since := l.last.since.Load(); since != nil && time.Since(*since) >= Worthwhile {
		l.lists.restart()
	}
	l.lost, l.last = l.last.lost.Load(), nil
}

// open opens a watch. One that is to go on after an outage, or after a watch that the server did not
// end, is opened only if the server has got to its version: after the restore of a backup it may not
// have. It takes the watch all the same, and says nothing of what changes until it has got there.
func (l *listWatch) open(ctx context.Context, o metav1.ListOptions) (*countedWatch, error) {
	if o.SendInitialEvents == nil && (l.lost || l.outage.isOn()) {
		err := l.request(metav1.ListOptions{
			ResourceVersion: o.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
			FieldSelector: noObject,
		}).Do(ctx).Error()
		if err != nil {
			return nil, err
		}
		l.lost = false
		l.heard()
	}
	o.Watch = true
	w, err := l.request(o).Watch(ctx)
	if l.tap.err != nil {
		err = l.tap.err
	}
	if err != nil {
		return nil, err
	}
	return newCountedWatch(ctx, w, l.tap.body, l.resource, o.SendInitialEvents != nil), nil
}

// countedWatch is a watch that counts why it ended, unless whoever has it stopped it.
type countedWatch struct {
	apiwatch.Interface
	events chan apiwatch.Event
	cancel context.CancelFunc
	since  atomic.Pointer[time.Time] // when it began to tell of changes; nil during the list before
	lost   atomic.Bool               // it broke off, or was given up because nothing came
}

// newCountedWatch returns one that passes on the events of w, a watch of resource that body brings,
// until ctx ends. isList says that it begins with a list.
func newCountedWatch(ctx context.Context, w apiwatch.Interface, body *tappedBody, resource string,
	isList bool,
) *countedWatch {
	c := &countedWatch{Interface: w, events: make(chan apiwatch.Event)}
	isCurrent := func() {
		now := time.Now()
		c.since.Store(&now)
	}
	if !isList {
		isCurrent()
	}
	ctx, c.cancel = context.WithCancel(ctx)
	over := func(why ending) { watchRestarts.WithLabelValues(resource, ends[why].metric).Inc() }
	go func() { // ends with w
		defer close(c.events)
		said := false // by the server, why it is over
		for e := range w.ResultChan() {
			switch {
			case e.Type == apiwatch.Error:
				said = true
				over(classify(apierrors.FromObject(e.Object)))
			case e.Type == apiwatch.Bookmark && endsList(e.Object):
				isCurrent()
			}
			select {
			case c.events <- e:
			case <-ctx.Done():
				return
			}
		}
		if said || ctx.Err() != nil {
			return
		}
		why := classify(body.err)
		c.lost.Store(why != closed)
		over(why)
	}()
	return c
}

// endsList reports whether bookmark is the one at the end of the list that a watch begins with.
func endsList(bookmark runtime.Object) bool {
	o, err := meta.Accessor(bookmark)
	return err == nil && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}

// ResultChan implements watch.Interface.
func (c *countedWatch) ResultChan() <-chan apiwatch.Event { return c.events }

// Stop implements watch.Interface.
func (c *countedWatch) Stop() {
	c.cancel()
	c.Interface.Stop()
}

// noObject is a field selector that no object matches, because no object can have such a name.
const noObject = "metadata.name=-"

// request returns a request for the resource.
func (l *listWatch) request(o metav1.ListOptions) *rest.Request {
	o.LabelSelector = l.labels.String()
	if o.FieldSelector == "" {
		o.FieldSelector = l.fields
	}
	return l.versions.client().Get().Resource(watched[l.resource].path).
		VersionedParams(&o, metav1.ParameterCodec).MaxRetries(0)
}

// fail notes the failure of a request. Some failures are not faults: a version that is not available, a
// server that does not stream lists, and the end of ctx.
func (l *listWatch) fail(ctx context.Context, verb string, began time.Time, err error) {
	why := classify(err)
	if ctx.Err() != nil || why == unsupported || why == expired {
		return
	}
	seconds, _ := apierrors.SuggestsClientDelay(err)
	l.failed.came(began, time.Duration(seconds)*time.Second)
	l.outage.failure(verb+" "+l.resource, why, err, l.advice(why))
	if why == absent {
		l.versions.miss()
	}
}

// settle notes that a list was answered, or a watch has begun.
func (l *listWatch) settle() {
	if doubt := l.versions.settle(); doubt != nil {
		l.outage.log.Warningf("%s are watched in %s, and the API server does not say whether it has a better version: %v",
			l.resource, l.versions.client().APIVersion(), withoutURL(doubt))
	}
}
