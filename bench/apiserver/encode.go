package apiserver

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// object is an object of any resource. All of them have protobuf messages.
type object interface {
	runtime.Object
	metav1.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// resources are the kinds of objects that there are, by the name of the resource.
var resources = map[string]struct {
	kind schema.GroupVersionKind
	path string
	new  func() object
	list func() runtime.Object
}{
	"namespaces": {
		corev1.SchemeGroupVersion.WithKind("Namespace"), "/api/v1/namespaces",
		func() object { return &corev1.Namespace{} }, func() runtime.Object { return &corev1.NamespaceList{} },
	},
	"services": {
		corev1.SchemeGroupVersion.WithKind("Service"), "/api/v1/services",
		func() object { return &corev1.Service{} }, func() runtime.Object { return &corev1.ServiceList{} },
	},
	slicesResource: {
		discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), "/apis/discovery.k8s.io/v1/endpointslices",
		func() object { return &discoveryv1.EndpointSlice{} }, func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
	},
}

var codecs = serializer.NewCodecFactory(scheme.Scheme)

// codec is one of the two encodings. Objects are kept as protobuf messages, so that one is only a copy.
type codec struct{ runtime.SerializerInfo }

// negotiate returns the encoding for a client that accepts these media types.
func negotiate(accept string) codec {
	mediaType := runtime.ContentTypeJSON
	if strings.Contains(accept, runtime.ContentTypeProtobuf) {
		mediaType = runtime.ContentTypeProtobuf
	}
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
	return codec{info}
}

func (c codec) isProtobuf() bool { return c.MediaType == runtime.ContentTypeProtobuf }

// object returns an object of a resource, given as a protobuf message, as it stands in an answer.
func (c codec) object(resource string, message []byte) []byte {
	if c.isProtobuf() {
		return envelope(resources[resource].kind, message)
	}
	return encoded(c.Serializer, decode(resource, message))
}

// list returns the list of objects of a resource, given as protobuf messages.
func (c codec) list(resource, version string, messages [][]byte) []byte {
	kind := resources[resource].kind
	kind.Kind += "List"
	body := listMessage(version, messages)
	if c.isProtobuf() {
		return envelope(kind, body)
	}
	list := resources[resource].list()
	if err := list.(interface{ Unmarshal([]byte) error }).Unmarshal(body); err != nil {
		panic(err) // listMessage is wrong
	}
	list.GetObjectKind().SetGroupVersionKind(kind)
	return encoded(c.Serializer, list)
}

// listMessage returns the protobuf message of a list: in every list of Kubernetes field 1 is the metadata and field 2 the items.
func listMessage(version string, messages [][]byte) []byte {
	const metadata, items = 1, 2
	meta, err := (&metav1.ListMeta{ResourceVersion: version}).Marshal()
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	size := 0
	for _, m := range messages {
		size += len(m) + 8
	}
	b := make([]byte, 0, size+64)
	b = protowire.AppendBytes(protowire.AppendTag(b, metadata, protowire.BytesType), meta)
	for _, m := range messages {
		b = protowire.AppendBytes(protowire.AppendTag(b, items, protowire.BytesType), m)
	}
	return b
}

// event returns an event of a watch about what object or encoded returned.
func (c codec) event(eventType apiwatch.EventType, obj []byte) []byte {
	event := &metav1.WatchEvent{Type: string(eventType), Object: runtime.RawExtension{Raw: obj}}
	var b bytes.Buffer
	if _, err := c.StreamSerializer.Framer.NewFrameWriter(&b).Write(encoded(c.StreamSerializer.Serializer, event)); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// bookmark returns the event that says that everything up to version was told.
func (c codec) bookmark(resource, version string, annotations map[string]string) []byte {
	obj := resources[resource].new()
	obj.SetResourceVersion(version)
	obj.SetAnnotations(annotations)
	return c.event(apiwatch.Bookmark, c.object(resource, encode(obj)))
}

// envelope returns a protobuf message as Kubernetes sends it.
func envelope(kind schema.GroupVersionKind, message []byte) []byte {
	apiVersion, name := kind.ToAPIVersionAndKind()
	unknown := &runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: name}, Raw: message}
	prefix := "k8s\x00"
	b := make([]byte, len(prefix)+unknown.Size())
	copy(b, prefix)
	if _, err := unknown.MarshalTo(b[len(prefix):]); err != nil {
		panic(err) // there is room for it
	}
	return b
}

// encode returns the protobuf message of an object.
func encode(obj object) []byte {
	b, err := obj.Marshal()
	if err != nil {
		panic(fmt.Sprintf("%T: %v", obj, err)) // no object of Kubernetes
	}
	return b
}

// decode returns the object of a resource that encode made a message of.
func decode(resource string, message []byte) object {
	obj := resources[resource].new()
	if err := obj.Unmarshal(message); err != nil {
		panic(err) // not made by encode
	}
	obj.GetObjectKind().SetGroupVersionKind(resources[resource].kind)
	return obj
}

func encoded(e runtime.Encoder, obj runtime.Object) []byte {
	var b bytes.Buffer
	if err := e.Encode(obj, &b); err != nil {
		panic(fmt.Sprintf("%T: %v", obj, err)) // no object of Kubernetes
	}
	return b.Bytes()
}
