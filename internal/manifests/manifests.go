// Package manifests feeds the objects in files, as kubectl prints or takes them, to the feeds of
// package kube.
package manifests

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/internal/foresee"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	paths    []string
	foresees bool // what becomes of workloads is fed too
	feeds    *kube.Feeds
	log      clog.P
	told     map[string]bool // the lines in the log that are about what was read last
	// stamp identifies the versions of the files that were read last.
	stamp string

	ctx     context.Context // ends with Stop
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New reads files and folders and feeds what is in them, once and, after Start, whenever they change.
// With foresees it feeds what the control plane would make of them as well. It logs what becomes of that.
func New(paths []string, foresees bool, feeds *kube.Feeds, log clog.P) (*Source, error) {
	m := &Source{paths: paths, foresees: foresees, feeds: feeds, log: log}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	files, stamp, err := find(paths)
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
	files, stamp, err := find(m.paths)
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

// file is one to read.
type file struct {
	path    string
	isNamed bool   // itself, not a folder that it is in: all that is in it is meant
	content []byte // of the input; of a file nil
}

// find returns the files that paths lead to, sorted within each path, and a stamp that identifies
// their versions.
func find(paths []string) (files []file, stamp string, err error) {
	var b strings.Builder
	add := func(f file, info fs.FileInfo) {
		files = append(files, f)
		fmt.Fprintf(&b, "%s %d %d\n", f.path, info.Size(), info.ModTime().UnixNano())
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, "", err
		case info.Mode().IsRegular():
			add(file{path: path, isNamed: true}, info)
			continue
		case !info.IsDir():
			return nil, "", fmt.Errorf("%s: expected a file or a folder", path)
		}
		if err := walk(path, make(map[string]bool), func(path string, info fs.FileInfo) { add(file{path: path}, info) }); err != nil {
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

// load reads files and feeds what is in them, with what is foreseen. Nothing is fed if one of them does
// not parse.
func (m *Source) load(files []file) error {
	c, err := read(files, func(obj Object) bool { return m.feeds.Takes(kube.ResourceOf(obj)) || m.foresees && isWorkload(obj) })
	if err != nil {
		return err
	}
	lines := make(map[string]bool)
	tell := func(log func(...any), line string) { // once, for as long as it is so
		if lines[line] = true; !m.told[line] {
			log("manifests: ", line)
		}
	}
	for _, text := range c.Notes() {
		tell(m.log.Warning, text)
	}
	for range c.skipped {
		kube.CountSkipped("manifests", kube.Malformed)
	}
	for range sum(c.others) {
		kube.CountSkipped("manifests", kube.UnknownKind)
	}
	if m.foresees {
		f := foresee.Of(c.Objects)
		c.Objects = f.Objects
		for i, text := range f.Notes {
			if i == mostNotes {
				tell(m.log.Info, fmt.Sprintf("foreseen: %d more", len(f.Notes)-i))
				break
			}
			tell(m.log.Info, shortened("foreseen: "+text))
		}
	}
	if text := c.LeftOut(); text != "" {
		tell(m.log.Info, text)
	}
	m.told = lines
	Feed(m.feeds, c.Objects)
	return nil
}

// isWorkload reports whether Pods are foreseen of obj.
func isWorkload(obj Object) bool {
	switch obj.(type) {
	case *corev1.Pod, *corev1.ReplicationController, *appsv1.StatefulSet, *appsv1.Deployment, *appsv1.ReplicaSet, *appsv1.DaemonSet, *batchv1.Job:
		return true
	}
	return false
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

// read returns the content of a file. It does not wait for one that has become a pipe, and reads no
// more of one than may be, even if it grows meanwhile.
func (f file) read() ([]byte, error) {
	opened, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = opened.Close() }() // it was only read
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a file", f.path)
	}
	content, err := []byte(nil), errTooLarge
	if info.Size() <= largestManifest {
		content, err = readAll(opened, int(info.Size()))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return content, nil
}

var errTooLarge = fmt.Errorf("expected up to %d MiB", largestManifest>>20)

// readAll reads all of r, which may not be too large and probably has size octets. What it returns is
// not nil.
func readAll(r io.Reader, size int) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(size + bytes.MinRead)
	_, err := b.ReadFrom(io.LimitReader(r, largestManifest+1))
	if b.Len() > largestManifest {
		err = errTooLarge
	}
	return b.Bytes(), err
}

// sorted sorts objects into one list per resource. Of several versions of an object the last one is
// kept. A Namespace that objects are in, workloads too, exists. Objects of another kind than those that
// are fed are left out.
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
		if ns, ok := obj.(*corev1.Namespace); ok {
			add(resource, labelled(ns))
			continue
		}
		o, ok := obj.(metav1.Object)
		if !ok || !feeds.Takes(resource) && !isWorkload(obj) {
			continue
		}
		if o.GetNamespace() == "" {
			o.SetNamespace(metav1.NamespaceDefault) // as kubectl apply does
		}
		implied[o.GetNamespace()] = true
		if !feeds.Takes(resource) {
			continue
		}
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
