package explain

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/buildinfo"
)

// root is the folder of the repository.
const root = "../.."

// runs runs the program in the folder of the repository, and returns its exit status and what it prints.
func runs(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	if _, err := os.Stat("examples"); err != nil { // not there yet
		t.Chdir(root)
	}
	var out, errors bytes.Buffer
	status = Main(t.Context(), args, strings.NewReader(""), &out, &errors)
	return status, out.String(), errors.String()
}

// reported runs the program with these arguments, and returns its exit status and report.
func reported(t *testing.T, args ...string) (int, *report) {
	t.Helper()
	status, stdout, stderr := runs(t, append([]string{"-o", "json"}, args...)...)
	if stderr != "" {
		t.Errorf("%q: got the error %s", args, stderr)
	}
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%q: %v in %s", args, err, stdout)
	}
	return status, &r
}

var command = regexp.MustCompile(`(?m)^#   headless-explain (.*)$`)

// commandIn returns the arguments of the command in the comment of a file of testdata/broken.
func commandIn(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "testdata/broken", file))
	if err != nil {
		t.Fatal(err)
	}
	match := command.FindSubmatch(content)
	if match == nil {
		t.Fatalf("%s: got no command in its comment", file)
	}
	return strings.Fields(string(match[1]))
}

// TestCausesOfBrokenSetUpsAreNamed runs the command in the comment of each file of testdata/broken.
func TestCausesOfBrokenSetUpsAreNamed(t *testing.T) {
	rows := []struct {
		file string
		id   string // of the first cause
		text string // in it
		fix  string // in what to change
	}{
		{"wrong-service-name.yaml", "wrong-service-name", `StatefulSet shop/web has serviceName "web-headless", not "web"`, "then set serviceName: web in it"},
		{"missing-subdomain.yaml", "missing-subdomain", "Pod shop/queue-6d9c7f5b8-x2k4m is in Service queue, but has no name of its own there: it has no subdomain", "  hostname: broker\n  subdomain: queue"},
		{"not-ready.yaml", "not-ready", "Service api in namespace shop has 2 endpoints, none of them ready: Pod api-75f4c9d6b-4vq2x is not ready, it does not pass the readiness probe of its container \"api\" (HTTP GET /healthz on port 8080)", "kubectl -n shop describe pod api-75f4c9d6b-4vq2x"},
		{"publish-not-ready.yaml", "publish-not-ready", "without publishNotReadyAddresses they have no names before they are", `kubectl -n data patch service etcd --type=merge -p '{"spec":{"publishNotReadyAddresses":true}}'`},
		{"selector-matches-nothing.yaml", "selector-matches-nothing", "Service shop/cache selects pods with app=cache,tier=back-end, and no pod has that; Pod cache-0 comes closest, it has tier=backend", `kubectl -n shop patch service cache --type=merge -p '{"spec":{"selector":{"tier":"backend"}}}'`},
		{"wrong-namespace.yaml", "wrong-namespace", "there is no Service db in Namespace front; Service db is in data", "ask for db.data.svc.cluster.local"},
		{"port-unnamed.yaml", "port-unnamed", "port 5060 of Service shop/phone has no name", `[{"op":"add","path":"/spec/ports/0/name","value":"sip"}]`},
		{"external-name-dead.yaml", "external-name-dead", "Service shop/orders is a CNAME for orders.legacy.svc.cluster.local, and that name does not exist", "kubectl -n shop patch service orders"},
		{"slice-without-label.yaml", "slice-without-label", "EndpointSlice shop/mysql-1 has no label kubernetes.io/service-name", "kubectl -n shop label endpointslice mysql-1 kubernetes.io/service-name=mysql"},
		{"namespace-filtered.yaml", "namespace-filtered", "Namespace shop exists, but the server does not serve it: its stanza says `namespaces default kube-system`", "in the Corefile: namespaces default kube-system shop"},
	}
	for _, row := range rows {
		t.Run(row.file, func(t *testing.T) {
			status, r := reported(t, commandIn(t, row.file)...)
			if status != statusDoesNot || r.Verdict != doesNot {
				t.Errorf("got status %d, it %s; want %d", status, r.Verdict, statusDoesNot)
			}
			if len(r.Causes) == 0 {
				t.Fatal("got no cause")
			}
			c := r.Causes[0]
			if c.ID != row.id || !strings.Contains(c.Text, row.text) || !strings.Contains(c.Fix, row.fix) {
				t.Errorf("got %+v\nwant %s, with %q and %q", c, row.id, row.text, row.fix)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(root, "testdata/broken/*.yaml"))
	if err != nil || len(files) != len(rows) {
		t.Errorf("got %d files in testdata/broken and %d rows (%v), want as many", len(files), len(rows), err)
	}
}

// TestPagesOfBrokenSetUpsFitAScreen holds the text to its length, and to naming the cause at once.
func TestPagesOfBrokenSetUpsFitAScreen(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "testdata/broken/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, page, _ := runs(t, commandIn(t, filepath.Base(file))...)
			lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
			if len(lines) > 40 || !strings.Contains(lines[0], " does not resolve: ") || !strings.HasPrefix(lines[2], "Why:  ") {
				t.Errorf("got %d lines, want no more than 40, with the verdict in the first and the cause in the third:\n%s", len(lines), page)
			}
		})
	}
}

func TestHealthyNamesHaveNoCause(t *testing.T) {
	for _, row := range []struct {
		name string
		args string
		want string // the FQDN that resolves
	}{
		{"a headless Service, by its short name", "-manifests examples cassandra", "cassandra.default.svc.cluster.local."},
		{"a headless Service, by its whole name", "-manifests examples cassandra.default.svc.cluster.local.", "cassandra.default.svc.cluster.local."},
		{"a pod", "-manifests examples -from shop cassandra-0.cassandra.default", "cassandra-0.cassandra.default.svc.cluster.local."},
		{"a pod, by its address", "-manifests examples 10.244.1.10", "10.1.244.10.in-addr.arpa."},
		{"a pod without a hostname", "-manifests examples 10-244-1-21.workers", "10-244-1-21.workers.default.svc.cluster.local."},
		{"a port", "-manifests examples _cql._tcp.cassandra", "_cql._tcp.cassandra.default.svc.cluster.local."},
		{"a pod that is published before it is ready", "-manifests examples gossip-0.gossip", "gossip-0.gossip.default.svc.cluster.local."},
		{"a pod with IPv6 only asked for", "-manifests examples etcd-0.etcd AAAA", "etcd-0.etcd.default.svc.cluster.local."},
		{"another zone", "-manifests examples -zone prod.example.org cassandra.default.svc.prod.example.org", "cassandra.default.svc.prod.example.org."},
		{"spelled in capitals", "-manifests examples Cassandra.DEFAULT.svc.Cluster.Local", "cassandra.default.svc.cluster.local."},
		{"the Service whose pods are named in another", "-manifests testdata/broken/wrong-service-name.yaml web.shop", "web.shop.svc.cluster.local."},
		{"the Service in the right namespace", "-manifests testdata/broken/wrong-namespace.yaml -from data db", "db.data.svc.cluster.local."},
		{"the Service with an unnamed port", "-manifests testdata/broken/port-unnamed.yaml phone.shop SRV", "phone.shop.svc.cluster.local."},
		{"the namespace that another Corefile hides", "-manifests testdata/broken/namespace-filtered.yaml web-1.web.shop", "web-1.web.shop.svc.cluster.local."},
	} {
		t.Run(row.name, func(t *testing.T) {
			status, r := reported(t, strings.Fields(row.args)...)
			if status != statusResolves || r.Verdict != resolves || r.Name != row.want || len(r.Causes) > 0 {
				t.Errorf("got status %d, %s %s, because of %+v; want 0 for %s", status, r.Name, r.Verdict, r.Causes, row.want)
			}
			for _, l := range r.Chain {
				if l.State == bad {
					t.Errorf("got the step %+v, want none that is bad", l)
				}
			}
		})
	}
}

func TestWhatCannotBeToldIsStatusTwo(t *testing.T) {
	for _, row := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"no name", nil, "expected [FLAGS] NAME [TYPE]; -h is a page of help"},
		{"three words", []string{"web", "A", "AAAA"}, "expected [FLAGS] NAME [TYPE]"},
		{"an unknown flag", []string{"-all", "web"}, "flag provided but not defined: -all"},
		{"an unknown type", []string{"-manifests", "examples", "web", "ADDRESS"}, `expected a record type such as A, AAAA, SRV or PTR, got "ADDRESS"`},
		{"a zone transfer", []string{"-manifests", "examples", "cluster.local", "AXFR"}, "expected a record type"},
		{"a format of names", []string{"-o", "wide", "web"}, `-o: expected text, json or yaml, got "wide"`},
		{"an unknown format", []string{"-o", "xml", "web"}, `-o: expected text, json or yaml, got "xml"`},
		{"two sources", []string{"-manifests", "examples", "-kubeconfig", "x", "web"}, "expected either -manifests or a kubeconfig"},
		{"two zones", []string{"-corefile", "Corefile.example", "-zone", "x", "web"}, "expected either -corefile or -zone"},
		{"files that are not there", []string{"-manifests", "none", "web"}, "manifests: stat none"},
		{"a Corefile that is not there", []string{"-manifests", "examples", "-corefile", "none", "web"}, "open none"},
		{"a Corefile without a stanza", []string{"-manifests", "examples", "-corefile", "-", "web"}, "expected a stanza of headless or kubernetes in the Corefile, got none"},
		{"a kubeconfig that is not there", []string{"-kubeconfig", "none", "web"}, "none"},
		{"what is no name", []string{"-manifests", "examples", "a..b"}, `expected a name or an address, got "a..b"`},
		{"a name that nobody here knows", []string{"-manifests", "examples", "example.org"}, ""},
		{"an ExternalName to elsewhere", []string{"-manifests", "examples", "billing"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			status, _, stderr := runs(t, row.args...)
			if status != statusUnknown || !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
				t.Errorf("got status %d and the error %q, want 2 and %q", status, stderr, row.stderr)
			}
		})
	}
}

func TestFlagsMayStandAnywhere(t *testing.T) {
	o, err := parseOptions([]string{"web", "-from", "shop", "SRV", "-ndots", "2"})
	if err != nil {
		t.Fatal(err)
	}
	q, err := o.question()
	if err != nil {
		t.Fatal(err)
	}
	if q.word != "web" || q.from != "shop" || q.ndots != 2 || !slices.Equal(q.types, []uint16{33}) {
		t.Errorf("got %+v, want the SRV records of web, asked from shop with ndots 2", o)
	}
}

func TestVersion(t *testing.T) {
	status, stdout, stderr := runs(t, "--version")
	if want := buildinfo.Get().String() + "\n"; status != statusResolves || stderr != "" || stdout != want {
		t.Errorf("got status %d, %q and the error %q, want 0 and %q", status, stdout, stderr, want)
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	status, stdout, stderr := runs(t, "-h")
	if status != statusResolves || stderr != "" || stdout != help {
		t.Errorf("got status %d and the error %q, want 0 and the page of help", status, stderr)
	}
	source, err := os.ReadFile("internal/explain/command.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`fs\.\w+\((?:&o\.\w+, )?"(\w+)"`).FindAllSubmatch(source, -1)
	if len(names) < 9 {
		t.Errorf("got %d flags, want at least 9", len(names))
	}
	for _, name := range names {
		if !strings.Contains(help, "\n    -"+string(name[1])+" ") {
			t.Errorf("got no line for -%s in the help", name[1])
		}
	}
	if strings.Count(help, "\n") > 48 {
		t.Errorf("got %d lines of help, want a page", strings.Count(help, "\n"))
	}
}

// TestDocumentedTranscriptsAreReal runs the commands of docs/explain.md and docs/foreseeing.md.
func TestDocumentedTranscriptsAreReal(t *testing.T) {
	var page []byte
	for _, name := range []string{"docs/explain.md", "docs/foreseeing.md"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		page = append(page, content...)
	}
	transcripts := regexp.MustCompile(`(?ms)^\$ go run \./cmd/headless-explain ([^\n]*)\n(.*?)^~~~$`).FindAllSubmatch(page, -1)
	if len(transcripts) == 0 {
		t.Error("got no transcript in docs/explain.md")
	}
	for _, match := range transcripts {
		if _, got, _ := runs(t, strings.Fields(string(match[1]))...); got != string(match[2]) {
			t.Errorf("%s: got\n%s\nwant\n%s", match[1], got, match[2])
		}
	}
}
