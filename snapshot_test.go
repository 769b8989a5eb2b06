package headless

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

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/fxamacker/cbor/v2"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// newContents returns contents without anything in them, with the index of multicluster zones.
func newContents() contents {
	return contents{[]*index.Index{index.New(model.HostnamesReady, false, 0), index.New(model.HostnamesReady, false, 0)}, index.NewPods()}
}

// testHeader is a header that readAll accepts.
var testHeader = snapshotHeader{Version: snapshotVersion}

func anyHeader(snapshotHeader) error { return nil }

func anyHeaderAndTime(snapshotHeader, time.Time) error { return nil }

// snapshotOf returns the snapshot of c.
func snapshotOf(t testing.TB, c contents) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.encode(&b, testHeader); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func modTime(t testing.TB, path string) time.Time {
	t.Helper()
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return stat.ModTime()
}

func putFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sealed returns the snapshot of these values, with the right checksum.
func sealed(t testing.TB, values ...any) []byte {
	t.Helper()
	var body bytes.Buffer
	for _, v := range values {
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
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
func (c contents) facts() []string {
	var facts []string
	for i, x := range c.indexes {
		for _, key := range x.NamespaceKeys() {
			facts = append(facts, fmt.Sprintf("%d namespace %s", i, key.Name))
		}
		for s := range x.AllContents() {
			if spec := s.Service; spec != nil {
				facts = append(facts, fmt.Sprintf("%d service %v: kind %d, policy %d, selector %v, target %q, IPs %v, ports %v, external %v", i,
					s.Key, spec.Kind, spec.Policy, spec.Selector, spec.Target, spec.ClusterIPs, portTexts(spec.Ports), externalText(spec.External)))
			}
			for _, sl := range s.Slices {
				text := fmt.Sprintf("%d slice %v of %s: ports %v", i, sl.Key, s.Name, portTexts(sl.Ports))
				for _, e := range sl.Endpoints {
					text += fmt.Sprintf(", %v %q pod %v zone %q state %d", e.Addr, e.Name, e.PodName, e.Topology, e.State)
				}
				facts = append(facts, text)
			}
		}
	}
	for _, p := range c.pods.All() {
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

// randomContents returns contents after a random history, some endpoints of which are held.
func randomContents(r *rand.Rand) contents {
	x, imports := index.New(model.HostnamesReady, false, time.Hour), index.New(model.HostnamesReady, false, 0)
	c := contents{[]*index.Index{x, imports}, index.NewPods()}
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
		c.pods.Put(p)
	}
	return c
}

func TestSnapshotHoldsAllThatTheIndexesDo(t *testing.T) {
	qs := modeltest.Questions()
	held := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 7))
		written, read := randomContents(r), newContents()
		held += written.indexes[0].Holding().Now
		if err := read.parse(snapshotOf(t, written), anyHeader); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if got, want := read.facts(), written.facts(); !slices.Equal(got, want) {
			t.Fatalf("seed %d: read\n%s\nwritten\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for i, x := range read.indexes {
			if err := x.Check(); err != nil {
				t.Fatalf("seed %d: index %d: %v", seed, i, err)
			}
			for j := range qs {
				checkSameAnswers(t, &qs[j], x, written.indexes[i])
			}
		}
		if n := read.indexes[0].Holding(); n != (index.HoldCounts{}) {
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

// answerText returns what x says of q, inside the cluster and outside, in an order that does not depend on chance.
func answerText(x *index.Index, q *qname.Name, w index.Want) string {
	v, e := x.Lookup(q, w, 1<<20), x.LookupExternal(q, true)
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

// smallContents returns a little of everything.
func smallContents() contents {
	c := newContents()
	for _, x := range c.indexes {
		x.PutNamespace(&model.Namespace{Key: model.KeyOf("", "ns")})
	}
	http := []model.Port{model.PortOf("http", "tcp", 80)}
	addr := netip.MustParseAddr
	c.indexes[0].PutService(&model.Service{Key: model.KeyOf("ns", "web"), Kind: model.Headless, Ports: http, Policy: model.HostnamesAll})
	c.indexes[0].PutService(&model.Service{
		Key: model.KeyOf("ns", "lb"), ClusterIPs: []netip.Addr{addr("10.96.0.1")}, Ports: http, Selector: true,
		External: &model.External{Addrs: []netip.Addr{addr("192.0.2.1")}, Names: []string{"lb.example.org."}},
	})
	c.indexes[0].PutService(&model.Service{Key: model.KeyOf("ns", "out"), Kind: model.ExternalName, Target: "example.org."})
	c.indexes[0].PutSlice(&model.Slice{Key: model.KeyOf("ns", "web-a"), Service: "web", Ports: http, Endpoints: []model.Endpoint{
		{Addr: addr("10.0.0.1"), Name: "web-0", State: model.Ready, PodName: true, Topology: "z"}, {Addr: addr("fd00::1"), State: model.Serving},
	}})
	c.indexes[1].PutService(&model.Service{Key: model.KeyOf("ns", "all"), Kind: model.Headless})
	c.indexes[1].PutSlice(&model.Slice{Key: model.KeyOf("ns", "all-a"), Service: "all", Endpoints: []model.Endpoint{
		{Addr: addr("10.0.0.1"), Name: "web-0.east", State: model.Ready},
	}})
	c.pods.Put(&model.Pod{Key: model.KeyOf("ns", "web-0"), Addrs: []netip.Addr{addr("10.0.0.1")}, Labels: map[string]string{"app": "web"}})
	return c
}

func TestSnapshotIsRefusedWithAnyDamage(t *testing.T) {
	good := snapshotOf(t, smallContents())
	read := newContents()
	if err := read.parse(good, anyHeader); err != nil || !slices.Equal(read.facts(), smallContents().facts()) {
		t.Fatalf("undamaged: %v", err)
	}
	for n := range good {
		if err := newContents().parse(good[:n], anyHeader); err == nil {
			t.Errorf("the first %d octets of %d are accepted", n, len(good))
		}
	}
	for bit := range 8 * len(good) {
		damaged := slices.Clone(good)
		damaged[bit/8] ^= 1 << (bit % 8)
		if err := newContents().parse(damaged, anyHeader); err == nil {
			t.Errorf("with bit %d flipped it is accepted", bit)
		}
	}
	if err := newContents().parse(append(slices.Clone(good), 0), anyHeader); err == nil {
		t.Error("with an octet more it is accepted")
	}
}

// snapshotMalformed are Services that no converter makes, by what is wrong with them: in the first index, as encoded.
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
		"too few zones":                   slice(snapshotSlice{Name: "a", Addrs: make([]byte, 32), States: make([]byte, 2), Zones: []string{"x"}}),
		"a hostname in upper case":        slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 1), Names: []string{"A"}}),
		"a hostname with a dot":           slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 1), Names: []string{"a.east"}}),
		"the dashed address as hostname":  slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: make([]byte, 1), Names: []string{"10-0-0-1"}}),
		"a pod's name that is none":       slice(snapshotSlice{Name: "a", Addrs: one("10.0.0.1"), States: []byte{fromPod}}),
	}
}

func TestSnapshotWithWhatNoConverterMakesIsRefused(t *testing.T) {
	head := []any{testHeader, "ns", nil}
	for name, s := range snapshotMalformed() {
		c := newContents()
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
		{"a greater version", []any{snapshotHeader{Version: snapshotVersion + 1}, nil, nil, nil, nil}, "of version 2, not 1"},
	} {
		err := newContents().parse(sealed(t, row.values...), anyHeader)
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
		if err := newContents().parse(sealedBody(slices.Concat(encodedHeader(t, testHeader), body, end)), anyHeader); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, endpoints := range []int{-1, 1 << 60} { // more than there are
		h := snapshotHeader{Version: snapshotVersion, Endpoints: endpoints}
		if err := newContents().parse(sealedBody(slices.Concat(encodedHeader(t, h), end)), anyHeader); err != nil {
			t.Errorf("%d endpoints: %v", endpoints, err)
		}
	}
}

func encodedHeader(t testing.TB, h snapshotHeader) []byte {
	t.Helper()
	b, err := cbor.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzSnapshot(f *testing.F) {
	good := snapshotOf(f, smallContents())
	body := good[len(snapshotMagic) : len(good)-crc32.Size]
	header := encodedHeader(f, testHeader)
	f.Add(body[len(header):])
	for seed := range uint64(5) {
		b := snapshotOf(f, randomContents(rand.New(rand.NewPCG(seed, 8))))
		f.Add(b[len(snapshotMagic)+len(header) : len(b)-crc32.Size])
	}
	for _, s := range snapshotMalformed() {
		b := sealed(f, "ns", nil, s, nil, nil, nil)
		f.Add(b[len(snapshotMagic) : len(b)-crc32.Size])
	}
	cfg, err := stanzaConfig("headless cluster.local clusterset.local {\nmulticluster clusterset.local\nhostnames all\n}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := newContents()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := c.parse(sealedBody(slices.Concat(header, body)), anyHeader)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1<<20+2000*len(body)) {
			t.Errorf("%d octets took %d of memory", len(body), took)
		}
		h := &Headless{config: cfg, authorities: cfg.authorities(), index: c.indexes[0], imports: c.indexes[1], pods: c.pods, synced: newLatch()}
		h.synced.listed("")
		for i, x := range c.indexes {
			if err := x.Check(); err != nil {
				t.Error(err)
			}
			checkPackable(t, h, cfg.zones[i])
		}
		if err != nil {
			return
		}
		// What was accepted is written and read again as the same.
		again := newContents()
		if err := again.parse(snapshotOf(t, c), anyHeader); err != nil || !reflect.DeepEqual(again.facts(), c.facts()) {
			t.Errorf("read\n%s\nand then, %v,\n%s", strings.Join(c.facts(), "\n"), err, strings.Join(again.facts(), "\n"))
		}
	})
}

// checkPackable packs all RRsets that a transfer of a zone would send.
func checkPackable(t *testing.T, h *Headless, zone string) {
	t.Helper()
	a := h.authority(zone)
	ch := make(chan []dns.RR)
	go func() {
		defer close(ch)
		h.transferForward(a, ch)
	}()
	for rrs := range ch {
		for _, rr := range rrs {
			if _, err := dns.PackRR(rr, make([]byte, dns.MaxMsgSize), 0, nil, false); err != nil && !isTooLong(rr) {
				t.Errorf("%s: %v", rr, err)
			}
		}
	}
}

// isTooLong reports whether the owner or the target of rr is longer than a name may be. Four labels of 63 octets may have been
// one below the other in the cluster too.
func isTooLong(rr dns.RR) bool {
	srv, isSRV := rr.(*dns.SRV)
	return len(rr.Header().Name) > 254 || isSRV && len(srv.Target) > 254
}

// snapshotAPI returns the API of newWebAPI with a cluster's UID.
func snapshotAPI(t testing.TB, uid string) *stubAPI {
	s := newWebAPI(t)
	s.put(changed(stubNamespace(systemNamespace), func(ns *corev1.Namespace) { ns.UID = types.UID(uid) }))
	return s
}

// snapshotWatcher returns a plugin that watches s and has a snapshot at path, not started. It writes the file when keep is called.
func snapshotWatcher(t testing.TB, s *stubAPI, path string, lines ...string) *Headless {
	h := watcher(t, append([]string{"startup_timeout 0s", "endpoint " + s.url, "snapshot " + path + " 24h 1h"}, lines...)...)
	t.Cleanup(h.stop)
	return h
}

// writeSnapshot leaves at path what a plugin with these lines writes.
func writeSnapshot(t testing.TB, s *stubAPI, path string, lines ...string) {
	t.Helper()
	h := snapshotWatcher(t, s, path, lines...)
	h.start()
	eventually(t, "the cluster is listed", h.isSynced)
	h.stop()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

// snapshotFault is what may stand where a snapshot is expected.
type snapshotFault struct {
	name   string
	plant  func(t *testing.T, path string)
	logged string // in the log
	served bool
	stays  bool // it cannot be replaced
}

// edited returns a fault's plant that changes the good snapshot.
func edited(s *stubAPI, edit func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		writeSnapshot(t, s, path)
		putFile(t, path, edit(readFile(t, path)))
	}
}

// aged returns a fault's plant that changes the age of the good snapshot.
func aged(s *stubAPI, age time.Duration) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		writeSnapshot(t, s, path)
		setAge(t, path, age)
	}
}

func setAge(t testing.TB, path string, age time.Duration) {
	t.Helper()
	if err := os.Chtimes(path, time.Now(), time.Now().Add(-age)); err != nil {
		t.Fatal(err)
	}
}

func linkTo(target string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := os.Symlink(target, path); err != nil {
			t.Skip(err)
		}
	}
}

func content(text string) func(*testing.T, string) {
	return func(t *testing.T, path string) { putFile(t, path, []byte(text)) }
}

// checkFaults starts a plugin with each fault and without the API server, looks at what it does and says, and then at what it does
// when the API server comes.
func checkFaults(t *testing.T, faults func(*stubAPI) []snapshotFault) {
	api := snapshotAPI(t, "one")
	for _, f := range faults(api) {
		t.Run(f.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot")
			f.plant(t, path)
			release := api.hold(everyResource...)
			defer release()
			log := capture(t)
			h := snapshotWatcher(t, api, path)
			h.start()
			logged := log.String()
			if n := strings.Count(logged, "snapshot "+path+": "); n != 1 || !strings.Contains(logged, f.logged) {
				t.Errorf("%d lines of the log are about it, want one with %q:\n%s", n, f.logged, logged)
			}
			if h.Ready() != f.served {
				t.Errorf("ready: %v, want %v", h.Ready(), f.served)
			}
			if f.served {
				checkWeb(t, h)
			} else if got := says(h, "web A"); got != "SERVFAIL" {
				t.Errorf("got %s, want SERVFAIL", got)
			}
			release()
			eventually(t, "the cluster is listed", h.isSynced)
			checkWeb(t, h)
			h.snapshot.stop() // and with it keep
			next := newContents()
			next.indexes = next.indexes[:1]
			if err := next.read(path, anyHeaderAndTime); (err != nil) != f.stays || err == nil && !slices.Equal(next.facts(), h.snapshot.facts()) {
				t.Errorf("the next process reads %v\n%s", err, strings.Join(next.facts(), "\n"))
			}
		})
	}
}

func TestSnapshotThatIsNoGoodIsReplaced(t *testing.T) { // not parallel: it captures the log
	elsewhere := t.TempDir()
	checkFaults(t, func(api *stubAPI) []snapshotFault {
		linked := filepath.Join(elsewhere, "linked")
		writeSnapshot(t, api, linked)
		before := readFile(t, linked)
		t.Cleanup(func() {
			if !bytes.Equal(readFile(t, linked), before) {
				t.Error("a file was written through a link")
			}
		})
		return []snapshotFault{
			{"a good one", edited(api, func(b []byte) []byte { return b }), "answering from it", true, false},
			{"no file", func(*testing.T, string) {}, "there is none yet", false, false},
			{"an empty file", content(""), "not used: not a snapshot", false, false},
			{"the first line alone", content("headless snapshot\n"), "not used: damaged", false, false},
			{"a foreign file", content("hello\n"), "not used: not a snapshot", false, false},
			{"a truncated one", edited(api, func(b []byte) []byte { return b[:len(b)/2] }), "not used: damaged", false, false},
			{"a flipped bit", edited(api, func(b []byte) []byte { b[len(b)/2] ^= 4; return b }), "not used: damaged", false, false},
			{"a greater version", content(string(sealed(t, snapshotHeader{Version: 2}))), "not used: of version 2, not 1", false, false},
			{"malformed", content(string(sealed(t, testHeader, 1))), "not used", false, false},
			{"of another configuration", func(t *testing.T, path string) { writeSnapshot(t, api, path, "zonal") }, "not used: made with another configuration", false, false},
			{"of the same, but for what shapes answers only", func(t *testing.T, path string) {
				writeSnapshot(t, api, path, "ttl 30", "hostnames all", "hold 0", "fallthrough", "ignore empty_service", "apiserver_qps 5")
			}, "answering from it", true, false},
			{"too old", aged(api, 24*time.Hour+time.Minute), "not used: last confirmed 24h1m0s ago, more than 24h0m0s", false, false},
			{"just not too old", aged(api, 24*time.Hour-time.Minute), "answering from it", true, false},
			{"of a time to come, after the clock was set back", aged(api, -time.Hour), "answering from it", true, false},
			{"a huge file", func(t *testing.T, path string) {
				content("headless snapshot\n")(t, path)
				if err := os.Truncate(path, maxSnapshot+1); err != nil {
					t.Skip(err)
				}
			}, "not used: not a regular file of at most", false, false},
			{"a folder", func(t *testing.T, path string) {
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
			}, "not used: ", false, true},
			{"no folder", func(t *testing.T, path string) {
				if err := os.Remove(filepath.Dir(path)); err != nil {
					t.Fatal(err)
				}
			}, "there is none yet", false, true},
			{"a link to a good one", linkTo(linked), "answering from it", true, false},
			{"a link to nothing", linkTo("nothing"), "there is none yet", false, false},
			{"a link to itself", linkTo("snapshot"), "not used: ", false, false},
		}
	})
}

func TestSnapshotIsServedWithoutTheAPIServer(t *testing.T) {
	s := newWebAPI(t)
	stanza := []string{"snapshot " + filepath.Join(t.TempDir(), "snapshot"), "endpoint " + s.url, "ttl 30", "startup_timeout 1m"}
	first := watcher(t, stanza...)
	first.start()
	checkWeb(t, first)
	first.stop()

	release := s.hold(everyResource...)
	second := watcher(t, stanza...)
	second.start() // which does not wait for the cluster
	t.Cleanup(second.stop)
	t.Cleanup(release)
	checkWeb(t, second)
	if !second.Ready() || second.isSynced() {
		t.Errorf("ready %v, synced %v, want ready from the snapshot", second.Ready(), second.isSynced())
	}
	checkSnapshotMetrics(t, second, 1)
	for _, c := range []struct {
		question string
		rcode    int
		records  []string
	}{
		{"web-0.web.ns.svc.cluster.local. A", dns.RcodeSuccess, []string{"web-0.web.ns.svc.cluster.local. 5 IN A 10.0.0.1"}},
		{"1.0.0.10.in-addr.arpa. PTR", dns.RcodeSuccess, []string{"1.0.0.10.in-addr.arpa. 5 IN PTR web-0.web.ns.svc.cluster.local."}},
		{"nobody.ns.svc.cluster.local. A", dns.RcodeNameError, nil},
		{"web.ns.svc.cluster.local. AAAA", dns.RcodeSuccess, nil},
	} {
		m := ask(t, second, c.question, func(r *dns.Msg) { r.SetEdns0(1232, false) })
		if got := lines(t, m.Answer); m.Rcode != c.rcode || !slices.Equal(got, c.records) {
			t.Errorf("%s: got %s %q, want %s %q", c.question, dns.RcodeToString[m.Rcode], got, dns.RcodeToString[c.rcode], c.records)
		}
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); !ok || soa.Hdr.Ttl != 0 || soa.Minttl != 0 {
				t.Errorf("%s: the denial may be kept: %s", c.question, rr)
			}
		}
		if code := extendedError(m); code != int(dns.ExtendedErrorCodeStaleAnswer) {
			t.Errorf("%s: extended error %d, want 3 (Stale Answer)", c.question, code)
		}
	}
	release()
	eventually(t, "the cluster is listed", second.isSynced)
	m := ask(t, second, "web-0.web.ns.svc.cluster.local. A", func(r *dns.Msg) { r.SetEdns0(1232, false) })
	if code := extendedError(m); code != -1 || m.Answer[0].Header().Ttl != 30 {
		t.Errorf("after the list: extended error %d, %s", code, m.Answer[0])
	}
	checkSnapshotMetrics(t, second, 0)
}

// checkSnapshotMetrics holds the metrics of h's snapshot against the file.
func checkSnapshotMetrics(t *testing.T, h *Headless, served int) {
	t.Helper()
	at := float64(modTime(t, h.snapshot.path).Unix())
	want := fmt.Sprintf(`
		# HELP coredns_headless_snapshot_served 1 while a server block answers from a snapshot, else 0.
		# TYPE coredns_headless_snapshot_served gauge
		coredns_headless_snapshot_served %d
		# HELP coredns_headless_snapshot_timestamp_seconds Unix time up to which the oldest snapshot was confirmed, or 0.
		# TYPE coredns_headless_snapshot_timestamp_seconds gauge
		coredns_headless_snapshot_timestamp_seconds %g
`, served, at)
	c := newStateCollector(func() []*Headless { return []*Headless{h} })
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "coredns_headless_snapshot_served", "coredns_headless_snapshot_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}

func TestLatchIsConfirmedByBookmarks(t *testing.T) {
	t.Parallel()
	api := newWebAPI(t)
	h := watching(t, api)
	listed := time.Now()
	if at := h.synced.confirmed(); at.Before(listed.Add(-patience)) || at.After(listed) {
		t.Errorf("after the lists: confirmed at %v, and it is %v", at, listed)
	}
	for _, resource := range everyResource {
		heard := &h.synced.last[resource].heard
		if at := h.synced.confirmed(); at.UnixNano() > heard.Load() {
			t.Errorf("confirmed at %v, and of %s nothing has been heard since %v", at, resource, time.Unix(0, heard.Load()))
		}
		eventually(t, "a bookmark of "+resource+" is heard", func() bool {
			api.bookmark(resource)
			return heard.Load() > listed.UnixNano()
		})
	}
	if at := h.synced.confirmed(); !at.After(listed) {
		t.Errorf("after a bookmark of each resource: confirmed at %v, want later than %v", at, listed)
	}
}

// TestStaleAnswersLeaveTheRecordsOfOthersAlone: other plugins may hand out records that they keep.
func TestStaleAnswersLeaveTheRecordsOfOthersAlone(t *testing.T) {
	h := newTestHeadless(t, "ttl 60\nfallthrough")
	h.synced, h.snapshot = newLatch(servicesResource), new(snapshotter)
	h.snapshot.served.Store(&snapshotHeader{})
	outside := new(dns.Msg)
	outside.Answer = []dns.RR{addressRR("www.example.com.", 3600, netip.MustParseAddr("192.0.2.80"))}
	h.upstream = fixed{outside, nil}
	m := ask(t, h, "ext.default.svc.cluster.local. A")
	want := []string{"ext.default.svc.cluster.local. 5 IN CNAME www.example.com.", "www.example.com. 5 IN A 192.0.2.80"}
	if got := lines(t, m.Answer); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	outside.Answer, outside.Ns = nil, []dns.RR{soaRR("example.com.", 3600, &h.authorities[0], 1, 3600)}
	shared := outside.Ns[0]
	if m := ask(t, h, "ext.default.svc.cluster.local. AAAA"); len(m.Ns) != 1 || m.Ns[0].Header().Ttl != 0 {
		t.Errorf("a denial of somebody else: %v, want a time to live of 0", m.Ns)
	}
	if outside.Ns[0] != shared || shared.Header().Ttl != 3600 {
		t.Errorf("the record of somebody else is now %v", outside.Ns[0])
	}
	// Where the next plugin denies what is here, the denial is ours.
	asked := false
	h.Next = behind(dns.RcodeNameError, &asked)
	m = ask(t, h, "default.svc.cluster.local. A")
	if soa, ok := m.Ns[0].(*dns.SOA); !asked || !ok || soa.Hdr.Ttl != 0 || soa.Minttl != 0 {
		t.Errorf("asked: %v; %v may be kept", asked, m.Ns)
	}
}

// extendedError returns the code of m's extended error, or -1.
func extendedError(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}
