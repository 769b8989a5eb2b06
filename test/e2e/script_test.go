package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"

	corev1 "k8s.io/api/core/v1"
)

var (
	scriptSteps = flag.Int("script.steps", 30, "`how many` steps TestScript takes")
	scriptSeed  = flag.Uint64("script.seed", 0, "the `number` that TestScript's steps follow from; 0 stands for another one each time")
	scriptPods  = flag.Int("script.pods", 1000, "`how many` pods the large Service of TestScript has")
)

// TestScript changes a cluster in all ways that change what DNS should say, in random order, while clients ask. After each step
// the servers have to come to say what the API's objects mean; and headless must never deny a pod that is ready throughout.
func TestScript(t *testing.T) {
	seed := *scriptSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./e2e -run TestScript -args -script.seed %d -script.steps %d -script.pods %d", seed, *scriptSteps, *scriptPods)
	c := startCluster(t)
	s := &script{
		t: t, c: c, rng: rand.New(rand.NewPCG(seed, 0)),
		names: make(map[string]bool), found: make(map[string][contestants]*tally),
	}
	s.contestants = []*contestant{
		newContestant(t, startServer(t, c, "headless"), "headless", 0, (*model).judge),
		newContestant(t, startServer(t, c, "headless", "hold 0"), "headless, hold 0", 1, (*model).judge),
		newContestant(t, startServer(t, c, "kubernetes"), "kubernetes", 2, (*model).judgeStock),
	}
	s.observer = startObserver(t, c, func(changed []question, since time.Time) {
		for _, c := range s.contestants {
			c.changed(changed, since)
		}
	})
	s.begin("set-up")
	stop := s.startLoad()
	s.setUp()
	for i, name := range s.deck(*scriptSteps) {
		s.step(i, name)
	}
	stop()
	s.report()
}

// script is a run of TestScript.
type script struct {
	t           *testing.T
	c           *cluster.Cluster
	rng         *rand.Rand
	contestants []*contestant
	observer    *observer
	names       map[string]bool // that the model ever had

	large *app
	apps  []*app // others, which come and go
	made  int    // how many there ever were

	scenario  string   // the one that counts now
	scenarios []string // in the order in which they came first
	found     map[string][contestants]*tally
}

// deck returns n steps: each as often as the others, but for the one that headless was made for, which comes three times as often.
func (s *script) deck(n int) []string {
	all := slices.Sorted(maps.Keys(steps))
	all = append(all, "edit ports, large", "edit ports, large")
	var deck []string
	for len(deck) < n {
		s.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		deck = append(deck, all...)
	}
	return deck[:n]
}

// setUp makes the large Service and a few others.
func (s *script) setUp() {
	s.t.Helper()
	began := time.Now()
	s.large = &app{namespace: "large", name: "web", stateful: true}
	createNamespace(s.t, s.c, s.large.namespace)
	s.createService(s.large, corev1.ClusterIPNone, corev1.IPFamilyPolicySingleStack)
	s.createWorkload(s.large, *scriptPods)
	for range 3 {
		s.create()
	}
	settled := s.converge()
	s.t.Logf("%d pods are up after %.1f s; all servers agree after %.1f s", *scriptPods, settled.Sub(began).Seconds(), time.Since(began).Seconds())
	s.end()
}

// startLoad starts the clients. The function that it returns ends them.
func (s *script) startLoad() func() {
	ctx, cancel := context.WithCancel(s.t.Context())
	var clients sync.WaitGroup
	for _, c := range s.contestants {
		for _, client := range []func(context.Context, *observer) error{c.load, c.loadServices, c.follow} {
			clients.Go(func() {
				if err := client(ctx, s.observer); err != nil {
					s.t.Error(err)
				}
			})
		}
	}
	s.t.Cleanup(clients.Wait)
	return func() {
		cancel()
		clients.Wait()
	}
}

// step does a step by its name and waits for what follows.
func (s *script) step(i int, name string) {
	s.t.Helper()
	s.begin(name)
	began := time.Now()
	steps[name](s)
	settled := s.converge()
	s.t.Logf("%3d  %-22s settled after %5.2f s, all agree after %5.2f s", i, name, settled.Sub(began).Seconds(), time.Since(began).Seconds())
	s.end()
}

// begin lets what is found count for a scenario.
func (s *script) begin(scenario string) {
	s.scenario = scenario
	if _, ok := s.found[scenario]; !ok {
		s.scenarios = append(s.scenarios, scenario)
		s.found[scenario] = [contestants]*tally{new(tally), new(tally), new(tally)}
	}
	for i, c := range s.contestants {
		tally := s.found[scenario][i]
		tally.cpu -= s.cpu(c)
		c.tally.Store(tally)
	}
}

// end ends what begin began.
func (s *script) end() {
	for _, c := range s.contestants {
		c.tally.Load().cpu += s.cpu(c)
	}
}

func (s *script) cpu(c *contestant) time.Duration {
	s.t.Helper()
	used, err := c.CPU(s.t.Context())
	fatal.If(s.t, err)
	return used
}

// report judges what was found, when all is known of the cluster.
func (s *script) report() {
	s.t.Helper()
	var sums [contestants]finding
	for _, scenario := range s.scenarios {
		for i, c := range s.contestants {
			f := s.find(scenario, i)
			report(f)
			sums[i].server = c.name
			sums[i].checks += f.checks
			sums[i].wrong += f.wrong
			sums[i].cpu += f.cpu
			sums[i].staleness = append(sums[i].staleness, f.staleness...)
		}
	}
	for i, c := range s.contestants {
		rss, err := c.Metric(s.t.Context(), "process_resident_memory_bytes")
		fatal.If(s.t, err)
		sums[i].scenario = fmt.Sprintf("script: all, %d pods", *scriptPods)
		sums[i].note = fmt.Sprintf("RSS %.0f MB", rss/1e6)
		report(sums[i])
	}
}

// find returns what was found about a contestant in a scenario. It fails the test if that must not be.
func (s *script) find(scenario string, i int) finding {
	s.t.Helper()
	name, tally := s.contestants[i].name, s.found[scenario][i]
	var wrong []denial
	for _, d := range tally.denials {
		if d.wrong() {
			wrong = append(wrong, d)
		}
	}
	if i == 0 && len(wrong) > 0 {
		s.t.Errorf("%s: %s: %d wrong denials, such as %v", name, scenario, len(wrong), wrong[:min(3, len(wrong))])
	}
	if tally.unanswered > 0 {
		s.t.Errorf("%s: %s: %d questions got no answer", name, scenario, tally.unanswered)
	}
	return finding{
		scenario: "script: " + scenario, server: name, checks: tally.checks, wrong: len(wrong), staleness: tally.staleness, cpu: tally.cpu,
	}
}

// converge waits until the control plane has done all that follows from the last step, and returns when it had; and then until
// all servers agree with the model.
func (s *script) converge() (settled time.Time) {
	s.t.Helper()
	s.eventually(func(ctx context.Context) error { return clusterSettled(ctx, s.c, s.observer) })
	settled = time.Now()
	s.agree()
	return settled
}

// agree waits until all servers agree with the model about all names.
func (s *script) agree() {
	s.t.Helper()
	for _, c := range s.contestants {
		questions := s.questions()
		s.eventually(func(context.Context) (err error) {
			questions, err = s.disagreements(c, questions)
			return err
		})
	}
}

// questions returns all that there is to ask about the names that the model has, and that it ever had after a step.
func (s *script) questions() []question {
	m := newModel(s.observer.objects())
	for name := range m.Names() {
		s.names[name] = true
	}
	var all []question
	for name := range s.names {
		switch name {
		case clusterZone, "in-addr.arpa.", "ip6.arpa.": // the apexes
		default:
			all = append(all, m.questions(name)...)
		}
	}
	return all
}

// disagreements returns those questions that the server answers otherwise than the model of now, and an error that tells of a few.
func (s *script) disagreements(c *contestant, questions []question) (wrong []question, err error) {
	m := newModel(s.observer.objects())
	var errs []error
	for i, r := range c.asker.ask(questions) {
		if err := c.judge(m, questions[i], r); err != nil {
			wrong = append(wrong, questions[i])
			errs = append(errs, err)
		}
	}
	c.mu.Lock()
	c.tally.Load().checks += len(questions)
	c.mu.Unlock()
	if errs != nil {
		err = fmt.Errorf("%s: %d of %d answers are wrong: %w", c.name, len(wrong), len(questions), errors.Join(errs[:min(3, len(errs))]...))
	}
	return wrong, err
}

func (s *script) eventually(check func(context.Context) error) {
	s.t.Helper()
	const patience = 3 * time.Minute // reached only when something never comes
	eventually(s.t, patience, func(ctx context.Context) error {
		if err := check(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.scenario, err)
		}
		return nil
	})
}
