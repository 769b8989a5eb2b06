package kube

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// bigSlice returns a slice of 100 endpoints with all that a control plane writes.
func bigSlice() *discoveryv1.EndpointSlice {
	es := kubetest.BigSlice(0, 100)
	for i := range es.Endpoints {
		e := &es.Endpoints[i]
		e.NodeName, e.Zone = new("node-1000"), new("eu-west-1a")
		e.Conditions = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: *e.Hostname, UID: "3e1cfa5e-5a0c-4c7b-9f5a-000000000000"}
	}
	return es
}

// BenchmarkSliceEvent is what comes of a slice of 100 endpoints, one of which changes, in an index of 10,000 Services: from
// the message to the index.
func BenchmarkSliceEvent(b *testing.B) {
	x := index.New(model.HostnamesReady, false, 0)
	modeltest.BigCluster(x, 10_000, true)
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "default"}})
	x.PutService(&model.Service{Key: model.Key{Namespace: "default", Name: "web"}, Kind: model.Headless})
	feeds := NewFeeds(new(Converter), Selection{}, eventSinks(x))
	ours := newWireSerializer(x.Recall)
	info, _ := runtime.SerializerInfoForMediaType(ours.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	decoder := ours.DecoderToVersion(info.Serializer, discoveryv1.SchemeGroupVersion)
	there, _ := runtime.SerializerInfoForMediaType(kubetest.Codecs().SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	encoder := kubetest.Codecs().EncoderForVersion(there.Serializer, discoveryv1.SchemeGroupVersion)
	var sent [][]byte
	es := bigSlice()
	for range 64 {
		e := &es.Endpoints[rand.IntN(len(es.Endpoints))]
		e.Conditions.Ready = new(!*e.Conditions.Ready)
		sent = append(sent, kubetest.Encoded(encoder, es))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		frame := append([]byte(nil), sent[i%len(sent)]...) // as a watch gives each a piece of memory
		obj, _, err := decoder.Decode(frame, nil, nil)
		fatal.If(b, err)
		fatal.If(b, feeds.Store(Slices).Update(obj))
	}
}

// eventSinks returns what x takes of slices.
func eventSinks(x *index.Index) *Sinks {
	return &Sinks{Slices: Sink[*model.Slice]{Put: x.PutSlice, Drop: x.DropSlice, Replace: x.ReplaceSlices}, Kind: func(model.Key) string { return "" }}
}

// randomEndpoint returns an endpoint that is as it should be or, one in eight, as r decides.
func randomEndpoint(r *rand.Rand) discoveryv1.Endpoint {
	if r.IntN(8) == 0 {
		if list := convertRandomSlice(r).Endpoints; len(list) > 0 {
			return list[0]
		}
	}
	n := r.IntN(1 << 16)
	zone, node := fmt.Sprint("z-", r.IntN(3)), fmt.Sprint("k-", r.IntN(30))
	return discoveryv1.Endpoint{
		NodeName: &node, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}, ForNodes: []discoveryv1.ForNode{{Name: node}}[:r.IntN(2)]},
		Addresses: []string{fmt.Sprintf("10.0.%d.%d", n/256, n%256)}, Hostname: new(fmt.Sprint("web-", n)),
		Conditions: discoveryv1.EndpointConditions{Ready: new(r.IntN(2) == 0)}, Zone: &zone,
	}
}

// edit changes es in a random way.
func edit(r *rand.Rand, es *discoveryv1.EndpointSlice) {
	n := len(es.Endpoints)
	switch at := r.IntN(max(n, 1)); {
	case n < 20:
		for range 100 {
			es.Endpoints = append(es.Endpoints, randomEndpoint(r))
		}
	case r.IntN(20) == 0:
		es.Endpoints = slices.Delete(es.Endpoints, at/2, at)
	case r.IntN(20) == 0:
		es.Endpoints[0], es.Endpoints[at] = es.Endpoints[at], es.Endpoints[0]
	case r.IntN(20) == 0:
		es.Endpoints = slices.Insert(es.Endpoints, at, es.Endpoints[n/2])
	case r.IntN(3) == 0:
		es.Endpoints = slices.Delete(es.Endpoints, at, at+1)
	case r.IntN(2) == 0:
		es.Endpoints = slices.Insert(es.Endpoints, at, randomEndpoint(r))
	default:
		es.Endpoints[at].Conditions = discoveryv1.EndpointConditions{Ready: new(r.IntN(2) == 0), Serving: new(true)}
	}
}

// TestRecallChangesNothing: an event is converted to the same, with the same flaws, whether the index recalls what it
// knows of the slice or all is decoded.
func TestRecallChangesNothing(t *testing.T) {
	recalled, decoded := 0, 0
	check := func(x *index.Index, es *discoveryv1.EndpointSlice, c *Converter) *model.Slice {
		t.Helper()
		sent, err := es.Marshal()
		fatal.If(t, err)
		var skips, plainSkips convertSkips
		s, plain := &wireSlice{recall: x.Recall}, new(wireSlice)
		fatal.If(t, s.Unmarshal(sent))
		fatal.If(t, plain.Unmarshal(sent))
		if len(s.recalled) > 0 {
			recalled, decoded = recalled+len(s.recalled)-len(s.endpoints), decoded+len(s.endpoints)
		}
		c.skip = plainSkips.add
		want, _ := c.slice(plain)
		for range 2 { // the second time as the first
			skips = nil
			c.skip = skips.add
			got, _ := c.slice(s)
			if !reflect.DeepEqual(got, want) || skips.String() != plainSkips.String() {
				t.Fatalf("with %d recalled of %d endpoints\ngot  %v, skipped %s\nwant %v, skipped %s",
					len(s.recalled)-len(s.endpoints), len(es.Endpoints), got, &skips, want, &plainSkips)
			}
		}
		return want
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		x, c := index.New(model.HostnamesReady, false, 0), &Converter{PodNames: r.IntN(2) == 0, Topologies: r.IntN(2) == 0, Hints: r.IntN(2) == 0}
		es := kubetest.BigSlice(0, 0)
		for range 100 {
			edit(r, es)
			spec := check(x, es, c)
			switch r.IntN(20) {
			case 0:
				x.DropSlice(spec.Key)
			case 1:
				x.ReplaceSlices(slices.Values([]*model.Slice{spec}))
			case 2: // as from a snapshot
				unsummed := *spec
				unsummed.Sums = nil
				x.PutSlice(&unsummed)
				x.ReplaceSlices(slices.Values([]*model.Slice{spec}))
			case 3: // an event was missed
			default:
				x.PutSlice(spec)
			}
			fatal.If(t, x.Check())
		}
	}
	if recalled < 5*decoded {
		t.Errorf("%d endpoints were recalled, and %d decoded", recalled, decoded)
	}
	es := kubetest.BigSlice(0, MaxAddresses+3)
	x := index.New(model.HostnamesReady, false, 0)
	for range 4 {
		x.PutSlice(check(x, es, new(Converter)))
		es.Endpoints = slices.Insert(es.Endpoints, 5, randomEndpoint(rand.New(rand.NewPCG(1, 1))))
	}
}
