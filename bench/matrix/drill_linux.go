package matrix

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/coredns-headless/headless/bench/proc"
	"github.com/miekg/dns"
)

// DrillOptions say how the drill is done.
type DrillOptions struct {
	Limit      int64    // bytes of memory of the server's container
	GOGC       []string // of headless, one drill for each; kubernetes has that of Go
	Streamless bool     // the API server refuses streamed lists
	Progress   func(format string, args ...any)
}

// drilled is what one drill found.
type drilled struct {
	curve                  []float64 // MB in RAM, each half second
	start, steady, again   float64   // MB: the most at the start, after that, and the most while everything is listed again
	container              float64   // MB at most, with the files that the kernel keeps
	queries, lost          int       // until SIGTERM
	lameduck, lameduckLost int       // behind it
	udp, tcp, srv          float64   // µs of CPU for a large answer
	end                    string    // how the server ended, if before its time
}

// drillCluster has 8,000 Services with 75,000 endpoints, one of them with 3,000.
func drillCluster() cluster.Cluster {
	half := cluster.Group{Name: "web", Services: 4000, Endpoints: 9, Namespaces: 80, Headless: true, IPv4: true}
	other := half
	other.Name, other.Headless = "api", false
	return cluster.Cluster{half, other, {Name: "big", Endpoints: 3000, Headless: true, IPv4: true}}
}

// Drill has servers live through what a cluster's worst day brings, in a container's memory: they start, are asked, lose the API
// server, list everything again when it is back, answer large questions, and are ended while they are asked.
func Drill(o DrillOptions, out io.Writer) error {
	l, err := newLab()
	if err != nil {
		return err
	}
	defer l.close()
	t := table{
		title: "Drill: 8,000 Services, 75,000 endpoints, a container of " + fmt.Sprintf("%d MiB", o.Limit>>20),
		note: "Memory is RSS, but for that of the container, which has the files of the kernel's cache too. Asked are 500 queries a second\n" +
			"over UDP and as many over TCP. The cost of large answers is the median of rounds.",
		columns: []string{
			"server", "GOGC", "GOMEMLIMIT", "start, peak MB", "then, MB", "listed again, peak MB", "container, peak MB", "queries", "lost", "behind SIGTERM", "lost",
			"A of 3,000 (UDP), µs", "A of 3,000 (TCP), µs", "SRV of 1,000s (TCP), µs", "ended",
		},
	}
	type run struct {
		name, gogc string
		limit      int64 // GOMEMLIMIT; 0: none
	}
	const share = 0.9
	soft := int64(share * float64(o.Limit))
	runs := []run{{stock, "100", 0}, {stock, "100", soft}, {headless, "100", 0}}
	for _, gogc := range o.GOGC {
		runs = append(runs, run{headless, gogc, soft})
	}
	var curves strings.Builder
	var failed []error
	for _, r := range runs {
		environment := []string{"GOGC=" + r.gogc}
		limit := "none"
		if r.limit > 0 {
			environment = append(environment, fmt.Sprintf("GOMEMLIMIT=%d", r.limit))
			limit = fmt.Sprintf("%d MiB", r.limit>>20)
		}
		what := fmt.Sprintf("%s, GOGC %s, GOMEMLIMIT %s", r.name, r.gogc, limit)
		o.Progress("%s", what)
		d, err := l.drill(o, r.name, environment)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		t.add(r.name, r.gogc, limit, short(d.start), short(d.steady), short(d.again), short(d.container), thousands(d.queries), fmt.Sprint(d.lost),
			thousands(d.lameduck), fmt.Sprint(d.lameduckLost), short(d.udp), short(d.tcp), short(d.srv), d.end)
		fmt.Fprintf(&curves, "%s: MB each half second until SIGTERM:", what)
		for _, mb := range d.curve {
			fmt.Fprintf(&curves, " %.0f", mb)
		}
		curves.WriteString("\n")
		if r.name == headless && (d.end != "" || d.lost+d.lameduckLost > 0) {
			failed = append(failed, fmt.Errorf("%s: %d and %d queries lost, %s", what, d.lost, d.lameduckLost, d.end))
		}
	}
	if err := t.write(out); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "\n%s", curves.String()); err != nil {
		return err
	}
	return errors.Join(failed...)
}

// drill does one.
func (l *lab) drill(o DrillOptions, name string, environment []string) (*drilled, error) {
	c := drillCluster()
	var flags []string
	if o.Streamless {
		flags = append(flags, "-streamless")
	}
	a, err := l.api(c, flags...)
	if err != nil {
		return nil, err
	}
	defer func() { a.Stop() }()
	upstream, err := newSink()
	if err != nil {
		return nil, err
	}
	defer upstream.Close() //nolint:errcheck // nothing is left to be written
	container, err := proc.NewContainer(o.Limit)
	if err != nil {
		return nil, err
	}
	corefile := chained(twoBlocksCorefile, name, a.url, upstream.LocalAddr().String())
	s, err := l.serveWith(proc.Program{Environment: environment}, name, corefile)
	if err != nil {
		return nil, err
	}
	defer func() {
		s.Stop()
		_ = container.Close() // nothing runs in it
	}()
	if err := container.Take(s.Process); err != nil {
		return nil, err
	}
	d := &drilled{}
	w := watchMemory(s)
	defer func() {
		d.curve = w.stop()
		if peak, err := container.Peak(); err == nil {
			d.container = float64(peak) / mega
		}
	}()
	one := pods(c.Service("web-7"), dns.TypeA)[0]
	if _, err := s.wait(one); err != nil {
		return d.ended(s, err)
	}
	d.start = w.most()
	asked, err := l.askAllTheTime(s, one, service(c.Service("api-0"), dns.TypeA, 1, false))
	if err != nil {
		return nil, err
	}
	defer asked.stop()
	time.Sleep(5 * time.Second)
	d.steady = w.last()

	// The API server is away, and comes back without what it knew.
	w.most()
	a.Stop()
	time.Sleep(3 * time.Second)
	changed := append([]string{"-restarted", "-address", strings.TrimPrefix(a.url, "http://")}, flags...)
	if a, err = l.api(c, changed...); err != nil {
		return nil, err
	}
	if err := l.waitForChange(a, s, c); err != nil {
		d.again = w.most()
		d.queries, d.lost = asked.stop()
		return d.ended(s, err)
	}
	time.Sleep(2 * time.Second)
	d.again = w.most()
	d.queries, d.lost = asked.stop()

	// Large answers.
	big := c.Service("big")
	for _, of := range []struct {
		q    query
		tcp  bool
		cost *float64
	}{
		{service(big, dns.TypeA, 3000, false), false, &d.udp}, {service(big, dns.TypeA, 3000, true), true, &d.tcp}, {srv(big, true), true, &d.srv},
	} {
		q := of.q
		if name == headless && of.tcp { // of a set larger than a message it gives what fits, without TC
			q.expect.Truncated = false
		}
		cell := cell{name: q.name, queries: []query{q}, tcp: of.tcp}
		const rounds, count = 9, 100
		var costs []float64
		for range rounds {
			r, err := cell.ask(s, count)
			if err != nil {
				return d.ended(s, err)
			}
			costs = append(costs, r.cpu)
		}
		*of.cost = spreadOf(costs).median
	}

	// SIGTERM, while it is asked. The lameduck takes five seconds, in which a cluster has long asked others.
	if asked, err = l.askAllTheTime(s, one, service(c.Service("api-0"), dns.TypeA, 1, false)); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	if err := s.Terminate(); err != nil {
		return nil, err
	}
	time.Sleep(4 * time.Second)
	d.lameduck, d.lameduckLost = asked.stop()
	select {
	case <-s.Exited():
	case <-time.After(10 * time.Second):
		d.end = "not within 10 s of SIGTERM"
	}
	return d, nil
}

// ended notes that the server has ended before its time, if it has, as one does that has used all its memory. Else err stands.
func (d *drilled) ended(s *subject, err error) (*drilled, error) {
	select {
	case <-s.Exited():
		d.end = "killed: no memory"
		return d, nil
	case <-time.After(time.Second):
		return nil, err
	}
}

// waitForChange changes an endpoint and waits until the server knows.
func (l *lab) waitForChange(a *api, s *subject, c cluster.Cluster) error {
	const number = 9 // of the Service in the cluster, which nobody asks for else
	web := c.Services()[number]
	if _, err := a.change(cluster.Change{Service: number, Endpoint: 0, State: cluster.Gone}); err != nil {
		return err
	}
	_, err := s.wait(query{web.Domain(), dns.TypeA, load.Expect{Answers: load.Exactly(web.Endpoints - 1)}})
	return err
}

// memory is a record of what a process has in RAM.
type memory struct {
	cancel chan struct{}
	done   sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	high  float64    // MB, since most was called
	now   float64
	curve []float64
}

func watchMemory(s *subject) *memory {
	w := &memory{cancel: make(chan struct{})}
	w.done.Go(func() {
		const each = 20 * time.Millisecond
		tick := time.NewTicker(each)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
			case <-w.cancel:
				return
			}
			m, err := s.Memory()
			if err != nil {
				continue // it has ended
			}
			w.mu.Lock()
			w.now = float64(m.RSS) / mega
			w.high = max(w.high, w.now)
			if n%int(500*time.Millisecond/each) == 0 {
				w.curve = append(w.curve, w.now)
			}
			w.mu.Unlock()
		}
	})
	return w
}

// most returns the most that there was since it was called before, in MB.
func (w *memory) most() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	high := w.high
	w.high = 0
	return high
}

// last returns what there is now, in MB.
func (w *memory) last() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// stop ends the record and returns it.
func (w *memory) stop() []float64 {
	select {
	case <-w.cancel:
	default:
		close(w.cancel)
	}
	w.done.Wait()
	return w.curve
}

// asking is a client that asks over UDP and TCP until it is stopped.
type asking struct {
	end     atomic.Bool
	done    sync.WaitGroup
	replies atomic.Int64
	lost    atomic.Int64
}

// askAllTheTime asks a server two questions in turn, 500 times a second over UDP and as often over TCP.
func (l *lab) askAllTheTime(s *subject, questions ...query) (*asking, error) {
	a := &asking{}
	var packed [][]byte
	for _, q := range questions {
		p, err := q.pack()
		if err != nil {
			return nil, err
		}
		packed = append(packed, p)
	}
	const pieces, rate = 10, 500 // a second
	for _, tcp := range []bool{false, true} {
		plan := load.Plan{Server: s.address, TCP: tcp, Queries: packed, Expect: questions[0].expect, Count: rate / pieces, Rate: rate, Outstanding: 1}
		a.done.Go(func() {
			for !a.end.Load() {
				begun := time.Now()
				r, err := plan.Run()
				a.replies.Add(int64(r.Replies))
				if err != nil {
					a.lost.Add(int64(plan.Count - r.Replies))
				}
				if tcp || err != nil { // one connection for each piece
					time.Sleep(time.Second/pieces - time.Since(begun))
				}
			}
		})
	}
	return a, nil
}

// stop ends the client, and returns how many replies came and how many did not.
func (a *asking) stop() (replies, lost int) {
	a.end.Store(true)
	a.done.Wait()
	return int(a.replies.Load()), int(a.lost.Load())
}
