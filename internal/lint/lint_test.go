package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/manifests"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stanza returns that of a plain server of cluster.local.
func stanza(t *testing.T) *headless.Stanza {
	t.Helper()
	stanzas, err := headless.ParseStanzas("Corefile", []byte("cluster.local {\n headless\n}\n"))
	fatal.If(t, err)
	return stanzas[0]
}

// found returns what is found in files, or in the input.
func found(t *testing.T, input string, paths ...string) []Finding {
	t.Helper()
	if len(paths) == 0 {
		paths = []string{manifests.Stdin}
	}
	files, err := manifests.Load(strings.NewReader(input), paths...)
	fatal.If(t, err)
	return Find(stanza(t), Objects{All: files.Objects, Files: files})
}

// Pieces of manifests in the namespace shop.
const (
	db       = `{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432}]}}`
	template = `selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: x, ports: [{name: pg, containerPort: 5432}]}]}}`
	set      = `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: shop}, spec: {serviceName: db, replicas: 2, ` + template + `}}`
	web      = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80}]}}`
	webs     = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: x, env: [{name: HOST, value: "VALUE"}]}]}}}}`
)

// saying is a workload in shop that is told something.
func saying(value string) string { return strings.Replace(webs, "VALUE", value, 1) + "\n---\n" + web }

// instead returns text with one piece in place of another one, which it holds.
func instead(t *testing.T, text, old, new string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%s does not hold %s", text, old)
	}
	return strings.Replace(text, old, new, 1)
}

// TestRules: a row for what fires, and others for what does not.
func TestRules(t *testing.T) {
	database := db + "\n---\n" + set
	in := func(text string, pairs ...string) string { // with each first piece replaced by the second
		for pair := range slices.Chunk(pairs, 2) {
			text = instead(t, text, pair[0], pair[1])
		}
		return text
	}
	told := func(value string) string { return database + "\n---\n" + saying(value) }
	made := func(said string) string { // a Pod that the Deployment of saying makes
		return "{apiVersion: v1, kind: Pod, metadata: {name: web-1-x, namespace: shop, labels: {app: web, pod-template-hash: '1'}, ownerReferences: [{kind: ReplicaSet, name: web-1, controller: true}]}, " +
			"spec: {containers: [{name: c, " + said + "}]}, status: {podIP: 10.0.0.9}}"
	}
	const quorum = `env: [{name: PEERS, value: "db-0.db:1000,db-1.db:1000"}], readinessProbe: {exec: {command: [a]}}, name: c,`
	for _, row := range []struct {
		name, manifests string
		id, text        string // of the only finding; "" if nothing is found
	}{
		{"a database", database, "", ""},

		{"serviceName names nothing", in(database, "serviceName: db", "serviceName: other"), "service-name-missing", "db-0.other.shop.svc.cluster.local and its like will not exist"},
		{"serviceName names the Service of another namespace", in(database, "name: db, namespace: shop", "name: db, namespace: other"), "service-name-missing", "there is no Service db"},
		{"a StatefulSet without any Service is a part of something", set, "", ""},
		{"a StatefulSet without serviceName", in(database, "serviceName: db, ", ""), "", ""},

		{"serviceName names a Service of others", in(database, "selector: {app: db}", "selector: {app: web}") + "\n---\n" + saying(""), "service-name-other", "Service db does not select these Pods"},
		{"serviceName names an ExternalName", in(database, "clusterIP: None, selector: {app: db}", "type: ExternalName, externalName: example.com"), "service-name-other", "db-0.db.shop.svc"},
		{"serviceName names a Service whose slices are made by hand", in(database, "selector: {app: db}, ", ""), "", ""},

		{"serviceName names a Service with an address", in(database, "clusterIP: None, ", ""), "service-name-not-headless", "db.shop.svc.cluster.local leads to that address"},

		{"a Pod that there will be", told("db-1.db:5432"), "", ""},
		{"a Pod beyond the last", told("db-2.db:5432"), "name-absent", "env HOST says db-2.db, which will not exist: Service db in namespace shop has no endpoint db-2"},
		{"a Pod whose number is not written so", told("db-01.db:5432"), "name-absent", "has no endpoint db-01"},
		{"a Pod whose number is not written so, of none", in(told("db-01.db:5432"), "replicas: 2", "replicas: 0"), "name-absent", "db-01.db"},
		{"a Pod in a Service that there is not", told("tcp://db-0.db-headless:5432"), "name-absent", "there is no Service db-headless in namespace shop"},
		{"a Pod behind a password", told("postgres://u:p@db-0.db-headless/x"), "name-absent", "there is no Service db-headless in namespace shop"},
		{"a Pod in capitals", told("DB-9.db:5432"), "name-absent", "says db-9.db, which will not exist"},
		{"a Pod with the namespace", told("db-9.db.shop"), "name-absent", "Service db in namespace shop has no endpoint db-9"},
		{"a Pod before the first", in(told("db-0.db"), "replicas: 2", "replicas: 2, ordinals: {start: 3}"), "name-absent", "has no endpoint db-0"},
		{"a whole name and its dot", told("db-9.db.shop.svc."), "name-absent", "has no endpoint db-9"},
		{"a whole name and its dot, and more", told("db-9.db.shop.svc. 80"), "name-absent", "has no endpoint db-9"},
		{"a Pod that a container is told that starts first", in(told(""), "spec: {containers: [{name: c, image: x, env", `spec: {initContainers: [{name: i, image: x, command: ["db-9.db:80"]}], containers: [{name: c, image: x, env`), "name-absent", "an argument says db-9.db"},
		{"a Pod that a CronJob is told", told("") + "\n---\n{apiVersion: batch/v1, kind: CronJob, metadata: {name: j, namespace: shop}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, args: [\"db-9.db:80\"]}]}}}}}}", "name-absent", "an argument says db-9.db"},
		{"what a Pod says that a workload makes", told("db-9.db:5432") + "\n---\n" + made("env: [{name: HOST, value: 'db-9.db:5432'}]"), "name-absent", "db-9.db"},
		{"a name that is said twice", told("db-9.db:80,db-9.db:80"), "name-absent", "db-9.db"},
		{"two versions of a Service, the first of them wrong", in(db, "port: 5432}]", "port: 5432}, {port: 80}]") + "\n---\n" + database, "", ""},
		{"a Pod below the zone", told("db-7.db.shop.svc.cluster.local"), "name-absent", "has no endpoint db-7"},
		{"a Pod of a scaled StatefulSet, later", in(told("db-0.db"), "replicas: 2", "replicas: 0"), "", ""},
		{"a port that there is not", told("_mysql._tcp.db.shop.svc"), "name-absent", "has no port _mysql._tcp"},
		{"a port of UDP", told("_sql._udp.db"), "name-absent", "has no port _sql._udp"},
		{"a port of SCTP", told("_sql._sctp.db"), "name-absent", "has no port _sql._sctp"},
		{"a port that there is", told("_sql._tcp.db"), "", ""},
		{"a workload's name in place of the Service's", in(told("http://db:5432"), "name: db, namespace", "name: sql, namespace", "serviceName: db", "serviceName: sql"), "name-absent", "there is no Service db"},
		{"a Service of another chart", told("http://cache:80 http://cache.shop.svc db-0.example.com:80 cache.other.svc.cluster.local"), "", ""},
		{"what only looks like a name", told("/var/db-9.db db-9.pem $(NAME).db:80 db-9.$(X):80 a@db-0.db db-{0..9}.db:80 10.0.0.1:80 web:80"), "", ""},
		{"a Pod that an operator will make", told("q-0.q.shop.svc") + "\n---\n{apiVersion: example.com/v1, kind: Queue, metadata: {name: q}}\n---\n" + in(db, "name: db", "name: q", "app: db", "app: q"), "", ""},
		{"a comment in a file", told("") + "\n---\n" + `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: shop}, data: {file: "# db-9.db:80"}}`, "", ""},
		{"a file", told("") + "\n---\n" + `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: shop}, data: {file: "a = db-9.db:80"}}`, "name-absent", "file says db-9.db"},
		{"a form that no name has", told("a.b.c.shop.svc.cluster.local"), "name-absent", "no name has this form"},

		{"peers that are told each other's names", in(database, "name: c,", quorum), "peers-not-ready", "db-0.db, db-1.db"},
		{
			"peers in a cluster, one of them not ready", strings.Replace(in(database, "name: c,", quorum), "name: db, namespace: shop", "name: db, namespace: shop, uid: x", 2) + "\n---\n" +
				`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: x, namespace: shop, labels: {kubernetes.io/service-name: db}}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1], hostname: db-0}, {addresses: [10.0.0.2], hostname: db-1, conditions: {ready: false}}]}`,
			"peers-not-ready", "db-0.db, db-1.db",
		},
		{"peers that have names before they are ready", in(database, "name: c,", quorum, "clusterIP: None", "clusterIP: None, publishNotReadyAddresses: true"), "", ""},
		{"peers that have them by annotation", in(database, "name: c,", quorum, "name: db, namespace: shop", `name: db, namespace: shop, annotations: {coredns-headless.github.io/hostnames: all}`), "", ""},
		{"peers that have them by annotation while they leave", in(database, "name: c,", quorum, "name: db, namespace: shop", `name: db, namespace: shop, annotations: {coredns-headless.github.io/hostnames: serving}`), "", ""},
		{"peers of which there are none", in(database, "name: c,", quorum, "replicas: 2", "replicas: 0"), "", ""},
		{"peers without a probe", in(database, "name: c,", strings.Replace(quorum, "readiness", "liveness", 1)), "", ""},
		{"peers that start with the first", in(database, "name: c,", strings.Replace(quorum, ",db-1.db:1000", "", 1)), "", ""},

		{"a selector that nearly matches", in(saying(""), "selector: {app: web}, ports", "selector: {app: web, tier: front}, ports"), "selects-nothing", "no Pod has the labels app=web,tier=front: nothing answers at its address; Deployment shop/web has app=web"},
		{"a selector of Pods that an operator may make", in(saying(""), "selector: {app: web}, ports", "selector: {made: by}, ports") + "\n---\n{apiVersion: example.com/v1, kind: Database, metadata: {name: x}}", "", ""},
		{"a selector that is just wrong", in(saying(""), "selector: {app: web}, ports", "selector: {made: by}, ports"), "selects-nothing", "made=by"},
		{"a selector that nearly matches a workload and a Pod of it", made("") + "\n---\n" + in(saying(""), "selector: {app: web}, ports", "selector: {app: web, tier: front}, ports"), "selects-nothing", "; Deployment shop/web has app=web"},
		{"a selector of Pods that are elsewhere", in(saying(""), "selector: {app: web}, ports", "selector: {made: by}, ports") + "\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: x, namespace: shop, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}]}", "", ""},
		{"Services alone", web, "", ""},
		{"a Service of one Pod", database + "\n---\n" + in(db, "name: db", "name: first", "app: db", "statefulset.kubernetes.io/pod-name: db-0"), "", ""},
		{"a Service of a Pod beyond the last", database + "\n---\n" + in(db, "name: db", "name: first", "app: db", "statefulset.kubernetes.io/pod-name: db-2"), "selects-nothing", "db-2"},

		{"a targetPort by its name", in(database, "port: 5432", "port: 5432, targetPort: pg"), "", ""},
		{"a targetPort that nobody has", in(database, "port: 5432", "port: 5432, targetPort: my"), "target-port-missing", "so port 5432 leads nowhere, and _sql._tcp.db.shop.svc.cluster.local will not exist"},

		{"a targetPort that nobody has, of a port without a name", in(database, "name: sql, port: 5432", "port: 5432, targetPort: my"), "target-port-missing", "so port 5432 leads nowhere"},
		{"a targetPort of a container that ends", in(database, "port: 5432", "port: 5432, targetPort: my", "containers", "initContainers: [{name: i, image: x, ports: [{name: my, containerPort: 1}]}], containers"), "target-port-missing", "no container of its Pods"},
		{"a targetPort of a container that runs beside others", in(database, "port: 5432", "port: 5432, targetPort: my", "containers", "initContainers: [{name: i, image: x, restartPolicy: Always, ports: [{name: my, containerPort: 1}]}], containers"), "", ""},
		{"a targetPort of another protocol", in(database, "port: 5432", "port: 5432, protocol: UDP, targetPort: pg"), "target-port-missing", "_sql._udp.db.shop.svc.cluster.local"},

		{"two ports, one without a name", in(database, "port: 5432}]", "port: 5432}, {port: 80}]"), "ports-refused", "port 80 has no name"},
		{"two ports of one name", in(database, "port: 5432}]", "port: 5432}, {name: sql, port: 80}]"), "ports-refused", "two ports are called sql"},
		{"two ports", in(database, "port: 5432}]", "port: 5432}, {name: web, port: 80}]"), "", ""},

		{"a hostname of 64 characters", db + "\n---\n" + in(set, "name: db,", "name: "+strings.Repeat("d", 62)+","), "name-refused", "no Pod ddd"},
		{"a Service whose name is no label", in(web, "name: web", "name: my.web"), "name-refused", "no label of DNS"},
		{"a selector that the template does not have", in(database, "matchLabels: {app: db}", "matchLabels: {app: x}"), "name-refused", "its selector does not match"},

		{"only the dead annotation", in(database, "name: db, namespace: shop", `name: db, namespace: shop, annotations: {service.alpha.kubernetes.io/tolerate-unready-endpoints: "true"}`), "dead-annotation", "tolerate-unready-endpoints no longer"},
		{"the dead annotation beside what took its place", in(database, "name: db, namespace: shop", `name: db, namespace: shop, annotations: {service.alpha.kubernetes.io/tolerate-unready-endpoints: "true"}`, "clusterIP: None", "clusterIP: None, publishNotReadyAddresses: true"), "", ""},
		{"a hostname by annotation", in(saying(""), "metadata: {labels: {app: web}}", `metadata: {labels: {app: web}, annotations: {pod.beta.kubernetes.io/hostname: one}}`), "dead-annotation", "no names of their own"},

		{"a hostname of a StatefulSet by annotation, which it needs not", in(database, "template: {metadata: {labels", "template: {metadata: {annotations: {pod.beta.kubernetes.io/hostname: one}, labels"), "", ""},
		{"a hostname by annotation, of a Pod that is made", saying("") + "\n---\n" + strings.Replace(made(""), "labels:", "annotations: {pod.beta.kubernetes.io/hostname: one}, labels:", 1), "", ""},

		{"an ExternalName of an address", in(web, "selector: {app: web}", "type: ExternalName, externalName: 192.0.2.1"), "external-name", "a CNAME leads to names only"},
		{"an ExternalName of itself", in(web, "selector: {app: web}", "type: ExternalName, externalName: web.shop.svc.cluster.local."), "external-name", "leads in a circle"},
		{"an ExternalName of a Pod that there is not", database + "\n---\n" + in(web, "selector: {app: web}", "type: ExternalName, externalName: db-5.db.shop.svc.cluster.local"), "external-name", "has no endpoint db-5"},
		{"an ExternalName of a Pod", database + "\n---\n" + in(web, "selector: {app: web}", "type: ExternalName, externalName: db-0.db.shop.svc.cluster.local"), "", ""},
		{"an ExternalName of a Pod that has an IPv6 address only", in(database, "clusterIP: None", "clusterIP: None, ipFamilies: [IPv6]") + "\n---\n" + in(web, "selector: {app: web}", "type: ExternalName, externalName: db-0.db.shop.svc.cluster.local"), "", ""},
		{"an ExternalName on the Internet", in(web, "selector: {app: web}", "type: ExternalName, externalName: example.com"), "", ""},

		{"two workloads of one hostname", database + "\n---\n" + in(saying(""), "{app: web}}, spec: {", "{app: db}}, spec: {hostname: db-0, subdomain: db, ", "matchLabels: {app: web}", "matchLabels: {app: db}", "selector: {app: web}, ports", "selector: {app: db}, ports"), "hostname-twice", "Pods of StatefulSet shop/db are called db-0.db.shop.svc.cluster.local, too"},
		{"two Pods of one workload of one hostname", in(saying(""), "spec: {selector: {matchLabels", "spec: {replicas: 2, selector: {matchLabels", "spec: {containers", "spec: {hostname: one, subdomain: web, containers"), "", ""},
		{"two workloads of one hostname in no Service", in(saying(""), "spec: {containers", "spec: {hostname: one, subdomain: none, containers") + "\n---\n" + in(webs, "name: web,", "name: two,", "spec: {containers", "spec: {hostname: one, subdomain: none, containers"), "", ""},
		{"a Service that claims one name twice", in(db, "{name: db,", "{name: one, annotations: {external-dns.alpha.kubernetes.io/hostname: 'a.example.com,a.example.com'},"), "", ""},
		{"two Services of one name outside, written otherwise", in(db, "{name: db,", "{name: one, annotations: {external-dns.alpha.kubernetes.io/hostname: 'b.example.com, a.example.com'},") + "\n---\n" + in(db, "{name: db,", "{name: two, annotations: {external-dns.alpha.kubernetes.io/hostname: a.example.com.},"), "hostname-twice", "a.example.com"},
		{"two Services of one name outside", database + "\n---\n" + in(db, "{name: db,", "{name: one, annotations: {external-dns.alpha.kubernetes.io/hostname: a.example.com},") + "\n---\n" + in(db, "{name: db,", `{name: two, annotations: {external-dns.alpha.kubernetes.io/hostname: "b.example.com, a.example.com."},`), "hostname-twice", "Service shop/one claims a.example.com, too"},
		{"two Services of two names outside", database + "\n---\n" + in(db, "{name: db,", "{name: one, annotations: {external-dns.alpha.kubernetes.io/hostname: a.example.com},") + "\n---\n" + in(db, "{name: db,", `{name: two, annotations: {external-dns.alpha.kubernetes.io/hostname: b.example.com},`), "", ""},

		{"an endpoint in the way of a Service", database + "\n---\n" + in(web, "name: web, namespace: shop", "name: db-0, namespace: db"), "name-shadowed", "in Namespace shop, db-0.db is db-0.db.shop.svc.cluster.local, an endpoint of this Service, and not Service db/db-0"},
		{"a Service called like its own namespace, and one of its Pod", strings.ReplaceAll(database+"\n---\n"+in(db, "name: db", "name: db-0", "app: db", "statefulset.kubernetes.io/pod-name: db-0"), "namespace: shop", "namespace: db"), "", ""},
		{"a Service called like a namespace", database + "\n---\n" + in(web, "name: web, namespace: shop", "name: front, namespace: db"), "", ""},

		{"a namespace called com", in(web, "namespace: shop", "namespace: com"), "namespace-is-domain", "web.com is this Service"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := found(t, row.manifests)
			switch {
			case row.id == "" && len(got) > 0:
				t.Errorf("got %+v, want nothing", got)
			case row.id == "":
			case len(got) != 1 || got[0].ID != row.id || !strings.Contains(got[0].Text, row.text) || strings.Contains(got[0].Text, "_._"):
				t.Errorf("got %+v, want %s: %s", got, row.id, row.text)
			case got[0].Line == 0 || got[0].Fix == "" || got[0].Severity == "":
				t.Errorf("got %+v, want its line, its fix and its severity", got[0])
			}
		})
	}
}

// TestExternalNamesInACircle: each that leads into it is found, and one that leads out of it is not.
func TestExternalNamesInACircle(t *testing.T) {
	var manifests []string
	for name, target := range map[string]string{"a": "b", "b": "c", "c": "b", "out": "outer", "outer": "example"} {
		manifests = append(manifests, fmt.Sprintf(
			"{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: shop}, spec: {type: ExternalName, externalName: %s.shop.svc.cluster.local}}", name, target))
	}
	manifests = append(manifests, "{apiVersion: v1, kind: Service, metadata: {name: example, namespace: shop}, spec: {type: ExternalName, externalName: example.com}}")
	var circles []string
	for _, f := range found(t, strings.Join(manifests, "\n---\n")) {
		circles = append(circles, f.Object+" "+f.ID)
	}
	if slices.Sort(circles); !slices.Equal(circles, []string{"Service shop/a external-name", "Service shop/b external-name", "Service shop/c external-name"}) {
		t.Errorf("got %q, want the three that lead in a circle", circles)
	}
}

// TestCorrectManifestsAreQuiet: nothing is found in what is right.
func TestCorrectManifestsAreQuiet(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.yaml")
	fatal.If(t, err)
	for _, path := range append(paths, "../../examples", "../../deploy/base") {
		if got := found(t, "", path); len(got) > 0 {
			t.Errorf("%s: got %+v", path, got)
		}
	}
}

// TestFindingsHaveTheirLine: of the text that is wrong, in a block of text too.
func TestFindingsHaveTheirLine(t *testing.T) {
	const input = db + "\n---\n" + set + `
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: shop}
data:
  fine: db-0.db:80
  file: |
    first
    peers = db-9.db:80
`
	got := found(t, input)
	if len(got) != 1 || got[0].Line != 12 || got[0].Document != 3 || got[0].Object != "ConfigMap shop/c" {
		t.Errorf("got %+v, want one finding in document 3, line 12", got)
	}
}

// TestNamesHave253Characters: a long zone leaves less room for the labels before it.
func TestNamesHave253Characters(t *testing.T) {
	zone := strings.Repeat(strings.Repeat("z", 54)+".", 4) + "local" // 225 characters
	for _, row := range []struct {
		name string
		want int
	}{{"d" + strings.Repeat("b", 12), 0}, {"d" + strings.Repeat("b", 13), 1}} {
		stanzas, err := headless.ParseStanzas("Corefile", []byte(zone+" {\n headless\n}\n"))
		fatal.If(t, err)
		files, err := manifests.Load(strings.NewReader(db+"\n---\n"+strings.Replace(set, "name: db,", "name: "+row.name+",", 1)), manifests.Stdin)
		fatal.If(t, err)
		got := Find(stanzas[0], Objects{All: files.Objects, Files: files})
		if len(got) != row.want || len(got) > 0 && got[0].ID != "name-refused" {
			t.Errorf("%s: got %+v", row.name, got)
		}
	}
}

// TestFixesFit: the fix is of what is wrong.
func TestFixesFit(t *testing.T) {
	wrong := func(text, old, new string) string { return db + "\n---\n" + instead(t, text, old, new) }
	for _, row := range []struct{ name, manifests, fix string }{
		{"a hostname that is too long, of a set called after a selector", wrong(set, "name: db,", "name: selector-"+strings.Repeat("d", 60)+","), "choose shorter names"},
		{"a hostname that is no label", wrong(webs, "spec: {containers", "spec: {hostname: My_Web, containers"), "of small letters, digits and hyphens"},
		{"a selector that does not match", wrong(set, "matchLabels: {app: db}", "matchLabels: {app: x}"), "let the selector and the labels of the template agree"},
		{"a Pod before the first", wrong(set+"\n---\n"+saying("db-0.db"), "replicas: 2", "replicas: 2, ordinals: {start: 3}"), "use one of db-3 to db-4, "},
		{"an ExternalName that says it is headless", instead(t, db, "clusterIP: None", "type: ExternalName, externalName: example.com, clusterIP: None") + "\n---\n" + set, "make a Service db with clusterIP: None"},
		{"a Service with an address", instead(t, db, "clusterIP: None, ", "") + "\n---\n" + set, "say clusterIP: None in Service db"},
		{"other names of ports", instead(t, db, "port: 5432", "port: 5432, targetPort: my") + "\n---\n" + instead(t, set, "ports: [", "ports: [{containerPort: 1}, "), "names that there are: pg"},
	} {
		if got := found(t, row.manifests); len(got) != 1 || !strings.Contains(got[0].Fix, row.fix) {
			t.Errorf("%s: got %+v, want the fix: %s", row.name, got, row.fix)
		}
	}
}

// TestOnlyNamespacesAreNamespaces: a Node may be called like a Service, which does not change what its name means.
func TestOnlyNamespacesAreNamespaces(t *testing.T) {
	files, err := manifests.Load(strings.NewReader(db+"\n---\n"+set+"\n---\n"+saying("db-9.db:5432")), manifests.Stdin)
	fatal.If(t, err)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "db"}}
	got := Find(stanza(t), Objects{All: append(files.Objects, node), Files: files})
	if len(got) != 1 || !strings.Contains(got[0].Text, "Service db in namespace shop has no endpoint db-9") {
		t.Errorf("got %+v, want that the Service has no such endpoint", got)
	}
}

// TestSkippedRules: what is skipped is not found.
func TestSkippedRules(t *testing.T) {
	files, err := manifests.Load(nil, "../../testdata/chart.yaml")
	fatal.If(t, err)
	objects := Objects{All: files.Objects, Files: files}
	if got := Find(stanza(t), objects, "service-name-missing"); len(got) > 0 {
		t.Errorf("got %+v", got)
	}
	if got := Find(stanza(t), objects, "name-absent"); len(got) != 1 || got[0].Line != 16 {
		t.Errorf("got %+v, want the finding of line 16", got)
	}
}

// TestDocumentHasEveryRule: docs/lint.md has a row for each rule, in their order, with its severity.
func TestDocumentHasEveryRule(t *testing.T) {
	page, err := os.ReadFile("../../docs/lint.md")
	fatal.If(t, err)
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	for _, rule := range Rules {
		want = append(want, rule.ID+" "+string(rule.Severity))
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/lint.md has the rows\n%q, want\n%q", got, want)
	}
}

// TestFindingsAreSorted: by their place, and those of one object as the rules are.
func TestFindingsAreSorted(t *testing.T) {
	twice := func(name string) string {
		return instead(t, instead(t, web, "name: web", "name: "+name), "{port: 80}", "{name: a, port: 1}, {name: a, port: 2}")
	}
	folder := t.TempDir()
	a, b := filepath.Join(folder, "a.yaml"), filepath.Join(folder, "b.yaml")
	fatal.If(t, os.WriteFile(a, []byte(twice("zz")+"\n---\n"+twice("yy")), 0o600))
	fatal.If(t, os.WriteFile(b, []byte(twice("x")), 0o600))
	var got []string
	for _, f := range found(t, "", b, a) {
		got = append(got, fmt.Sprintf("%s:%d %s", filepath.Base(f.File), f.Line, f.Object))
	}
	if !slices.Equal(got, []string{"a.yaml:1 Service shop/zz", "a.yaml:3 Service shop/yy", "b.yaml:1 Service shop/x"}) {
		t.Errorf("got %q, want those of a.yaml first, by line", got)
	}
	files, err := manifests.Load(strings.NewReader(twice("my.web")), manifests.Stdin)
	fatal.If(t, err)
	if got := Find(stanza(t), Objects{All: files.Objects}); len(got) != 2 || got[0].ID != "ports-refused" || got[1].ID != "name-refused" {
		t.Errorf("got %+v, want ports-refused and name-refused, in this order", got)
	}
}

// TestNothingIsHidden: a namespace that the stanza does not serve has its names.
func TestNothingIsHidden(t *testing.T) {
	stanzas, err := headless.ParseStanzas("Corefile", []byte("cluster.local {\n headless {\n  namespaces other\n }\n}\n"))
	fatal.If(t, err)
	files, err := manifests.Load(strings.NewReader(db+"\n---\n"+set+"\n---\n"+saying("_sql._tcp.db http://web.shop.svc")), manifests.Stdin)
	fatal.If(t, err)
	if got := Find(stanzas[0], Objects{All: files.Objects, Whole: true}); len(got) > 0 {
		t.Errorf("got %+v, want nothing", got)
	}
}

// TestPodsOfAServiceThatIsMissing: their names are found beside the serviceName that leads to none.
func TestPodsOfAServiceThatIsMissing(t *testing.T) {
	got := found(t, db+"\n---\n"+instead(t, set, "serviceName: db", "serviceName: other")+"\n---\n"+saying("db-0.other"))
	if len(got) != 2 || got[0].ID != "service-name-missing" || got[1].ID != "name-absent" {
		t.Errorf("got %+v, want service-name-missing and name-absent", got)
	}
}

// TestClustersWithoutServices: in a whole cluster nothing else will be there.
func TestClustersWithoutServices(t *testing.T) {
	files, err := manifests.Load(strings.NewReader(set), manifests.Stdin)
	fatal.If(t, err)
	if got := Find(stanza(t), Objects{All: files.Objects, Whole: true}); len(got) != 1 || got[0].ID != "service-name-missing" {
		t.Errorf("got %+v, want service-name-missing", got)
	}
}

// TestEmptyNamespaces: a Namespace that has nothing in it is one in names, too.
func TestEmptyNamespaces(t *testing.T) {
	files, err := manifests.Load(strings.NewReader("{apiVersion: v1, kind: Namespace, metadata: {name: other}}\n---\n"+saying("http://cache.other:80")), manifests.Stdin)
	fatal.If(t, err)
	got := Find(stanza(t), Objects{All: files.Objects, Whole: true})
	if len(got) != 1 || !strings.Contains(got[0].Text, "there is no Service cache in namespace other") {
		t.Errorf("got %+v, want that the Service is not in the namespace", got)
	}
}

// TestWrite: what is counted in text, what has a meaning in a workflow command, and which rule a result of SARIF is of.
func TestWrite(t *testing.T) {
	findings := []Finding{
		{ID: "name-absent", Severity: Error, File: "a,b:c%.yaml", Line: 3, Object: "Pod x\x1b[2J", Text: "100%\nof all", Fix: "wait"},
		{ID: "selects-nothing", Severity: Warning},
		{ID: "hostname-twice", Severity: Warning},
	}
	for format, want := range map[string]string{
		"text":   "\n3 objects: 1 error, 2 warnings\n",
		"github": "::error file=a%2Cb%3Ac%25.yaml,line=3,title=name-absent::Pod x",
		"sarif":  fmt.Sprintf(`"ruleIndex": %d`, rank("hostname-twice")),
		"json":   `"line": 3`,
	} {
		var b strings.Builder
		fatal.If(t, Write(&b, format, "v1", findings, 3))
		if got := b.String(); !strings.Contains(got, want) || strings.Contains(got, "\x1b") || format == "github" && !strings.Contains(got, ": 100%25%0Aof all; fix: wait\n") {
			t.Errorf("%s: got %q, want in it %q, and nothing that a terminal obeys", format, got, want)
		}
	}
}
