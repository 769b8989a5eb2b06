// Package manifests feeds the objects in files, as kubectl prints or takes them, to the feeds of
// package kube.
package manifests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	yaml2 "go.yaml.in/yaml/v2"
	yaml3 "go.yaml.in/yaml/v3"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

const (
	// manifestInterval is how often manifests looks for changed files.
	manifestInterval = time.Second
	// largestManifest is how many octets a file may have: a dump of 100,000 endpoints has some 50 MB.
	largestManifest = 256 << 20
)

var loads = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "coredns_headless_manifest_loads_total",
	Help: "Counter of the times that changed manifests were read again, by result: success or error.",
}, []string{"result"})

// init exports the counter before it grows: Prometheus does not see a growth from nothing.
func init() {
	loads.WithLabelValues("success")
	loads.WithLabelValues("error")
}

// Source is the source that reads Services, EndpointSlices, Namespaces and Pods from files.
type Source struct {
	paths []string
	feeds *kube.Feeds
	log   clog.P
	// stamp identifies the versions of the files that were read last.
	stamp string

	ctx     context.Context // ends with Stop
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New reads files and folders and feeds what is in them, once and, after Start, whenever they change.
// It logs what becomes of that.
func New(paths []string, feeds *kube.Feeds, log clog.P) (*Source, error) {
	m := &Source{paths: paths, feeds: feeds, log: log}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	files, stamp, err := m.files()
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	if err := m.load(files); err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	m.stamp = stamp
	return m, nil
}

// Start looks for changed files until Stop.
func (m *Source) Start() {
	m.running.Go(func() {
		tick := time.NewTicker(manifestInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.reload()
			case <-m.ctx.Done():
				return
			}
		}
	})
}

// String names the source: the paths.
func (m *Source) String() string { return "the manifests " + strings.Join(m.paths, " ") }

// Stop ends the watch over the files.
func (m *Source) Stop() {
	m.cancel()
	m.running.Wait()
}

// reload reads the files again if one has changed. If that fails, what was read before stays, and
// nothing is read until the next change.
func (m *Source) reload() {
	files, stamp, err := m.files()
	if err != nil {
		stamp = err.Error()
	}
	if stamp == m.stamp {
		return
	}
	m.stamp = stamp
	if err == nil {
		err = m.load(files)
	}
	if err != nil {
		loads.WithLabelValues("error").Inc()
		m.log.Errorf("manifests: %v; serving what was read before", err)
		return
	}
	loads.WithLabelValues("success").Inc()
	m.log.Infof("manifests: read %d files again", len(files))
}

// files returns the files that the paths lead to, sorted within each path, and a stamp that
// identifies their versions.
func (m *Source) files() (files []string, stamp string, err error) {
	var b strings.Builder
	add := func(path string, info fs.FileInfo) {
		files = append(files, path)
		fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	for _, path := range m.paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, "", err
		case info.Mode().IsRegular():
			add(path, info)
			continue
		case !info.IsDir():
			return nil, "", fmt.Errorf("%s: expected a file or a folder", path)
		}
		if err := walk(path, make(map[string]bool), add); err != nil {
			return nil, "", err
		}
	}
	return files, b.String(), nil
}

// walk calls add for each manifest in a folder and the folders in it, in order. It follows links,
// but goes into each folder once: seen holds those it was in. What is hidden is left out: a mounted
// ConfigMap keeps its versions there.
func walk(folder string, seen map[string]bool, add func(path string, info fs.FileInfo)) error {
	real, err := filepath.EvalSymlinks(folder)
	if err != nil || seen[real] {
		return err
	}
	seen[real] = true
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		info, err := os.Stat(path) // of what a link leads to
		switch {
		case err != nil:
			return err
		case info.IsDir():
			if err := walk(path, seen, add); err != nil {
				return err
			}
		case info.Mode().IsRegular() &&
			slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			add(path, info)
		}
	}
	return nil
}

// load reads files and feeds what is in them. Nothing is fed if one of them does not parse.
func (m *Source) load(files []string) error {
	objects, err := decodeManifests(files)
	if err == nil {
		Feed(m.feeds, objects)
	}
	return err
}

// Read returns the objects in files and folders. One of an unknown kind is left out.
func Read(paths ...string) ([]Object, error) {
	files, _, err := (&Source{paths: paths}).files()
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	objects, err := decodeManifests(files)
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	return slices.DeleteFunc(objects, func(obj Object) bool { return obj == nil }), nil
}

// Object is an object of the API.
type Object = runtime.Object

// decodeManifests returns the objects in files. One of an unknown kind is a nil Object.
func decodeManifests(files []string) ([]runtime.Object, error) {
	var objects []runtime.Object
	for _, file := range files {
		content, err := readManifest(file)
		if err != nil {
			return nil, err
		}
		found, err := decode(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// Feed makes objects, as they stand in manifests, all there are.
func Feed(feeds *kube.Feeds, objects []Object) {
	lists := sorted(feeds, objects)
	for _, resource := range kube.Resources {
		if feeds.Takes(resource) {
			feeds.Replace(resource, lists[resource])
		}
	}
}

// readManifest returns the content of a file. It does not wait for one that has become a pipe, and
// reads no more of one than may be, even if it grows meanwhile.
func readManifest(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a file", path)
	}
	var b bytes.Buffer
	if info.Size() <= largestManifest {
		b.Grow(int(info.Size()) + bytes.MinRead)
		if _, err := b.ReadFrom(io.LimitReader(f, largestManifest+1)); err != nil {
			return nil, err
		}
	}
	if info.Size() > largestManifest || b.Len() > largestManifest {
		return nil, fmt.Errorf("%s: expected up to %d MiB", path, largestManifest>>20)
	}
	return b.Bytes(), nil
}

// sorted sorts objects into one list per resource. Of several versions of an object the last one is
// kept. A Namespace that objects are in exists. Objects of another kind than those that are fed are
// counted and left out.
func sorted(feeds *kube.Feeds, objects []Object) map[string][]metav1.Object {
	lists := make(map[string][]metav1.Object)
	type identity struct {
		resource string
		key      model.Key
	}
	at := make(map[identity]int)
	add := func(resource string, o metav1.Object) {
		id := identity{resource: resource, key: model.Key{Namespace: o.GetNamespace(), Name: o.GetName()}}
		if i, ok := at[id]; ok {
			lists[resource][i] = o
			return
		}
		at[id] = len(lists[resource])
		lists[resource] = append(lists[resource], o)
	}
	implied := make(map[string]bool)
	for _, obj := range objects {
		resource := kube.ResourceOf(obj)
		if !feeds.Takes(resource) {
			kube.CountSkipped("manifests", kube.UnknownKind)
			continue
		}
		if ns, ok := obj.(*corev1.Namespace); ok {
			add(resource, labelled(ns))
			continue
		}
		o := obj.(metav1.Object)
		if o.GetNamespace() == "" {
			o.SetNamespace(metav1.NamespaceDefault) // as kubectl apply does
		}
		implied[o.GetNamespace()] = true
		add(resource, o)
		if o.GetLabels()[mcsv1beta1.LabelServiceName] != "" && resource == kube.Slices &&
			feeds.Takes(kube.Imported) {
			add(kube.Imported, o)
		}
	}
	for name := range implied {
		if _, declared := at[identity{
			resource: kube.Namespaces, key: model.Key{Namespace: "", Name: name},
		}]; !declared {
			add(kube.Namespaces, labelled(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
		}
	}
	return lists
}

// labelled gives ns the label that the API server gives every Namespace.
func labelled(ns *corev1.Namespace) *corev1.Namespace {
	if ns.Labels == nil {
		ns.Labels = make(map[string]string)
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
	return ns
}

// decode returns the objects in a file, those in lists one by one. An object of an unknown kind is
// a nil Object. Errors name the document and the line.
func decode(content []byte) ([]runtime.Object, error) {
	var objects []runtime.Object
	// The YAML that Kubernetes reads is that of this version of the library.
	documents := yaml2.NewDecoder(bytes.NewReader(content))
	for n := 1; ; n++ {
		var doc any
		err := documents.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err == nil && doc == nil {
			continue
		}
		var found []runtime.Object
		if err == nil {
			found, err = decodeObject(doc)
		}
		if err != nil {
			return nil, locate(content, n, err)
		}
		objects = append(objects, found...)
	}
}

// decodeObject returns the object that doc is, or those in the list that it is.
func decodeObject(doc any) ([]runtime.Object, error) {
	text, err := json.Marshal(jsonable(doc))
	if err != nil {
		return nil, err
	}
	return decodeJSON(text, deepestList)
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

// itemError is an error in one item of a list.
type itemError struct {
	item int // from 0
	err  error
}

func (e *itemError) Error() string { return fmt.Sprintf("item %d: %v", e.item+1, e.err) }

func (e *itemError) Unwrap() error { return e.err }

// manifestDecoder knows the groups of the objects that are served, and of the StatefulSets that
// headless-explain looks at. All those of Kubernetes would be a third of what the server compiles,
// and 5 MiB. It is made when manifests are first read: most servers do not read any.
var manifestDecoder = sync.OnceValue(func() runtime.Decoder {
	known := runtime.NewScheme()
	utilruntime.Must(appsv1.AddToScheme(known))
	utilruntime.Must(corev1.AddToScheme(known))
	utilruntime.Must(discoveryv1.AddToScheme(known))
	kube.InstallImports(known)
	return serializer.NewCodecFactory(known).UniversalDeserializer()
})

// deepestList is how many lists may be in each other. It is low because each list decodes once more
// what the lists in it hold.
const deepestList = 8

// decodeJSON returns the object that text is, or those in the list that it is, with no more than
// depth lists in each other.
func decodeJSON(text []byte, depth int) ([]runtime.Object, error) {
	obj, _, err := manifestDecoder().Decode(text, nil, nil)
	switch {
	case runtime.IsNotRegisteredError(err):
		return []runtime.Object{nil}, nil
	case err != nil:
		return nil, err
	case !meta.IsListType(obj):
		return []runtime.Object{obj}, nil
	case depth == 0:
		return nil, fmt.Errorf("more than %d lists in each other", deepestList)
	}
	items, err := meta.ExtractList(obj)
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	for i, item := range items {
		raw, ok := item.(*runtime.Unknown)
		if !ok {
			objects = append(objects, item)
			continue
		}
		found, err := decodeJSON(raw.Raw, depth-1)
		if err != nil {
			return nil, &itemError{i, err}
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

var (
	yamlLine  = regexp.MustCompile(`yaml: (line (\d+): )?`)
	jsonField = regexp.MustCompile(`cannot unmarshal (\w+) ?(\S*) into Go struct field \w+\.([\w.]+) of type`)
)

// locate returns err, from the nth document of content, with the number of the document and the
// line that it is about.
func locate(content []byte, n int, err error) error {
	if at := yamlLine.FindStringSubmatch(err.Error()); at != nil {
		line := at[2]
		if line == "" { // the library knows no better
			line = strconv.Itoa(startOf(content, n))
		}
		return fmt.Errorf("document %d, line %s: %s", n, line, strings.Replace(err.Error(), at[0], "", 1))
	}
	node := document(content, n)
	if item := (*itemError)(nil); errors.As(err, &item) {
		if items := fields(node, []string{"items"}); len(items) == 1 && item.item < len(items[0].Content) {
			node = items[0].Content[item.item]
		}
	}
	line := 1
	if node != nil {
		line = node.Line
	}
	if m := jsonField.FindStringSubmatch(err.Error()); m != nil {
		values := slices.DeleteFunc(fields(node, strings.Split(m[3], ".")),
			func(v *yaml3.Node) bool { return v == nil })
		isIt := func(v *yaml3.Node) bool { return jsonType(v) == m[1] && (m[2] == "" || v.Value == m[2]) }
		// The two versions of YAML may see another type.
		if i := max(0, slices.IndexFunc(values, isIt)); i < len(values) {
			line = values[i].Line
		}
	}
	return fmt.Errorf("document %d, line %d: %w", n, line, err)
}

// startOf returns the line at which the nth document of content starts, as far as one can tell when
// it does not parse.
func startOf(content []byte, n int) int {
	if n == 1 {
		return 1
	}
	before, line := 1, 0
	for text := range bytes.Lines(content) {
		line++
		if bytes.HasPrefix(text, []byte("---")) && line > 1 {
			if before++; before == n {
				break
			}
		}
	}
	return line
}

// document returns the nth document of content, or nil if it does not parse.
func document(content []byte, n int) *yaml3.Node {
	documents := yaml3.NewDecoder(bytes.NewReader(content))
	for ; ; n-- {
		var doc yaml3.Node
		if documents.Decode(&doc) != nil || len(doc.Content) == 0 {
			return nil
		}
		if n == 1 {
			return doc.Content[0]
		}
	}
}

// fields returns the values that path leads to from node, through every item of the lists on the way.
func fields(node *yaml3.Node, path []string) []*yaml3.Node {
	found := []*yaml3.Node{node}
	for _, name := range path {
		var next []*yaml3.Node
		for _, parent := range found {
			next = append(next, field(parent, name)...)
		}
		found = next
	}
	return found
}

// field returns the values of a field of node, which may be nil, or of the items that it lists.
func field(node *yaml3.Node, name string) []*yaml3.Node {
	var found []*yaml3.Node
	switch {
	case node == nil:
	case node.Kind == yaml3.AliasNode:
		return field(node.Alias, name)
	case node.Kind == yaml3.SequenceNode:
		for _, item := range node.Content {
			found = append(found, field(item, name)...)
		}
	case node.Kind == yaml3.MappingNode:
		for pair := range slices.Chunk(node.Content, 2) { // a name and its value
			if len(pair) == 2 && pair[0].Value == name {
				found = append(found, pair[1])
			}
		}
	}
	return found
}

// jsonType returns what errors of encoding/json call the type of node.
func jsonType(node *yaml3.Node) string {
	switch {
	case node == nil:
		return ""
	case node.Kind == yaml3.MappingNode:
		return "object"
	case node.Kind == yaml3.SequenceNode:
		return "array"
	}
	return map[string]string{
		"!!str": "string", "!!int": "number", "!!float": "number", "!!bool": "bool",
	}[node.Tag]
}
