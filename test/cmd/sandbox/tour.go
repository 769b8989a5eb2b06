package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"
)

// begin says how a tour begins. Its argument is the address of the page.
const begin = `
The cluster and its DNS serve. Open the page, which a client that asks all the time keeps busy, and a second terminal for dig:

  http://%s
`

// tour shows, step by step, what the server does about what happens to a cluster.
type tour struct {
	cluster *cluster.Cluster
	server  *coredns.Server
	port    int
	auto    bool          // it goes on by itself
	pause   time.Duration // before that
	lines   chan struct{} // those that are typed; nil when there will be none any more
}

// tourOptions are those of the server's stanza. What is held is seen for as long as somebody looks.
func tourOptions(dir string) []string { return []string{"hold 1m", "snapshot " + dir + "/snapshot"} }

// The Service of the tour, and an endpoint of it.
const (
	service = "cassandra.default.svc.cluster.local."
	pod     = "cassandra-1." + service
	port    = "_cql._tcp." + service
)

// numPods is how many pods it has from the first step on.
const numPods = 5

// step is one step of a tour. After it DNS says what claim wants, and the page what look says.
type step struct {
	name     string
	happens  string     // and why that is worth a look
	commands [][]string // of kubectl, which are run
	do       func(ctx context.Context, t *tour) error
	dig      string // what to ask for
	look     string // what to see there, and on the page
	claim    func(ctx context.Context, t *tour) error
	after    func(ctx context.Context, t *tour) error // when somebody has looked
}

var steps = []step{
	{
		name: "scale", happens: "A StatefulSet of three pods gets five.",
		commands: [][]string{{"scale", "statefulset", "cassandra", "--replicas", strconv.Itoa(numPods)}},
		dig:      service, look: "five addresses; on the page two dots more, one after the other",
		claim: func(ctx context.Context, t *tour) error { return t.answers(ctx) },
	},
	{
		name: "not-ready", happens: "The probe of one pod fails.",
		commands: [][]string{{"annotate", "pod", "cassandra-1", cluster.ReadyAnnotation + "=false"}},
		dig:      pod, look: "NXDOMAIN, with the reason; on the page a ring, and the name under \"What fails, and why\" with who asks for it",
		claim: func(ctx context.Context, t *tour) error { return t.denies(ctx, pod, "is not ready") },
		after: func(ctx context.Context, t *tour) error {
			if err := t.kubectl(ctx, "annotate", "pod", "cassandra-1", cluster.ReadyAnnotation+"-"); err != nil {
				return err
			}
			return t.answers(ctx)
		},
	},
	{
		name: "hold", happens: "A port is edited, and the control plane has taken the old EndpointSlice away and not yet made the new one. " +
			"That takes milliseconds; here kube-controller-manager is stopped meanwhile, for a minute at most.",
		commands: [][]string{
			{"patch", "service", "cassandra", "--type", "merge", "-p", `{"spec":{"ports":[{"name":"cql","port":9043}]}}`},
			{"delete", "endpointslices", "-l", "kubernetes.io/service-name=cassandra"},
		},
		do: func(_ context.Context, t *tour) error {
			return syscall.Kill(t.cluster.Controllers.PID(), syscall.SIGSTOP)
		},
		dig: service, look: "five addresses still, though no EndpointSlice has them; on the page five diamonds, which are held",
		claim: func(ctx context.Context, t *tour) error {
			if err := t.holds(ctx); err != nil {
				return err
			}
			return t.answers(ctx)
		},
		after: func(ctx context.Context, t *tour) error {
			if err := syscall.Kill(t.cluster.Controllers.PID(), syscall.SIGCONT); err != nil {
				return err
			}
			return t.eventually(ctx, port, dns.TypeSRV, "five targets with port 9043", func(m *dns.Msg) bool {
				n := 0
				for _, rr := range m.Answer {
					if srv, ok := rr.(*dns.SRV); ok && srv.Port == 9043 {
						n++
					}
				}
				return n == numPods
			})
		},
	},
	{
		name: "outage", happens: "The API server is killed.",
		do: func(_ context.Context, t *tour) error {
			t.cluster.APIServer.Kill()
			return nil
		},
		dig: service, look: "the same as before; the page says at its top that the cluster cannot be watched, and for how long",
		claim: func(ctx context.Context, t *tour) error { return t.answers(ctx) },
	},
	{
		name: "snapshot", happens: "The DNS server is started anew, and there is no API server that it could list.",
		do: func(ctx context.Context, t *tour) error {
			t.server.Stop()
			return t.server.Start(ctx)
		},
		dig: service, look: "the same, from the snapshot, with EDE 3 (Stale Answer); the page says so at its top",
		claim: func(ctx context.Context, t *tour) error { return t.stale(ctx, true) },
	},
	{
		name: "back", happens: "The API server is back.",
		do:  func(ctx context.Context, t *tour) error { return t.cluster.APIServer.Start(ctx) },
		dig: service, look: "no EDE any more; the page is in sync",
		claim: func(ctx context.Context, t *tour) error { return t.stale(ctx, false) },
	},
}

// read notes the lines that are typed, until there will be none any more.
func (t *tour) read(from io.Reader) {
	t.lines = make(chan struct{})
	go func() { // it ends with the process: nothing interrupts a read
		for typed := bufio.NewScanner(from); typed.Scan(); {
			t.lines <- struct{}{}
		}
		close(t.lines)
	}()
}

// run takes all steps.
func (t *tour) run(ctx context.Context) error {
	for i, s := range steps {
		fmt.Printf("\nStep %d of %d: %s\n\n  %s\n\n", i+1, len(steps), s.name, s.happens)
		if err := t.take(ctx, &s); err != nil {
			return fmt.Errorf("step %s: %w", s.name, err)
		}
	}
	fmt.Println("\nThat was the tour. make sandbox starts the same cluster, to try things out.")
	return nil
}

func (t *tour) take(ctx context.Context, s *step) error {
	if s.do != nil {
		if err := s.do(ctx, t); err != nil {
			return err
		}
	}
	for _, command := range s.commands {
		if err := t.kubectl(ctx, command...); err != nil {
			return err
		}
	}
	fmt.Printf("  dig @127.0.0.1 -p %d %s\n  Look: %s.\n\n", t.port, s.dig, s.look)
	began := time.Now()
	if err := s.claim(ctx, t); err != nil {
		return err
	}
	fmt.Printf("  DNS says so after %.1f s. Enter goes on%s.\n", time.Since(began).Seconds(), map[bool]string{true: ", as time does"}[t.auto])
	if err := t.wait(ctx); err != nil || s.after == nil {
		return err
	}
	return s.after(ctx, t)
}

// wait returns when somebody types a line or, if nobody can or has to, when the time is over.
func (t *tour) wait(ctx context.Context) error {
	var over <-chan time.Time
	for {
		if over == nil && (t.auto || t.lines == nil) {
			over = time.After(t.pause)
		}
		select {
		case _, isOpen := <-t.lines:
			if isOpen {
				return nil
			}
			t.lines = nil
		case <-over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// kubectl says which command it runs.
func (t *tour) kubectl(ctx context.Context, args ...string) error {
	shown := make([]string, len(args))
	for i, arg := range args {
		if shown[i] = arg; strings.ContainsAny(arg, `{"`) {
			shown[i] = "'" + arg + "'"
		}
	}
	fmt.Printf("  kubectl %s\n", strings.Join(shown, " "))
	_, err := t.cluster.Kubectl(ctx, "", args...)
	return err
}

// claimTimeout is for how long a claim may be wrong, on a busy machine.
const claimTimeout = time.Minute

// until waits until what it calls returns nil.
func until(ctx context.Context, holds func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	for {
		err := holds(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// holds waits until the endpoints of all pods are held.
func (t *tour) holds(ctx context.Context) error {
	return until(ctx, func(ctx context.Context) error {
		got, err := t.server.Metric(ctx, "coredns_headless_held_endpoints")
		if err == nil && got != numPods {
			err = fmt.Errorf("%v endpoints are held, want %d", got, numPods)
		}
		return err
	})
}

// eventually waits until the answer to a question is as wanted.
func (t *tour) eventually(ctx context.Context, name string, qtype uint16, want string, isWanted func(*dns.Msg) bool) error {
	return until(ctx, func(ctx context.Context) error {
		m, err := t.server.Ask(ctx, "udp", name, qtype)
		if err == nil && !isWanted(m) {
			err = fmt.Errorf("expected %s, got %v", want, m)
		}
		return err
	})
}

// answers waits until the Service has the addresses of all pods.
func (t *tour) answers(ctx context.Context) error {
	return t.eventually(ctx, service, dns.TypeA, fmt.Sprintf("%d records", numPods), func(m *dns.Msg) bool {
		return len(m.Answer) == numPods
	})
}

// denies waits until a name does not exist, for a reason that has a part.
func (t *tour) denies(ctx context.Context, name, part string) error {
	return t.eventually(ctx, name, dns.TypeA, "NXDOMAIN: "+part, func(m *dns.Msg) bool {
		return m.Rcode == dns.RcodeNameError && slices.ContainsFunc(hostile.ExtendedErrors(m), func(e dns.EDNS0_EDE) bool {
			return strings.Contains(e.ExtraText, part)
		})
	})
}

// stale waits until the Service's addresses are marked as stale, or not.
func (t *tour) stale(ctx context.Context, isStale bool) error {
	return t.eventually(ctx, service, dns.TypeA, fmt.Sprintf("%d addresses, stale %v", numPods, isStale), func(m *dns.Msg) bool {
		return len(m.Answer) == numPods && isStale == slices.ContainsFunc(hostile.ExtendedErrors(m), func(e dns.EDNS0_EDE) bool {
			return e.InfoCode == dns.ExtendedErrorCodeStaleAnswer
		})
	})
}
