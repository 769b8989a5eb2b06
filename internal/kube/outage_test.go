package kube_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"
)

// The tests of this file run in bubbles of synctest, where hours are over at once. They are not parallel: under the race detector all
// bubbles share a processor, and what it does takes the longer the more goroutines there are.

// runInBubble runs f as a subtest in a bubble.
func runInBubble(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { bubble.Test(t, f) })
}

// soon is how long after an outage a change may go unseen.
const soon = 5 * time.Second

// mostRequests and mostLists are how many requests for a resource the back-offs permit in d: after the first one there are
// pauses of at least 0.2, 0.4, 0.8, 1.6, 2, 2 … seconds for requests, and of 1, 2, 4, 8, 16, 30, 30 … seconds for lists.
func mostRequests(d time.Duration) int { return 5 + int(d/(2*time.Second)) }
func mostLists(d time.Duration) int    { return 6 + int(d/(30*time.Second)) }

// idle lets time pass in which the API server sends its bookmarks.
func idle(s *kubetest.Server, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Minute, time.Until(end)))
		for _, resource := range everyResource {
			s.Bookmark(resource)
		}
		synctest.Wait()
	}
}

// putAll changes an object of each resource.
func putAll(s *kubetest.Server, address string) {
	s.Put(kubetest.Namespace("event"), kubetest.Service("event", "None"), kubetest.Slice("event", "event", address, "event-0"))
}

// untilSeen waits until c has the slice that putAll puts with an address, while it has what stays, and returns how long that took.
// The test fails after limit.
func untilSeen(t *testing.T, c *cluster, address string, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for want := "event http:80 event-0 " + address; c.has("endpointslices ns/event") != want; {
		if time.Since(began) > limit {
			t.Fatalf("got %s after %v, want %s", c.has("endpointslices ns/event"), limit, want)
		}
		checkWeb(t, c)
		time.Sleep(limit / 100)
	}
	return time.Since(began)
}

// over returns the options of a Server that watches over n.
func over(n *kubetest.Network) *kube.Options {
	return &kube.Options{Kubeconfig: n.Kubeconfig, Dial: n.Dial}
}

// forms are the two ways in which a network is used.
var forms = map[bool]string{false: "HTTP/1.1", true: "TLS and HTTP/2"}

func TestOutageIsNotNoticedByQueries(t *testing.T) {
	answering := func(answer func(http.ResponseWriter, *http.Request)) func(*kubetest.Network, *kubetest.Server) {
		return func(_ *kubetest.Network, s *kubetest.Server) {
			s.Intercept(func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { answer(w, r) })
			s.End()
		}
	}
	status := func(code int) func(*kubetest.Network, *kubetest.Server) {
		return answering(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, http.StatusText(code), code) })
	}
	const retryAfter = 7 * time.Second
	retry := func(code int) func(*kubetest.Network, *kubetest.Server) {
		return answering(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
			http.Error(w, http.StatusText(code), code)
		})
	}
	broken := func(f kubetest.Fault) func(*kubetest.Network, *kubetest.Server) {
		return func(n *kubetest.Network, _ *kubetest.Server) { n.Set(f) }
	}
	hang := answering(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	nothing := func(*kubetest.Server) {}
	restored := func(s *kubetest.Server) { s.Restore(50) }
	const short, long, hour = 50 * time.Second, 10 * time.Minute, time.Hour // in an hour without pauses there are thousands of requests
	for _, tt := range []struct {
		name  string
		begin func(*kubetest.Network, *kubetest.Server)
		lasts time.Duration
		last  func(*kubetest.Server) // before the end
		syncs int                    // of each resource, from the start on
		after time.Duration          // the end, in which a change is seen
	}{
		{"connections are refused", broken(kubetest.Refusing), long, nothing, 1, soon},
		{"connections are refused and the versions expire", broken(kubetest.Refusing), long, (*kubetest.Server).Compact, 2, soon},
		{"connections are refused and a backup is restored", broken(kubetest.Refusing), long, restored, 2, soon},
		{"connections are cut as a backup is restored", func(_ *kubetest.Network, s *kubetest.Server) {
			restored(s)
			s.Cut() // no request fails
		}, 0, nothing, 2, soon},
		{"connections are reset, for a short time", broken(kubetest.Resetting), short, nothing, 1, soon},
		{"connections are reset", broken(kubetest.Resetting), long, nothing, 2, soon},
		{"packets are lost", broken(kubetest.Losing), long, nothing, 2, soon},
		{"401", status(http.StatusUnauthorized), short, nothing, 1, soon},
		{"403", status(http.StatusForbidden), long, nothing, 2, soon},
		{"429", status(http.StatusTooManyRequests), long, nothing, 1, soon},
		{"429 with Retry-After", retry(http.StatusTooManyRequests), long, nothing, 1, 2 * retryAfter},
		{"500 and the versions expire", status(http.StatusInternalServerError), long, (*kubetest.Server).Compact, 2, soon},
		{"503, for a short time", status(http.StatusServiceUnavailable), short, nothing, 1, soon},
		{"503", status(http.StatusServiceUnavailable), long, nothing, 2, soon},
		{"503 with Retry-After", retry(http.StatusServiceUnavailable), hour, nothing, 2, 2 * retryAfter},
		{"504", status(http.StatusGatewayTimeout), long, nothing, 2, soon},
		{"no answer", hang, long, nothing, 2, kube.MaxSilence + soon},
	} {
		for isSecure, form := range forms {
			runInBubble(t, tt.name+", "+form, func(t *testing.T) {
				n, s := kubetest.NewNetwork(t, isSecure)
				c := watching(t, over(n))
				putAll(s, "10.0.1.1")
				untilSeen(t, c, "10.0.1.1", soon)
				idle(s, 5*time.Minute)

				requests, dials, began := len(s.Seen("")), n.Dialled(), time.Now()
				tt.begin(n, s)
				for time.Since(began) < tt.lasts {
					checkWeb(t, c)
					time.Sleep(7 * time.Second)
				}
				putAll(s, "10.0.1.2")
				tt.last(s)
				s.Put(kubetest.Slice("event", "event", "10.0.1.3", "event-0"))
				requests, dials = len(s.Seen(""))-requests, n.Dialled()-dials
				n.Set(kubetest.NoFault)
				s.Intercept(nil)
				seen := untilSeen(t, c, "10.0.1.3", tt.after)
				checkWeb(t, c)
				idle(s, 10*time.Minute)
				t.Logf("%v: %d requests, %d connections; seen after %v", tt.lasts, requests, dials, seen)

				for _, resource := range everyResource {
					if got := s.Syncs(resource); got != tt.syncs {
						t.Errorf("%s: synced %d times, want %d", resource, got, tt.syncs)
					}
				}
				if most := len(everyResource) * mostRequests(tt.lasts); requests > most || dials > most {
					t.Errorf("%d requests and %d connections, want at most %d", requests, dials, most)
				}
			})
		}
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		runInBubble(t, strconv.Itoa(code), func(t *testing.T) {
			n, s := kubetest.NewNetwork(t, false)
			s.Intercept(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
				w.Header().Set("Retry-After", "20")
				http.Error(w, http.StatusText(code), code)
			})
			started(t, over(n))
			time.Sleep(10 * time.Minute)
			for _, resource := range everyResource {
				requests := s.Seen(resource)
				pauses := make(map[time.Duration]bool)
				for i := range requests[1:] {
					pause := requests[i+1].At.Sub(requests[i].At)
					pauses[pause] = true
					if pause < 20*time.Second || pause > 30*time.Second {
						t.Errorf("%s: a pause of %v, want 20 to 30 s", resource, pause)
					}
				}
				if len(pauses) < len(requests)/2 {
					t.Errorf("%s: %d requests with pauses of %v, want random ones", resource, len(requests), pauses)
				}
			}
		})
	}
}

// TestOutagesInARow has outages after each of which everything is listed.
func TestOutagesInARow(t *testing.T) {
	const outages = 20
	for _, streams := range []bool{true, false} {
		runInBubble(t, fmt.Sprintf("streams %v", streams), func(t *testing.T) {
			n, s := kubetest.NewNetwork(t, false)
			if !streams {
				s.RefuseStreams()
			}
			c := watching(t, over(n))
			for i := range outages {
				idle(s, kube.Worthwhile+time.Second)
				n.Set(kubetest.Refusing)
				time.Sleep(time.Second)
				address := fmt.Sprintf("10.0.1.%d", i+1)
				putAll(s, address)
				s.Compact()
				n.Set(kubetest.NoFault)
				untilSeen(t, c, address, soon)
			}
			if got := s.Syncs(kube.Slices); got != 1+outages {
				t.Errorf("synced %d times, want %d", got, 1+outages)
			}
		})
	}
}

// TestShortOutages: an outage costs what it would if there had been none before.
func TestShortOutages(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n, s := kubetest.NewNetwork(t, false)
		c := watching(t, over(n))
		for i := range 20 {
			idle(s, 3*time.Second)
			n.Set(kubetest.Refusing)
			time.Sleep(time.Second) // which three requests can fail in, and the last pause is 1.6 s at most
			address := fmt.Sprintf("10.0.1.%d", i+1)
			putAll(s, address)
			n.Set(kubetest.NoFault)
			untilSeen(t, c, address, 2*time.Second)
		}
	})
}

// TestServerThatEndsWatches has servers, or proxies, that do not let watches live.
func TestServerThatEndsWatches(t *testing.T) {
	const lasts = 12 * time.Minute
	forWatches := func(s *kubetest.Server, answer kubetest.Interceptor) {
		s.Intercept(func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc) {
			if r.URL.Query().Get("watch") == "true" {
				answer(w, r, stub)
			} else {
				stub(w, r)
			}
		})
	}
	after := func(d time.Duration) func(*kubetest.Server) {
		return func(s *kubetest.Server) {
			forWatches(s, func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc) {
				ctx, cancel := context.WithTimeout(r.Context(), d)
				defer cancel()
				stub(w, r.WithContext(ctx))
			})
		}
	}
	afterEvent := func(s *kubetest.Server) {
		forWatches(s, func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc) {
			ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
			defer cancel()
			bookmarks := time.AfterFunc(10*time.Millisecond, func() {
				for _, resource := range everyResource {
					s.Bookmark(resource)
				}
			})
			defer bookmarks.Stop()
			stub(w, r.WithContext(ctx))
		})
	}
	half := func(lasts time.Duration) func(*kubetest.Server) {
		return func(s *kubetest.Server) {
			forWatches(s, func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc) {
				if !kubetest.NewRequest(r).Streamed {
					http.Error(w, "expired", http.StatusGone)
					return
				}
				ctx, cancel := context.WithCancel(r.Context())
				cancel()
				rec := httptest.NewRecorder()
				stub(rec, r.WithContext(ctx))
				maps.Copy(w.Header(), rec.Header())
				_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(lasts):
				case <-r.Context().Done():
				}
			})
		}
	}
	refused := func(code int) func(*kubetest.Server) {
		return func(s *kubetest.Server) {
			forWatches(s, func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
				http.Error(w, http.StatusText(code), code)
			})
		}
	}
	silent := func(s *kubetest.Server) {
		forWatches(s, func(_ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { <-r.Context().Done() })
	}
	expired := func(lives time.Duration) func(*kubetest.Server) {
		return func(s *kubetest.Server) {
			forWatches(s, func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc) {
				if !kubetest.NewRequest(r).Streamed {
					http.Error(w, "expired", http.StatusGone)
					return
				}
				ctx, cancel := context.WithTimeout(r.Context(), lives)
				defer cancel()
				stub(w, r.WithContext(ctx))
			})
		}
	}
	const most = int(lasts / kube.Worthwhile)
	for _, tt := range []struct {
		name     string
		setup    func(*kubetest.Server)
		requests int           // for each resource while it lasts, at most
		syncs    int           // the same
		delay    time.Duration // until a change is seen, at most; negative: it is never seen
	}{
		{"never", func(*kubetest.Server) {}, 0, 0, 0},
		{"after two minutes", after(2 * time.Minute), 7, 0, 0},
		{"after two seconds", after(2 * time.Second), mostRequests(lasts), 0, soon},
		{"at once", after(0), mostRequests(lasts), mostLists(lasts), time.Minute},
		{"after an event", afterEvent, mostRequests(lasts), 0, soon},
		{"in the middle of a list", half(0), 1 + mostLists(lasts), mostLists(lasts), -1},
		{"in the middle of a list, late", half(kube.Worthwhile), 1 + mostLists(lasts), mostLists(lasts), -1},
		{"by 403", refused(http.StatusForbidden), mostRequests(lasts), mostLists(lasts), 2 * time.Minute},
		{"by 503", refused(http.StatusServiceUnavailable), mostRequests(lasts), mostLists(lasts), 2 * time.Minute},
		{"by 410", expired(lasts), 3 * mostLists(lasts), mostLists(lasts), time.Minute},
		{"by 410, too soon after a list", expired(kube.Worthwhile - time.Second), 3 * mostLists(lasts), mostLists(lasts), time.Minute},
		{"by 410, a while after a list", expired(kube.Worthwhile), 3 * most, most, time.Minute},
		{"by silence", silent, int(3 * lasts / kube.MaxSilence), mostLists(lasts), 2*kube.MaxSilence + time.Minute},
	} {
		for _, streams := range []bool{true, false} {
			if !streams && tt.delay < 0 {
				continue
			}
			runInBubble(t, fmt.Sprintf("%s, streams %v", tt.name, streams), func(t *testing.T) {
				n, s := kubetest.NewNetwork(t, false)
				if !streams {
					s.RefuseStreams()
				}
				c := watching(t, over(n))
				putAll(s, "10.0.1.1")
				untilSeen(t, c, "10.0.1.1", soon)
				tt.setup(s)
				s.End()
				syncs, requests := make(map[string]int), make(map[string]int)
				for _, resource := range everyResource {
					syncs[resource], requests[resource] = s.Syncs(resource), len(s.Seen(resource))
				}
				longest := time.Duration(0)
				for began, i := time.Now(), 2; time.Since(began) < lasts; i++ {
					idle(s, lasts/3)
					address := fmt.Sprintf("10.0.1.%d", i)
					putAll(s, address)
					synctest.Wait()
					if tt.delay >= 0 {
						longest = max(longest, untilSeen(t, c, address, tt.delay))
					}
				}
				for _, resource := range everyResource {
					gotSyncs, gotRequests := s.Syncs(resource)-syncs[resource], len(s.Seen(resource))-requests[resource]
					t.Logf("%s: %d requests, %d lists, changes were seen within %v", resource, gotRequests, gotSyncs, longest)
					if gotRequests > tt.requests+1 || gotSyncs > tt.syncs {
						t.Errorf("%s: %d requests and %d lists, want at most %d and %d", resource, gotRequests, gotSyncs, tt.requests+1, tt.syncs)
					}
				}
			})
		}
	}
}

// TestDeadConnectionIsNoticed loses all that is sent on connections from one moment on, without a sign of it. New ones work.
func TestDeadConnectionIsNoticed(t *testing.T) {
	for _, tt := range []struct {
		isSecure bool
		within   time.Duration
	}{
		{true, 45 * time.Second}, // by a ping of HTTP/2
		{false, kube.MaxSilence}, // at the latest; see TestConnectionsAreKeptAlive
	} {
		runInBubble(t, forms[tt.isSecure], func(t *testing.T) {
			n, s := kubetest.NewNetwork(t, tt.isSecure)
			c := watching(t, over(n))
			for i := range 5 {
				address := fmt.Sprintf("10.0.1.%d", i+1)
				putAll(s, address)
				untilSeen(t, c, address, soon)
				idle(s, time.Minute+time.Duration(i)*7*time.Second)
				n.Lose()
				s.Put(kubetest.Slice("event", "event", "10.0.2.1", "event-0"))
				seen := untilSeen(t, c, "10.0.2.1", tt.within+soon)
				t.Logf("seen after %v", seen)
			}
			for _, resource := range everyResource {
				if got := s.Syncs(resource); got != 1 {
					t.Errorf("%s: synced %d times, want once", resource, got)
				}
			}
		})
	}
}

// TestQuietWatchIsNotEnded has watches on which there is nothing but bookmarks.
func TestQuietWatchIsNotEnded(t *testing.T) {
	for isSecure, form := range forms {
		runInBubble(t, form, func(t *testing.T) {
			n, s := kubetest.NewNetwork(t, isSecure)
			watching(t, over(n))
			idle(s, time.Hour)
			if got := len(s.Seen("")); got != len(everyResource) {
				t.Errorf("%d requests in an hour, want %d", got, len(everyResource))
			}
		})
	}
}

// TestSilentServerIsAsked has a server that sends no bookmarks, for nothing has changed since the watches began. It is asked whether it
// has got to where they stand, and to go on from there; so it counts as heard of, and one that has not got there is listed.
func TestSilentServerIsAsked(t *testing.T) {
	for isSecure, form := range forms {
		runInBubble(t, form, func(t *testing.T) {
			n, s := kubetest.NewNetwork(t, isSecure)
			c := watching(t, over(n))
			const lasts = time.Hour
			for began := time.Now(); time.Since(began) < lasts; time.Sleep(time.Second) {
				if silence := time.Since(c.Clock.Confirmed()); silence > kube.MaxSilence+soon {
					t.Fatalf("the server has not been heard of for %v", silence)
				}
			}
			for _, resource := range everyResource {
				verbs := map[string]int{}
				for _, r := range s.Seen(resource) {
					verbs[r.Verb]++
				}
				if most := 1 + int(lasts/kube.MaxSilence); s.Syncs(resource) != 1 || verbs["watch"] < most/2 || verbs["watch"] > most || verbs["list of none"] != verbs["watch"]-1 {
					t.Errorf("%s: synced %d times by the requests %v, want one, and up to %d watches, each but the first with a list of none", resource, s.Syncs(resource), verbs, most)
				}
			}
			putAll(s, "10.0.1.1")
			untilSeen(t, c, "10.0.1.1", soon)
			s.Restore(50) // behind a load balancer: no connection breaks
			s.Put(kubetest.Slice("event", "event", "10.0.1.2", "event-0"))
			untilSeen(t, c, "10.0.1.2", kube.MaxSilence+soon)
		})
	}
}

// TestReplicasDoNotComeAsAHerd has many plugins wait for one server that they cannot reach.
func TestReplicasDoNotComeAsAHerd(t *testing.T) {
	const replicas, lasts = 20, 2 * time.Minute
	for _, tt := range []struct {
		name  string
		last  func(*kubetest.Server)
		syncs int // of each resource by each replica, from the start on
	}{
		{"that goes on", func(*kubetest.Server) {}, 1},
		{"whose versions expire", (*kubetest.Server).Compact, 2},
	} {
		runInBubble(t, tt.name, func(t *testing.T) {
			n, s := kubetest.NewNetwork(t, false)
			var all []*cluster
			for range replicas {
				all = append(all, watching(t, over(n)))
			}
			putAll(s, "10.0.1.1")
			idle(s, 5*time.Minute)
			dials := n.Dialled()
			n.Set(kubetest.Refusing)
			time.Sleep(lasts)
			dials = n.Dialled() - dials
			putAll(s, "10.0.1.2")
			tt.last(s)
			s.Put(kubetest.Slice("event", "event", "10.0.1.3", "event-0"))

			before, back := len(s.Seen("")), time.Now()
			n.Set(kubetest.NoFault)
			for _, c := range all {
				untilSeen(t, c, "10.0.1.3", soon-time.Since(back))
			}
			took := time.Since(back)
			idle(s, 5*time.Minute)
			requests := s.Seen("")[before:]
			inWindow := make(map[time.Duration]int)
			for _, r := range requests {
				inWindow[r.At.Sub(back)/(100*time.Millisecond)]++
			}
			peak := 0
			for _, n := range inWindow {
				peak = max(peak, n)
			}
			watches := replicas * len(everyResource)
			t.Logf("%d replicas with %d watches: %d connections tried in %v, then %d requests, at most %d in 100 ms; all have the change after %v",
				replicas, watches, dials, lasts, len(requests), peak, took)
			if most := watches * mostRequests(lasts); dials > most {
				t.Errorf("%d connections tried, want at most %d", dials, most)
			}
			// Each asks whether its version is there, and for the watch, before it lists.
			if want := watches * (1 + tt.syncs); len(requests) > want {
				t.Errorf("%d requests after the outage, want %d", len(requests), want)
			}
			if peak > watches/2 {
				t.Errorf("%d of %d requests came within 100 ms", peak, watches)
			}
			for _, resource := range everyResource {
				if got := s.Syncs(resource); got != replicas*tt.syncs {
					t.Errorf("%s: synced %d times, want %d", resource, got, replicas*tt.syncs)
				}
			}
		})
	}
}

func TestRightsComeAndGo(t *testing.T) { // not parallel: it captures the log
	logged := logtest.Capture(t)
	bubble.Test(t, func(t *testing.T) {
		n, s := kubetest.NewNetwork(t, true)
		c := watching(t, over(n))
		const lasts = 5 * time.Minute
		for i := range 2 {
			s.Refuse(http.StatusForbidden)
			s.End()
			for began := time.Now(); time.Since(began) < lasts; time.Sleep(time.Minute) {
				checkWeb(t, c)
				if !c.Listing.IsComplete() {
					t.Error("no longer listed")
				}
			}
			address := fmt.Sprintf("10.0.1.%d", i+1)
			putAll(s, address)
			s.Refuse(0)
			untilSeen(t, c, address, soon)
			idle(s, 10*time.Minute)
		}
		for _, resource := range everyResource {
			for text, most := range map[string]int{": Forbidden": 2 * int(lasts/time.Minute), "watching " + resource + " again": 2} {
				lines := 0
				for line := range strings.Lines(logged.String()) {
					if strings.Contains(line, text) && strings.Contains(line, resource) {
						lines++
					}
				}
				if lines == 0 || lines > most {
					t.Errorf("%d lines with %q and %q, want 1 to %d", lines, resource, text, most)
				}
			}
		}
	})
}

// TestNewReasonIsLoggedAtOnce: each reason is, and again after a minute.
func TestNewReasonIsLoggedAtOnce(t *testing.T) { // not parallel: it captures the log
	logged := logtest.Capture(t)
	bubble.Test(t, func(t *testing.T) {
		n, s := kubetest.NewNetwork(t, true)
		watching(t, over(n))
		const turn = 10 * time.Second
		count := func(reason string) int { return strings.Count(logged.String(), "cannot list services: "+reason) }
		for i := range 4 { // 40 s in all
			s.Refuse([]int{http.StatusForbidden, http.StatusUnauthorized}[i%2])
			s.End()
			time.Sleep(turn)
		}
		if forbidden, unauthorized := count("Forbidden"), count("the server has asked for"); forbidden != 1 || unauthorized != 1 {
			t.Errorf("within a minute %d lines of one reason and %d of another, want one of each:\n%s", forbidden, unauthorized, logged)
		}
		time.Sleep(time.Minute)
		if n := count("the server has asked for"); n != 2 {
			t.Errorf("%d lines of the reason that lasts after a minute more, want 2:\n%s", n, logged)
		}
	})
}

func TestTokenFileIsReadAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n, s := kubetest.NewNetwork(t, true)
		file := filepath.Join(t.TempDir(), "token")
		write := func(token string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var valid atomic.Value
		s.Intercept(func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc) {
			if r.Header.Get("Authorization") != "Bearer "+valid.Load().(string) {
				http.Error(w, "unknown token", http.StatusUnauthorized)
				return
			}
			stub(w, r)
		})
		valid.Store("one")
		write("one")
		n.Kubeconfig = kubetest.WriteKubeconfig(t, s.URL, "{insecure-skip-tls-verify: true}", fmt.Sprintf("{tokenFile: %q}", file))
		c := watching(t, over(n))
		checkWeb(t, c)

		// As a kubelet does, long before the old one expires: nobody notices.
		write("two")
		idle(s, 2*time.Minute)
		before := len(s.Seen(""))
		valid.Store("two")
		s.End()
		putAll(s, "10.0.1.1")
		untilSeen(t, c, "10.0.1.1", soon)
		if got := len(s.Seen("")) - before; got != len(everyResource) {
			t.Errorf("%d requests, want %d: the old token was sent", got, len(everyResource))
		}

		// The old one is revoked first. The file is read again once a minute, whatever the server says.
		valid.Store("three")
		s.End()
		time.Sleep(time.Minute)
		checkWeb(t, c)
		write("three")
		putAll(s, "10.0.1.2")
		untilSeen(t, c, "10.0.1.2", time.Minute+soon)
	})
}

func TestServerCertificateChanges(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n, s := kubetest.NewNetwork(t, true)
		c := watching(t, over(n))
		checkWeb(t, c)
		change := func(authority *tls.Certificate, address string) *tls.Certificate {
			t.Helper()
			certFile, keyFile := kubetest.WriteIssued(t, t.TempDir(), authority)
			cert := kubetest.LoadCertificate(t, certFile, keyFile)
			n.Certificate.Store(cert)
			s.Cut()
			putAll(s, address)
			return cert
		}

		change(n.Certificate.Load(), "10.0.1.1")
		untilSeen(t, c, "10.0.1.1", soon)

		stranger := change(nil, "10.0.1.2")
		time.Sleep(2 * time.Minute)
		checkWeb(t, c)
		if got := c.has("endpointslices ns/event"); got != "event http:80 event-0 10.0.1.1" {
			t.Errorf("got %s from a server with a certificate of another authority", got)
		}

		// The file of the authority is read again every five minutes.
		if err := os.WriteFile(n.Authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.Certificate[0]}), 0o600); err != nil {
			t.Fatal(err)
		}
		untilSeen(t, c, "10.0.1.2", 5*time.Minute+soon)
	})
}
