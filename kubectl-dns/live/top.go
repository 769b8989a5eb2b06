package live

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"

	"github.com/coredns-headless/headless/internal/insight"
)

// Version is that of Top: it grows when something in it is taken away or means something else.
const Version = 1

// Top is what servers know together: who asks, what fails and why, and which headless Services are in trouble.
type Top struct {
	Version int        `json:"version"`
	Servers []Standing `json:"servers"`
	// Rates are queries a second, of the last ten seconds.
	Rates    Rates                 `json:"rates"`
	HalfLife float64               `json:"half_life_seconds"`
	Names    []Name                `json:"names"`
	Clients  []Client              `json:"clients"`
	Search   []Client              `json:"search"` // those with the most queries that look like steps of a search list
	Reasons  []insight.ReasonShown `json:"reasons"`
	// Unlisted are how often a name, or a client, that is not listed was counted at most, by all servers together.
	Unlisted insight.UnlistedCounts `json:"unlisted"`
	Headless int                    `json:"headless"` // Services, by the server that has the most
	Troubled int                    `json:"troubled"` // of these, those of which not all endpoints are ready, the same
	Services []Service              `json:"services"` // these, the first of them
}

// Standing is how a server is.
type Standing struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // why it is not counted
	*insight.Status
}

// Rates are queries a second.
type Rates struct {
	Answers  float64 `json:"answers"`
	Denials  float64 `json:"denials"`
	Failures float64 `json:"failures"`
}

// Name is a name that fails. It was asked for between Count-Over and Count+Under times; the last query and its reason are the
// latest of all servers.
type Name struct {
	insight.NameShown
	Under float64 `json:"under"`
}

// Client is a client whose queries fail, with an error like that of a Name. Its search steps may lack as much as Under more.
type Client struct {
	insight.ClientShown
	Under float64 `json:"under"`
}

// Service is a headless Service as some of the servers have it. It stands there several times if servers differ.
type Service struct {
	insight.ServiceLine
	Servers []string `json:"servers"`
}

// mostLines is the greatest limit of the interface.
const mostLines = 1000

// said is what one server says.
type said struct {
	top      insight.Top
	status   insight.Status
	services insight.Services
}

// Ask asks all servers, and adds up what they say. One that does not answer is named, with the reason.
func Ask(ctx context.Context, servers []*Server) *Top {
	all, errs := make([]said, len(servers)), make([]error, len(servers))
	each(servers, func(i int, s *Server) {
		limit, one := strconv.Itoa(mostLines), &all[i]
		errs[i] = s.get(ctx, "/v1/top", url.Values{"limit": {limit}}, &one.top)
		if errs[i] == nil {
			errs[i] = s.get(ctx, "/v1/status", nil, &one.status)
		}
		if errs[i] == nil {
			errs[i] = s.get(ctx, "/v1/services", url.Values{"trouble": {"true"}, "limit": {limit}}, &one.services)
		}
		if errs[i] == nil {
			errs[i] = one.check()
		}
	})
	names := make([]string, len(servers))
	for i, s := range servers {
		names[i] = s.name
	}
	return sum(names, all, errs)
}

// greatest is the greatest number that a server may say: it is written as a whole number, and its sums are exact to a digit.
const greatest = 1e12

// check returns an error if a number is negative or too great for a count: JSON cannot hold the sum of such, which may be
// infinite.
func (s *said) check() error {
	numbers := []float64{s.top.HalfLife, s.top.Unlisted.Names, s.top.Unlisted.Clients}
	for _, r := range s.top.Reasons {
		numbers = append(numbers, r.Count)
	}
	for _, n := range s.top.Names {
		numbers = append(numbers, n.Count, n.Over, math.Abs(n.Ago)) // the clock may tick between
	}
	for _, c := range slices.Concat(s.top.Clients, s.top.Search) {
		numbers = append(numbers, c.Count, c.Over, c.SearchSteps, math.Abs(c.Ago))
	}
	for _, n := range numbers {
		if n < 0 || n > greatest {
			return fmt.Errorf("expected numbers from 0 to %.0f, got %g", greatest, n)
		}
	}
	return nil
}

// sum adds up what servers say, of which those with an error say nothing.
func sum(servers []string, all []said, errs []error) *Top {
	t := &Top{Version: Version, Reasons: []insight.ReasonShown{}, Services: []Service{}}
	names, clients := newTable[nameKey, Name](), newTable[string, Client]()
	reasons, services := make(map[string]insight.ReasonShown), make(map[insight.ServiceLine]int)
	for i, server := range servers {
		if errs[i] != nil {
			t.Servers = append(t.Servers, Standing{Name: server, Error: errs[i].Error()})
			continue
		}
		from := &all[i]
		t.Servers = append(t.Servers, Standing{Name: server, Status: &from.status})
		t.HalfLife = from.top.HalfLife
		t.Rates.add(from.top.Seconds)
		for _, r := range from.top.Reasons {
			r.Count = rounded(r.Count + reasons[r.Reason].Count)
			reasons[r.Reason] = r
		}
		addNames(names, &from.top)
		addClients(clients, &from.top)
		t.addServices(services, server, &from.services)
	}
	t.Reasons = slices.AppendSeq(t.Reasons, maps.Values(reasons))
	slices.SortFunc(t.Reasons, func(a, b insight.ReasonShown) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	t.Names = names.lines(func(n *Name, under float64) {
		n.Count, n.Over, n.Under = rounded(n.Count), rounded(n.Over), rounded(under)
	})
	slices.SortFunc(t.Names, func(a, b Name) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
	})
	t.Clients = clients.lines(func(c *Client, under float64) {
		c.Count, c.Over, c.SearchSteps, c.Under = rounded(c.Count), rounded(c.Over), rounded(c.SearchSteps), rounded(under)
	})
	byCount := func(a, b Client) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Client.Address, b.Client.Address))
	}
	slices.SortFunc(t.Clients, byCount)
	t.Search = slices.DeleteFunc(slices.Clone(t.Clients), func(c Client) bool { return c.SearchSteps == 0 })
	slices.SortFunc(t.Search, func(a, b Client) int { return cmp.Or(cmp.Compare(b.SearchSteps, a.SearchSteps), byCount(a, b)) })
	t.Unlisted = insight.UnlistedCounts{Names: rounded(names.unlisted), Clients: rounded(clients.unlisted)}
	slices.SortStableFunc(t.Services, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return t
}

// Cut leaves no more than the first n lines in each list.
func (t *Top) Cut(n int) {
	for _, name := range t.Names[min(n, len(t.Names)):] { // a smaller count may lack more
		t.Unlisted.Names = max(t.Unlisted.Names, rounded(name.Count+name.Under))
	}
	for _, c := range t.Clients[min(n, len(t.Clients)):] {
		t.Unlisted.Clients = max(t.Unlisted.Clients, rounded(c.Count+c.Under))
	}
	t.Names, t.Clients = t.Names[:min(n, len(t.Names))], t.Clients[:min(n, len(t.Clients))]
	t.Search, t.Services = t.Search[:min(n, len(t.Search))], t.Services[:min(n, len(t.Services))]
}

// rounded returns a count with one digit behind the point.
func rounded(count float64) float64 { return math.Round(count*10) / 10 }

// add adds the rates of the last ten seconds that are over.
func (r *Rates) add(seconds []insight.Second) {
	if len(seconds) < 2 {
		return // the last one is not over
	}
	seconds = seconds[:len(seconds)-1]
	seconds = seconds[max(0, len(seconds)-10):]
	n := float64(len(seconds))
	for _, s := range seconds {
		r.Answers += float64(s.Answers) / n
		r.Denials += float64(s.Denials) / n
		r.Failures += float64(s.Failures) / n
	}
}

// table adds up the lines of servers that have one key. A server that has no line of a key may have counted as much as its bound.
type table[K comparable, L any] struct {
	all      map[K]*counted[L]
	unlisted float64 // the bounds of all servers
}

// counted is a line, and the bounds of the servers that have it.
type counted[L any] struct {
	line  L
	known float64
}

func newTable[K comparable, L any]() *table[K, L] { return &table[K, L]{all: make(map[K]*counted[L])} }

// at returns the line of a key, of which a server with a bound has one, and whether it is the first that has.
func (t *table[K, L]) at(key K, bound float64) (line *L, isFirst bool) {
	c := t.all[key]
	if isFirst = c == nil; isFirst {
		c = &counted[L]{}
		t.all[key] = c
	}
	c.known += bound
	return &c.line, isFirst
}

// lines returns all lines, after finish was called with each and with what its count may lack.
func (t *table[K, L]) lines(finish func(line *L, under float64)) []L {
	lines := []L{}
	for _, c := range t.all {
		finish(&c.line, t.unlisted-c.known)
		lines = append(lines, c.line)
	}
	return lines
}

// bound returns how often what a server does not list was counted at most, given how often what it does not know was, and the counts
// that it lists, the greatest first: of these the limit may have cut some off.
func bound[L any](unlisted float64, listed []L, count func(L) float64) float64 {
	if len(listed) < mostLines {
		return unlisted
	}
	return max(unlisted, count(listed[len(listed)-1]))
}

// nameKey identifies a name that fails: it may fail for one reason now, and for another then.
type nameKey struct{ name, reason string }

func addNames(t *table[nameKey, Name], from *insight.Top) {
	bound := bound(from.Unlisted.Names, from.Names, func(n insight.NameShown) float64 { return n.Count })
	t.unlisted += bound
	for _, n := range from.Names {
		line, isFirst := t.at(nameKey{n.Name, n.Reason}, bound)
		before := line.NameShown
		if isFirst || n.Ago < before.Ago {
			line.NameShown = n
		}
		if isFirst {
			continue
		}
		line.Count, line.Over = before.Count+n.Count, before.Over+n.Over
		line.SearchStep = before.SearchStep || n.SearchStep
		line.Clients = before.Clients
		for _, who := range n.Clients {
			if i := slices.IndexFunc(line.Clients, func(w insight.Who) bool { return w.Address == who.Address }); i < 0 {
				line.Clients = append(line.Clients, who)
			}
		}
	}
}

func addClients(t *table[string, Client], from *insight.Top) {
	bound := bound(from.Unlisted.Clients, from.Clients, func(c insight.ClientShown) float64 { return c.Count })
	t.unlisted += bound
	seen := make(map[string]bool) // for search has many of them again
	for _, c := range slices.Concat(from.Clients, from.Search) {
		if seen[c.Client.Address] {
			continue
		}
		seen[c.Client.Address] = true
		line, isFirst := t.at(c.Client.Address, bound)
		before := line.ClientShown
		if isFirst || c.Ago < before.Ago {
			line.ClientShown = c
		}
		if !isFirst {
			line.Count, line.Over, line.SearchSteps = before.Count+c.Count, before.Over+c.Over, before.SearchSteps+c.SearchSteps
			line.Client = known(before.Client, c.Client)
		}
	}
}

// known returns the one of what two servers know of a client that says more: not all learn of a Pod at once.
func known(a, b insight.Who) insight.Who {
	if a.Pod == "" && b.Pod != "" || a.Namespace == "" && b.Namespace != "" {
		return b
	}
	return a
}

// addServices adds the Services that a server has in trouble, with its name. At tells where they are in t.
func (t *Top) addServices(at map[insight.ServiceLine]int, server string, from *insight.Services) {
	t.Headless, t.Troubled = max(t.Headless, from.Total), max(t.Troubled, from.Matching)
	for _, line := range from.Services {
		i, ok := at[line]
		if !ok {
			i = len(t.Services)
			at[line], t.Services = i, append(t.Services, Service{ServiceLine: line})
		}
		t.Services[i].Servers = append(t.Services[i].Servers, server)
	}
}
