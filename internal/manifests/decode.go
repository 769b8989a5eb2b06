package manifests

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/coredns-headless/headless/internal/kube"
	yaml2 "go.yaml.in/yaml/v2"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubejson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// Object is an object of the API.
type Object = runtime.Object

// known are the groups of the objects that are served, and of the workloads that Pods are foreseen of.
// All those of Kubernetes would be a third of what the server compiles, and 5 MiB. It is made when
// manifests are first read: most servers do not read any.
var known = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(appsv1.AddToScheme(s))
	utilruntime.Must(batchv1.AddToScheme(s))
	utilruntime.Must(corev1.AddToScheme(s))
	utilruntime.Must(discoveryv1.AddToScheme(s))
	utilruntime.Must(discoveryv1beta1.AddToScheme(s))
	kube.InstallImports(s)
	return s
})

// strict decodes JSON, and says which fields are not known or stand twice.
var strict = sync.OnceValue(func() runtime.Decoder {
	return kubejson.NewSerializerWithOptions(kubejson.DefaultMetaFactory, known(), known(), kubejson.SerializerOptions{Strict: true})
})

// deepestList is how many lists may be in each other. It is low because each list decodes once more
// what the lists in it hold.
const deepestList = 8

// decoder decodes the documents of files into contents.
type decoder struct {
	*Contents
	uses    func(Object) bool // reports whether objects of this type are used
	isNamed bool              // the file is named itself
}

// file decodes a file. Errors name the document and the line.
func (d *decoder) file(name string, content []byte) error {
	if bytes.HasPrefix(content, []byte("\x1f\x8b")) {
		return errors.New(shortened(nameOf(name) + ": expected YAML or JSON, got what gzip packs: unpack it first"))
	}
	if docs := values(name, content); docs != nil {
		for _, doc := range docs {
			if err := d.value(&origin{doc, nil}, doc.text, schema.GroupVersionKind{}); err != nil {
				return err
			}
		}
		return nil
	}
	// The YAML that Kubernetes reads is that of this version of the library.
	documents := yaml2.NewDecoder(bytes.NewReader(content))
	documents.SetStrict(true)
	lenient := lax{Decoder: yaml2.NewDecoder(bytes.NewReader(content))}
	for n := 1; ; n++ {
		doc := newDocument(name, n, content, n, 1)
		var value any
		err := documents.Decode(&value)
		if repeated := (*yaml2.TypeError)(nil); errors.As(err, &repeated) { // a field stands twice
			for _, text := range repeated.Errors {
				d.flaw(func() error { return doc.errorf("document %d, %s", n, text) })
			}
			value, err = lenient.document(n)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && strings.HasPrefix(err.Error(), "yaml: invalid map key") && !doc.isTemplate():
			err = d.noObject(&origin{doc, nil}, "the name of a field in it is no text")
			if err != nil {
				return err
			}
			continue
		case err != nil:
			return doc.syntax(err)
		case value == nil:
			continue
		}
		text, err := json.Marshal(jsonable(value))
		if err == nil {
			err = d.value(&origin{doc, nil}, text, schema.GroupVersionKind{})
		}
		if err != nil {
			return err
		}
	}
}

// lax decodes documents with the last value of a field that stands several times.
type lax struct {
	*yaml2.Decoder
	read int // how many documents it has decoded
}

// document returns the nth document, from 1. Each n is greater than the one before.
func (l *lax) document(n int) (value any, err error) {
	for ; l.read < n && err == nil; l.read++ {
		value = nil
		err = l.Decode(&value)
	}
	return value, err
}

// jsonable returns v, a decoded YAML value, with text for all keys.
func jsonable(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[fmt.Sprint(key)] = jsonable(value)
		}
		return m
	case []any:
		for i := range v {
			v[i] = jsonable(v[i])
		}
	}
	return v
}

// origin is where an object is from.
type origin struct {
	*document
	items []int // it is the item of the list that the document is, of that the item, and so on; from 0
}

// errorf returns an error of what is at the origin. The text is a format.
func (o *origin) errorf(text string, args ...any) error {
	return o.wrong(o.items, fmt.Errorf(text, args...))
}

// value takes a JSON value: an object, or a list of them. fallback is of what kind it is if it does not
// say so.
func (d *decoder) value(from *origin, text []byte, fallback schema.GroupVersionKind) error {
	kind, why := kindOf(text, fallback)
	if why != "" {
		return d.noObject(from, why)
	}
	model, err := known().New(kind)
	switch {
	case err != nil:
		d.others[groupKind(kind)]++
		if right := spelled(kind); right != "" {
			d.flaw(func() error { return from.errorf("no kind is called %s; did you mean %s?", kind.Kind, right) })
		}
		return nil
	case meta.IsListType(model):
		return d.list(from, text, kind)
	}
	isUsed := d.uses(standsFor(model))
	obj, _, err := strict().Decode(text, &kind, nil)
	if mistakes, ok := runtime.AsStrictDecodingError(err); ok {
		err = nil
		for _, mistake := range mistakes.Errors() {
			if isUsed {
				d.mistake(from, kind.Kind, mistake.Error())
			}
		}
	}
	if o, ok := obj.(metav1.Object); ok && err == nil && strings.Contains(o.GetName()+o.GetNamespace(), "{{") {
		err = fmt.Errorf("its name is %.80s: %w", o.GetName(), errTemplate)
	}
	switch {
	case err != nil && isUsed && !isWorkload(model):
		return from.wrong(from.items, err)
	case err != nil:
		d.skip(func() error { return from.errorf("%s: %w", kind.Kind, err) })
		return nil
	case !isUsed:
		d.others[groupKind(kind)]++
	}
	obj.GetObjectKind().SetGroupVersionKind(kind)
	obj = converted(obj)
	d.Objects = append(d.Objects, obj)
	d.origins[obj] = from
	return nil
}

// noObject takes a document, or an item, that is no object: an error in a file that is named itself, and else skipped.
func (d *decoder) noObject(from *origin, why string) error {
	err := func() error { return from.errorf("expected a Kubernetes object, with apiVersion and kind; %s", why) }
	if d.isNamed {
		return err()
	}
	d.skip(err)
	return nil
}

// list takes the items of a list.
func (d *decoder) list(from *origin, text []byte, kind schema.GroupVersionKind) error {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return from.wrong(from.items, err)
	}
	if len(from.items) == deepestList {
		return from.errorf("more than %d lists in each other", deepestList)
	}
	fallback := schema.GroupVersionKind{}
	if kind.Kind != "List" {
		fallback = kind.GroupVersion().WithKind(strings.TrimSuffix(kind.Kind, "List"))
	}
	for i, item := range list.Items {
		if err := d.value(&origin{from.document, append(slices.Clip(from.items), i)}, item, fallback); err != nil {
			return err
		}
	}
	return nil
}

// kindOf returns the kind of the object that a JSON value is, or else why it is no object.
func kindOf(text []byte, fallback schema.GroupVersionKind) (kind schema.GroupVersionKind, why string) {
	var head map[string]json.RawMessage
	if err := json.Unmarshal(text, &head); err != nil {
		return kind, "it is " + cmp.Or(map[byte]string{'[': "a list", '"': "text", 't': "a truth value", 'f': "a truth value"}[text[0]], "a number")
	}
	var version, name string // empty if they are not there, or no text
	_, _ = json.Unmarshal(head["apiVersion"], &version), json.Unmarshal(head["kind"], &name)
	switch {
	case version == "" && name == "" && fallback.Kind != "":
		return fallback, ""
	case name == "":
		return kind, "it has no kind"
	case version == "":
		return kind, "it has no apiVersion"
	}
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		return kind, "its apiVersion is no version: " + version
	}
	return gv.WithKind(name), ""
}

// groupKind writes a kind with its version.
func groupKind(kind schema.GroupVersionKind) string {
	return kind.GroupVersion().String() + " " + kind.Kind
}

// spelled returns the kind of the same version that differs in capitals only, or "".
func spelled(kind schema.GroupVersionKind) string {
	for right := range known().KnownTypes(kind.GroupVersion()) {
		if strings.EqualFold(right, kind.Kind) {
			return right
		}
	}
	return ""
}

// standsFor returns what obj, of any type, is read as.
func standsFor(obj Object) Object {
	switch obj.(type) {
	case *corev1.Endpoints, *discoveryv1beta1.EndpointSlice: //nolint:staticcheck // old files have them
		return &discoveryv1.EndpointSlice{}
	}
	return obj
}

// converted returns obj, or the EndpointSlice of today that one of version v1beta1 is.
func converted(obj Object) Object {
	old, ok := obj.(*discoveryv1beta1.EndpointSlice)
	if !ok {
		return obj
	}
	es := &discoveryv1.EndpointSlice{ObjectMeta: old.ObjectMeta, AddressType: discoveryv1.AddressType(old.AddressType)}
	for _, p := range old.Ports {
		es.Ports = append(es.Ports, discoveryv1.EndpointPort(p))
	}
	for _, e := range old.Endpoints {
		now := discoveryv1.Endpoint{
			Addresses: e.Addresses, Conditions: discoveryv1.EndpointConditions(e.Conditions), Hostname: e.Hostname,
			TargetRef: e.TargetRef, NodeName: e.NodeName,
		}
		if zone, ok := e.Topology[corev1.LabelTopologyZone]; ok {
			now.Zone = &zone
		}
		es.Endpoints = append(es.Endpoints, now)
	}
	return es
}
