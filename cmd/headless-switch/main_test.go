package main

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	yaml3 "go.yaml.in/yaml/v3"
)

const root = "../.."

// kubeadm is what kubeadm v1.36 makes, as kubectl prints it.
func kubeadm(t *testing.T) string {
	t.Helper()
	return string(filetest.Read(t, "testdata/kubeadm.yaml"))
}

// switched runs the program on manifests, and returns the folder that it writes and what it prints.
func switched(t *testing.T, manifests string, args ...string) (folder, page string, err error) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "mine")
	var out strings.Builder
	args = append([]string{"-image", "registry.example.com:5000/dns/coredns:v1.15.0", "-deploy", root + "/deploy", "-manifests", "-"}, append(args, folder)...)
	err = run(t.Context(), args, strings.NewReader(manifests), &out)
	return folder, out.String(), err
}

// written returns one of the kustomizations.
func written(t *testing.T, folder, name string) (k kustomization) {
	t.Helper()
	fatal.If(t, yaml3.Unmarshal(filetest.Read(t, filepath.Join(folder, name, "kustomization.yaml")), &k))
	return k
}

// corefileOf returns the Corefile that is written.
func corefileOf(t *testing.T, folder string) string {
	t.Helper()
	return string(filetest.Read(t, filepath.Join(folder, "beside", "Corefile")))
}

func TestKubeadm(t *testing.T) {
	folder, page, err := switched(t, kubeadm(t))
	fatal.If(t, err)
	got := corefileOf(t, folder)
	if want := strings.Replace(got, "headless cluster.local", "kubernetes cluster.local", 1); !strings.Contains(strings.ReplaceAll(kubeadm(t), "\n      ", "\n"), want) || want == got {
		t.Errorf("got the Corefile\n%s\nwant kubeadm's with headless for kubernetes", got)
	}
	beside := written(t, folder, "beside")
	if beside.Replicas[0]["count"] != 3 || len(beside.Patches) != 0 || len(beside.Components) != 0 {
		t.Errorf("got the replicas %v, the patches %v and the components %q, want three replicas and nothing else", beside.Replicas, beside.Patches, beside.Components)
	}
	if image := beside.Images[0]; image["newName"] != "registry.example.com:5000/dns/coredns" || image["newTag"] != "v1.15.0" {
		t.Errorf("got the image %v", image)
	}
	compare := written(t, folder, "compare")
	if image := compare.Images[0]; image["newName"] != "registry.example.com:5000/dns/dnsdiff" {
		t.Errorf("got the image %v of dnsdiff", image)
	}
	for _, want := range []string{"-old=10.96.0.10\n", "-new=coredns-headless.kube-system\n", "-zones=cluster.local\n", "-pods\n", "-wait=16s\n"} {
		if patch := compare.Patches[0]["patch"].(string); !strings.Contains(patch, "  - "+want) {
			t.Errorf("got the patch %s, want %q among its arguments", patch, want)
		}
	}
	serving := written(t, folder, "serving")
	if len(serving.Components) != 1 || !strings.HasSuffix(serving.Components[0], "deploy/components/serving") || !slices.Equal(serving.Resources, []string{"../beside"}) {
		t.Errorf("got %v", serving)
	}
	for _, name := range []string{"beside", "compare", "serving"} {
		k := written(t, folder, name)
		for _, path := range append(k.Resources, k.Components...) {
			if _, err := os.Stat(filepath.Join(folder, name, path)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if notes := regexp.MustCompile(`(?m)^  \* (.*)$`).FindAllString(page, -1); len(notes) != 1 || !strings.Contains(notes[0], "resources") {
		t.Errorf("got the notes %q, want one, of the resources", notes)
	}
}

// TestImageOfDnsdiff: it has the tag of the other one, and never its digest.
func TestImageOfDnsdiff(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want map[string]any
	}{
		{[]string{"-image", "r.example/dns/coredns:v1@sha256:1"}, map[string]any{"newName": "r.example/dns/dnsdiff", "newTag": "v1"}},
		{[]string{"-image", "r.example/coredns@sha256:1", "-dnsdiff", "r.example/d@sha256:2"}, map[string]any{"newName": "r.example/d", "digest": "sha256:2"}},
		{[]string{"-image", "coredns:v1"}, map[string]any{"newName": "dnsdiff", "newTag": "v1"}},
	} {
		folder, _, err := switched(t, kubeadm(t), tt.args...)
		fatal.If(t, err)
		got := written(t, folder, "compare").Images[0]
		delete(got, "name")
		if !maps.Equal(got, tt.want) {
			t.Errorf("%q: got the image %v of dnsdiff, want %v", tt.args, got, tt.want)
		}
	}
}

// TestPageAndDocumentHaveTheSameCommands: those that are printed for kubeadm stand in docs/switching.md, in this order.
func TestPageAndDocumentHaveTheSameCommands(t *testing.T) {
	folder, page, err := switched(t, kubeadm(t))
	fatal.If(t, err)
	document, at := string(filetest.Read(t, root+"/docs/switching.md")), 0
	commands := regexp.MustCompile(`(?m)^  kubectl .*$`).FindAllString(page, -1)
	if len(commands) < 10 {
		t.Fatalf("got the commands %q", commands)
	}
	for _, command := range commands {
		command = strings.ReplaceAll(strings.TrimSpace(command), folder, "mine")
		i := strings.Index(document[at:], "\n"+command+"\n")
		if i < 0 {
			t.Errorf("docs/switching.md: got no %q behind %d", command, at)
			continue
		}
		at += i
	}
}

// TestNotes: what cannot be kept is said, and where it stands.
func TestNotes(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{"          loop\n", "          import /etc/coredns/custom/*.override\n", "Corefile:20: import /etc/coredns/custom/*.override: what it imports is not here to read"},
		{"          loop\n", "          etcd example.org\n", "Corefile:20: etcd: the build in cmd/coredns goes without it"},
		{"          loop\n", "          ours\n", "Corefile:20: ours: no plugin of CoreDNS"},
		{"      .:53 {", "      .:5353 {", "Corefile: .:5353: the container and the Services have port 53 only"},
		{"      .:53 {", "      dns://.:5353 {", "Corefile: dns://.:5353: the container and the Services have port 53 only"},
		{"      .:53 {", "      tls://. {", "Corefile: tls://.: the container and the Services have port 53 only"},
		{"          ready\n", "", "Corefile: there is no ready at :8181, where the readiness probe asks"},
		{"          prometheus :9153\n", "          prometheus :9154\n", "Corefile: there is no prometheus at :9153, where metrics are looked for"},
		{"        dnsPolicy: Default\n", "        dnsPolicy: None\n", "Deployment coredns: dnsPolicy None is not kept"},
		{"        dnsPolicy: Default\n", "        hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]\n", "Deployment coredns: spec.template.spec.hostAliases is not kept"},
		{"        - name: coredns\n", "        - name: side\n          image: x\n        - name: coredns\n          lifecycle: {}\n", "Deployment coredns: spec.template.spec.containers.coredns.lifecycle is not kept"},
		{"        - name: coredns\n", "        - name: side\n          image: x\n        - name: coredns\n", "Deployment coredns: the container side is not kept"},
		{"          args: [-conf,", "          args: [-dns.port, '5353', -conf,", "Deployment coredns: the argument -dns.port is not kept"},
		{"    Corefile: |\n", "    NodeHosts: x\n    Corefile: |\n", "ConfigMap coredns: NodeHosts is copied as it is now"},
	} {
		manifests := strings.Replace(kubeadm(t), tt.old, tt.new, 1)
		if manifests == kubeadm(t) {
			t.Fatalf("testdata/kubeadm.yaml has no %q", tt.old)
		}
		folder, page, err := switched(t, manifests)
		fatal.If(t, err)
		head := string(filetest.Read(t, filepath.Join(folder, "beside", "kustomization.yaml")))
		if !strings.Contains(page, "  * "+tt.want) || !strings.Contains(head, "# * "+tt.want) {
			t.Errorf("%q: got the page\n%s\nand the kustomization\n%s\nwant %q in both", tt.new, page, head, tt.want)
		}
	}
}

// TestKept: what a cluster may need of its pods is in the patch.
func TestKept(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{"        - {key: CriticalAddonsOnly, operator: Exists}\n", "        - {operator: Exists}\n", "path: /spec/template/spec/tolerations\n"},
		{"        nodeSelector: {kubernetes.io/os: linux}\n", "        nodeSelector: {pool: dns}\n", "pool: dns\n"},
		{"          args: [", "          env: [{name: KUBERNETES_SERVICE_HOST, value: 192.0.2.1}]\n          args: [", "name: KUBERNETES_SERVICE_HOST\n"},
		{
			"          volumeMounts:\n", "          volumeMounts:\n          - {name: own, mountPath: /own}\n", "mountPath: /own\n",
		},
		{"    Corefile: |\n", "    NodeHosts: x\n    Corefile: |\n", "path: /spec/template/spec/volumes/0/configMap/items\n"},
		{
			"          volumeMounts:\n", "          volumeMounts:\n          - {name: own, mountPath: /own}\n          - {name: own, mountPath: /more, subPath: part}\n",
			"subPath: part\n",
		},
	} {
		manifests := strings.Replace(kubeadm(t), tt.old, tt.new, 1)
		manifests = strings.Replace(manifests, "        volumes:\n", "        volumes:\n        - {name: own, configMap: {name: own}}\n", 1)
		folder, _, err := switched(t, manifests)
		fatal.If(t, err)
		k := written(t, folder, "beside")
		if len(k.Patches) != 1 || !strings.Contains(k.Patches[0]["patch"].(string), tt.want) {
			t.Errorf("%q: got the patches %v, want one with %q", tt.new, k.Patches, tt.want)
		}
	}
}

// TestComponentsAreThoseOfTheOptions: an option that needs a right has its component, and dnsdiff is told of it.
func TestComponentsAreThoseOfTheOptions(t *testing.T) {
	manifests := strings.Replace(kubeadm(t), "             pods insecure\n", "             pods verified\n             multicluster clusterset.local\n             zonal\n             namespaces a b\n", 1)
	manifests = strings.Replace(manifests, "kubernetes cluster.local ", "kubernetes cluster.local clusterset.local ", 1)
	folder, _, err := switched(t, manifests)
	fatal.If(t, err)
	var got []string
	for _, path := range written(t, folder, "beside").Components {
		got = append(got, filepath.Base(path))
	}
	if want := []string{"multicluster", "pods-verified"}; !slices.Equal(got, want) {
		t.Errorf("got the components %q, want %q", got, want)
	}
	patch := written(t, folder, "compare").Patches[0]["patch"].(string)
	for _, want := range []string{"-zones=cluster.local\n", "-multicluster=clusterset.local\n", "-namespaces=a,b\n", "-zonal\n", "-pods\n"} {
		if !strings.Contains(patch, "  - "+want) {
			t.Errorf("got %s, want %q among the arguments", patch, want)
		}
	}
}

// TestSelectorOfAnotherInstaller: a label that pods cannot have beside their own is left out, and the Service is led by all of them.
func TestSelectorOfAnotherInstaller(t *testing.T) {
	manifests := strings.Replace(kubeadm(t), "selector: {k8s-app: kube-dns}}", "selector: {app.kubernetes.io/name: coredns, app.kubernetes.io/instance: dns}}", 1)
	folder, page, err := switched(t, manifests)
	fatal.If(t, err)
	for _, want := range []string{
		`-p '{"spec":{"selector":{"app.kubernetes.io/instance":null,"app.kubernetes.io/name":"coredns-headless"}}}'`,
		`-p '{"spec":{"selector":{"app.kubernetes.io/instance":"dns","app.kubernetes.io/name":"coredns"}}}'`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("got\n%s\nwant %s", page, want)
		}
	}
	serving := written(t, folder, "serving")
	if len(serving.Patches) != 1 || strings.Contains(serving.Patches[0]["patch"].(string), "io~1name") || !strings.Contains(serving.Patches[0]["patch"].(string), "path: /spec/template/metadata/labels/app.kubernetes.io~1instance\n") {
		t.Errorf("got %v", serving.Patches)
	}
}

// TestRewrite changes the word where it is a directive, and nowhere else.
func TestRewrite(t *testing.T) {
	for _, tt := range []struct{ name, corefile, want string }{
		{"a comment stays", "cluster.local {\n # kubernetes\n kubernetes # kubernetes\n}\n", "cluster.local {\n # kubernetes\n headless # kubernetes\n}\n"},
		{"a zone stays", "kubernetes.example {\n kubernetes\n}\n", "kubernetes.example {\n headless\n}\n"},
		{"autopath", "cluster.local {\n autopath @kubernetes\n kubernetes {\n  pods verified\n }\n}\n", "cluster.local {\n autopath @headless\n headless {\n  pods verified\n }\n}\n"},
		{"metadata stays", "cluster.local {\n log . \"{/kubernetes/endpoint}\"\n kubernetes\n}\n", "cluster.local {\n log . \"{/kubernetes/endpoint}\"\n headless\n}\n"},
		{"a snippet", "(k) {\n kubernetes\n}\na.example {\n import k\n}\nb.example {\n import k\n}\n", "(k) {\n headless\n}\na.example {\n import k\n}\nb.example {\n import k\n}\n"},
		{"two blocks", "a.example {\n kubernetes\n}\nb.example {\n kubernetes\n}\n", "a.example {\n headless\n}\nb.example {\n headless\n}\n"},
	} {
		if c, err := rewrite(tt.corefile); err != nil || c.text != tt.want {
			t.Errorf("%s: got %v, %v; want %q", tt.name, c, err, tt.want)
		}
	}
}

// TestErrors: nothing is written, and it says what was expected and where.
func TestErrors(t *testing.T) {
	all := kubeadm(t)
	there := filepath.Join(t.TempDir(), "there")
	filetest.Write(t, filepath.Join(there, "a"), "")
	for _, tt := range []struct {
		name, manifests string
		args            []string
		want            string
	}{
		{"an unknown option", strings.Replace(all, "pods insecure", "pods insecure\n             resync 5m", 1), nil, "ConfigMap kube-system/coredns: Corefile:9"},
		{"no kubernetes", strings.Replace(all, "          kubernetes cluster.local ", "          file x ", 1), nil, "expected a server block with kubernetes in its Corefile"},
		{"headless already", strings.Replace(all, "          kubernetes ", "          headless ", 1), nil, "headless answers already in its Corefile"},
		{"no Corefile", strings.Replace(all, "    Corefile: |", "    Other: |", 1), nil, "the ConfigMap coredns has no Corefile"},
		{"no -conf", strings.Replace(all, "args: [-conf, /etc/coredns/Corefile]", "args: []", 1), nil, "expected a container with the argument -conf"},
		{"no Service", all, []string{"-service", "dns"}, "found no Service kube-system/dns; -namespace and -service say which it is"},
		{"no Deployment", all, []string{"-deployment", "dns"}, "found no Deployment kube-system/dns; -deployment says which it is"},
		{"no selector", strings.Replace(all, "selector: {k8s-app: kube-dns}}", "selector: {}}", 1), nil, "selects no pods"},
		{"no tag", all, []string{"-image", "registry.example.com:5000/coredns"}, "-image: expected an image with a tag or a digest"},
		{"no deploy", all, []string{"-deploy", "."}, "-deploy: expected the folder deploy of headless, or a URL of it"},
		{"no YAML", "a: [", nil, "-manifests: expected objects as kubectl get -o yaml prints them"},
		{"a Corefile for manifests", "cluster.local {\n    errors\n}\n", nil, "-manifests: expected objects as kubectl get -o yaml prints them"},
		{"no such manifests", all, []string{"-manifests", "nothing"}, "stat nothing"},
		{"no such Corefile", all, []string{"-corefile", "nothing"}, "-corefile: open nothing"},
		{"a Corefile of one's own that does not parse", all, []string{"-corefile", "main.go"}, "main.go: Corefile:"},
		{"a digest alone", all, []string{"-image", "a@sha256:1"}, "-dnsdiff: expected an image"},
		{"flags behind the folder", all, []string{"mine", "-image", "a:b"}, "expected [FLAGS] FOLDER, in this order"},
		{"two sources", all, []string{"-kubeconfig", "x"}, "expected either -manifests or a kubeconfig, got both"},
		{"a malformed Deployment", strings.Replace(all, "replicas: 3", "replicas: three", 1), nil, "found no Deployment kube-system/coredns; -deployment says which it is; skipped the input: document"},
		{"a key that leads out of the folder", strings.Replace(all, "    Corefile: |", "    ../../x: text\n    Corefile: |", 1), nil, `expected the name of a file, got "../../x"`},
	} {
		folder, page, err := switched(t, tt.manifests, tt.args...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || page != "" {
			t.Errorf("%s: got %q, %v; want an error with %q", tt.name, page, err, tt.want)
		}
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%s: a folder was written", tt.name)
		}
	}
	if err := run(t.Context(), []string{"-image", "a:b", "-deploy", root + "/deploy", "-manifests", "-", there}, strings.NewReader(all), new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "is there and not empty") {
		t.Errorf("got %v, want that the folder is there", err)
	}
}

// TestClusterThatDoesNotAnswer: what is refused is said for each resource, and an outage once.
func TestClusterThatDoesNotAnswer(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	away := httptest.NewServer(nil)
	away.Close()
	for _, tt := range []struct {
		url  string
		want int
	}{{refusing.URL, 3}, {away.URL, 1}} {
		kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
		filetest.Write(t, kubeconfig, "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x}}],\n"+
			"clusters: [{name: x, cluster: {server: '"+tt.url+"'}}]}\n")
		args := []string{"-image", "a:b", "-kubeconfig", kubeconfig, "mine"}
		if err := run(t.Context(), args, nil, io.Discard); err == nil || strings.Count(err.Error(), "cannot list ") != tt.want {
			t.Errorf("%s: got %v, want %d resources that cannot be listed", tt.url, err, tt.want)
		}
	}
}

// TestLackingPluginsAreThoseOfTheBuild compares the list with the imports of cmd/coredns.
func TestLackingPluginsAreThoseOfTheBuild(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .Imports "\n"}}`, "../coredns").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, out)
	}
	for plugin, want := range map[string]bool{"cache": true, "hosts": true, "kubernetes": true, "template": true} {
		if got := strings.Contains(string(out), "/plugin/"+plugin+"\n"); got != want || slices.Contains(lacking, plugin) {
			t.Errorf("cmd/coredns has %s: %v, want %v", plugin, got, want)
		}
	}
	for _, plugin := range lacking {
		if strings.Contains(string(out), "/plugin/"+plugin+"\n") {
			t.Errorf("cmd/coredns has %s, which is said to be lacking", plugin)
		}
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var out strings.Builder
	fatal.If(t, run(t.Context(), []string{"-h"}, nil, &out))
	source := string(filetest.Read(t, "main.go"))
	flags := regexp.MustCompile(`fs\.\w+\((?:&o\.\w+, )?"(\w+)"`).FindAllStringSubmatch(source, -1)
	if len(flags) < 10 {
		t.Fatalf("got the flags %q", flags)
	}
	for _, flag := range flags {
		if !strings.Contains(out.String(), "\n    -"+flag[1]+" ") {
			t.Errorf("-h does not say what -%s is", flag[1])
		}
	}
}
