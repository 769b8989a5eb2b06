package snapshot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/fxamacker/cbor/v2"
)

// newKnowledge returns one without anything in it, with the index of multicluster zones.
func newKnowledge() Knowledge {
	return Knowledge{Indexes: []*index.Index{index.New(model.HostnamesReady, false, 0), index.New(model.HostnamesReady, false, 0)}, Pods: index.NewPods()}
}

// testHeader is a header that readAll accepts.
var testHeader = header{Version: version}

func anyHeader(header) error { return nil }

func anyHeaderAndTime(header, time.Time) error { return nil }

// snapshotOf returns the snapshot of c.
func snapshotOf(t testing.TB, c Knowledge) []byte {
	t.Helper()
	var b bytes.Buffer
	fatal.If(t, c.freeze().encode(&b, testHeader))
	return b.Bytes()
}

func modTime(t testing.TB, path string) time.Time {
	t.Helper()
	stat, err := os.Stat(path)
	fatal.If(t, err)
	return stat.ModTime()
}

// sealed returns the snapshot of these values, with the right checksum.
func sealed(t testing.TB, values ...any) []byte {
	t.Helper()
	var body bytes.Buffer
	for _, v := range values {
		b, err := cbor.Marshal(v)
		fatal.If(t, err)
		body.Write(b)
	}
	return sealedBody(body.Bytes())
}

// sealedBody returns the snapshot with this between the first line and the right checksum.
func sealedBody(body []byte) []byte {
	file := append([]byte("headless snapshot\n"), body...)
	return binary.BigEndian.AppendUint32(file, crc32.Checksum(file, crc32.MakeTable(crc32.Castagnoli)))
}

// facts returns what c holds in some words, in an order that depends on nothing else.
func (c Knowledge) facts() []string {
	var facts []string
	for i, x := range c.Indexes {
		for _, key := range x.NamespaceKeys() {
			facts = append(facts, fmt.Sprintf("%d namespace %s", i, key.Name))
		}
		for s := range x.Moment().Services() {
			if spec := s.Service; spec != nil {
				facts = append(facts, fmt.Sprintf("%d service %v: kind %d, policy %d, selector %v, target %q, IPs %v, ports %v, external %v", i,
					s.Key, spec.Kind, spec.Policy, spec.Selector, spec.Target, spec.ClusterIPs, portTexts(spec.Ports), externalText(spec.External)))
			}
			for _, sl := range s.Slices {
				text := fmt.Sprintf("%d slice %v of %s: ports %v", i, sl.Key, s.Name, portTexts(sl.Ports))
				for _, e := range sl.Endpoints {
					text += fmt.Sprintf(", %v %q pod %v place %+v state %d", e.Addr, e.Name, e.PodName, e.Place.Place(), e.State)
				}
				facts = append(facts, text)
			}
		}
	}
	for _, p := range c.Pods.All() {
		facts = append(facts, fmt.Sprintf("pod %v: %v %v", p.Key, p.Addrs, p.Labels))
	}
	slices.Sort(facts)
	return facts
}

func externalText(e *model.External) string {
	if e == nil {
		return "none"
	}
	return fmt.Sprint(e.Addrs, e.Names)
}

func portTexts(ports []model.Port) (texts []string) {
	for _, p := range ports {
		texts = append(texts, fmt.Sprintf("%s/%s/%d", p.Name(), p.Proto(), p.Number))
	}
	return texts
}

// randomKnowledge returns one after a random history, some endpoints of which are held.
func randomKnowledge(r *rand.Rand) Knowledge {
	x, imports := index.New(model.HostnamesReady, false, time.Hour), index.New(model.HostnamesReady, false, 0)
	c := Knowledge{Indexes: []*index.Index{x, imports}, Pods: index.NewPods()}
	for range r.IntN(60) {
		switch r.IntN(16) {
		case 0:
			x.DropService(modeltest.RandomKey(r, modeltest.Universe.Services))
		case 1, 2:
			x.PutService(modeltest.RandomService(r))
		case 3:
			x.DropNamespace(model.Key{Name: modeltest.PickOne(r, modeltest.Universe.Namespaces)})
		case 4:
			x.PutNamespace(&model.Namespace{Key: model.KeyOf("", modeltest.PickOne(r, modeltest.Universe.Namespaces))})
		case 5:
			list := make([]*model.Slice, r.IntN(8))
			for i := range list {
				list[i] = modeltest.RandomSlice(r)
			}
			x.ReplaceSlices(slices.Values(list))
		case 6:
			x.DropSlice(modeltest.RandomKey(r, modeltest.Universe.Slices))
		default:
			x.PutSlice(modeltest.RandomSlice(r))
		}
	}
	for _, name := range modeltest.PickSome(r, modeltest.Universe.Namespaces) {
		x.PutNamespace(&model.Namespace{Key: model.KeyOf("", name)})
	}
	for _, key := range x.NamespaceKeys() { // which both are told
		imports.PutNamespace(&model.Namespace{Key: key})
	}
	for range r.IntN(10) {
		s := modeltest.RandomService(r)
		if s.Kind != model.ExternalName {
			imports.PutService(s)
		}
		sl := modeltest.RandomSlice(r)
		for i := range sl.Endpoints {
			e := &sl.Endpoints[i]
			e.Name, e.PodName = cmp.Or(e.Name, "d")+"."+modeltest.PickOne(r, []string{"east", "west"}), false
		}
		imports.PutSlice(sl)
	}
	for i := range r.IntN(5) {
		p := &model.Pod{Key: model.Key{Namespace: modeltest.PickOne(r, modeltest.Universe.Namespaces), Name: fmt.Sprint("pod-", i)}, Addrs: modeltest.PickSome(r, modeltest.Universe.Addrs)}
		if r.IntN(2) == 0 {
			p.Labels = map[string]string{"app": modeltest.PickOne(r, modeltest.Universe.Services), "": "\xff"}
		}
		c.Pods.Put(p)
	}
	return c
}

func TestSnapshotHoldsAllThatTheIndexesDo(t *testing.T) {
	qs := modeltest.Questions()
	held := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 7))
		written, read := randomKnowledge(r), newKnowledge()
		held += written.Indexes[0].Holding().Now
		if err := read.parse(snapshotOf(t, written), anyHeader); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if got, want := read.facts(), written.facts(); !slices.Equal(got, want) {
			t.Fatalf("seed %d: read\n%s\nwritten\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for i, x := range read.Indexes {
			if err := x.Check(); err != nil {
				t.Fatalf("seed %d: index %d: %v", seed, i, err)
			}
			for j := range qs {
				checkSameAnswers(t, &qs[j], x, written.Indexes[i])
			}
		}
		if n := read.Indexes[0].Holding(); n != (index.HoldCounts{}) {
			t.Errorf("seed %d: endpoints that were read are held: %+v", seed, n)
		}
	}
	if held == 0 {
		t.Error("no endpoint was held when a snapshot was written")
	}
}

func checkSameAnswers(t *testing.T, q *qname.Name, a, b *index.Index) {
	t.Helper()
	for w := index.WantNothing; w <= index.WantSRV; w++ {
		if read, written := answerText(a, q, w), answerText(b, q, w); read != written {
			t.Fatalf("%+v want %d: %s read, %s written", *q, w, read, written)
		}
	}
}

// answerText returns what x says of q, inside the cluster and outside, in an order that does not
// depend on chance.
func answerText(x *index.Index, q *qname.Name, w index.Want) string {
	v, e := x.Lookup(q, w, index.Part{Limit: 1 << 20}), x.LookupExternal(q, true, index.WantSRV, index.Part{})
	var texts []string
	if w == index.WantA || w == index.WantAAAA {
		for addr := range slices.Chunk(v.Addrs, w.Family().Size()) {
			texts = append(texts, fmt.Sprintf("%x", addr))
		}
	}
	for _, target := range v.Targets {
		slices.SortFunc(target.Addrs, netip.Addr.Compare)
		texts = append(texts, fmt.Sprintf("%s %v %v", target.Append(nil), target.Ports, target.Addrs))
	}
	for _, host := range e.Hosts {
		texts = append(texts, fmt.Sprintf("%s.%s %v %s %v", host.Append(nil), host.Service, host.Addr, host.Name, host.Ports))
	}
	slices.Sort(texts)
	return fmt.Sprint(v.Outcome, v.Headless, v.CNAME, v.Total, v.Pointers, e.Outcome, e.Headless, texts)
}

// smallKnowledge returns a little of everything.
func smallKnowledge() Knowledge {
	c := newKnowledge()
	for _, x := range c.Indexes {
		x.PutNamespace(&model.Namespace{Key: model.KeyOf("", "ns")})
	}
	http := []model.Port{model.PortOf("http", "tcp", 80)}
	addr := netip.MustParseAddr
	c.Indexes[0].PutService(&model.Service{Key: model.KeyOf("ns", "web"), Kind: model.Headless, Ports: http, Policy: model.HostnamesAll})
	c.Indexes[0].PutService(&model.Service{
		Key: model.KeyOf("ns", "lb"), ClusterIPs: []netip.Addr{addr("10.96.0.1")}, Ports: http, Selector: true,
		External: &model.External{Addrs: []netip.Addr{addr("192.0.2.1")}, Names: []string{"lb.example.org."}},
	})
	c.Indexes[0].PutService(&model.Service{Key: model.KeyOf("ns", "out"), Kind: model.ExternalName, Target: "example.org."})
	c.Indexes[0].PutSlice(&model.Slice{Key: model.KeyOf("ns", "web-a"), Service: "web", Ports: http, Endpoints: []model.Endpoint{
		{Addr: addr("10.0.0.1"), Name: "web-0", State: model.Ready, PodName: true, Place: model.Place{Location: model.Location{Zone: "z", Node: "k"}, Zonal: true, ForZones: model.NamesOf([]string{"z", "y"}), ForNodes: model.NamesOf([]string{"k"})}.Placed()}, {Addr: addr("fd00::1"), State: model.Serving},
	}})
	c.Indexes[1].PutService(&model.Service{Key: model.KeyOf("ns", "all"), Kind: model.Headless})
	c.Indexes[1].PutSlice(&model.Slice{Key: model.KeyOf("ns", "all-a"), Service: "all", Endpoints: []model.Endpoint{
		{Addr: addr("10.0.0.1"), Name: "web-0.east", State: model.Ready},
	}})
	c.Pods.Put(&model.Pod{Key: model.KeyOf("ns", "web-0"), Addrs: []netip.Addr{addr("10.0.0.1")}, Labels: map[string]string{"app": "web"}})
	return c
}

func TestSnapshotIsRefusedWithAnyDamage(t *testing.T) {
	good := snapshotOf(t, smallKnowledge())
	read := newKnowledge()
	if err := read.parse(good, anyHeader); err != nil || !slices.Equal(read.facts(), smallKnowledge().facts()) {
		t.Fatalf("undamaged: %v", err)
	}
	for n := range good {
		if err := newKnowledge().parse(good[:n], anyHeader); err == nil {
			t.Errorf("the first %d octets of %d are accepted", n, len(good))
		}
	}
	for bit := range 8 * len(good) {
		damaged := slices.Clone(good)
		damaged[bit/8] ^= 1 << (bit % 8)
		if err := newKnowledge().parse(damaged, anyHeader); err == nil {
			t.Errorf("with bit %d flipped it is accepted", bit)
		}
	}
	if err := newKnowledge().parse(append(slices.Clone(good), 0), anyHeader); err == nil {
		t.Error("with an octet more it is accepted")
	}
}

// snapshotMalformed are Services that no converter makes, by what is wrong with them: in the first
// index, as encoded.
func snapshotMalformed() map[string]snapshotService {
	service := func(name string, spec snapshotSpec) snapshotService {
		return snapshotService{Namespace: "ns", Name: name, Spec: &spec}
	}
	slice := func(sl snapshotSlice) snapshotService {
		return snapshotService{Namespace: "ns", Name: "web", Slices: []snapshotSlice{sl}}
	}
	one := func(addr string) []byte { a := netip.MustParseAddr(addr).As16(); return a[:] }
	a := netip.MustParseAddr("10.0.0.1")
	return map[string]snapshotService{
		"a name in upper case":            service("Web", snapshotSpec{}),
		"a name with a dot":               service("a.b", snapshotSpec{}),
		"no name":                         service("", snapshotSpec{}),
		"a namespace that is none":        {Namespace: "n s", Name: "web", Spec: &snapshotSpec{}},
		"an unknown kind":                 service("web", snapshotSpec{Kind: model.ExternalName + 1}),
		"an unknown policy":               service("web", snapshotSpec{Policy: model.HostnamesAll + 1}),
		"no address":                      service("web", snapshotSpec{ClusterIPs: []netip.Addr{{}}}),
		"an IPv4-mapped address":          service("web", snapshotSpec{ClusterIPs: []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")}}),
		"an address with a zone":          service("web", snapshotSpec{ClusterIPs: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}}),
		"an address twice":                service("web", snapshotSpec{ClusterIPs: []netip.Addr{a, a}}),
		"a headless one with a ClusterIP": service("web", snapshotSpec{Kind: model.Headless, ClusterIPs: []netip.Addr{a}}),
		"a target that is no name":        service("web", snapshotSpec{Kind: model.ExternalName, Target: "a b."}),
		"a target in upper case":          service("web", snapshotSpec{Kind: model.ExternalName, Target: "Example.org."}),
		"a target without its dot":        service("web", snapshotSpec{Kind: model.ExternalName, Target: "example.org"}),
		"a target that is an address":     service("web", snapshotSpec{Kind: model.ExternalName, Target: "10.0.0.1."}),
		"a target that is too long":       service("web", snapshotSpec{Kind: model.ExternalName, Target: strings.Repeat("a.", 127) + "a."}),
		"a target of a headless one":      service("web", snapshotSpec{Kind: model.Headless, Target: "example.org."}),
		"port 0":                          service("web", snapshotSpec{Ports: []snapshotPort{{Name: "http", Proto: "tcp"}}}),
		"a port in upper case":            service("web", snapshotSpec{Ports: []snapshotPort{{Name: "HTTP", Proto: "tcp", Number: 80}}}),
		"a port without a protocol":       service("web", snapshotSpec{Ports: []snapshotPort{{Name: "http", Number: 80}}}),
		"a port whose label is too long":  service("web", snapshotSpec{Ports: []snapshotPort{{Name: strings.Repeat("a", 63), Proto: "tcp", Number: 80}}}),
		"nothing external":                service("web", snapshotSpec{External: true}),
		"an external address twice":       service("web", snapshotSpec{External: true, ExternalAddrs: []netip.Addr{a, a}}),
		"an external name twice":          service("web", snapshotSpec{External: true, ExternalNames: []string{"a.", "a."}}),
		"an external name that is none":   service("web", snapshotSpec{External: true, ExternalNames: []string{""}}),
		"a slice without a name":          slice(snapshotSlice{}),
		"a slice of no Service":           {Namespace: "ns", Slices: []snapshotSlice{{Name: "a"}}},
		"a slice with port 0":             slice(snapshotSlice{Name: "a", Ports: []snapshotPort{{Proto: "tcp"}}}),
		"an unknown state":                slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: []byte{byte(model.Ready) + 1}}),
		"an unknown bit in the state":     slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: []byte{0x40}}),
		"too few addresses":               slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 2)}),
		"too many addresses":              slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1")}),
		"half an address":                 slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1")[:8], States: make([]byte, 1)}),
		"too many names":                  slice(snapshotSlice{Name: "a", Names: []string{"x"}}),
		"too few places":                  slice(snapshotSlice{Name: "a", Addrs: make([]byte, 32), States: make([]byte, 2), At: []uint32{0}}),
		"a place that is not there":       slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 1), Places: make([]snapshotPlace, 1), At: []uint32{2}}),
		"a hostname in upper case":        slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 1), Names: []string{"A"}}),
		"a hostname with a dot":           slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 1), Names: []string{"a.east"}}),
		"the dashed address as hostname":  slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 1), Names: []string{"10-0-0-1"}}),
		"a pod's name that is none":       slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: []byte{fromPod}}),
	}
}

func TestSnapshotWithWhatNoConverterMakesIsRefused(t *testing.T) {
	head := []any{testHeader, "ns", nil}
	for name, s := range snapshotMalformed() {
		c := newKnowledge()
		if err := c.parse(sealed(t, append(head, s, nil, nil, nil)...), anyHeader); err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("%s: %v, want that it is malformed", name, err)
		}
	}
	imported := func(name string, said byte) []any {
		addr := netip.MustParseAddr("10.0.0.1").As16()
		sl := snapshotSlice{Name: "a", Addrs: addr[:], States: []byte{said}, Names: []string{name}}
		return append(head, nil, snapshotService{Namespace: "ns", Name: "web", Slices: []snapshotSlice{sl}}, nil, nil)
	}
	pod := func(addrs ...netip.Addr) []any {
		return append(head, nil, nil, snapshotPod{Namespace: "ns", Name: "a", Addrs: addrs}, nil)
	}
	for _, row := range []struct {
		name   string
		values []any
		want   string // in the error; "" for none
	}{
		{"nothing in it", append(head, nil, nil, nil), ""},
		{"an import", imported("a.east", 0), ""},
		{"an import without a cluster", imported("a", 0), "malformed"},
		{"an import of no hostname", imported(".east", 0), "malformed"},
		{"an import with two clusters", imported("a.east.west", 0), "malformed"},
		{"an import named by its pod", imported("a.east", fromPod), "malformed"},
		{"a pod", pod(netip.MustParseAddr("10.0.0.1")), ""},
		{"a pod with an address twice", pod(netip.IPv6Unspecified(), netip.IPv6Unspecified()), "malformed"},
		{"a pod without address", pod(netip.Addr{}), "malformed"},
		{"no header", []any{1}, "header"},
		{"no end of the Namespaces", []any{testHeader, "ns"}, "namespaces"},
		{"a number among the Namespaces", []any{testHeader, 1, nil, nil, nil, nil}, "namespaces"},
		{"no second index", append(head, nil), "services"},
		{"a text among the Services", append(head, "web", nil, nil, nil), "services"},
		{"no end of the Pods", append(head, nil, nil), "pods"},
		{"something behind the end", append(head, nil, nil, nil, nil), "behind the end"},
		{"a greater version", []any{header{Version: version + 1}, nil, nil, nil, nil}, "of version 4, not 3"},
	} {
		err := newKnowledge().parse(sealed(t, row.values...), anyHeader)
		if err == nil && row.want != "" || err != nil && (row.want == "" || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	// What promises much takes no memory for it, and CBOR has forms that no snapshot has.
	end := []byte{0xf6, 0xf6, 0xf6, 0xf6} // of the Namespaces, both indexes and the Pods
	for name, body := range map[string][]byte{
		"4 G texts":              {0x9a, 0xff, 0xff, 0xff, 0xff},
		"a text of 2^63 octets":  {0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a text in pieces":       {0x7f, 0x61, 'a', 0x61, 'a', 0xff},
		"a text with a tag":      {0xc0, 0x61, 'a'},
		"a million arrays in it": bytes.Repeat([]byte{0x81}, 1<<20),
	} {
		if err := newKnowledge().parse(sealedBody(slices.Concat(encodedHeader(t, testHeader), body, end)), anyHeader); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, endpoints := range []int{-1, 1 << 60} { // more than there are
		h := header{Version: version, Endpoints: endpoints}
		if err := newKnowledge().parse(sealedBody(slices.Concat(encodedHeader(t, h), end)), anyHeader); err != nil {
			t.Errorf("%d endpoints: %v", endpoints, err)
		}
	}
}

func encodedHeader(t testing.TB, h header) []byte {
	t.Helper()
	b, err := cbor.Marshal(h)
	fatal.If(t, err)
	return b
}

func FuzzSnapshot(f *testing.F) {
	good := snapshotOf(f, smallKnowledge())
	body := good[len(snapshotMagic) : len(good)-crc32.Size]
	header := encodedHeader(f, testHeader)
	f.Add(body[len(header):])
	for seed := range uint64(5) {
		b := snapshotOf(f, randomKnowledge(rand.New(rand.NewPCG(seed, 8))))
		f.Add(b[len(snapshotMagic)+len(header) : len(b)-crc32.Size])
	}
	for _, s := range snapshotMalformed() {
		b := sealed(f, "ns", nil, s, nil, nil, nil)
		f.Add(b[len(snapshotMagic) : len(b)-crc32.Size])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := newKnowledge()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := c.parse(sealedBody(slices.Concat(header, body)), anyHeader)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1<<20+2000*len(body)) {
			t.Errorf("%d octets took %d of memory", len(body), took)
		}
		for _, x := range c.Indexes {
			if err := x.Check(); err != nil {
				t.Error(err)
			}
		}
		if err != nil {
			return
		}
		// What was accepted is written and read again as the same.
		again := newKnowledge()
		if err := again.parse(snapshotOf(t, c), anyHeader); err != nil || !reflect.DeepEqual(again.facts(), c.facts()) {
			t.Errorf("read\n%s\nand then, %v,\n%s", strings.Join(c.facts(), "\n"), err, strings.Join(again.facts(), "\n"))
		}
	})
}

// BenchmarkSnapshot writes and reads a snapshot of 10,000 Services with ten endpoints each.
func BenchmarkSnapshot(b *testing.B) {
	big := Knowledge{Indexes: []*index.Index{index.New(model.HostnamesReady, false, 0)}, Pods: index.NewPods()}
	modeltest.BigCluster(big.Indexes[0], 10_000, true)
	path := filepath.Join(b.TempDir(), "snapshot")
	write := func(b *testing.B) {
		header := header{Version: version, Endpoints: big.endpoints()}
		fatal.If(b, big.freeze().write(path, path+".new", header, time.Now()))
	}
	write(b)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			write(b)
		}
		b.ReportMetric(float64(len(filetest.Read(b, path)))/1e6, "file-MB")
		b.ReportMetric(heapPeak(func() { write(b) })/1e6, "peak-MB")
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := Knowledge{Indexes: []*index.Index{index.New(model.HostnamesReady, false, 0)}, Pods: index.NewPods()}
			fatal.If(b, c.readIf(path, anyHeaderAndTime))
		}
	})
}

// heapPeak returns by how many octets what is in use on the heap grows at most while do runs.
func heapPeak(do func()) float64 {
	before := modeltest.HeapInUse()
	most := before
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for {
		select {
		case <-done:
			return most - before
		default:
			most = max(most, modeltest.HeapInUse())
		}
	}
}
