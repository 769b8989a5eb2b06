package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Sent is the answer to a change: when the server began to send it.
type Sent struct {
	At time.Time `json:"at"`
}

// State is the answer to /control/state.
type State struct {
	// Watches is how many watches run, by resource.
	Watches map[string]int `json:"watches"`
	// Synced is how many watches ever began, by resource.
	Synced map[string]int `json:"synced"`
}

// Changes is the answer to /control/stop: what was changed since the churn began.
type Changes struct {
	Events  int           `json:"events"`
	Elapsed time.Duration `json:"elapsed"`
}

// control adds the control requests to the server. All are POST; service is NAMESPACE/NAME.
//
//	/control/flip?service=&endpoint=N&ready=BOOL    sets the readiness of one endpoint
//	/control/scale?service=&endpoints=N             gives the Service N ready endpoints
//	/control/churn?service=&rate=R                  flips one endpoint after the other, R a second, until stopped; service may
//	                                                be several, with commas between
//	/control/restart?service=&endpoints=N&rate=R    replaces the first N endpoints one after the other, R events a second, until
//	                                                all are replaced or it is stopped
//	/control/stop                                   ends churn and restart
//	/control/streams?refuse=BOOL                    refuses streamed lists, or no longer
//	/control/state                                  says what is watched
func (s *Server) control() {
	handle := func(name string, f func(r *http.Request) (any, error)) {
		s.mux.HandleFunc("POST /control/"+name, func(w http.ResponseWriter, r *http.Request) {
			answer, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer) // the client is gone; there is nobody to tell
		})
	}
	handle("flip", s.handleFlip)
	handle("scale", s.handleScale)
	handle("churn", s.handleChurn)
	handle("restart", s.handleRestart)
	handle("stop", func(*http.Request) (any, error) { return s.stop(), nil })
	handle("streams", func(r *http.Request) (any, error) {
		refuse, err := strconv.ParseBool(r.FormValue("refuse"))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refuses = refuse
		return struct{}{}, err
	})
	handle("state", func(*http.Request) (any, error) { return s.state(), nil })
}

func (s *Server) handleFlip(r *http.Request) (any, error) {
	svc, err := s.service(r.FormValue("service"))
	if err != nil {
		return nil, err
	}
	endpoint, err := strconv.Atoi(r.FormValue("endpoint"))
	if err != nil || endpoint < 0 || endpoint >= svc.Endpoints {
		return nil, fmt.Errorf("%s has no endpoint %q", svc.Name, r.FormValue("endpoint"))
	}
	ready, err := strconv.ParseBool(r.FormValue("ready"))
	if err != nil {
		return nil, err
	}
	version := s.change(svc, endpoint, func(e *discoveryv1.Endpoint) { setReady(e, ready) })
	return Sent{s.waitSent(slicesResource, version)}, nil
}

func setReady(e *discoveryv1.Endpoint, ready bool) {
	e.Conditions.Ready, e.Conditions.Serving = &ready, &ready
}

func (s *Server) handleScale(r *http.Request) (any, error) {
	svc, err := s.service(r.FormValue("service"))
	if err != nil {
		return nil, err
	}
	endpoints, err := strconv.Atoi(r.FormValue("endpoints"))
	if err != nil || endpoints < 0 {
		return nil, fmt.Errorf("no number of endpoints: %q", r.FormValue("endpoints"))
	}
	return Sent{s.waitSent(slicesResource, s.scale(svc, endpoints))}, nil
}

// scale gives svc as many ready endpoints and returns the version of the last change.
func (s *Server) scale(svc cluster.Service, endpoints int) int {
	have := s.slices(svc)
	for _, slice := range svc.Slices(endpoints) {
		delete(have, key{slice.Namespace, slice.Name})
		touch(slice)
		s.set(slicesResource, slice)
	}
	for k := range have {
		s.drop(slicesResource, k)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// slices returns the names of the slices of svc.
func (s *Server) slices(svc cluster.Service) map[key]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := make(map[key]bool)
	for k, message := range s.objects[slicesResource] {
		if k.namespace == svc.Namespace && strings.HasPrefix(k.name, svc.Name) &&
			decode(slicesResource, message).GetLabels()[discoveryv1.LabelServiceName] == svc.Name {
			have[k] = true
		}
	}
	return have
}

// service returns the Service that is called NAMESPACE/NAME.
func (s *Server) service(text string) (cluster.Service, error) {
	namespace, name, _ := strings.Cut(text, "/")
	svc, ok := s.cluster.Find(namespace, name)
	if !ok {
		return svc, fmt.Errorf("there is no Service %q", text)
	}
	return svc, nil
}

// change changes an endpoint of svc in each slice that it is in, and returns the version of the last change.
func (s *Server) change(svc cluster.Service, endpoint int, f func(*discoveryv1.Endpoint)) int {
	return s.changeSlices(svc, endpoint, func(slice *discoveryv1.EndpointSlice) {
		pod := svc.PodName(endpoint)
		for i, e := range slice.Endpoints {
			if e.TargetRef.Name == pod {
				f(&slice.Endpoints[i])
			}
		}
	})
}

// changeSlices changes the slices in which an endpoint of svc stands when it is there.
func (s *Server) changeSlices(svc cluster.Service, endpoint int, f func(*discoveryv1.EndpointSlice)) int {
	version := 0
	for _, name := range svc.SliceNames(endpoint) {
		obj := s.lookup(slicesResource, key{svc.Namespace, name})
		if obj == nil {
			continue // scaled down
		}
		slice := obj.(*discoveryv1.EndpointSlice) // so is every object of that resource
		f(slice)
		touch(slice)
		version = s.set(slicesResource, slice)
	}
	return version
}

// touch says that a slice changes now, as the controller does.
func touch(slice *discoveryv1.EndpointSlice) {
	slice.Generation++
	slice.Annotations = map[string]string{
		corev1.EndpointsLastChangeTriggerTime: time.Now().UTC().Format(time.RFC3339Nano),
	}
}

// churn is a series of changes at a rate.
type churn struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed when it has ended; then changes is final
	changes Changes
}

func (s *Server) handleChurn(r *http.Request) (any, error) {
	var services []cluster.Service
	for name := range strings.SplitSeq(r.FormValue("service"), ",") {
		svc, err := s.service(name)
		if err != nil {
			return nil, err
		}
		services = append(services, svc)
	}
	n := 0
	return s.begin(r, func() bool {
		svc := services[n%len(services)]
		// One slice after the other; each endpoint goes and comes back.
		round := n / len(services)
		numSlices := (svc.Endpoints + cluster.PerSlice - 1) / cluster.PerSlice
		endpoint := round % numSlices * cluster.PerSlice
		ready := round/numSlices%2 == 1
		s.change(svc, endpoint, func(e *discoveryv1.Endpoint) { setReady(e, ready) })
		n++
		return true
	})
}

func (s *Server) handleRestart(r *http.Request) (any, error) {
	svc, err := s.service(r.FormValue("service"))
	if err != nil {
		return nil, err
	}
	endpoints, err := strconv.Atoi(r.FormValue("endpoints"))
	if err != nil || endpoints > svc.Endpoints {
		return nil, fmt.Errorf("no number of endpoints of %s: %q", svc.Name, r.FormValue("endpoints"))
	}
	n := 0
	return s.begin(r, func() bool {
		s.restart(svc, n/4, n%4)
		n++
		return n < 4*endpoints
	})
}

// restart does one of the four steps in which the pod of an endpoint is replaced: it terminates, it goes, the next one comes
// and becomes ready.
func (s *Server) restart(svc cluster.Service, endpoint, step int) {
	pod := svc.PodName(endpoint)
	switch step {
	case 0:
		s.change(svc, endpoint, func(e *discoveryv1.Endpoint) {
			e.Conditions.Ready, e.Conditions.Terminating = new(false), new(true)
		})
	case 1:
		s.changeSlices(svc, endpoint, func(slice *discoveryv1.EndpointSlice) {
			slice.Endpoints = slices.DeleteFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return e.TargetRef.Name == pod })
		})
	case 2:
		s.changeSlices(svc, endpoint, func(slice *discoveryv1.EndpointSlice) {
			next := svc.Endpoint(endpoint, 1, slice.AddressType)
			setReady(&next, false)
			slice.Endpoints = append(slice.Endpoints, next)
		})
	case 3:
		s.change(svc, endpoint, func(e *discoveryv1.Endpoint) { setReady(e, true) })
	}
}

// begin calls step at the rate that r asks for, until it returns false or stop is called.
func (s *Server) begin(r *http.Request, step func() bool) (any, error) {
	rate, err := strconv.ParseFloat(r.FormValue("rate"), 64)
	if err != nil || rate <= 0 {
		return nil, fmt.Errorf("no rate: %q", r.FormValue("rate"))
	}
	s.stop()
	ctx, cancel := context.WithCancel(context.Background())
	c := &churn{cancel: cancel, done: make(chan struct{})}
	s.mu.Lock()
	s.churn = c
	s.mu.Unlock()
	go func() {
		defer close(c.done)
		start := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for more := true; more && ctx.Err() == nil; <-tick.C {
			for due := int(rate * time.Since(start).Seconds()); more && c.changes.Events < due; c.changes.Events++ {
				more = step()
			}
			c.changes.Elapsed = time.Since(start)
		}
	}()
	return struct{}{}, nil
}

// stop ends the churn that runs, if any, and returns what it did once the watches have sent it.
func (s *Server) stop() Changes {
	s.mu.Lock()
	c := s.churn
	s.churn = nil
	s.mu.Unlock()
	if c == nil {
		return Changes{}
	}
	c.cancel()
	<-c.done
	s.mu.Lock()
	version := 0
	for w := range s.watches {
		if w.resource == slicesResource {
			version = max(version, w.told)
		}
	}
	s.mu.Unlock()
	s.waitSent(slicesResource, version)
	return c.changes
}

func (s *Server) state() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Watches: make(map[string]int), Synced: maps.Clone(s.synced)}
	for w := range s.watches {
		state.Watches[w.resource]++
	}
	return state
}
