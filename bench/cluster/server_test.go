package cluster

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kubetest"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// serve starts an API server with two endpoints in one slice, and returns its URL and a client.
func serve(t *testing.T, options ...func(*kubetest.Server)) (string, *kubernetes.Clientset) {
	t.Helper()
	web := httptest.NewServer(Cluster{{Name: "api", Endpoints: 9, IPv4: true}, {Name: "web", Endpoints: 2, Headless: true, IPv4: true}}.Handler(options...))
	t.Cleanup(web.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	return web.URL, client
}

func TestChanges(t *testing.T) {
	url, client := serve(t)
	for _, row := range []struct {
		change, want string
	}{
		{`"Endpoint": 1, "State": "unready"`, "10.0.0.10 10.0.0.11-"},
		{`"Endpoint": 1, "State": "ready"`, "10.0.0.10 10.0.0.11"},
		{`"Endpoint": 0, "State": "terminating"`, "10.0.0.10~ 10.0.0.11"},
		{`"Endpoint": 0, "State": "gone"`, "10.0.0.11"},
		{`"Endpoint": 0, "State": "unready", "Generation": 1`, "10.0.0.11 10.16.0.10-"},
		{`"Endpoint": 0, "State": "ready", "Generation": 1`, "10.0.0.11 10.16.0.10"},
	} {
		begun := time.Now()
		resp, err := http.Post(url+"/change", "application/json", strings.NewReader(`{"Service": 1, `+row.change+"}"))
		if err != nil {
			t.Fatal(err)
		}
		var at time.Time
		if err := json.NewDecoder(resp.Body).Decode(&at); err != nil || at.Before(begun) || at.After(time.Now()) {
			t.Errorf("%s: written %v, %v, want a time since %v", row.change, at, err, begun)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		list, err := client.DiscoveryV1().EndpointSlices("").List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%v, %v, want one slice", list, err)
		}
		var got []string
		for _, e := range list.Items[0].Endpoints {
			mark := ""
			switch {
			case *e.Conditions.Terminating:
				mark = "~"
			case !*e.Conditions.Ready:
				mark = "-"
			}
			got = append(got, e.Addresses[0]+mark)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: got %v, want %s", row.change, got, row.want)
		}
	}
}

func TestStreamlessServerRefusesStreams(t *testing.T) {
	_, client := serve(t, (*kubetest.Server).RefuseStreams)
	stream := metav1.ListOptions{SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true}
	if _, err := client.DiscoveryV1().EndpointSlices("").Watch(t.Context(), stream); !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want the server's refusal", err)
	}
}
