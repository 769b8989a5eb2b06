package kube

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// measureRequests makes the client of rc measure its requests. client-go has a hook for that, but
// only one for a whole process, and the kubernetes plugin takes it.
func measureRequests(rc *rest.Config) error {
	server, _, err := rest.DefaultServerUrlFor(rc)
	if err != nil {
		return err
	}
	host := strings.ToValidUTF8(server.Host, "\uFFFD") // as a label has to be
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return meter{next, host} })
	limiter := flowcontrol.NewTokenBucketRateLimiter(cmp.Or(rc.QPS, rest.DefaultQPS),
		cmp.Or(rc.Burst, rest.DefaultBurst))
	rc.RateLimiter = measuredLimiter{limiter, host}
	return nil
}

// meter is a RoundTripper that counts requests and measures how long they take: a watch until it
// begins, any other until its answer has been read.
type meter struct {
	next http.RoundTripper
	host string
}

func (m meter) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	done := sync.OnceFunc(func() {
		requestDuration.WithLabelValues(r.Method, m.host).Observe(time.Since(began).Seconds())
	})
	resp, err := m.next.RoundTrip(r)
	if err != nil {
		done()
		requestsTotal.WithLabelValues("<error>", r.Method, m.host).Inc() // client-go's word
		return nil, err
	}
	requestsTotal.WithLabelValues(strconv.Itoa(resp.StatusCode), r.Method, m.host).Inc()
	if r.URL.Query().Get("watch") == "true" {
		done()
	} else {
		resp.Body = measuredBody{resp.Body, done}
	}
	return resp, nil
}

// measuredBody calls done when it is closed.
type measuredBody struct {
	io.ReadCloser
	done func()
}

func (b measuredBody) Close() error {
	b.done()
	return b.ReadCloser.Close()
}

// measuredLimiter is a RateLimiter that measures how long requests wait for it.
type measuredLimiter struct {
	flowcontrol.RateLimiter
	host string
}

// Wait implements flowcontrol.RateLimiter. It is not told the verb, but we only list and watch.
func (l measuredLimiter) Wait(ctx context.Context) error {
	began := time.Now()
	err := l.RateLimiter.Wait(ctx)
	limiterDuration.WithLabelValues(http.MethodGet, l.host).Observe(time.Since(began).Seconds())
	return err
}
