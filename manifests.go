package headless

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

// manifestInterval is how often manifests looks for changed files.
const manifestInterval = time.Second

// manifests is the source that reads Services, EndpointSlices and Namespaces from files.
type manifests struct {
	paths []string
	feeds map[string]cache.TransformingStore
	// selectors restrict resources; those without one are not restricted.
	selectors map[string]labels.Selector
	// stamp identifies the versions of the files that were read last.
	stamp string

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newManifests reads the files and folders of cfg, relative ones below root, and feeds what is in them.
func newManifests(cfg *config, root string, feeds map[string]cache.TransformingStore) (*manifests, error) {
	m := &manifests{feeds: feeds, selectors: map[string]labels.Selector{
		namespacesResource: cfg.namespaceLabels,
		servicesResource:   cfg.labels,
		slicesResource:     cfg.sliceLabels(),
	}}
	if cfg.noEndpoints {
		m.selectors[slicesResource] = labels.Nothing()
	}
	for _, path := range cfg.manifests {
		if !filepath.IsAbs(path) {
			path = filepath.Join(root, path)
		}
		m.paths = append(m.paths, path)
	}
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

// start looks for changed files until stop.
func (m *manifests) start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.running.Go(func() {
		tick := time.NewTicker(manifestInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.reload()
			case <-ctx.Done():
				return
			}
		}
	})
}

// stop ends the watch over the files.
func (m *manifests) stop() {
	m.cancel()
	m.running.Wait()
}

// reload reads the files again if one has changed. If that fails, what was read before stays, and nothing is read until the
// next change.
func (m *manifests) reload() {
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
		manifestLoads.WithLabelValues("error").Inc()
		log.Errorf("manifests: %v; serving what was read before", err)
		return
	}
	manifestLoads.WithLabelValues("success").Inc()
	log.Infof("manifests: read %d files again", len(files))
}

// files returns the files that the paths lead to, sorted within each path, and a stamp that identifies their versions.
func (m *manifests) files() (files []string, stamp string, err error) {
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
		err = filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
			switch hidden := file != path && strings.HasPrefix(d.Name(), "."); {
			case err != nil:
				return err
			case hidden && d.IsDir():
				return fs.SkipDir // a mounted ConfigMap keeps its versions in such folders
			case hidden || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)):
				return nil
			}
			info, err := os.Stat(file) // of the file, not of a link to it
			if err == nil && info.Mode().IsRegular() {
				add(file, info)
			}
			return err
		})
		if err != nil {
			return nil, "", err
		}
	}
	return files, b.String(), nil
}

// load reads files and feeds what is in them. Nothing is fed if one of them does not parse.
func (m *manifests) load(files []string) error {
	var objects []runtime.Object
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found, err := decodeManifest(content)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		objects = append(objects, found...)
	}
	lists := sortByResource(objects)
	for _, resource := range []string{namespacesResource, servicesResource, slicesResource} {
		list := slices.DeleteFunc(lists[resource], func(obj any) bool {
			selector := m.selectors[resource]
			return selector != nil && !selector.Matches(labels.Set(obj.(metav1.Object).GetLabels()))
		})
		if err := m.feeds[resource].Replace(list, ""); err != nil {
			return err // a store returns none
		}
	}
	return nil
}

// sortByResource sorts objects into one list per resource. Of several versions of an object the last one is kept. A
// Namespace that objects are in exists; another kind of object is counted and left out.
func sortByResource(objects []runtime.Object) map[string][]any {
	lists := make(map[string][]any)
	type identity struct {
		resource string
		key      objectKey
	}
	at := make(map[identity]int)
	add := func(resource string, o metav1.Object) {
		id := identity{resource, objectKey{o.GetNamespace(), o.GetName()}}
		if i, ok := at[id]; ok {
			lists[resource][i] = o
			return
		}
		at[id] = len(lists[resource])
		lists[resource] = append(lists[resource], o)
	}
	declared := make(map[string]bool)
	used := make(map[string]bool)
	namespaced := func(resource string, o metav1.Object) {
		if o.GetNamespace() == "" {
			o.SetNamespace(metav1.NamespaceDefault) // as kubectl apply does
		}
		used[o.GetNamespace()] = true
		add(resource, o)
	}
	for _, obj := range objects {
		switch o := obj.(type) {
		case *corev1.Namespace:
			declared[o.Name] = true
			add(namespacesResource, labelled(o))
		case *corev1.Service:
			namespaced(servicesResource, o)
		case *discoveryv1.EndpointSlice:
			namespaced(slicesResource, o)
		default:
			countSkipped("manifests", unknownKind)
		}
	}
	for name := range used {
		if !declared[name] {
			add(namespacesResource, labelled(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
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

// decodeManifest returns the objects in a file, those in lists one by one. An object of an unknown kind is a nil Object.
// Errors name the document and the line.
func decodeManifest(content []byte) ([]runtime.Object, error) {
	var objects []runtime.Object
	line := 1
	for i, doc := range splitDocuments(content) {
		found, err := decodeDocument(doc)
		if err != nil {
			at, err := locate(doc, err)
			return nil, fmt.Errorf("document %d, line %d: %w", i+1, line+at, err)
		}
		objects = append(objects, found...)
		line += bytes.Count(doc, []byte("\n"))
	}
	return objects, nil
}

// splitDocuments cuts content before every line that starts a YAML document. The parts add up to content.
func splitDocuments(content []byte) [][]byte {
	var docs [][]byte
	start := 0
	for at := 0; at < len(content); {
		next := len(content)
		if i := bytes.IndexByte(content[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		if at > start && startsDocument(content[at:next]) {
			docs = append(docs, content[start:at])
			start = at
		}
		at = next
	}
	return append(docs, content[start:])
}

// startsDocument reports whether line is the marker --- , perhaps with something behind it.
func startsDocument(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(bytes.TrimSpace(rest)) == 0 || rest[0] == ' ' || rest[0] == '\t')
}

// decodeDocument returns the objects in one YAML or JSON document.
func decodeDocument(doc []byte) ([]runtime.Object, error) {
	json, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, err
	}
	if string(json) == "null" {
		return nil, nil
	}
	return decodeJSON(json)
}

// decodeJSON returns the object that json is, or those in the list that it is.
func decodeJSON(json []byte) ([]runtime.Object, error) {
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(json, nil, nil)
	switch {
	case runtime.IsNotRegisteredError(err):
		return []runtime.Object{nil}, nil
	case err != nil:
		return nil, err
	case !meta.IsListType(obj):
		return []runtime.Object{obj}, nil
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
		found, err := decodeJSON(raw.Raw)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

var (
	yamlLine  = regexp.MustCompile(`yaml: line (\d+): `)
	jsonField = regexp.MustCompile(`Go struct field \w+\.([\w.]+) of type`)
)

// locate returns the line of doc, counted from 0, that err is about, and err without a line of its own. A type error names
// a field: its line is that of the first such field.
func locate(doc []byte, err error) (int, error) {
	text := err.Error()
	if at := yamlLine.FindStringSubmatchIndex(text); at != nil {
		n, _ := strconv.Atoi(text[at[2]:at[3]]) // digits
		return max(0, n-1), errors.New(text[:at[0]] + text[at[1]:])
	}
	line := firstContent(doc)
	field := jsonField.FindStringSubmatch(text)
	if field == nil {
		return line, err
	}
	lines := strings.Split(string(doc), "\n")
	for name := range strings.SplitSeq(field[1], ".") {
		for i := line; i < len(lines); i++ {
			if strings.HasPrefix(strings.TrimLeft(lines[i], " -\"{"), name) {
				line = i
				break
			}
		}
	}
	return line, err
}

// firstContent returns the first line of doc, counted from 0, that is neither empty, a comment nor the document's marker.
func firstContent(doc []byte) int {
	n := 0
	for line := range bytes.Lines(doc) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' && !startsDocument(line) {
			return n
		}
		n++
	}
	return 0
}
