package kube

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/internal/model"
	"google.golang.org/protobuf/encoding/protowire"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// wireScheme knows what the API server sends: Services and EndpointSlices as the types below.
var wireScheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	InstallImports(s)
	core, discovery := corev1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion
	s.AddKnownTypes(core, &corev1.Namespace{}, &corev1.NamespaceList{}, &corev1.Pod{}, &corev1.PodList{},
		&corev1.Node{}, &corev1.NodeList{})
	s.AddKnownTypeWithName(core.WithKind("Service"), &wireService{})
	s.AddKnownTypeWithName(core.WithKind("ServiceList"), &wireList[wireService, *wireService]{})
	s.AddKnownTypeWithName(discovery.WithKind("EndpointSlice"), &wireSlice{})
	s.AddKnownTypeWithName(discovery.WithKind("EndpointSliceList"), &wireList[wireSlice, *wireSlice]{})
	metav1.AddToGroupVersion(s, core)
	metav1.AddToGroupVersion(s, discovery)
	return s
}()

// wireSerializer decodes the objects of wireScheme.
type wireSerializer struct {
	runtime.NegotiatedSerializer
	recall Recall
}

// Recall returns what is kept of the slice at key, for each of some sums: the endpoint that was made of
// such a message, or the zero value. It may return nil instead.
type Recall func(key model.Key, sums []uint64) []model.Endpoint

// newWireSerializer returns a wireSerializer. recall may be nil.
func newWireSerializer(recall Recall) wireSerializer {
	return wireSerializer{serializer.NewCodecFactory(wireScheme).WithoutConversion(), recall}
}

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (s wireSerializer) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return wireDecoder{s.NegotiatedSerializer.DecoderToVersion(d, gv), s.recall}
}

// wireDecoder decodes Protocol Buffers where they came, and leaves all else to another decoder,
// which would make a copy first: of a list, that is tens of megabytes.
type wireDecoder struct {
	runtime.Decoder
	recall Recall
}

// wirePrefix stands before each object in Protocol Buffers. A runtime.Unknown follows.
var wirePrefix = []byte("k8s\x00")

// Decode implements runtime.Decoder. The object may keep data.
func (d wireDecoder) Decode(data []byte, defaults *schema.GroupVersionKind,
	into runtime.Object,
) (runtime.Object, *schema.GroupVersionKind, error) {
	if into == nil {
		if obj, gvk, err := decodeWire(data, d.recall); obj != nil {
			return obj, &gvk, err
		}
	}
	return d.Decoder.Decode(data, defaults, into)
}

// decodeWire decodes an object in Protocol Buffers. obj is nil if data is something else, or of a
// kind that is not known.
func decodeWire(data []byte, recall Recall) (obj runtime.Object, gvk schema.GroupVersionKind, err error) {
	unknown, ok := bytes.CutPrefix(data, wirePrefix)
	if !ok {
		return nil, gvk, nil
	}
	var meta runtime.TypeMeta
	var raw []byte
	r := wireReader{rest: unknown}
	for r.next() {
		switch {
		case !r.isBytes():
		case r.number == unknownTypeMeta:
			r.err = meta.Unmarshal(r.value)
		case r.number == unknownRaw:
			raw = r.value
		}
	}
	gvk = schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind)
	made, err := wireScheme.New(gvk)
	m, ok := made.(message)
	if r.err != nil || err != nil || !ok {
		return nil, gvk, nil // which the other decoder knows to say
	}
	if s, ok := made.(*wireSlice); ok {
		s.recall = recall
	}
	return made, gvk, m.Unmarshal(raw)
}

// wireService is a Service that decodes, of a message in Protocol Buffers, what the converter may
// read, and skips the rest.
type wireService struct{ corev1.Service }

// wireSlice is what the converter may read of an EndpointSlice. It decodes no more of a message in
// Protocol Buffers: of one with 100 endpoints that takes a third of the time that generated code
// takes, and a tenth of the memory.
type wireSlice struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	addressType discoveryv1.AddressType
	ports       []discoveryv1.EndpointPort
	endpoints   []wireEndpoint // but those that were recalled
	message     []byte         // that the spans are parts of

	recall   Recall           // nil for a slice of which nothing is kept
	sums     []uint64         // of the Endpoints, nil if they are few; 0 for one that is not to be recalled
	recalled []model.Endpoint // for each Endpoint, or nil; the zero value for one that was decoded
}

// fewest is how many Endpoints a slice has at least when its sums are kept, of eight octets each: to decode
// fewer is cheap.
const fewest = 32

// sumSeed makes sums that nobody can foresee. Two messages that differ have the same one with a probability of 2⁻⁶⁴.
var sumSeed = maphash.MakeSeed()

// sumOf returns the sum of m, an Endpoint.
func sumOf(m []byte) uint64 { return max(maphash.Bytes(sumSeed, m), 1) }

// wireEndpoint is what the converter may read of an Endpoint, or of a further address of it. There
// are many at once, and without pointers they cost the garbage collector nothing.
type wireEndpoint struct {
	addr, hostname, zone span
	whole                span   // a message: the Endpoint
	at                   uint32 // which Endpoint of the slice
	conditions           conditions
	further              bool // addr is a further address of the Endpoint before
}

// span is where a part of a message is.
type span struct{ from, to uint32 }

// text returns a part of the message.
func (s *wireSlice) text(part span) []byte { return s.message[part.from:part.to] }

// spanOf returns where part, a part of the message, is.
func (s *wireSlice) spanOf(part []byte) span {
	from := len(s.message) - cap(part)                  // the two end in the same place
	return span{uint32(from), uint32(from + len(part))} //nolint:gosec // no message is so long
}

// podName returns the name of the object that e stands for. Few ask for it, so it is looked for only now.
func (s *wireSlice) podName(e *wireEndpoint) string {
	var name []byte
	r := wireReader{rest: s.text(e.whole)}
	for r.next() {
		if r.number != endpointTargetRef || !r.isBytes() {
			continue
		}
		target := wireReader{rest: r.value}
		for target.next() {
			if target.number == targetName && target.isBytes() {
				name = target.value
			}
		}
	}
	return string(name)
}

// hints returns the node that e is on, and the hints for topology zones and nodes. Like podName it looks
// for them only now.
func (s *wireSlice) hints(e *wireEndpoint) (node string, zones, nodes []string) {
	r := wireReader{rest: s.text(e.whole)}
	for r.next() {
		switch {
		case !r.isBytes():
		case r.number == endpointNodeName:
			node = string(r.value)
		case r.number == endpointHints:
			hints := wireReader{rest: r.value}
			for hints.next() {
				switch {
				case !hints.isBytes():
				case hints.number == hintZones:
					zones = append(zones, hintOf(hints.value))
				case hints.number == hintNodes:
					nodes = append(nodes, hintOf(hints.value))
				}
			}
		}
	}
	return node, zones, nodes
}

// hintOf returns the name in a hint.
func hintOf(m []byte) string {
	var name []byte
	r := wireReader{rest: m}
	for r.next() {
		if r.number == hintName && r.isBytes() {
			name = r.value
		}
	}
	return string(name)
}

// newWireSlice returns what is read of es.
func newWireSlice(es *discoveryv1.EndpointSlice) (*wireSlice, error) {
	m, err := es.Marshal()
	if err != nil {
		return nil, err
	}
	s := new(wireSlice)
	return s, s.Unmarshal(m)
}

// wireSliceOf returns what is read of obj if that is an EndpointSlice.
func wireSliceOf(obj any) (s *wireSlice, ok bool) {
	es, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, false
	}
	s, err := newWireSlice(es)
	return s, err == nil
}

// wireServiceOf returns the Service that obj is if the API server sent it.
func wireServiceOf(obj any) (svc *corev1.Service, ok bool) {
	s, ok := obj.(*wireService)
	if !ok {
		return nil, false
	}
	return &s.Service, true
}

// parseAddr returns the address that text spells, or the zero Addr.
func parseAddr(text []byte) netip.Addr {
	var addr netip.Addr
	if addr.UnmarshalText(text) != nil {
		return netip.Addr{}
	}
	return addr
}

// wireList is a list of such objects.
type wireList[T any, P interface {
	*T
	message
}] struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []T `json:"items"`
}

// message is what generated code decodes. Parts of a message that are decoded one after the other add up.
type message interface{ Unmarshal([]byte) error }

// The numbers of the fields, from generated.proto of k8s.io/api and k8s.io/apimachinery.
const (
	unknownTypeMeta = 1
	unknownRaw      = 2

	objectMetadata = 1 // of each object, and of lists
	listItems      = 2

	entryKey = 1 // of each map

	metadataLabels          = 11
	metadataAnnotations     = 12
	metadataOwnerReferences = 13
	metadataFinalizers      = 14
	metadataManagedFields   = 17

	sliceEndpoints   = 2
	slicePorts       = 3
	sliceAddressType = 4

	endpointAddresses  = 1
	endpointConditions = 2
	endpointHostname   = 3
	endpointTargetRef  = 4
	endpointNodeName   = 6
	endpointZone       = 7
	endpointHints      = 8

	targetName = 3

	hintZones = 1
	hintNodes = 2
	hintName  = 1 // of each hint

	conditionReady       = 1
	conditionServing     = 2
	conditionTerminating = 3
)

// Unmarshal implements the interface of a decoder of Protocol Buffers.
func (s *wireService) Unmarshal(m []byte) error {
	r := wireReader{rest: m}
	for r.next() {
		if r.number == objectMetadata && r.isBytes() {
			r.err = decodeMetadata(r.value, &s.ObjectMeta)
		} else {
			r.err = s.Service.Unmarshal(r.field)
		}
	}
	return r.err
}

// Reset implements the interface of a decoder of Protocol Buffers.
func (s *wireSlice) Reset() { *s = wireSlice{} }

// Unmarshal implements the interface of a decoder of Protocol Buffers. It keeps m.
func (s *wireSlice) Unmarshal(m []byte) error {
	s.message = slices.Clip(m)
	endpoints := count(m, sliceEndpoints)
	s.sums, s.recalled = nil, nil
	if endpoints >= fewest {
		s.sums = make([]uint64, 0, endpoints)
	}
	r := wireReader{rest: s.message}
	for r.next() {
		switch {
		case !r.isBytes():
		case r.number == sliceEndpoints:
			if s.sums != nil {
				s.sums = append(s.sums, sumOf(r.value))
			}
		case r.number == objectMetadata:
			r.err = decodeMetadata(r.value, &s.ObjectMeta)
		case r.number == sliceAddressType:
			s.addressType = discoveryv1.AddressType(r.value)
		case r.number == slicePorts:
			s.ports = append(s.ports, discoveryv1.EndpointPort{})
			r.err = s.ports[len(s.ports)-1].Unmarshal(r.value)
		}
	}
	if r.err != nil {
		return r.err
	}
	if s.recall != nil && s.sums != nil {
		s.recalled = s.recall(model.Key{Namespace: s.Namespace, Name: s.Name}, s.sums)
	}
	return s.decodeEndpoints(endpoints)
}

// decodeEndpoints decodes the Endpoints, of which there are so many, that were not recalled: those were
// decoded before, and without a flaw.
func (s *wireSlice) decodeEndpoints(n int) error {
	for i := range s.recalled {
		if s.isRecalled(i) {
			n--
		}
	}
	s.endpoints = make([]wireEndpoint, 0, n)
	r := wireReader{rest: s.message}
	for at := 0; r.next(); {
		if r.number != sliceEndpoints || !r.isBytes() {
			continue
		}
		if !s.isRecalled(at) {
			r.err = s.decodeEndpoint(r.value, at)
		}
		at++
	}
	return r.err
}

// isRecalled reports whether the Endpoint at a position was recalled.
func (s *wireSlice) isRecalled(at int) bool {
	return at < len(s.recalled) && s.recalled[at].Addr.IsValid()
}

// decodeEndpoint decodes the Endpoint at a position.
func (s *wireSlice) decodeEndpoint(m []byte, at int) error {
	e := wireEndpoint{whole: s.spanOf(m), at: uint32(at)} //nolint:gosec // no message has so many
	addresses, more := 0, []span(nil)
	r := wireReader{rest: m}
	for r.next() {
		switch {
		case !r.isBytes():
		case r.number == endpointAddresses:
			if addresses++; addresses == 1 {
				e.addr = s.spanOf(r.value)
			} else {
				more = append(more, s.spanOf(r.value))
			}
		case r.number == endpointConditions:
			r.err = e.conditions.decode(r.value)
		case r.number == endpointHostname:
			e.hostname = s.spanOf(r.value)
		case r.number == endpointZone:
			e.zone = s.spanOf(r.value)
		}
	}
	if addresses == 0 {
		return r.err
	}
	s.endpoints = append(s.endpoints, e)
	if len(more) > 0 && s.sums != nil {
		s.sums[at] = 0
	}
	e.further = true
	for _, e.addr = range more {
		s.endpoints = append(s.endpoints, e)
	}
	return r.err
}

// conditions are those of an Endpoint.
type conditions struct{ ready, serving, terminating condition }

// condition is true, false or unset, as a pointer to a bool would be.
type condition uint8

const (
	unset condition = iota
	isFalse
	isTrue
)

// is returns c, or what it means when it is unset.
func (c condition) is(unsetMeans bool) bool { return c == isTrue || c == unset && unsetMeans }

// decode decodes EndpointConditions.
func (c *conditions) decode(m []byte) error {
	r := wireReader{rest: m}
	for r.next() {
		said := isFalse
		if r.varint != 0 {
			said = isTrue
		}
		switch r.number {
		case conditionReady:
			c.ready = said
		case conditionServing:
			c.serving = said
		case conditionTerminating:
			c.terminating = said
		}
	}
	return r.err
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *wireSlice) UnmarshalJSON(text []byte) error {
	var es discoveryv1.EndpointSlice
	if err := json.Unmarshal(text, &es); err != nil {
		return err
	}
	read, err := newWireSlice(&es)
	if err == nil {
		*s = *read
	}
	return err
}

// DeepCopyObject implements runtime.Object. The content is shared, which nobody modifies.
func (s *wireSlice) DeepCopyObject() runtime.Object { return new(*s) }

// decodeMetadata decodes an ObjectMeta, of its labels and annotations those that are read, and
// nothing of those who wrote the object.
func decodeMetadata(m []byte, metadata *metav1.ObjectMeta) error {
	r := wireReader{rest: m}
	for r.next() {
		switch r.number {
		case metadataOwnerReferences, metadataFinalizers, metadataManagedFields:
			continue
		case metadataLabels, metadataAnnotations:
			if !isRead(r.value) {
				continue
			}
		}
		r.err = metadata.Unmarshal(r.field)
	}
	return r.err
}

// isRead reports whether entry, of a map, has the key of a label or an annotation that is read. Of
// several keys the last counts.
func isRead(entry []byte) bool {
	var key []byte
	r := wireReader{rest: entry}
	for r.next() {
		if r.number == entryKey {
			key = r.value
		}
	}
	switch string(key) {
	case discoveryv1.LabelServiceName, mcsv1beta1.LabelServiceName, mcsv1beta1.LabelSourceCluster,
		HostnamesAnnotation, TopologyAnnotation, corev1.EndpointsLastChangeTriggerTime, metav1.InitialEventsAnnotationKey:
		return true
	}
	return false
}

// Reset implements the interface of a decoder of Protocol Buffers.
func (l *wireList[T, P]) Reset() { *l = wireList[T, P]{} }

// Unmarshal implements the interface of a decoder of Protocol Buffers.
func (l *wireList[T, P]) Unmarshal(m []byte) error {
	l.Items = slices.Grow(l.Items, count(m, listItems))
	r := wireReader{rest: m}
	for r.next() {
		switch {
		case !r.isBytes():
		case r.number == objectMetadata:
			r.err = l.ListMeta.Unmarshal(r.value)
		case r.number == listItems:
			l.Items = append(l.Items, *new(T))
			r.err = P(&l.Items[len(l.Items)-1]).Unmarshal(r.value)
		}
	}
	return r.err
}

// DeepCopyObject implements runtime.Object. The items are shared, which nobody modifies.
func (l *wireList[T, P]) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = slices.Clone(l.Items)
	return &c
}

// wireReader reads the fields of a message, one after the other.
type wireReader struct {
	rest []byte // behind the field
	err  error

	number protowire.Number
	kind   protowire.Type
	field  []byte // the whole of it
	value  []byte // of a string or a message
	varint uint64 // of a number
}

// next reads a field. It returns false at the end, and when there is an error.
func (r *wireReader) next() bool {
	if len(r.rest) == 0 || r.err != nil {
		return false
	}
	var at, size int
	if r.number, r.kind, at = protowire.ConsumeTag(r.rest); at < 0 {
		r.err = protowire.ParseError(at)
		return false
	}
	r.value, r.varint = nil, 0
	switch behind := r.rest[at:]; r.kind {
	case protowire.BytesType:
		r.value, size = protowire.ConsumeBytes(behind)
	case protowire.VarintType:
		r.varint, size = protowire.ConsumeVarint(behind)
	default:
		size = protowire.ConsumeFieldValue(r.number, r.kind, behind)
	}
	if size < 0 {
		r.err = protowire.ParseError(size)
		return false
	}
	r.field, r.rest = r.rest[:at+size], r.rest[at+size:]
	return true
}

// isBytes reports whether the field is a string or a message.
func (r *wireReader) isBytes() bool { return r.kind == protowire.BytesType }

// count returns how many fields of m, up to an error, have a number.
func count(m []byte, number protowire.Number) int {
	n := 0
	for r := (wireReader{rest: m}); r.next(); {
		if r.number == number && r.isBytes() {
			n++
		}
	}
	return n
}
