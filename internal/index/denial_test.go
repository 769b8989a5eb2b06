package index

import (
	"fmt"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		name, label string
		offers      []string
		want        []string
		more        bool
	}{
		{"none", "a", nil, nil, false},
		{"the most like comes first", "web-1", []string{"db-7", "web-2", "web-1x"}, []string{"web-1x", "web-2", "db-7"}, false},
		{"of those alike the first", "web-9", []string{"web-0", "web-1", "web-2", "web-3"}, []string{"web-0", "web-1", "web-2"}, true},
		{"each once", "web-9", []string{"web-0", "web-0", "web-0", "web-0"}, []string{"web-0"}, false},
		{"a better one takes the place of the worst", "web-9", []string{"a", "b", "c", "web-8"}, []string{"web-8", "a", "b"}, true},
		{"the start and the end count", "cassandra-1", []string{"casandra-1", "cassandra-2", "x"}, []string{"casandra-1", "cassandra-2", "x"}, false},
	} {
		var n Nearest[string]
		for _, o := range c.offers {
			n.offer(o, likeness(o, c.label))
		}
		if !slices.Equal(n.All(), c.want) || n.More != c.more {
			t.Errorf("%s: %q and more %v, want %q and %v", c.name, n.All(), n.More, c.want, c.more)
		}
	}
}

// TestSuggestionsCostTheSameWhateverTheSize: of 10,000 endpoints a denial looks at a few, and finds those near all the same.
func TestSuggestionsCostTheSameWhateverTheSize(t *testing.T) {
	looks := make(map[int]int) // by the size of the Service
	for _, size := range []int{100, 10000} {
		x := bigIndex(size)
		for _, g := range x.peek("n", "web").groups {
			for i := maxLooks; i < len(g.targets); i++ {
				g.targets[i] = nil // to look at it is a fault
			}
		}
		key := x.byName.key
		x.byName.key = func(e *endpoint) hostKey { looks[size]++; return key(e) }
		for _, asked := range []struct{ hostname, want string }{
			{fmt.Sprint("web-", size), fmt.Sprint("web-", size-1)},
			{"web-50x", "web-5"},
			{"10-0-0-9", "web-9"},
			{"nobody", "web-0"},
		} {
			q := qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Hostname: asked.hostname}
			q.Addr, _ = model.ParseDashed(asked.hostname)
			d := Denial{Suggest: true}
			x.Deny(&d, &q)
			if d.Reason != ReasonHostname || d.Names.N != MaxNear || !d.Names.More || d.Names.All()[0].Name != asked.want {
				t.Errorf("of %d: %s: reason %v, near it %v, want %s first", size, asked.hostname, d.Reason, d.Names.All(), asked.want)
			}
		}
		d := Denial{Suggest: true}
		x.Deny(&d, &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Port: "x", Proto: "tcp"})
		if want := (model.PortLabels{Name: "http", Proto: "tcp"}); d.Reason != ReasonPort || len(d.Ports.All()) != 1 || d.Ports.All()[0] != want {
			t.Errorf("of %d: reason %v, ports %v, want %v", size, d.Reason, d.Ports.All(), want)
		}
	}
	if looks[10000] > looks[100]+40 { // the chains of a table have random lengths
		t.Errorf("%d endpoints were compared with a name in a Service of 10,000, %d in one of 100", looks[10000], looks[100])
	}
}
