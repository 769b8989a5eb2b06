package cluster

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coredns-headless/headless/internal/kubetest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Change is what an endpoint becomes.
type Change struct {
	Service    int // which of the cluster's Services
	Endpoint   int // which of the Service's
	Generation int // of one that comes: how often its pod was replaced
	State      State
}

// State is the state of an endpoint.
type State string

// The states. An endpoint that is gone stands in no slice.
const (
	Ready       State = "ready"
	Unready     State = "unready"
	Terminating State = "terminating"
	Gone        State = "gone"
)

// Handler returns an API server with the cluster. POST /change makes a Change, given in JSON, and is answered with the time when it
// was written for the watches. The server is made what the older ones are that options describe.
func (c Cluster) Handler(options ...func(*kubetest.Server)) http.Handler {
	api := kubetest.New()
	for _, option := range options {
		option(api)
	}
	services := c.Services()
	held := make([][]*discoveryv1.EndpointSlice, len(services)) // by Service: what is there now, replaced and never modified
	namespaces := map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true}
	for n, s := range services {
		namespaces[s.Namespace] = true
		api.Keep(s.Object())
		held[n] = s.Slices()
		for _, slice := range held[n] {
			api.Keep(slice)
		}
	}
	for name := range namespaces {
		api.Keep(NamespaceObject(name))
	}
	api.Compact()

	var mu sync.Mutex // guards held
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("POST /change", func(w http.ResponseWriter, r *http.Request) {
		var change Change
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		s, families := services[change.Service], len(services[change.Service].families())
		first := change.Endpoint / PerSlice * families
		for i := first; i < first+families; i++ {
			held[change.Service][i] = s.changed(held[change.Service][i], change)
			api.Keep(held[change.Service][i])
			const remembered = 1000
			if api.Version()%remembered == 0 {
				api.Compact()
			}
		}
		at := time.Now()
		_ = json.NewEncoder(w).Encode(at) // the client is gone
	})
	return mux
}

// changed returns what a slice of s becomes by a change.
func (s Service) changed(slice *discoveryv1.EndpointSlice, c Change) *discoveryv1.EndpointSlice {
	next := *slice
	next.Endpoints = slices.Clone(slice.Endpoints)
	pod := s.PodName(c.Endpoint)
	i := slices.IndexFunc(next.Endpoints, func(e discoveryv1.Endpoint) bool { return e.TargetRef.Name == pod })
	if i < 0 {
		i = len(next.Endpoints)
		next.Endpoints = append(next.Endpoints, s.Endpoint(c.Endpoint, c.Generation, slice.AddressType))
	}
	next.Endpoints[i].Conditions = discoveryv1.EndpointConditions{
		Ready: new(c.State == Ready), Serving: new(c.State != Unready), Terminating: new(c.State == Terminating),
	}
	if c.State == Gone {
		next.Endpoints = slices.Delete(next.Endpoints, i, i+1)
	}
	next.Generation++
	next.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().UTC().Format(time.RFC3339Nano)}
	return &next
}
