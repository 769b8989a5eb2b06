package kube

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// wireMetadata adds what the API server and others write to the metadata of every object.
func wireMetadata(m *metav1.ObjectMeta) {
	m.UID, m.ResourceVersion, m.Generation = types.UID("u"), "7", 3
	m.CreationTimestamp = metav1.NewTime(time.Unix(1, 0))
	m.DeletionTimestamp = &m.CreationTimestamp
	m.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-01T00:00:00Z", HostnamesAnnotation: "all", "a": "b"}
	m.OwnerReferences = []metav1.OwnerReference{{Kind: "Service", Name: "web", Controller: new(true)}}
	m.Finalizers = []string{"f"}
	m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}
}

// kept returns those of labels or annotations that are read.
func kept(m map[string]string) map[string]string {
	maps.DeleteFunc(m, func(key, _ string) bool {
		return !slices.Contains([]string{
			"kubernetes.io/service-name", "multicluster.kubernetes.io/service-name", "multicluster.kubernetes.io/source-cluster",
			"coredns-headless.github.io/hostnames", "coredns-headless.github.io/topology", "endpoints.kubernetes.io/last-change-trigger-time", "k8s.io/initial-events-end",
		}, key)
	})
	return m
}

// mustWire returns what is read of es.
func mustWire(es *discoveryv1.EndpointSlice) *wireSlice {
	s, err := newWireSlice(es)
	if err != nil {
		panic(err)
	}
	return s
}

// whatIsRead returns what is read of es, as text.
func whatIsRead(es *discoveryv1.EndpointSlice) string {
	m := *es.ObjectMeta.DeepCopy()
	m.OwnerReferences, m.Finalizers, m.ManagedFields = nil, nil, nil
	m.Labels, m.Annotations = kept(m.Labels), kept(m.Annotations)
	text := fmt.Sprintf("%+v %s", m, es.AddressType)
	for i := range es.Ports {
		text += "\n" + es.Ports[i].String()
	}
	for _, e := range es.Endpoints {
		var zones, nodes []string
		if e.Hints != nil {
			for _, z := range e.Hints.ForZones {
				zones = append(zones, z.Name)
			}
			for _, n := range e.Hints.ForNodes {
				nodes = append(nodes, n.Name)
			}
		}
		hints := fmt.Sprintf("on %q, for %q %q", deref(e.NodeName), zones, nodes)
		pod := ""
		if e.TargetRef != nil {
			pod = e.TargetRef.Name
		}
		for i, addr := range e.Addresses {
			text += fmt.Sprintf("\n%s %q %q %q %v %v %s", addr, deref(e.Hostname), pod, deref(e.Zone), e.Conditions.String(), i > 0, hints)
		}
	}
	return text
}

// wireText returns all that s holds, as whatIsRead does.
func wireText(s *wireSlice) string {
	text := fmt.Sprintf("%+v %s", s.ObjectMeta, s.addressType)
	for i := range s.ports {
		text += "\n" + s.ports[i].String()
	}
	for _, e := range s.endpoints {
		said := discoveryv1.EndpointConditions{
			Ready: boolOf(e.conditions.ready), Serving: boolOf(e.conditions.serving), Terminating: boolOf(e.conditions.terminating),
		}
		node, zones, nodes := s.hints(&e)
		hints := fmt.Sprintf("on %q, for %q %q", node, zones, nodes)
		text += fmt.Sprintf("\n%s %q %q %q %v %v %s", s.text(e.addr), s.text(e.hostname), s.podName(&e), s.text(e.zone), said.String(), e.further, hints)
	}
	return text
}

func boolOf(c condition) *bool {
	if c == unset {
		return nil
	}
	return new(c == isTrue)
}

func TestWireSliceDecodesWhatIsRead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	for range 1000 {
		es := convertRandomSlice(r)
		wireMetadata(&es.ObjectMeta)
		for i := range es.Endpoints {
			e := &es.Endpoints[i]
			e.NodeName, e.DeprecatedTopology = new("node"), map[string]string{"a": "b"}
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}, {Name: "y"}}[:r.IntN(3)]}
			if r.IntN(2) == 0 {
				e.Hints.ForNodes = []discoveryv1.ForNode{{Name: "k"}, {}}[:r.IntN(3)]
			}
			if r.IntN(2) == 0 {
				e.Zone = new("z")
			}
		}
		checkWire(t, es)
	}
	for _, n := range []int{0, 1, 1000} {
		es := &discoveryv1.EndpointSlice{Endpoints: make([]discoveryv1.Endpoint, n)}
		for i := range es.Endpoints {
			es.Endpoints[i].Addresses = []string{"10.0.0.1"}
		}
		checkWire(t, es)
	}
}

// checkWire checks what wireSlice decodes of es, alone and twice in a list.
func checkWire(t *testing.T, es *discoveryv1.EndpointSlice) {
	t.Helper()
	sent, err := es.Marshal()
	fatal.If(t, err)
	full := new(discoveryv1.EndpointSlice)
	fatal.If(t, full.Unmarshal(sent))
	want := whatIsRead(full)
	var got wireSlice
	if err := got.Unmarshal(sent); err != nil {
		t.Fatalf("%+v: %v", es, err)
	}
	if wireText(&got) != want {
		t.Fatalf("got  %s\nwant %s", wireText(&got), want)
	}
	list := &discoveryv1.EndpointSliceList{Items: []discoveryv1.EndpointSlice{*es, *es}}
	list.ResourceVersion, list.Continue = "8", "more"
	if sent, err = list.Marshal(); err != nil {
		t.Fatal(err)
	}
	var gotList wireList[wireSlice, *wireSlice]
	fatal.If(t, gotList.Unmarshal(sent))
	if !reflect.DeepEqual(gotList.ListMeta, list.ListMeta) || len(gotList.Items) != 2 || wireText(&gotList.Items[1]) != want {
		t.Fatalf("got the list %+v\nwant twice %s", gotList, want)
	}
}

func TestWireServiceDecodesWhatIsRead(t *testing.T) {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd00::1"}, Selector: map[string]string{"a": "b"},
		Ports: []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80}}, ExternalIPs: []string{"192.0.2.1"}, ExternalName: "example.org",
	}}
	svc.Namespace, svc.Name, svc.Labels = "ns", "web", map[string]string{"a": "b"}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}, {Hostname: "lb.example.org"}}
	wireMetadata(&svc.ObjectMeta)
	sent, err := svc.Marshal()
	fatal.If(t, err)
	want, got := new(corev1.Service), new(wireService)
	fatal.If(t, want.Unmarshal(sent))
	want.OwnerReferences, want.Finalizers, want.ManagedFields = nil, nil, nil
	want.Labels, want.Annotations = nil, kept(want.Annotations)
	if err := got.Unmarshal(sent); err != nil || !reflect.DeepEqual(&got.Service, want) {
		t.Errorf("got  %+v, %v\nwant %+v", &got.Service, err, want)
	}
}

// FuzzWireSlice holds wireSlice against generated code: what both decode is the same, and whatever
// that makes of a message, wireSlice decodes when it is sent as Kubernetes sends it.
func FuzzWireSlice(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 0))
	for range 20 {
		es := convertRandomSlice(r)
		wireMetadata(&es.ObjectMeta)
		sent, err := es.Marshal()
		fatal.If(f, err)
		f.Add(sent)
	}
	// An Endpoint that has its target three times, and in the first of them the name twice: the
	// last name counts.
	f.Add([]byte("\x12\x14\x0a\x0210" + "\x22\x08\x1a\x01x\x1a\x03pod" + "\x22\x02\x0a\x00" + "\x22\x00"))
	// An annotation that has its key twice: the last counts, which is not one that is read.
	f.Add([]byte("\x0a\x2b" + "\x62\x29" + "\x0a\x24coredns-headless.github.io/hostnames" + "\x0a\x01a"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		want, got := new(discoveryv1.EndpointSlice), new(wireSlice)
		wantErr, err := want.Unmarshal(sent), got.Unmarshal(sent)
		if wantErr != nil {
			return // wireSlice may skip what is wrong
		}
		if err == nil && wireText(got) != whatIsRead(want) {
			t.Errorf("%x:\ngot  %s\nwant %s", sent, wireText(got), whatIsRead(want))
		}
		if got := mustWire(want); wireText(got) != whatIsRead(want) {
			t.Errorf("%x, sent anew:\ngot  %s\nwant %s", sent, wireText(got), whatIsRead(want))
		}
	})
}

func BenchmarkDecodeSlice(b *testing.B) {
	es := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-abcde", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}}
	wireMetadata(&es.ObjectMeta)
	for range 100 {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{"10.244.100.100"}, Hostname: new("web-100"), NodeName: new("node-1000"), Zone: new("eu-west-1a"),
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "web-100", UID: "3e1cfa5e-5a0c-4c7b-9f5a-000000000000"},
		})
	}
	sent, err := es.Marshal()
	fatal.If(b, err)
	for name, into := range map[string]func() message{
		"generated": func() message { return new(discoveryv1.EndpointSlice) }, "wire": func() message { return new(wireSlice) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fatal.If(b, into().Unmarshal(sent))
			}
		})
	}
}

func TestWireSerializerDecodesTheKindsThatAreKnown(t *testing.T) {
	es := convertRandomSlice(rand.New(rand.NewPCG(4, 0)))
	es.Name = "web"
	list := &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []discoveryv1.EndpointSlice{*es}}
	for _, c := range []struct {
		name      string
		obj       runtime.Object
		mediaType string
		want      runtime.Object // of the type that is decoded; nil: none is
	}{
		{"a slice", es, runtime.ContentTypeProtobuf, &wireSlice{}},
		{"a slice in JSON", es, runtime.ContentTypeJSON, &wireSlice{}},
		{"a list", list, runtime.ContentTypeProtobuf, &wireList[wireSlice, *wireSlice]{}},
		{"a list in JSON", list, runtime.ContentTypeJSON, &wireList[wireSlice, *wireSlice]{}},
		{"a Service", &corev1.Service{}, runtime.ContentTypeProtobuf, &wireService{}},
		{"a Namespace", kubetest.Namespace("ns"), runtime.ContentTypeProtobuf, &corev1.Namespace{}},
		{"what went wrong", &metav1.Status{Status: metav1.StatusFailure, Code: 410}, runtime.ContentTypeProtobuf, &metav1.Status{}},
		{"a kind that is not known", &corev1.ConfigMap{}, runtime.ContentTypeProtobuf, nil},
		{"a kind that is not known, in JSON", &corev1.ConfigMap{}, runtime.ContentTypeJSON, nil},
	} {
		gvks, _, err := kubetest.Scheme().ObjectKinds(c.obj)
		fatal.If(t, err)
		info, _ := runtime.SerializerInfoForMediaType(kubetest.Codecs().SupportedMediaTypes(), c.mediaType)
		sent := kubetest.Encoded(kubetest.Codecs().EncoderForVersion(info.Serializer, gvks[0].GroupVersion()), c.obj)
		ours := newWireSerializer(nil)
		info, _ = runtime.SerializerInfoForMediaType(ours.SupportedMediaTypes(), c.mediaType)
		decoder := ours.DecoderToVersion(info.Serializer, gvks[0].GroupVersion())
		got, gvk, err := decoder.Decode(sent, nil, nil)
		if c.want == nil {
			if err == nil {
				t.Errorf("%s: decoded as %T", c.name, got)
			}
			continue
		}
		if err != nil || reflect.TypeOf(got) != reflect.TypeOf(c.want) || gvk.Kind != gvks[0].Kind {
			t.Errorf("%s: got a %T, of kind %v, %v, want a %T", c.name, got, gvk, err, c.want)
			continue
		}
		switch got := got.(type) {
		case *wireSlice:
			if wireText(got) != whatIsRead(es) {
				t.Errorf("%s: got %s\nwant %s", c.name, wireText(got), whatIsRead(es))
			}
		case *wireList[wireSlice, *wireSlice]:
			if len(got.Items) != 1 || got.ResourceVersion != "7" || wireText(&got.Items[0]) != whatIsRead(es) {
				t.Errorf("%s: got %+v", c.name, got)
			}
		case *metav1.Status:
			if got.Code != 410 {
				t.Errorf("%s: got %+v", c.name, got)
			}
		}
		for n := range sent {
			_, _, _ = decoder.Decode(sent[:n], nil, nil) // whatever it says, it does not panic
		}
	}
}
