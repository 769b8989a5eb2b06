package apiserver

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// start starts a server with a cluster and returns it, its URL and a client that reads this media type.
func start(t *testing.T, mediaType, groups string) (*Server, string, *kubernetes.Clientset) {
	var c cluster.Cluster
	for group := range strings.FieldsSeq(groups) {
		if err := c.Set(group); err != nil {
			t.Fatal(err)
		}
	}
	s := New(c, false)
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	client, err := kubernetes.NewForConfig(&rest.Config{Host: web.URL, ContentConfig: rest.ContentConfig{ContentType: mediaType}})
	if err != nil {
		t.Fatal(err)
	}
	return s, web.URL, client
}

// control does a control request.
func control(t *testing.T, url, request string, answer any) {
	t.Helper()
	resp, err := http.Post(url+"/control/"+request, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is read to its end
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", request, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
}

// endpoints are the addresses of the ready endpoints, sorted.
func endpoints(list []discoveryv1.EndpointSlice) []string {
	var ready []string
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			if *e.Conditions.Ready {
				ready = append(ready, e.Addresses...)
			}
		}
	}
	slices.Sort(ready)
	return ready
}

// follow begins a watch of slices. The function it returns reads events until done says so, and returns the slices then.
func follow(t *testing.T, client *kubernetes.Clientset, o metav1.ListOptions, have ...discoveryv1.EndpointSlice) func(done func([]discoveryv1.EndpointSlice, apiwatch.Event) bool) []discoveryv1.EndpointSlice {
	o.AllowWatchBookmarks = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	w, err := client.DiscoveryV1().EndpointSlices("").Watch(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return func(done func([]discoveryv1.EndpointSlice, apiwatch.Event) bool) []discoveryv1.EndpointSlice {
		for e := range w.ResultChan() {
			if slice, ok := e.Object.(*discoveryv1.EndpointSlice); ok && e.Type != apiwatch.Bookmark {
				have = slices.DeleteFunc(have, func(s discoveryv1.EndpointSlice) bool { return s.Name == slice.Name })
				if e.Type != apiwatch.Deleted {
					have = append(have, *slice)
				}
			}
			if done(have, e) {
				return have
			}
		}
		t.Fatalf("the watch ended with %d endpoints", len(endpoints(have)))
		return nil
	}
}

func isInitialEnd(_ []discoveryv1.EndpointSlice, e apiwatch.Event) bool {
	slice, ok := e.Object.(*discoveryv1.EndpointSlice)
	return ok && e.Type == apiwatch.Bookmark && slice.Annotations[metav1.InitialEventsAnnotationKey] == "true"
}

func TestListWatchAndStreamAgree(t *testing.T) {
	for _, mediaType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(mediaType, func(t *testing.T) {
			_, url, client := start(t, mediaType, "web,headless,endpoints=250,hostnames,ipv4,ipv6 api,services=3,endpoints=2")
			const all = 2*250 + 3*2
			list := func() *discoveryv1.EndpointSliceList {
				list, err := client.DiscoveryV1().EndpointSlices("").List(t.Context(), metav1.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			before := list()
			if got := len(endpoints(before.Items)); got != all {
				t.Fatalf("%d endpoints are listed, want %d", got, all)
			}
			stream := metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}
			streamed := follow(t, client, stream)
			if got := streamed(isInitialEnd); !slices.Equal(endpoints(got), endpoints(before.Items)) {
				t.Errorf("%d endpoints are streamed, %d are listed", len(endpoints(got)), len(endpoints(before.Items)))
			}

			control(t, url, "flip?service=n/web&endpoint=17&ready=false", &Sent{})
			control(t, url, "flip?service=n/web&endpoint=117&ready=false", &Sent{})
			control(t, url, "flip?service=n/web&endpoint=17&ready=true", &Sent{})
			control(t, url, "scale?service=n/api-1&endpoints=0", &Sent{})
			want := endpoints(list().Items)
			if len(want) != all-2-2 {
				t.Fatalf("%d endpoints after the changes, want %d", len(want), all-2-2)
			}
			arrived := func(have []discoveryv1.EndpointSlice, _ apiwatch.Event) bool {
				return slices.Equal(endpoints(have), want)
			}
			streamed(arrived)
			follow(t, client, metav1.ListOptions{ResourceVersion: before.ResourceVersion}, before.Items...)(arrived)
		})
	}
}

func TestRestartReplacesEveryAddressAndStopsByItself(t *testing.T) {
	s, url, client := start(t, runtime.ContentTypeProtobuf, "web,headless,endpoints=3,hostnames")
	control(t, url, "restart?service=n/web&endpoints=2&rate=10000", &struct{}{})
	s.mu.Lock()
	c := s.churn
	s.mu.Unlock()
	<-c.done
	var changes Changes
	control(t, url, "stop", &changes)
	if changes.Events != 4*2 {
		t.Errorf("%d events, want 4 for each of 2 endpoints", changes.Events)
	}
	list, err := client.DiscoveryV1().EndpointSlices("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := endpoints(list.Items), []string{"10.0.0.3", "10.16.0.1", "10.16.0.2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestChurnComesAtTheRate(t *testing.T) {
	_, url, client := start(t, runtime.ContentTypeProtobuf, "web,headless,endpoints=200")
	flips := follow(t, client, metav1.ListOptions{ResourceVersion: "100000"})
	control(t, url, "churn?service=n/web&rate=500", &struct{}{})
	seen := 0
	flips(func([]discoveryv1.EndpointSlice, apiwatch.Event) bool {
		seen++
		return seen == 50
	})
	var changes Changes
	control(t, url, "stop", &changes)
	if due := 500 * changes.Elapsed.Seconds(); changes.Events < 50 || float64(changes.Events) > due+1 {
		t.Errorf("%d events in %v, want no more than %v", changes.Events, changes.Elapsed, due)
	}
}

func TestStreamsCanBeRefused(t *testing.T) {
	_, url, client := start(t, runtime.ContentTypeProtobuf, "web,headless,endpoints=2")
	control(t, url, "streams?refuse=true", &struct{}{})
	stream := metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}
	if _, err := client.DiscoveryV1().EndpointSlices("").Watch(t.Context(), stream); !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want the server's refusal", err)
	}
}
