package headless

import (
	"context"
	"errors"
	"net/http"
	"net/url"
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

	failed  pace // requests
	watches pace // that began
	lists   pace // that were answered, or began to be streamed
	report  report
}

var (
	// requestBackoff lets a change be seen within 5 s of the API server's return. Meanwhile 20 replicas with 3 resources send
	// it 20 requests a second.
	requestBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 10, Cap: 2 * time.Second}
	// listBackoff has the limit of a reflector's own: a list is much work, and it is lost when no watch follows.
	listBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 1, Steps: 10, Cap: 30 * time.Second}
)

// maxResuming is how long a watch is asked for again before everything is listed: the server may be one that refuses watches.
const maxResuming = time.Minute

// list implements cache.ListWithContextFunc.
func (l *listWatch) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	isFirst := o.Continue == "" // the pages of a list follow at once
	if isFirst {
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
		l.lists.came(began, 0)
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
	isList := o.SendInitialEvents != nil && *o.SendInitialEvents
	successes := &l.watches
	if isList {
		successes = &l.lists
	}
	if err := waitFor(ctx, &l.failed, successes); err != nil {
		return nil, err
	}
	var broken error
	began := time.Now()
	o.Watch = true
	w, err := l.request(o).Watch(context.WithValue(ctx, brokenKey{}, &broken))
	if broken != nil {
		w, err = nil, broken
	}
	if err != nil {
		l.fail(ctx, "watch", began, err)
		if !isList && isTransient(err) && time.Since(l.report.since) < maxResuming {
			err = apierrors.NewTooManyRequestsError(err.Error()) // what makes a reflector ask for the same watch again
		}
		return nil, err
	}
	successes.came(began, 0)
	l.report.success()
	return w, nil
}

// request returns a request for the resource.
func (l *listWatch) request(o metav1.ListOptions) *rest.Request {
	if l.labels != nil {
		o.LabelSelector = l.labels.String()
	}
	o.FieldSelector = l.fields
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
	l.report.failure(verb, err)
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

// failure reports err.
func (r *report) failure(verb string, err error) {
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
	log.Warningf("cannot %s %s: %v", verb, r.resource, err)
}

// success reports that the resource is watched.
func (r *report) success() {
	if !r.since.IsZero() && !r.logged.Before(r.since) {
		log.Infof("watching %s again, after %v", r.resource, time.Since(r.since).Round(time.Second))
	}
	r.since = time.Time{}
}
