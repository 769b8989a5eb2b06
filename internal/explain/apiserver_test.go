package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/manifests"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newAPI starts an API server with what a file of testdata/broken has, and returns it with the file of a kubeconfig for it. The
// context other of that is in Namespace shop.
func newAPI(t *testing.T, file string, forbidden ...string) (s *kubetest.Server, kubeconfig string) {
	t.Helper()
	objects, err := manifests.Read(filepath.Join(root, "testdata/broken", file))
	if err != nil {
		t.Fatal(err)
	}
	s = kubetest.NewServer(t)
	s.Put(objects...)
	s.Forbid(forbidden...)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "one",
"clusters": [{"name": "c", "cluster": {"server": %q}}],
"contexts": [{"name": "one", "context": {"cluster": "c"}}, {"name": "other", "context": {"cluster": "c", "namespace": "shop"}}]}`, s.URL)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, kubeconfig
}

// requests returns what s was asked for: verbs and URLs. What is neither list, get nor watch has its method for a verb.
func requests(s *kubetest.Server) (all []string) {
	for _, r := range s.Seen("") {
		verb, _, _ := strings.Cut(r.Verb, " ")
		all = append(all, verb+" "+r.URL)
	}
	return all
}

func TestAPIServerIsAskedForWhatBearsOnTheName(t *testing.T) {
	for _, row := range []struct {
		file string
		args string
		id   string // of the first cause
	}{
		{"wrong-service-name.yaml", "-from shop web-0.web", "wrong-service-name"},
		{"wrong-service-name.yaml", "-context other web-0.web", "wrong-service-name"},
		{"wrong-namespace.yaml", "-from front db", "wrong-namespace"},
		{"wrong-namespace.yaml", "-from data db", ""},
		{"wrong-namespace.yaml", "-from data db.svc", "missing-namespace"},
		{"wrong-namespace.yaml", "-from front db.svc.cluster.local.", "missing-namespace"},
		{"wrong-namespace.yaml", "10.244.1.61", ""},
		{"selector-matches-nothing.yaml", "cache.shop", "selector-matches-nothing"},
		{"external-name-dead.yaml", "orders.shop", "external-name-dead"},
		{"port-unnamed.yaml", "_sip._tcp.phone.shop", "port-unnamed"},
	} {
		t.Run(row.file+" "+row.args, func(t *testing.T) {
			s, kubeconfig := newAPI(t, row.file)
			_, r := reported(t, append([]string{"-kubeconfig", kubeconfig}, strings.Fields(row.args)...)...)
			got := ""
			if len(r.Causes) > 0 {
				got = r.Causes[0].ID
			}
			if got != row.id || (row.id == "") != (r.Verdict == resolves) {
				t.Errorf("%s %s because of %+v, want %q", r.Name, r.Verdict, r.Causes, row.id)
			}
			if len(r.Notes) > 0 {
				t.Errorf("got the notes %q, want none", r.Notes)
			}
			seen := make(map[string]bool)
			for _, request := range requests(s) {
				verb, _, _ := strings.Cut(request, " ")
				if seen[request] || verb != "list" && verb != "get" || strings.Contains(request, "serviceimports") {
					t.Errorf("got the request %s, want each once, only list and get, and none for ServiceImports without multicluster", request)
				}
				seen[request] = true
			}
		})
	}
}

// TestServiceImportsAreListed asks for names of a multicluster zone and of others, also where that API is not installed.
func TestServiceImportsAreListed(t *testing.T) {
	corefile := filepath.Join(t.TempDir(), "Corefile")
	if err := os.WriteFile(corefile, []byte("cluster.local clusterset.local in-addr.arpa {\n headless {\n multicluster clusterset.local\n }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const noImports = "SERVFAIL for all names of the multicluster zones: the server waits for ServiceImports, which the API server does not have"
	for _, row := range []struct {
		name, word, forbidden string
		status                int
		id, text              string // of the first cause
	}{
		{"a ServiceImport", "db.default.svc.clusterset.local", "", statusResolves, "", ""},
		{"an endpoint of one", "db-0.east.db.default.svc.clusterset.local", "", statusResolves, "", ""},
		{"none", "nope.default.svc.clusterset.local", "", statusDoesNot, "unexplained", "the server says: there is no ServiceImport nope in namespace default"},
		{"a Namespace that is not there", "db.nowhere.svc.clusterset.local", "", statusDoesNot, "no-namespace", "Namespace nowhere does not exist"},
		{"those that may not be listed", "db.default.svc.clusterset.local", "serviceimports", statusUnknown, "not-permitted", "the serviceimports in default are not known"},
		{"a Service", "web.default", "", statusResolves, "", ""},
		{"a Service, while ServiceImports may not be listed", "web.default", "serviceimports", statusResolves, "", ""},
		{"no such API", "db.default.svc.clusterset.local", "absent", statusDoesNot, "no-imports", noImports},
		{"no such API, for a name of no form", "a.b.clusterset.local", "absent", statusDoesNot, "no-imports", noImports},
		{"no such API, for a Service", "web.default", "absent", statusResolves, "", ""},
		{"no such API, for a Service that is not there", "nope.default", "absent", statusDoesNot, "no-service", "Namespace default has no Service nope"},
		{"no such API, for an address", "10.96.0.7", "absent", statusResolves, "", ""},
		{"no such API, for a name of others", "www.example.org.", "absent", statusUnknown, "outside-zones", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, kubeconfig := newAPI(t, "../imports.yaml", strings.Fields(row.forbidden)...)
			s.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
			s.Put(&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
				Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}},
			})
			if row.forbidden == "absent" {
				s.Lack("serviceimports")
			}
			status, r := reported(t, "-kubeconfig", kubeconfig, "-corefile", corefile, row.word)
			id, text := "", ""
			if len(r.Causes) > 0 {
				id, text = r.Causes[0].ID, r.Causes[0].Text
			}
			if status != row.status || id != row.id || !strings.Contains(text, row.text) {
				t.Errorf("got status %d, %s: %s; want %d, %s: %s", status, id, text, row.status, row.id, row.text)
			}
			if id == "no-imports" && (r.Answers.outcome() != "SERVFAIL" || len(r.Causes) > 1 || len(r.Chain) > 2 || len(r.Notes) > 0) {
				t.Errorf("got %s, the causes %+v, the steps %+v, the notes %q; want SERVFAIL, one cause, name and answer, no note",
					r.Answers.outcome(), r.Causes, r.Chain, r.Notes)
			}
			const imports = "list /apis/multicluster.x-k8s.io/"
			asked := slices.DeleteFunc(requests(s), func(request string) bool { return !strings.HasPrefix(request, imports) })
			what := "/serviceimports?limit=1"
			if before, ok := strings.CutSuffix(row.word, ".svc.clusterset.local"); ok {
				what = "/namespaces/" + before[strings.LastIndexByte(before, '.')+1:] + "/serviceimports"
			}
			want := []string{imports + "v1beta1" + what}
			if row.forbidden == "absent" {
				want = append(want, imports+"v1alpha1"+what)
			}
			if !slices.Equal(asked, want) {
				t.Errorf("got the requests %q for ServiceImports, want %q", asked, want)
			}
		})
	}
}

// TestAPIServerFollowsCNAMEs also lists the namespaces that ExternalNames lead to.
func TestAPIServerFollowsCNAMEs(t *testing.T) {
	s, kubeconfig := newAPI(t, "wrong-namespace.yaml")
	external, err := manifests.Read(filepath.Join(root, "testdata/broken/external-name-dead.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, svc := range in[*corev1.Service](newCluster(external), "") {
		svc.Namespace, svc.Spec.ExternalName = "front", "db.data.svc.cluster.local"
		s.Put(svc)
	}
	if _, r := reported(t, "-kubeconfig", kubeconfig, "orders.front"); r.Verdict != resolves {
		t.Errorf("got that it %s because of %+v, want that it resolves", r.Verdict, r.Causes)
	}
}

func TestAPIServerFollowsCNAMEsToServiceImports(t *testing.T) {
	corefile := filepath.Join(t.TempDir(), "Corefile")
	if err := os.WriteFile(corefile, []byte("cluster.local clusterset.local {\n headless {\n multicluster clusterset.local\n }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, kubeconfig := newAPI(t, "../imports.yaml")
	for _, namespace := range []string{"default", "front"} {
		s.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	s.Put(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "front", Name: "db"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.default.svc.clusterset.local"},
	})
	if _, r := reported(t, "-kubeconfig", kubeconfig, "-corefile", corefile, "db.front.svc.cluster.local."); r.Verdict != resolves {
		t.Errorf("got that it %s because of %+v, want that it resolves", r.Verdict, r.Causes)
	}
}

// TestAPIServerFollowsCirclesOnce has two ExternalNames that lead to each other.
func TestAPIServerFollowsCirclesOnce(t *testing.T) {
	s, kubeconfig := newAPI(t, "wrong-namespace.yaml")
	for namespace, target := range map[string]string{"front": "data", "data": "front"} {
		s.Put(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "circle"},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "circle." + target + ".svc.cluster.local"},
		})
	}
	ended := make(chan []byte, 1)
	go func() {
		var out bytes.Buffer
		Main(t.Context(), []string{"-o", "json", "-kubeconfig", kubeconfig, "circle.front.svc.cluster.local."}, strings.NewReader(""), &out, &out)
		ended <- out.Bytes()
	}()
	var r report
	select {
	case out := <-ended:
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("got no end")
	}
	if len(r.Causes) != 1 || r.Causes[0].ID != "external-name-loop" {
		t.Errorf("%s because of %+v, want external-name-loop alone", r.Verdict, r.Causes)
	}
	if want := 1 + 2*4 + 1; len(requests(s)) != want {
		t.Errorf("got the requests %q, want %d: Namespaces, four lists for each of two, and Services of the name", requests(s), want)
	}
}

func TestWhatIsForbiddenIsSaid(t *testing.T) {
	for _, row := range []struct {
		name, args, forbidden string
		status                int
		id                    string // of the first cause
		note                  string
	}{
		{"Pods", "-from shop web-0.web", "pods", statusDoesNot, "wrong-service-name", ""},
		{"StatefulSets", "-from shop web-0.web", "statefulsets", statusDoesNot, "wrong-service-name", "the statefulsets in shop are not known: statefulsets is forbidden"},
		{"Namespaces", "-from shop web-0.web", "namespaces", statusDoesNot, "wrong-service-name", "the namespaces are not known"},
		{"Namespaces, for a name that is there", "web.shop", "namespaces", statusResolves, "", "the namespaces are not known"},
		{"Services of other namespaces", "web.shop", "services/", statusResolves, "", "the services of other namespaces are not known"},
		{"Services of the namespace", "web.shop", "services/shop services/", statusUnknown, "not-permitted", ""},
		{"EndpointSlices of the namespace", "web.shop", "endpointslices", statusUnknown, "not-permitted", "the endpointslices in shop are not known"},
		{"Services of a namespace that the search list leads to", "web.shop", "namespaces services/default services/", statusResolves, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, kubeconfig := newAPI(t, "wrong-service-name.yaml", strings.Fields(row.forbidden)...)
			status, r := reported(t, append([]string{"-kubeconfig", kubeconfig}, strings.Fields(row.args)...)...)
			got := ""
			if len(r.Causes) > 0 {
				got = r.Causes[0].ID
			}
			if status != row.status || got != row.id || !strings.Contains(strings.Join(r.Notes, "\n"), row.note) {
				t.Errorf("got status %d, the causes %+v, the notes %q; want %d, %q, %q", status, r.Causes, r.Notes, row.status, row.id, row.note)
			}
		})
	}
}

func TestAPIServerThatIsNotThereIsStatusTwo(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	_, kubeconfig := newAPI(t, "wrong-namespace.yaml")
	content, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	config["clusters"] = []any{map[string]any{"name": "c", "cluster": map[string]any{"server": server.URL}}}
	if content, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := runs(t, "-kubeconfig", kubeconfig, "db.data")
	if status != statusUnknown || !strings.Contains(stderr, "cannot list namespaces: ") || !strings.Contains(stderr, "refused") {
		t.Errorf("got status %d and the error %q, want 2 and that the connection is refused", status, stderr)
	}
}
