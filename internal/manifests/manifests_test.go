package manifests

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/foresee"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/logtest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	corev1 "k8s.io/api/core/v1"
)

// manifestFeeds records what was read last.
type manifestFeeds struct {
	*kube.Feeds

	mu    sync.Mutex  // guards lists
	lists [3][]string // of Namespaces, Services and slices
}

// recorder returns a Sink that records what replaces all there was, as format writes it.
func recorder[S interface{ ID() model.Key }](f *manifestFeeds, list *[]string, format func(S) string) kube.Sink[S] {
	return kube.Sink[S]{Put: func(S) {}, Replace: func(specs iter.Seq[S]) {
		f.mu.Lock()
		defer f.mu.Unlock()
		*list = nil
		for spec := range specs {
			*list = append(*list, format(spec))
		}
		slices.Sort(*list)
	}}
}

// newManifestFeeds returns one that takes what selection selects.
func newManifestFeeds(selection kube.Selection) *manifestFeeds {
	f := new(manifestFeeds)
	f.Feeds = kube.NewFeeds(new(kube.Converter), selection, &kube.Sinks{
		Namespaces: recorder(f, &f.lists[0], func(ns *model.Namespace) string { return ns.Name }),
		Services: recorder(f, &f.lists[1], func(svc *model.Service) string {
			text := svc.Namespace + "/" + svc.Name
			for _, addr := range svc.ClusterIPs {
				text += "=" + addr.String()
			}
			if svc.Kind == model.Headless {
				text += "=None"
			}
			return text
		}),
		Slices: recorder(f, &f.lists[2], func(sl *model.Slice) string {
			text := sl.Namespace + "/" + sl.Name
			for _, e := range sl.Endpoints {
				text += "=" + e.Addr.String()
			}
			return text
		}),
	})
	return f
}

// String writes what was read: Namespaces | Services | slices.
func (f *manifestFeeds) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lists []string
	for _, list := range f.lists {
		lists = append(lists, strings.Join(list, " "))
	}
	return strings.Join(lists, " | ")
}

// manifestsIn returns the source that feeds feeds from files and folders in a folder.
func manifestsIn(folder string, feeds *manifestFeeds, names ...string) (*Source, error) {
	var paths []string
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(folder, name)
		}
		paths = append(paths, name)
	}
	return New(paths, false, feeds.Feeds, clog.NewWithPlugin("headless"))
}

// manifestTime is when the n-th version of a file was written.
func manifestTime(n int) time.Time { return time.Unix(1_700_000_000+int64(n), 0) }

// writeManifests writes files below dir. A content "-> target" makes a symbolic link.
func writeManifests(t *testing.T, dir string, version int, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = cmp.Or(err, os.Symlink(target, path))
		} else {
			err = cmp.Or(err, os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, time.Time{}, manifestTime(version)))
		}
		fatal.If(t, err)
	}
}

const (
	manifestWeb, manifestSlice = modeltest.ServiceYAML, modeltest.SliceYAML
	manifestEndpoints          = "{apiVersion: v1, kind: Endpoints, metadata: {namespace: a, name: web}, subsets: [{addresses: [{ip: 10.0.0.1}, {ip: '2001:db8::1'}], notReadyAddresses: [{ip: 10.0.0.2}], ports: [{port: 80}]}]}\n"
	manifestPod                = "{apiVersion: v1, kind: Pod, metadata: {namespace: p, name: web-0}}\n"
)

func TestManifestObjects(t *testing.T) {
	// As kubectl get service,endpointslice,namespace -o yaml prints it, shortened.
	const dump = `apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata:
    creationTimestamp: "2024-05-05T10:00:00Z"
    name: web
    namespace: a
    resourceVersion: "12"
    uid: 6d2c6f2e-6f62-4b43-9d5c-2a6f3f9d0c11
  spec:
    clusterIP: None
    clusterIPs:
    - None
    ports:
    - name: http
      port: 80
      protocol: TCP
      targetPort: http
  status:
    loadBalancer: {}
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
  - addresses:
    - 10.0.0.1
    conditions:
      ready: true
  kind: EndpointSlice
  metadata:
    labels:
      kubernetes.io/service-name: web
    name: web-1
    namespace: a
- apiVersion: v1
  kind: Namespace
  metadata:
    name: empty
kind: List
metadata:
  resourceVersion: ""
`
	for _, c := range []struct {
		name, content, want string
		skipped             float64
	}{
		{"a Service implies its Namespace", manifestWeb, "a | a/web=10.96.0.1 | ", 0},
		{"a slice implies its Namespace", manifestSlice, "a |  | a/web-1=10.0.0.1", 0},
		{"a Namespace stands alone", "{apiVersion: v1, kind: Namespace, metadata: {name: ns}}", "ns |  | ", 0},
		{"a Namespace that is declared is not implied again", manifestWeb + "---\n{apiVersion: v1, kind: Namespace, metadata: {name: a}}", "a | a/web=10.96.0.1 | ", 0},
		{"several documents", manifestWeb + "---\n" + manifestSlice, "a | a/web=10.96.0.1 | a/web-1=10.0.0.1", 0},
		{"a marker before the first document", "---\n" + manifestWeb + "---\n" + manifestSlice, "a | a/web=10.96.0.1 | a/web-1=10.0.0.1", 0},
		{"a marker with a comment", manifestWeb + "--- # the slice\n" + manifestSlice, "a | a/web=10.96.0.1 | a/web-1=10.0.0.1", 0},
		{"a marker with a document in its line", "--- " + manifestWeb + "---\t" + manifestSlice, "a | a/web=10.96.0.1 | a/web-1=10.0.0.1", 0},
		{"lines that end with CR and LF", strings.ReplaceAll(manifestWeb+"---\n"+manifestSlice, "\n", "\r\n"), "a | a/web=10.96.0.1 | a/web-1=10.0.0.1", 0},
		{"no newline at the end", manifestWeb + "---\n" + strings.TrimSpace(manifestSlice), "a | a/web=10.96.0.1 | a/web-1=10.0.0.1", 0},
		{"a marker for the end of a document", manifestWeb + "...\n---\n" + manifestSlice + "...\n", "a | a/web=10.96.0.1 | a/web-1=10.0.0.1", 0},
		{"a YAML directive", "%YAML 1.1\n---\n" + manifestWeb, "a | a/web=10.96.0.1 | ", 0},
		{"empty documents", "---\n---\n\n---\n" + manifestWeb + "---\n", "a | a/web=10.96.0.1 | ", 0},
		{"documents of comments", "# one\n---\n# two\n---\n# three\n" + manifestWeb + "---\n# four\n", "a | a/web=10.96.0.1 | ", 0},
		{"nothing but a null", "null\n", " |  | ", 0},
		{"nothing at all", "", " |  | ", 0},
		{"hyphens in a line that starts no document", "# ---\n" + manifestWeb + " # ---\n#--- x\n", "a | a/web=10.96.0.1 | ", 0},
		{"three hyphens in a value", "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: a\n  annotations:\n    x: |\n      ---\n      y\n", "a | a/web | ", 0},

		{"JSON", `{"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "a", "name": "web"}, "spec": {"clusterIP": "10.96.0.1"}}`, "a | a/web=10.96.0.1 | ", 0},
		{"JSON on several lines with tabs", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"namespace\": \"a\", \"name\": \"web\"}\n}\n", "a | a/web | ", 0},

		{"a dump by kubectl", dump, "a empty | a/web=None | a/web-1=10.0.0.1", 0},
		{"a dump beside other documents", manifestSlice + "---\n" + dump, "a empty | a/web=None | a/web-1=10.0.0.1", 0},
		{"an empty list", "{apiVersion: v1, kind: List, items: []}", " |  | ", 0},
		{"a list in a list", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: [" + manifestWeb + "]}]}", "a | a/web=10.96.0.1 | ", 0},
		{"a ServiceList", "{apiVersion: v1, kind: ServiceList, items: [{metadata: {namespace: a, name: web}}, {metadata: {namespace: b, name: db}}]}", "a b | a/web b/db | ", 0},
		{"a ServiceList whose items say their kind", "{apiVersion: v1, kind: ServiceList, items: [" + manifestWeb + "]}", "a | a/web=10.96.0.1 | ", 0},
		{"an EndpointSliceList", "{apiVersion: discovery.k8s.io/v1, kind: EndpointSliceList, items: [{metadata: {namespace: a, name: web-1}}]}", "a |  | a/web-1", 0},
		{"a NamespaceList", "{apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: a}}, {metadata: {name: b}}]}", "a b |  | ", 0},

		{"another kind is skipped, and implies its Namespace", manifestPod + "---\n" + manifestWeb, "a p | a/web=10.96.0.1 | ", 1},
		{"another kind in a list", "{apiVersion: v1, kind: List, items: [" + manifestPod + ", " + manifestWeb + ", " + manifestPod + "]}", "a p | a/web=10.96.0.1 | ", 2},
		{"another typed list", "{apiVersion: v1, kind: PodList, items: [{metadata: {name: a}}, {metadata: {name: b}}]}", "default |  | ", 2},
		{"another version of a kind", "{apiVersion: apps/v1beta1, kind: StatefulSet, metadata: {name: a}}", " |  | ", 1},
		{"a slice of an old version", "{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {namespace: a, name: web-1, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.1], topology: {topology.kubernetes.io/zone: a}}]}", "a |  | a/web-1=10.0.0.1", 0},
		{"Endpoints", manifestEndpoints, "a |  | a/web-mirrored-0=10.0.0.1=10.0.0.2 a/web-mirrored-1=2001:db8::1", 0},
		{"Endpoints of a Service with a slice", manifestEndpoints + "---\n" + manifestSlice, "a |  | a/web-1=10.0.0.1", 0},
		{"the List that is a dump, and the logs that kubectl cluster-info dump prints", `{"kind": "ServiceList", "apiVersion": "v1", "items": [{"metadata": {"name": "web", "namespace": "a"}}]}` +
			"\n==== START logs for container c of pod a/x ====\n{\"no\": JSON\n==== END logs for container c of pod a/x ====\n" +
			`{"kind": "ServiceList", "apiVersion": "v1", "items": [{"metadata": {"name": "db", "namespace": "a"}}]}`, "a | a/db a/web | ", 0},
		{"a custom resource", "{apiVersion: example.com/v1, kind: Database, metadata: {namespace: p, name: db}, spec: {port: text}}", " |  | ", 1},
		{"a custom resource in a list", "{apiVersion: v1, kind: List, items: [{apiVersion: example.com/v1, kind: Database}, " + manifestWeb + "]}", "a | a/web=10.96.0.1 | ", 1},
		{"a kind of the same name in another group", "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {namespace: a, name: web}}", " |  | ", 1},
		{"a field that is not known is ignored", "{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web}, spec: {clusterIP: None, newField: [1, 2]}}", "a | a/web=None | ", 0},

		{"a field that stands twice has its last value", "apiVersion: v1\nkind: Service\nmetadata: {namespace: a, name: web}\nmetadata: {namespace: b, name: db}\n---\n" + manifestWeb, "a b | a/web=10.96.0.1 b/db | ", 0},
		{"no namespace means default", "{apiVersion: v1, kind: Service, metadata: {name: web}}\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1}}", "default | default/web | default/web-1", 0},
		{"the last of two versions counts", manifestWeb + "---\n{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web}, spec: {clusterIP: None}}", "a | a/web=None | ", 0},
		{"the default namespace and none are the same", "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: None}}\n---\n{apiVersion: v1, kind: Service, metadata: {namespace: default, name: web}}", "default | default/web | ", 0},
		{"a Service and a slice of one name are two", "{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web}}\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: a, name: web}}", "a | a/web | a/web", 0},
		{"one name in two namespaces is two", manifestWeb + "---\n{apiVersion: v1, kind: Service, metadata: {namespace: b, name: web}}", "a b | a/web=10.96.0.1 b/web | ", 0},
	} {
		dir, feeds := t.TempDir(), newManifestFeeds(kube.Selection{})
		writeManifests(t, dir, 0, map[string]string{"file": c.content})
		before := metrictest.Values(t, "coredns_headless_skipped_total")["kind manifests"]
		if _, err := manifestsIn(dir, feeds, "file"); err != nil {
			t.Errorf("%s:\n%s%v", c.name, c.content, err)
			continue
		}
		if got := feeds.String(); got != c.want {
			t.Errorf("%s:\n%sgot  %q\nwant %q", c.name, c.content, got, c.want)
		}
		after := metrictest.Values(t, "coredns_headless_skipped_total")["kind manifests"]
		if after-before != c.skipped {
			t.Errorf("%s:\n%sskipped %v, want %v", c.name, c.content, after-before, c.skipped)
		}
	}
}

func TestManifestFiles(t *testing.T) {
	service := func(name string) string {
		return "{apiVersion: v1, kind: Service, metadata: {namespace: x, name: " + name + "}}"
	}
	version := func(ip string) string {
		return "{apiVersion: v1, kind: Service, metadata: {namespace: x, name: v}, spec: {clusterIP: " + ip + "}}"
	}
	for _, c := range []struct {
		name        string
		files       map[string]string
		paths, want string
	}{
		{"a file", map[string]string{"a.yaml": service("a"), "b.yaml": service("b")}, "a.yaml", "x | x/a | "},
		{"several files", map[string]string{"a.yaml": service("a"), "b.yaml": service("b"), "c.yaml": service("c")}, "a.yaml c.yaml", "x | x/a x/c | "},
		{"a file of any name", map[string]string{"dump": service("a")}, "dump", "x | x/a | "},
		{"a hidden file that is named", map[string]string{".a.yaml": service("a")}, ".a.yaml", "x | x/a | "},
		{"a folder", map[string]string{"d/a.yaml": service("a"), "d/b.yml": service("b"), "d/c.json": service("c"), "e/d.yaml": service("d")}, "d", "x | x/a x/b x/c | "},
		{"the root", map[string]string{"a.yaml": service("a")}, ".", "x | x/a | "},
		{"folders in a folder", map[string]string{"d/e/f/a.yaml": service("a"), "d/b.yaml": service("b")}, "d", "x | x/a x/b | "},
		{"other files in a folder", map[string]string{"d/a.yaml": service("a"), "d/b.txt": "[", "d/c": "[", "d/d.yaml.bak": "[", "d/yaml": "["}, "d", "x | x/a | "},
		{"a hidden file in a folder", map[string]string{"d/a.yaml": service("a"), "d/.b.yaml": "["}, "d", "x | x/a | "},
		{"a hidden folder in a folder", map[string]string{"d/a.yaml": service("a"), "d/.git/b.yaml": "["}, "d", "x | x/a | "},
		{"a hidden folder that is named", map[string]string{".d/a.yaml": service("a")}, ".d", "x | x/a | "},
		{"a folder without files", map[string]string{"d/README": ""}, "d", " |  | "},
		{"a file and a folder", map[string]string{"d/a.yaml": service("a"), "b.yaml": service("b")}, "b.yaml d", "x | x/a x/b | "},
		{"a file named twice", map[string]string{"d/a.yaml": service("a")}, "d d/a.yaml", "x | x/a | "},
		{"the last path wins", map[string]string{"a.yaml": version("10.0.0.1"), "b.yaml": version("10.0.0.2")}, "b.yaml a.yaml", "x | x/v=10.0.0.1 | "},
		{"the last file of a folder wins", map[string]string{"d/a.yaml": version("10.0.0.1"), "d/b.yaml": version("10.0.0.2")}, "d", "x | x/v=10.0.0.2 | "},
		{"a mounted ConfigMap", map[string]string{"d/..2024_05_05/a.yaml": service("a"), "d/..2024_05_04/a.yaml": "[", "d/..data": "-> ..2024_05_05", "d/a.yaml": "-> ..data/a.yaml"}, "d", "x | x/a | "},
		{"a file of a mounted ConfigMap", map[string]string{"d/..x/a.yaml": service("a"), "d/..data": "-> ..x", "d/a.yaml": "-> ..data/a.yaml"}, "d/a.yaml", "x | x/a | "},
		{"a folder of a mounted ConfigMap", map[string]string{"d/..x/e/a.yaml": service("a"), "d/..data": "-> ..x", "d/e": "-> ..data/e"}, "d/e", "x | x/a | "},
		{"a link to a folder", map[string]string{"d/a.yaml": service("a"), "e": "-> d"}, "e", "x | x/a | "},
	} {
		dir, feeds := t.TempDir(), newManifestFeeds(kube.Selection{})
		writeManifests(t, dir, 0, c.files)
		if _, err := manifestsIn(dir, feeds, strings.Fields(c.paths)...); err != nil {
			t.Errorf("%s: %s of %v: %v", c.name, c.paths, c.files, err)
		} else if got := feeds.String(); got != c.want {
			t.Errorf("%s: %s of %v\ngot  %q\nwant %q", c.name, c.paths, c.files, got, c.want)
		}
	}
}

func TestManifestSelectors(t *testing.T) {
	selector := func(text string) kube.Selector {
		s, err := kube.ParseSelector(text)
		fatal.If(t, err)
		return s
	}
	const content = `
{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: b, labels: {team: blue}}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: c, name: db, labels: {app: db}}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: a, name: web-1, labels: {app: web}}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: a, name: web-2, labels: {app: web, service.kubernetes.io/headless: ""}}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: c, name: db-1, labels: {service.kubernetes.io/headless: "", app: db}}}
`
	for _, c := range []struct {
		name      string
		selection kube.Selection
		want      string
	}{
		{"without a selector everything counts", kube.Selection{}, "a b c | a/web c/db | a/web-1 a/web-2 c/db-1"},
		{"labels restrict Services and slices", kube.Selection{Labels: selector("app=web")}, "a b c | a/web | a/web-1 a/web-2"},
		{"labels that nothing has", kube.Selection{Labels: selector("app=none")}, "a b c |  | "},
		{"namespace_labels restrict Namespaces", kube.Selection{NamespaceLabels: selector("team=red")}, "a | a/web c/db | a/web-1 a/web-2 c/db-1"},
		{"namespace_labels that leave one out", kube.Selection{NamespaceLabels: selector("team!=red")}, "b c | a/web c/db | a/web-1 a/web-2 c/db-1"},
		{"a Namespace has its name as label, an implied one too", kube.Selection{NamespaceLabels: selector("kubernetes.io/metadata.name in (b, c)")}, "b c | a/web c/db | a/web-1 a/web-2 c/db-1"},
		{"noendpoints leaves out all slices", kube.Selection{NoEndpoints: true}, "a b c | a/web c/db | "},
		{"endpoints headless takes those with the label", kube.Selection{HeadlessOnly: true}, "a b c | a/web c/db | a/web-2 c/db-1"},
		{"endpoints headless and labels", kube.Selection{HeadlessOnly: true, Labels: selector("app=web")}, "a b c | a/web | a/web-2"},
	} {
		dir, feeds := t.TempDir(), newManifestFeeds(c.selection)
		writeManifests(t, dir, 0, map[string]string{"a.yaml": content})
		if _, err := manifestsIn(dir, feeds, "a.yaml"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := feeds.String(); got != c.want {
			t.Errorf("%s: %+v\ngot  %q\nwant %q", c.name, c.selection, got, c.want)
		}
	}
}

func TestManifestErrors(t *testing.T) {
	const (
		service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n"
		slice   = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web-1\n"
	)
	for _, c := range []struct{ name, content, at, why string }{
		{"a line indented too far", "a: b\n c: d\n", "document 1, line 2", "mapping values are not allowed"},
		{"a syntax error in the second document", service + "---\n" + service + "a: b\n c: d\n", "document 2, line 11", "mapping values are not allowed"},
		{"a syntax error behind empty documents", "---\n---\n\n---\n# c\na: b\n c: d\n", "document 3, line 7", "mapping values are not allowed"},
		{"a tab for indentation", service + "spec:\n\tports: []\n", "document 1, line 6", "cannot start any token"},
		{"a line that is no mapping", service + "spec\n---\n" + service, "document 1, line 6", "could not find expected ':'"},
		{"lines that end with CR and LF", strings.ReplaceAll(service+"---\n"+service+"a: b\n c: d\n", "\n", "\r\n"), "document 2, line 11", "mapping values are not allowed"},
		{"a comment before the first marker", "# c\n---\na: b\n c: d\n", "document 1, line 4", "mapping values are not allowed"},

		{"a port as text", service + "spec:\n  clusterIP: None\n  ports:\n  - name: http\n    port: \"80\"\n", "document 1, line 9", "Go struct field ServicePort.spec.ports.port of type int32"},
		{"a port as text, behind a field that starts like it", service + "spec:\n  publishNotReadyAddresses: true\n  ports:\n  - portal: x\n    port: http\n", "document 1, line 9", "ServicePort.spec.ports.port"},
		{"a port as text in the second document", service + "---\n" + service + "spec:\n  ports: [{port: http}]\n", "document 2, line 11", "ServicePort.spec.ports.port"},
		{"a port as text in JSON", "{\"apiVersion\": \"v1\",\n \"kind\": \"Service\",\n \"spec\": {\n  \"ports\": [\n   {\"name\": \"http\",\n    \"port\": \"80\"}]}}", "document 1, line 6", "ServicePort.spec.ports.port"},
		{"a port too large for its type", slice + "ports:\n- name: http\n  port: 5000000000\n", "document 1, line 7", "EndpointPort.ports.port"},
		{"a name as number behind a namespace", "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: a\n  name: 5\n", "document 1, line 5", "ObjectMeta.metadata.name"},
		{"a namespace that YAML takes for a truth value", service + "  namespace: n\n", "document 1, line 5", "ObjectMeta.metadata.namespace"},
		{"text for a list", slice + "endpoints:\n- hostname: a\n  addresses: 10.0.0.1\n", "document 1, line 7", "Endpoint.endpoints.addresses"},
		{"text for a truth value", slice + "endpoints:\n- addresses: [10.0.0.1]\n  conditions:\n    ready: \"yes\"\n", "document 1, line 8", "EndpointConditions.endpoints.conditions.ready"},
		{"text for a mapping", service + "spec: text\n", "document 1, line 5", "Service.spec"},
		{"a list for a mapping", service + "  labels: [a]\n", "document 1, line 5", "ObjectMeta.metadata.labels"},
		{
			"a port as text in the second item of a list",
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  spec:\n    ports:\n    - port: 80\n- apiVersion: v1\n  kind: Service\n  spec:\n    ports:\n    - port: \"80\"\n",
			"document 1, line 13",
			"item 2: ",
		},
		{"a port as text in the second item of a typed list", "apiVersion: v1\nkind: ServiceList\nitems:\n- spec:\n    ports:\n    - port: 80\n- spec:\n    ports:\n    - port: \"80\"\n", "document 1, line 9", "item 2: "},

		{"a template in a name", "apiVersion: v1\nkind: Service\nmetadata:\n  name: db-{{ .Release.Name }}\n", "document 1, line 1", "this looks like a template: render it first"},
		{"text that looks like a template, in a document behind", "a:\n\tb: c\n---\nkind: ConfigMap\ndata:\n  {{ define }}\n", "document 1, line 2", "found character that cannot start any token"},
		{"an unfinished JSON object", "{\"apiVersion\": \"v1\",\n", "document 1, line", ""},
		{"an unknown alias", "a: &x b\nc: *y\n", "document 1, line", "unknown anchor"},
		{"a zero octet", "a: \x00\n", "document 1, line", "control characters"},
		{"octets that are not UTF-8", "a: \xff\n", "document 1, line", "UTF-8"},
	} {
		dir, feeds := t.TempDir(), newManifestFeeds(kube.Selection{})
		writeManifests(t, dir, 0, map[string]string{"d/a.yaml": manifestWeb, "d/b.yaml": c.content, "d/c.yaml": manifestSlice})
		_, err := manifestsIn(dir, feeds, "d")
		at := "manifests: " + filepath.Join(dir, "d", "b.yaml") + ": " + c.at
		if !strings.HasSuffix(c.at, " line") {
			at += ": "
		}
		if err == nil || !strings.HasPrefix(err.Error(), at) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s:\n%s\ngot  %v\nwant %s … %s", c.name, c.content, err, at, c.why)
		}
		if err != nil && strings.Count(err.Error(), "yaml: line") > 0 {
			t.Errorf("%s: %q gives a line of the document besides that of the file", c.name, err)
		}
		if got := feeds.String(); got != " |  | " {
			t.Errorf("%s: fed %q, want nothing", c.name, got)
		}
	}
}

// TestWhatIsNoObjectIsSkippedInAFolder: what parses and is no object, or is an object of a kind that is not used, is named in the log. In a file
// that is named itself, the former is an error.
func TestWhatIsNoObjectIsSkippedInAFolder(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n"
	for _, c := range []struct {
		name, content, at, why string
		isError                bool // in a file that is named
	}{
		{"text", "hello\n", "document 1, line 1", "it is text", true},
		{"a number", "---\n\n5\n", "document 1, line 3", "it is a number", true},
		{"a list without a kind", service + "---\n- a\n- b\n", "document 2, line 6", "it is a list", true},
		{"no kind", service + "---\n# c\n\napiVersion: v1\nmetadata:\n  name: web\n", "document 2, line 8", "it has no kind", true},
		{"no version", "kind: Service\nmetadata:\n  name: web\n", "document 1, line 1", "it has no apiVersion", true},
		{"a kind that is a number", "apiVersion: v1\nkind: 5\n", "document 1, line 1", "it has no kind", true},
		{"a version that is none", "apiVersion: a/b/c\nkind: Service\n", "document 1, line 1", "its apiVersion is no version: a/b/c", true},
		{"a large document without a kind", "a: " + strings.Repeat("x", 700_000) + "\n", "document 1, line 1", "it has no kind", true},
		{"a field whose name is a list", "? [a, b]\n: c\n---\n" + service, "document 1, line 1", "the name of a field in it is no text", true},
		{"an item without kind", "apiVersion: v1\nkind: List\nitems:\n- metadata:\n    name: web\n", "document 1, line 4: item 1", "it has no kind", true},
		{"an item that is no mapping", "apiVersion: v1\nkind: List\nitems:\n- 5\n", "document 1, line 4: item 1", "it is a number", true},
		{"another kind with a number for text", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata:\n  a: 1\n", "document 1, line 5: ConfigMap", "cannot unmarshal number", false},
		{"a workload with text for a number", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: \"3\"}\n", "document 1, line 3: Deployment", "cannot unmarshal string", false},
	} {
		dir, feeds := t.TempDir(), newManifestFeeds(kube.Selection{})
		writeManifests(t, dir, 0, map[string]string{"d/a.yaml": manifestWeb, "d/b.yaml": c.content, "d/c.yaml": manifestSlice})
		at := filepath.Join(dir, "d", "b.yaml") + ": " + c.at + ": "
		log := logtest.Capture(t)
		before := metrictest.Values(t, "coredns_headless_skipped_total")["malformed manifests"]
		if _, err := manifestsIn(dir, feeds, "d"); err != nil || !strings.Contains(feeds.String(), "a/web=10.96.0.1") || !strings.HasSuffix(feeds.String(), "a/web-1=10.0.0.1") {
			t.Errorf("%s: fed %q (%v), want what is in the other files", c.name, feeds, err)
		}
		if got := log.String(); !strings.Contains(got, "manifests: skipped "+at) || !strings.Contains(got, c.why) {
			t.Errorf("%s: got the log\n%.1000s\nwant %s and %s", c.name, got, at, c.why)
		}
		if after := metrictest.Values(t, "coredns_headless_skipped_total")["malformed manifests"]; after-before != 1 {
			t.Errorf("%s: skipped %v, want 1", c.name, after-before)
		}
		switch _, err := manifestsIn(dir, feeds, "d/b.yaml"); {
		case !c.isError && err != nil:
			t.Errorf("%s: got %v for the file itself", c.name, err)
		case c.isError && (err == nil || !strings.HasPrefix(err.Error(), "manifests: "+at) || !strings.Contains(err.Error(), c.why) || len(err.Error()) > 400):
			t.Errorf("%s: got %.1000v for the file itself, want %s and %s", c.name, err, at, c.why)
		}
	}
}

// TestFilesOfAllKinds reads files that people have, one by one in a folder of its own, and as they are named.
func TestFilesOfAllKinds(t *testing.T) {
	const skips = "skipped "
	rows := map[string]struct {
		folder  string // what the log or the error has of it in a folder
		isError bool   // that is an error if the file is named itself
		names   int    // how many Services and EndpointSlices there are
	}{
		"array.json":             {skips + "FILE: document 1, line 1: expected a Kubernetes object, with apiVersion and kind; it is a list", true, 0},
		"bom.yaml":               {"", false, 1},
		"cluster-info-dump.json": {"", false, 0},
		"cm.yaml":                {skips + "FILE: document 1, line 4: ConfigMap: ", false, 0},
		"comment.yaml":           {"", false, 0},
		"concat.json":            {"", false, 2},
		"crlf.yaml":              {"", false, 1},
		"dupkey.yaml":            {`FILE: document 1, line 4: key "metadata" already set in map`, false, 1},
		"empties.yaml":           {"", false, 0},
		"empty.yaml":             {"", false, 0},
		"emptyobj.json":          {skips + "FILE: document 1, line 1: expected a Kubernetes object, with apiVersion and kind; it has no kind", true, 0},
		"gz.yaml":                {"error: FILE: expected YAML or JSON, got what gzip packs: unpack it first", false, 0},
		"kustomization.yaml":     {skips + "FILE: document 1, line 1: expected a Kubernetes object, with apiVersion and kind; it has no kind", true, 0},
		"lowerkind.yaml":         {"FILE: document 1, line 1: no kind is called service; did you mean Service?", false, 0},
		"noapi.yaml":             {skips + "FILE: document 1, line 1: expected a Kubernetes object, with apiVersion and kind; it has no apiVersion", true, 0},
		"otherkind.yaml":         {skips + "FILE: document 1, line 4: Deployment: ", false, 0},
		"portstr.yaml":           {"error: FILE: document 1, line 4: json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port", false, 0},
		"string.json":            {skips + "FILE: document 1, line 1: expected a Kubernetes object, with apiVersion and kind; it is text", true, 0},
		"tab.yaml":               {"error: FILE: document 1, line 4: found character that cannot start any token", false, 0},
		"text.yaml":              {skips + "FILE: document 1, line 1: expected a Kubernetes object, with apiVersion and kind; it is text", true, 0},
		"tpl1.yaml":              {"error: FILE: document 1, line 1: this looks like a template: render it first (helm template", false, 0},
		"tpl2.yaml":              {"error: FILE: document 1, line 1: this looks like a template: render it first (helm template", false, 0},
		"tpl3.yaml":              {"error: FILE: document 1, line 4: this looks like a template: render it first (helm template", false, 0},
		"tpl4.yaml":              {"error: FILE: document 1, line 6: this looks like a template: render it first (helm template", false, 0},
		"trunc.yaml":             {"error: FILE: document 1, line ", false, 0},
		"typo.yaml":              {`FILE: document 1, line 4: Service: unknown field "spec.clusterIp"`, false, 1},
		"utf16.yaml":             {"", false, 1},
	}
	files, err := os.ReadDir("testdata/files")
	fatal.If(t, err)
	if len(files) != len(rows) {
		t.Errorf("got %d files and %d rows", len(files), len(rows))
	}
	for name, row := range rows {
		dir := t.TempDir()
		writeManifests(t, dir, 0, map[string]string{"d/" + name: string(filetest.Read(t, filepath.Join("testdata/files", name)))})
		check := func(path, want string, names int) {
			t.Helper()
			log, feeds := logtest.Capture(t), newManifestFeeds(kube.Selection{})
			_, err := manifestsIn(dir, feeds, path)
			got := log.String()
			if err != nil {
				got = "error: " + strings.TrimPrefix(err.Error(), "manifests: ")
			}
			for line := range strings.Lines(got) {
				if len(line) > 400 {
					t.Errorf("%s: got a line of %d octets", path, len(line))
				}
			}
			want = strings.ReplaceAll(want, "FILE", filepath.Join(dir, "d", name))
			if want == "" && got != "" && !strings.Contains(got, "left out") || !strings.Contains(got, want) || strings.HasPrefix(got, "error: ") != strings.HasPrefix(want, "error: ") {
				t.Errorf("%s: got %q, want %q", path, got, want)
			}
			if n := strings.Count(feeds.String(), "/"); n != names {
				t.Errorf("%s: fed %q, want %d objects", path, feeds, names)
			}
		}
		check("d", row.folder, row.names)
		if row.isError {
			check("d/"+name, "error: "+strings.TrimPrefix(row.folder, skips), 0)
		} else {
			check("d/"+name, row.folder, row.names)
		}
	}
}

// TestWhatStaysWrongIsToldOnce: a file that is read again says nothing anew of what was wrong before.
func TestWhatStaysWrongIsToldOnce(t *testing.T) {
	dir, log := t.TempDir(), logtest.Capture(t)
	writeManifests(t, dir, 0, map[string]string{"d/a.yaml": manifestWeb, "d/b.yaml": "a: 1\n"})
	m, err := manifestsIn(dir, newManifestFeeds(kube.Selection{}), "d")
	fatal.If(t, err)
	for version, content := range []string{"a: 1\n", "a: 2\n", manifestSlice, "a: 3\n"} {
		writeManifests(t, dir, version+1, map[string]string{"d/b.yaml": content})
		m.reload()
	}
	if got := strings.Count(log.String(), "it has no kind"); got != 2 {
		t.Errorf("got it %d times, want it at the start and when it came back:\n%s", got, log)
	}
}

// TestManyFlawsAreFewLines: of what is wrong with very many documents the first are told one by one.
func TestManyFlawsAreFewLines(t *testing.T) {
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, "---\na: %d\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d}\nspec: {clusterIp: None, x%d: 1}\n---\napiVersion: x.org/v%d\nkind: Thing\n", i, i, i, i)
	}
	dir := t.TempDir()
	writeManifests(t, dir, 0, map[string]string{"d/a.yaml": b.String()})
	c, err := Load(nil, filepath.Join(dir, "d"))
	fatal.If(t, err)
	if n := len(c.Notes()); n > 2*mostNotes+3 || n < mostNotes || !strings.Contains(strings.Join(c.Notes(), "\n"), "and 2981 other mistakes in fields") {
		t.Errorf("got %d notes: %q", n, c.Notes()[n-3:])
	}
	if text := c.LeftOut(); len(text) > 400 || !strings.Contains(text, "and 2992 kinds more") {
		t.Errorf("got %q", text)
	}
}

// TestPlacesOfObjects: what looks at objects may say where something in them stands.
func TestPlacesOfObjects(t *testing.T) {
	dir := t.TempDir()
	writeManifests(t, dir, 0, map[string]string{
		"a.yaml": manifestWeb + "---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  spec:\n    clusterIP: None\n  metadata:\n    name: db\n",
		"b.json": "{\"apiVersion\": \"v1\",\n \"kind\": \"Namespace\"}\n\n{\"apiVersion\": \"v1\",\n \"kind\": \"Service\",\n \"metadata\": {\n\"name\": \"x\"}}\n",
	})
	c, err := Load(nil, dir)
	fatal.If(t, err)
	for _, row := range []struct {
		object         int
		path           string
		document, line int
	}{{0, "", 1, 1}, {1, "", 2, 6}, {1, "spec.clusterIP", 2, 9}, {1, "metadata.name", 2, 11}, {1, "spec.ports", 2, 6}, {2, "kind", 1, 2}, {3, "metadata.name", 2, 7}} {
		p, ok := c.PlaceOf(c.Objects[row.object], strings.Split(row.path, ".")...)
		if !ok || p.Document != row.document || p.Line != row.line {
			t.Errorf("%s of object %d: got %v, want document %d, line %d", row.path, row.object, p, row.document, row.line)
		}
	}
	if p, ok := c.PlaceOf(&corev1.Service{}); ok {
		t.Errorf("got %v for an object of no file", p)
	}
}

// TestJSONIsNotReadAsYAML: that would take long, and YAML has no keys of more than 1,024 characters on one line.
func TestJSONIsNotReadAsYAML(t *testing.T) {
	text := `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "annotations": {"` + strings.Repeat("x", 2000) + `": "y"}}}`
	if c, err := Load(strings.NewReader(text), Stdin); err != nil || len(c.Objects) != 1 {
		t.Errorf("got %v, %v, want a Service", c, err)
	}
	if _, err := Read(Stdin); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without an input: got %v, want that there is no such file", err)
	}
	if c, err := Load(strings.NewReader("---\n"+text+"\n# a comment\n"), Stdin); err == nil {
		t.Errorf("got %v of YAML, want an error, or this test has no meaning", c.Objects)
	}
}

func TestManifestsAreReadWholeOrRefused(t *testing.T) {
	const web, slice = `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}`, `{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web-1"}}`
	for _, c := range []struct {
		name, content string
		objects       int // if it is not refused
	}{
		{"two documents", web + "\n---\n" + slice, 2},
		{"a document behind the end of another", web + "\n...\n" + slice, 2},
		{"a JSON object in each line", web + "\n" + slice + "\n", 2},
		{"JSON objects in one line", web + slice, 2},
		{"JSON objects on several lines", "{\n" + web[1:] + "\n{\n" + slice[1:], 2},
		{"text behind a JSON object", web + "\nkind: EndpointSlice\n", 2},
		{"a bracket too much", web + "}\n", 2},
	} {
		got, err := Load(strings.NewReader(c.content), Stdin)
		if err == nil && len(got.Objects) != c.objects {
			t.Errorf("%s:\n%s\n%d objects and no error, want %d or an error", c.name, c.content, len(got.Objects), c.objects)
		}
	}
}

func TestManifestPathsThatLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	writeManifests(t, dir, 0, map[string]string{"a.yaml": manifestWeb, "d/gone.yaml": "-> nowhere"})
	for _, c := range []struct{ name, paths, want string }{
		{"a path that does not exist", "none.yaml", "none.yaml: no such file or directory"},
		{"a path that does not exist behind one that does", "a.yaml none.yaml", "none.yaml: no such file or directory"},
		{"a file for a folder", "a.yaml/b.yaml", "a.yaml/b.yaml: not a directory"},
		{"a link to nothing", "d/gone.yaml", "gone.yaml: no such file or directory"},
	} {
		if _, err := manifestsIn(dir, newManifestFeeds(kube.Selection{}), c.paths); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: manifests %s: %v, want %s", c.name, c.paths, err, c.want)
		}
	}
}

func TestManifestsAreReadAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	service := func(name, ip string) string {
		return "{apiVersion: v1, kind: Service, metadata: {namespace: x, name: " + name + "}, spec: {clusterIP: " + ip + "}}"
	}
	write := func(version int, name, content string) error {
		if err := os.WriteFile(path(name), []byte(content), 0o600); err != nil {
			return err
		}
		return os.Chtimes(path(name), time.Time{}, manifestTime(version))
	}
	remove := func(names ...string) error {
		for _, name := range names {
			if err := os.Remove(path(name)); err != nil {
				return err
			}
		}
		return nil
	}
	writeManifests(t, dir, 0, map[string]string{
		"a.yaml": service("a", "10.0.0.1"), "d/b.yaml": service("b", "10.0.0.2"),
		"m/..1/c.yaml": service("c", "10.0.0.3"), "m/..data": "-> ..1", "m/c.yaml": "-> ..data/c.yaml",
	})
	const start = "x | x/a=10.0.0.1 x/b=10.0.0.2 x/c=10.0.0.3 | "

	bubble.Test(t, func(t *testing.T) {
		feeds := newManifestFeeds(kube.Selection{})
		m, err := manifestsIn(dir, feeds, "a.yaml", "d", "m")
		fatal.If(t, err)
		if got := feeds.String(); got != start {
			t.Fatalf("at start: got %q, want %q", got, start)
		}
		m.Start()
		defer m.Stop()
		time.Sleep(manifestInterval / 2) // the steps stand between the ticks
		for _, c := range []struct {
			name   string
			change func() error
			want   string
			loads  string // what is counted: success, error or nothing
		}{
			{"nothing changes", func() error { return nil }, start, ""},
			{"a file changes", func() error { return write(1, "a.yaml", service("a", "10.0.1.1")) }, "x | x/a=10.0.1.1 x/b=10.0.0.2 x/c=10.0.0.3 | ", "success"},
			{"nothing changes any more", func() error { return nil }, "x | x/a=10.0.1.1 x/b=10.0.0.2 x/c=10.0.0.3 | ", ""},
			{"a file changes its size, and keeps its time", func() error { return write(1, "a.yaml", service("a", "10.0.1.10")) }, "x | x/a=10.0.1.10 x/b=10.0.0.2 x/c=10.0.0.3 | ", "success"},
			{"a file gets an older time", func() error { return write(-1, "a.yaml", service("a", "10.0.1.11")) }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.0.3 | ", "success"},
			{"a file is touched", func() error { return write(2, "a.yaml", service("a", "10.0.1.11")) }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.0.3 | ", "success"},
			{"a file is added", func() error { return write(0, "d/new.yaml", service("new", "10.0.0.4")) }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.0.3 x/new=10.0.0.4 | ", "success"},
			{"a file is renamed", func() error { return os.Rename(path("d/new.yaml"), path("d/newer.yaml")) }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.0.3 x/new=10.0.0.4 | ", "success"},
			{"a file is removed", func() error { return remove("d/newer.yaml") }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.0.3 | ", "success"},
			{"a hidden file is added", func() error { return write(0, "d/.b.yaml", "[") }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.0.3 | ", ""},
			{"a file of another kind is added", func() error { return write(0, "d/README", "[") }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.0.3 | ", ""},
			{"a ConfigMap changes", func() error {
				if err := os.Mkdir(path("m/..2"), 0o700); err != nil {
					return err
				}
				if err := write(3, "m/..2/c.yaml", service("c", "10.0.3.3")); err != nil {
					return err
				}
				if err := os.Symlink("..2", path("m/..data_tmp")); err != nil {
					return err
				}
				return os.Rename(path("m/..data_tmp"), path("m/..data"))
			}, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.3.3 | ", "success"},
			{"a file breaks, and what was read before stays", func() error { return write(4, "a.yaml", "[") }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.3.3 | ", "error"},
			{"a broken file is not read again", func() error { return nil }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.3.3 | ", ""},
			{"another file changes while one is broken", func() error { return write(5, "d/b.yaml", service("b", "10.0.5.2")) }, "x | x/a=10.0.1.11 x/b=10.0.0.2 x/c=10.0.3.3 | ", "error"},
			{"the broken file is repaired", func() error { return write(6, "a.yaml", service("a", "10.0.6.1")) }, "x | x/a=10.0.6.1 x/b=10.0.5.2 x/c=10.0.3.3 | ", "success"},
			{"a file vanishes", func() error { return os.Rename(path("a.yaml"), path("away.yaml")) }, "x | x/a=10.0.6.1 x/b=10.0.5.2 x/c=10.0.3.3 | ", "error"},
			{"it stays away", func() error { return nil }, "x | x/a=10.0.6.1 x/b=10.0.5.2 x/c=10.0.3.3 | ", ""},
			{"it returns as it was", func() error { return os.Rename(path("away.yaml"), path("a.yaml")) }, "x | x/a=10.0.6.1 x/b=10.0.5.2 x/c=10.0.3.3 | ", "success"},
			{"a folder vanishes", func() error { return os.Rename(path("d"), path("away")) }, "x | x/a=10.0.6.1 x/b=10.0.5.2 x/c=10.0.3.3 | ", "error"},
			{"a file changes meanwhile", func() error { return write(7, "a.yaml", service("a", "10.0.7.1")) }, "x | x/a=10.0.6.1 x/b=10.0.5.2 x/c=10.0.3.3 | ", ""},
			{"the folder returns", func() error { return os.Rename(path("away"), path("d")) }, "x | x/a=10.0.7.1 x/b=10.0.5.2 x/c=10.0.3.3 | ", "success"},
			{"a folder becomes empty", func() error { return remove("d/b.yaml") }, "x | x/a=10.0.7.1 x/c=10.0.3.3 | ", "success"},
			{"two changes at once", func() error {
				if err := write(8, "a.yaml", service("a", "None")); err != nil {
					return err
				}
				return write(8, "d/b.yaml", service("b", "None"))
			}, "x | x/a=None x/b=None x/c=10.0.3.3 | ", "success"},
		} {
			before := metrictest.Values(t, "coredns_headless_manifest_loads_total")
			if err := c.change(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			time.Sleep(manifestInterval)
			synctest.Wait()
			if got := feeds.String(); got != c.want {
				t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
			}
			after := metrictest.Values(t, "coredns_headless_manifest_loads_total")
			for _, result := range []string{"success", "error"} {
				want := 0.0
				if result == c.loads {
					want = 1
				}
				if got := after[result] - before[result]; got != want {
					t.Errorf("%s: %v loads counted as %s, want %v", c.name, got, result, want)
				}
			}
		}
	})
}

func TestManifestsAreNotReadAgainAfterStop(t *testing.T) {
	dir := t.TempDir()
	writeManifests(t, dir, 0, map[string]string{"a.yaml": manifestWeb})
	bubble.Test(t, func(t *testing.T) {
		feeds := newManifestFeeds(kube.Selection{})
		m, err := manifestsIn(dir, feeds, "a.yaml")
		fatal.If(t, err)
		m.Start()
		m.Stop()
		writeManifests(t, dir, 1, map[string]string{"a.yaml": manifestSlice})
		time.Sleep(2 * manifestInterval)
		synctest.Wait()
		if got, want := feeds.String(), "a | a/web=10.96.0.1 | "; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func FuzzManifests(f *testing.F) {
	for _, content := range []string{
		"", "---\n", manifestWeb, manifestWeb + "---\n" + manifestSlice + "---\n# c\n" + manifestPod, "a: b\n c: d\n", "\n\n[", "%YAML 1.1\n---\na: b\n...\nx",
		"{apiVersion: v1, kind: List, items: [" + manifestWeb + ", {apiVersion: v1, kind: Service, spec: {ports: [{port: x}]}}, null, 5]}",
		"{apiVersion: v1, kind: ServiceList, items: [{metadata: {name: a}}]}", "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - port: \"80\"\n",
		"a: &a [b]\nc: [*a, *a]\n<<: *a\n", "--- |\n ---\n", "---\r\n---\r\n", "\ufeff---\n- 1\n", "a: !!binary x\n", "? [a]\n: b\n", "-\r00",
	} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := Load(bytes.NewReader(content), Stdin)
		if err == nil {
			sorted(newManifestFeeds(kube.Selection{}).Feeds, foresee.Of(c.Objects).Objects)
			for _, obj := range c.Objects {
				c.PlaceOf(obj, "spec", "ports")
			}
		}
		for _, text := range append(notesOf(c), fmt.Sprint(err)) {
			if len(text) > 400 || strings.Contains(text, "\n") {
				t.Errorf("%q: got a message of %d octets: %s", content, len(text), text)
			}
		}
		if err == nil || bytes.HasPrefix(content, []byte("\x1f\x8b")) {
			return
		}
		var document, line int
		if _, scanErr := fmt.Sscanf(err.Error(), "manifests: the input: document %d, line %d: ", &document, &line); scanErr != nil {
			t.Fatalf("%q: error %q: %v", content, err, scanErr)
		}
		// A YAML error may be about the line behind the last, and YAML has more line breaks than one.
		lines := len(regexp.MustCompile("[\n\r\u0085\u2028\u2029]").FindAllIndex(content, -1)) + 2
		if document < 1 || line < 1 || line > lines {
			t.Errorf("%q: error %q, in %d lines", content, err, lines)
		}
	})
}

func notesOf(c *Contents) []string {
	if c == nil {
		return nil
	}
	return append(c.Notes(), c.LeftOut())
}

func TestReadManifestsLeavesOutUnknownKinds(t *testing.T) {
	text := "apiVersion: example.org/v1\nkind: Unknown\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
	objects, err := Read(filetest.Temp(t, "objects.yaml", text))
	fatal.If(t, err)
	if _, ok := objects[0].(*corev1.Namespace); !ok || len(objects) != 1 {
		t.Errorf("got %v, want one Namespace", objects)
	}
}

func TestReadManifestsSaysWhatIsWrong(t *testing.T) {
	if _, err := Read("testdata/none"); err == nil || !strings.HasPrefix(err.Error(), "manifests: ") {
		t.Errorf("got the error %v, want one of manifests", err)
	}
}
