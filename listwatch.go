package headless

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// listWatch sends the requests of one reflector, which come one after the other. It spaces them, for the reflector itself does
// so only after some failures, and makes it resume a watch where it can.
type listWatch struct {
	client rest.Interface
	path   string          // the resource as it stands in the URL
	labels labels.Selector // nil: no restriction
	fields string
	access access

	failed  pace // requests, since one was answered
	watches pace // that began
	lists   pace // that were answered, or began to be streamed
	last    *countedWatch
	silent  bool   // nothing came of the last watch, and the server has not been asked since
	heard   func() // called when the server says that it has got to a version
	report  report
}

var (
	// requestBackoff lets a change be seen within 5 s of the API server's return. Meanwhile 20 replicas with 3 resources send
	// it 20 requests a second.
	requestBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 10, Cap: 2 * time.Second}
	// listBackoff has the limit of a reflector's own: a list is much work, and it is lost when no watch follows.
	listBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 1, Steps: 10, Cap: 30 * time.Second}
)

// worthwhile is for how long a watch has to tell of changes for the list before it not to be lost.
const worthwhile = 10 * time.Second

// maxResuming is how long a watch is asked for again before everything is listed: the server may be one that refuses watches.
const maxResuming = time.Minute

// list implements cache.ListWithContextFunc.
func (l *listWatch) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	isFirst := o.Continue == "" // the pages of a list follow at once
	if isFirst {
		l.ended()
		if err := waitFor(ctx, &l.failed, &l.lists); err != nil {
			return nil, err
		}
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
		l.failed.restart()
		l.lists.came(began, 0)
		l.watches.restart() // what follows a list is spaced as lists are
	}
	return list, err
}

var errNoList = errors.New("the reply is no list")

// isList reports whether list is one of an API server: all of these have a resource version. The client library takes null, and
// objects of other kinds, for an empty list.
func isList(list runtime.Object) bool {
	m, err := meta.ListAccessor(list)
	return err == nil && m.GetResourceVersion() != ""
}

// watch implements cache.WatchFuncWithContext.
func (l *listWatch) watch(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
	l.ended()
	isList := o.SendInitialEvents != nil && *o.SendInitialEvents
	successes := &l.watches
	if isList {
		successes = &l.lists
	}
	if err := waitFor(ctx, &l.failed, successes); err != nil {
		return nil, err
	}
	began := time.Now()
	w, err := l.open(ctx, o)
	if err != nil {
		verb := "watch"
		if isList {
			verb = "list" // by way of a watch that begins with it
		}
		l.fail(ctx, verb, began, err)
		if !isList && isTransient(err) && time.Since(l.report.since) < maxResuming {
			err = apierrors.NewTooManyRequestsError(err.Error()) // what makes a reflector ask for the same watch again
		}
		return nil, err
	}
	l.failed.restart()
	successes.came(began, 0)
	l.report.success()
	l.last = w
	return w, nil
}

// ended takes in that the last watch has ended: a reflector has one at a time, and asks for the next list or watch as soon as it has
// none. If it was worth its list, the next list begins a new row: it does not wait because of what was lost before.
func (l *listWatch) ended() {
	if l.last == nil {
		return
	}
	if since := l.last.since.Load(); since != nil && time.Since(*since) >= worthwhile {
		l.lists.restart()
	}
	l.silent, l.last = l.last.silent.Load(), nil
}

// open opens a watch. One that is to go on after an outage, or where nothing came, is opened only if the server has got to its version:
// after the restore of a backup it may not have. It takes the watch all the same, and says nothing of what changes until it has got
// there.
func (l *listWatch) open(ctx context.Context, o metav1.ListOptions) (*countedWatch, error) {
	if o.SendInitialEvents == nil && (l.silent || !l.report.since.IsZero()) {
		err := l.request(metav1.ListOptions{
			ResourceVersion: o.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, FieldSelector: noObject,
		}).Do(ctx).Error()
		if err != nil {
			return nil, err
		}
		l.silent = false
		l.heard()
	}
	b := new(broken)
	o.Watch = true
	w, err := l.request(o).Watch(context.WithValue(ctx, brokenKey{}, b))
	if b.request != nil {
		err = b.request
	}
	if err != nil {
		return nil, err
	}
	return newCountedWatch(ctx, w, b, l.report.resource, o.SendInitialEvents != nil), nil
}

// watchEnd is what metrics call the reason why a watch has to begin again.
type watchEnd string

const (
	watchClosed  watchEnd = "closed"  // the server ended it, as it does after some minutes
	watchBroken  watchEnd = "broken"  // the connection broke
	watchSilent  watchEnd = "silent"  // nothing came for maxSilence, which need not mean that something is wrong
	watchExpired watchEnd = "expired" // the server has forgotten the version: everything is listed
	watchFailed  watchEnd = "error"   // the server sent an error, or what cannot be read
)

var watchEnds = []watchEnd{watchClosed, watchBroken, watchSilent, watchExpired, watchFailed}

// countedWatch is a watch that counts why it ended, unless whoever has it stopped it.
type countedWatch struct {
	apiwatch.Interface
	events chan apiwatch.Event
	cancel context.CancelFunc
	since  atomic.Pointer[time.Time] // when it began to tell of changes; nil: it is still at the list that it begins with
	silent atomic.Bool               // it was given up because nothing came
}

// newCountedWatch returns one that passes on the events of w, a watch of resource, until ctx ends. What breaks stands in b once
// there are no more of them. isList says that it begins with a list.
func newCountedWatch(ctx context.Context, w apiwatch.Interface, b *broken, resource string, isList bool) *countedWatch {
	c := &countedWatch{Interface: w, events: make(chan apiwatch.Event)}
	isCurrent := func() {
		now := time.Now()
		c.since.Store(&now)
	}
	if !isList {
		isCurrent()
	}
	ctx, c.cancel = context.WithCancel(ctx)
	count := func(end watchEnd) { watchRestarts.WithLabelValues(resource, string(end)).Inc() }
	go func() { // ends with w
		defer close(c.events)
		failed := false
		for e := range w.ResultChan() {
			switch {
			case e.Type == apiwatch.Error:
				failed = true
				count(endOf(apierrors.FromObject(e.Object)))
			case e.Type == apiwatch.Bookmark && endsList(e.Object):
				isCurrent()
			}
			select {
			case c.events <- e:
			case <-ctx.Done():
				return
			}
		}
		switch {
		case failed || ctx.Err() != nil:
		case errors.Is(b.answer, errSilent):
			c.silent.Store(true)
			count(watchSilent)
		case b.answer != nil:
			count(watchBroken)
		default:
			count(watchClosed)
		}
	}()
	return c
}

// endsList reports whether bookmark is the one at the end of the list that a watch begins with.
func endsList(bookmark runtime.Object) bool {
	o, err := meta.Accessor(bookmark)
	return err == nil && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}

// endOf returns why a watch ends at which the server sends err.
func endOf(err error) watchEnd {
	if isVersionUnavailable(err) {
		return watchExpired
	}
	return watchFailed
}

// ResultChan implements watch.Interface.
func (c *countedWatch) ResultChan() <-chan apiwatch.Event { return c.events }

// Stop implements watch.Interface.
func (c *countedWatch) Stop() {
	c.cancel()
	c.Interface.Stop()
}

// noObject is a field selector that no object matches, for it is no name.
const noObject = "metadata.name=-"

// request returns a request for the resource.
func (l *listWatch) request(o metav1.ListOptions) *rest.Request {
	if l.labels != nil {
		o.LabelSelector = l.labels.String()
	}
	if o.FieldSelector == "" {
		o.FieldSelector = l.fields
	}
	return l.client.Get().Resource(l.path).VersionedParams(&o, metav1.ParameterCodec).MaxRetries(0)
}

// fail takes in the failure of a request. Some are none for us: a version that is not available, a server that does not
// stream lists, and the end of ctx.
func (l *listWatch) fail(ctx context.Context, verb string, began time.Time, err error) {
	if ctx.Err() != nil || apierrors.IsInvalid(err) || isVersionUnavailable(err) {
		return
	}
	seconds, _ := apierrors.SuggestsClientDelay(err)
	l.failed.came(began, time.Duration(seconds)*time.Second)
	l.report.failure(verb, err, l.advice(err))
}

// isTransient reports whether the request for a watch that failed with err may succeed when it is sent again.
func isTransient(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return true // nothing came from the server
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	default:
		return code >= http.StatusInternalServerError && !isVersionUnavailable(err)
	}
}

// isVersionUnavailable reports whether err says that the server has forgotten the version that it was asked for, or has not
// got there yet, as after the restore of a backup.
func isVersionUnavailable(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// report logs what goes wrong with a resource, once a minute at most.
type report struct {
	resource string
	since    time.Time // of the first failure; zero: the resource is watched
	logged   time.Time
}

// failure reports err, and what to do about it unless advice is "".
func (r *report) failure(verb string, err error, advice string) {
	now := time.Now()
	if r.since.IsZero() {
		r.since = now
	}
	if now.Sub(r.logged) < time.Minute {
		return
	}
	r.logged = now
	if request := (*url.Error)(nil); errors.As(err, &request) {
		err = request.Err // without the URL
	}
	if advice != "" {
		advice = "; " + advice
	}
	log.Warningf("cannot %s %s: %v%s", verb, r.resource, err, advice)
}

// success reports that the resource is watched.
func (r *report) success() {
	if !r.since.IsZero() && !r.logged.Before(r.since) {
		log.Infof("watching %s again, after %v", r.resource, time.Since(r.since).Round(time.Second))
	}
	r.since = time.Time{}
}
