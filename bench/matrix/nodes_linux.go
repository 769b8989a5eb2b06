package matrix

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/miekg/dns"
)

// deliveries are how many events a second all followers get at most: what one core sends beside its other work.
const deliveries = 3000

// measureNodes measures what a change costs where each node has a headless: its own CPU, and what the API server sends it.
func measureNodes(l *lab, r *report, _ Options) error {
	t := table{
		title: "A server on each node",
		note: fmt.Sprintf("1,000 Services with 10 endpoints each, or 100 with 100: a change is the readiness of one endpoint, each time in\n"+
			"another slice. The node's headless has the option node. Beside it are followers, which read the watch of the\n"+
			"EndpointSlices and nothing else: so many that all of them get %s events a second, and 300 at most. The API\n"+
			"server is the synthetic one, with and without compressed watches; what an event costs it for a follower is\n"+
			"what they make it use more than the node alone.", thousands(deliveries)),
		columns: []string{
			"endpoints a slice, watches", "changes a second", "followers", "octets an event",
			"API server, µs an event and follower", "node, µs an event", "node, % of a core", "node, MB in RAM",
		},
	}
	for _, g := range []cluster.Group{
		{Name: "small", Services: 1000, Endpoints: 10, Headless: true, IPv4: true},
		{Name: "large", Services: 100, Endpoints: cluster.PerSlice, Headless: true, IPv4: true},
	} {
		for _, flags := range [][]string{nil, {"-plain"}} {
			if err := l.nodes(&t, g, flags...); err != nil {
				return err
			}
		}
	}
	r.tables = append(r.tables, t)
	return nil
}

// nodes adds the rows of a cluster of one group, whose API server has flags.
func (l *lab) nodes(t *table, g cluster.Group, flags ...string) error {
	c := cluster.Cluster{g}
	a, err := l.api(c, flags...)
	if err != nil {
		return err
	}
	defer a.Stop()
	s, err := l.serve(headless, watching(headless, a.url+"\n\t\tnode node-1"))
	if err != nil {
		return err
	}
	defer s.Stop()
	if _, err := s.wait(pods(c.Services()[0], dns.TypeA)[0]); err != nil {
		return err
	}
	watches := "compressed"
	if len(flags) > 0 {
		watches = "plain"
	}
	for _, rate := range []float64{10, 100, 1000} {
		alone, err := watcher{s, a}.changed(c, rate)
		if err != nil {
			return err
		}
		followers, err := a.follow(min(300, deliveries/int(rate)), len(flags) == 0)
		if err != nil {
			return err
		}
		beside, err := watcher{s, a}.changed(c, rate)
		received := followers.end()
		if err != nil {
			return err
		}
		memory, err := s.Memory()
		if err != nil {
			return err
		}
		n := float64(followers.n)
		t.add(fmt.Sprintf("%d, %s", g.Endpoints, watches), thousands(int(rate)), fmt.Sprint(followers.n),
			short(float64(received)/n/beside.events), short((beside.api-alone.api)*1e6/n), short(alone.node*1e6),
			short(alone.node*rate*100), short(float64(memory.RSS)/mega))
	}
	return nil
}

// changed is what changes cost: how many there were, and the CPU that each took, in s.
type changed struct {
	events, node, api float64
}

// changed makes changes, so many a second, and returns what they cost.
func (w watcher) changed(c cluster.Cluster, rate float64) (changed, error) {
	services := len(c.Services())
	costs := make([]changed, 2)
	events := 0
	for i := range costs {
		if i > 0 {
			var err error
			events, err = w.while(rate, func(n int) cluster.Change {
				return cluster.Change{Service: n % services, State: flipped(n / services)}
			}, func() error {
				time.Sleep(3 * time.Second) // as long as is measured
				return nil
			})
			if err != nil {
				return changed{}, err
			}
			if _, err := flips(w, c.Services()[0], 2); err != nil { // changes come in order: all others have arrived then
				return changed{}, err
			}
		}
		settle()
		node, err := w.CPU()
		if err != nil {
			return changed{}, err
		}
		api, err := w.api.CPU()
		if err != nil {
			return changed{}, err
		}
		costs[i] = changed{node: node.Seconds(), api: api.Seconds()}
	}
	n := float64(events)
	return changed{n, (costs[1].node - costs[0].node) / n, (costs[1].api - costs[0].api) / n}, nil
}

// followers read the watches of an API server.
type followers struct {
	n      int
	octets atomic.Int64
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// follow starts n followers, each with a connection of its own, and returns when they have got what there is.
func (a *api) follow(n int, isZipped bool) (*followers, error) {
	ctx, stop := context.WithCancel(context.Background())
	f := &followers{n: n, stop: stop}
	query := url.Values{
		"watch": {"true"}, "sendInitialEvents": {"true"}, "allowWatchBookmarks": {"true"},
		"resourceVersionMatch": {"NotOlderThan"},
	}
	for range n {
		address := a.url + "/apis/discovery.k8s.io/v1/endpointslices?" + query.Encode()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return f, err
		}
		req.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
		if isZipped {
			req.Header.Set("Accept-Encoding", "gzip")
		}
		resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
		if err != nil {
			f.end()
			return f, err
		}
		f.done.Go(func() {
			defer resp.Body.Close()      //nolint:errcheck // it is read until its end
			_, _ = io.Copy(f, resp.Body) // ended by stop
		})
	}
	for last := int64(-1); last != f.octets.Load(); time.Sleep(300 * time.Millisecond) { // nothing changes
		last = f.octets.Load()
	}
	f.octets.Store(0)
	return f, nil
}

// Write counts octets.
func (f *followers) Write(b []byte) (int, error) {
	f.octets.Add(int64(len(b)))
	return len(b), nil
}

// end ends the followers and returns how many octets all of them have read of changes.
func (f *followers) end() int64 {
	received := f.octets.Load()
	f.stop()
	f.done.Wait()
	return received
}
