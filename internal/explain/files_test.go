package explain

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFilesThatPeopleHave asks for names in the files of testdata: what is to be deployed, and dumps that lack something.
func TestFilesThatPeopleHave(t *testing.T) {
	for _, row := range []struct {
		file, args string
		status     int
		id         string // of the first cause, or "" if the name resolves
		want       string // in the text and the fix of it, or in the records and notes
	}{
		{"sts.yaml", "-n shop db-0.db", statusDoesNot, "no-service", `StatefulSet shop/db has serviceName "db", and there is no Service db`},
		{"sts.yaml", "db-0.db.shop", statusDoesNot, "no-service", "clusterIP: None\n  selector: {app: db, version: \"2\"}"},
		{"sts.yaml", "web", statusUnknown, "files-without-services", "these files hold no Service"},
		{"clusterrole.yaml", "web", statusUnknown, "files-without-services", "these files hold no Service"},
		{"clusterrole.yaml", "web.shop.svc.cluster.local", statusUnknown, "files-without-services", "these files hold no Service"},
		{"empty.yaml", "web", statusUnknown, "files-without-services", "these files hold no Service"},
		{"comment.yaml", "web", statusUnknown, "files-without-services", "these files hold no Service"},
		{"lowerkind.yaml", "web", statusUnknown, "files-without-services", "no kind is called service; did you mean Service?"},
		{"getall.yaml", "db-0.db.shop", statusResolves, "", "EndpointSlices of 1 Service, which the files lack, are made of the Pods in them"},
		{"getall.yaml", "db-0.db.shop", statusResolves, "", "IN A 10.1.0.5"},
		{"endpoints-v1.yaml", "db-0.db", statusResolves, "", "IN A 10.1.0.5"},
		{"v1beta1.yaml", "db-0.db", statusResolves, "", "IN A 10.1.0.5"},
		{"both.yaml", "db-0.db", statusResolves, "", "IN A 198.18.0.1"},
		{"both.yaml", "db-1.db", statusResolves, "", "foreseen, as the control plane would make it: 2 Pods of StatefulSet shop/db"},
		{"both.yaml", "db-5.db", statusDoesNot, "no-such-replica", "has 2 replicas, db-0 to db-1: db-5 is not one of them"},
		{"clusterip-manifest.yaml", "web", statusDoesNot, "no-cluster-ip", "Service shop/web has no address yet: the API server gives it one when it is applied"},
		{"missing-governing.yaml", "db-0.db-headless.shop", statusDoesNot, "no-service", `StatefulSet shop/db has serviceName "db-headless", and there is no Service db-headless`},
		{"wrong-servicename.yaml", "db-0.db", statusDoesNot, "wrong-service-name", `StatefulSet shop/db has serviceName "dbx", not "db"`},
		{"wrong-selector.yaml", "db-0.db", statusDoesNot, "selector-misses-pod", "Pod shop/db-0 does not have the labels that Service db selects, app=db"},
		{"wrong-selector.yaml", "db", statusDoesNot, "selector-matches-nothing", "nothing else there is spelled as the pods are, so give their template the labels:\n{app: db}"},
		{"dump-without-slices.yaml", "db-0.db", statusUnknown, "files-without-slices", "these files hold no EndpointSlices, and no pods or workloads that Service shop/db selects"},
		{"dump-without-slices.yaml", "db", statusUnknown, "files-without-slices", "kubectl get ns,svc,endpointslices,pods,statefulsets -A -o yaml"},
	} {
		t.Run(row.file+" "+row.args, func(t *testing.T) {
			status, r := reported(t, append([]string{"-f", "internal/explain/testdata/" + row.file}, strings.Fields(row.args)...)...)
			id, text := "", strings.Join(r.Notes, "\n")
			if len(r.Causes) > 0 {
				id, text = r.Causes[0].ID, text+"\n"+r.Causes[0].Text+"\n"+r.Causes[0].Fix
			}
			for _, a := range r.Answers {
				text += "\n" + strings.Join(a.Records, "\n")
			}
			if status != row.status || id != row.id || !strings.Contains(text, row.want) {
				t.Errorf("got status %d and the cause %q, with %s; want %d, %q and %s", status, id, text, row.status, row.id, row.want)
			}
		})
	}
}

// TestManifestsFromTheInput: what helm template prints need not be a file. What names no namespace is in that of -n.
func TestManifestsFromTheInput(t *testing.T) {
	content := strings.ReplaceAll(string(filetest.Read(t, "testdata/both.yaml")), ", namespace: shop", "")
	for args, want := range map[string]string{
		"db-1.db":                 "db-1.db.default.svc.cluster.local.",
		"-n prod db-1.db":         "db-1.db.prod.svc.cluster.local.",
		"-n prod -from x db.prod": "db.prod.svc.cluster.local.",
	} {
		var out, errs bytes.Buffer
		status := Main(t.Context(), append([]string{"-o", "json", "-f", "-"}, strings.Fields(args)...), strings.NewReader(content), &out, &errs)
		var r report
		if err := json.Unmarshal(out.Bytes(), &r); err != nil || status != statusResolves || r.Name != want {
			t.Errorf("%s: got status %d for %q (%v, %s), want 0 for %s", args, status, r.Name, err, errs.String(), want)
		}
	}
}

// TestHostsOfURLsAreAskedFor: people paste what stands in a configuration.
func TestHostsOfURLsAreAskedFor(t *testing.T) {
	for _, word := range []string{"db.shop", "db.shop:5432", "postgres://db.shop:5432/x", "https://user:pw@db.shop/a?b=c", "tcp://db.shop:1", "jdbc:postgresql://db.shop:5432/x"} {
		if _, r := reported(t, "-f", "internal/explain/testdata/both.yaml", word); r.Name != "db.shop.svc.cluster.local." || r.Verdict != resolves {
			t.Errorf("%s: got that %s %s, want that of db.shop resolves", word, r.Name, r.Verdict)
		}
	}
	var q question
	if err := q.parse([]string{"[2001:db8::1]:53"}); err != nil || !q.absolute || q.types[0] != dns.TypePTR {
		t.Errorf("got %+v, %v, want the name of an address", q, err)
	}
}

// TestAdviceIsNoNameThatFails: what the fix says to ask for has records, and is not what was asked for.
func TestAdviceIsNoNameThatFails(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	broken, err := filepath.Glob(filepath.Join(root, "testdata/broken/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	asked := 0
	for _, file := range append(files, broken...) {
		if strings.HasPrefix(file, "testdata/") {
			file = "internal/explain/" + file
		} else {
			file = strings.TrimPrefix(file, root+"/")
		}
		for word := range strings.FieldsSeq("db-0.db db-0.db-headless web-0.web web.shp orders.legacy cache-0.cache.shop db.front _sip._tcp.phone broker.queue") {
			_, r := reported(t, "-f", file, "-from", "shop", word)
			for _, c := range r.Causes {
				for part := range strings.SplitSeq(c.Fix, "ask for ") {
					name, _, _ := strings.Cut(part, ",")
					name, _, _ = strings.Cut(name, ";")
					name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
					if part == c.Fix || !strings.HasSuffix(name, ".cluster.local") {
						continue
					}
					asked++
					if _, advised := reported(t, "-f", file, name+"."); advised.Verdict == doesNot || name+"." == r.Name {
						t.Errorf("%s: %s: got the advice to ask for %s, which %s", file, word, name, advised.Verdict)
					}
				}
			}
		}
	}
	if asked < 5 {
		t.Errorf("got %d names, want more", asked)
	}
}

// pageOf returns what is printed of a set-up.
func pageOf(t *testing.T, s *set, word string) (string, *report) {
	t.Helper()
	r := s.explain(t, word)
	var page strings.Builder
	if err := writePage(&page, r); err != nil {
		t.Fatal(err)
	}
	return page.String(), r
}

// TestSituationsOfTheWild are those in which a cause or an advice was wrong.
func TestSituationsOfTheWild(t *testing.T) {
	for _, row := range []struct {
		name  string
		set   func(*set)
		asked string
		id    string // of the only cause; "" if it resolves
		want  string // on the page, with one space where it has several
		not   string // not on it
	}{
		{"the Service of a StatefulSet is called otherwise", func(s *set) { s.svc.Name, s.es.Labels["kubernetes.io/service-name"] = "web-headless", "web-headless" }, "web-0.web.shop", "wrong-service-name", "the headless Service that selects them is web-headless", "did you mean"},
		{"a name below pod without the zone", nil, "10-244-1-10.shop.pod", "pods-disabled", "pods insecure", "Namespace pod"},
		{"a namespace with a mistake", nil, "web.shpo", "no-namespace", "ask for web.shop.svc.cluster.local", "ask another resolver"},
		{"a namespace with a mistake, of nothing that is anywhere", nil, "db.shpo", "no-namespace", "did you mean shop?", "ask another resolver"},
		{"a name of the internet", nil, "google.com", "outside-zones", "with ndots:5 a pod asks for 3 names of the cluster before it, which do not exist", "Namespace com does not"},
		{"a name of the internet, and its dot", nil, "google.com", "outside-zones", "write google.com. with the dot at its end", "no-namespace"},
		{"a ClusterIP whose selector has a mistake", func(s *set) { withoutEndpoints(s); virtual(s); s.svc.Spec.Selector = map[string]string{"app": "wbe"} }, "web.shop", "", "Note: nothing is behind the address: Service shop/web selects pods with app=wbe, and no pod has that", ""},
		{"a ClusterIP of which nobody is ready", all(virtual, unready), "web.shop", "", "Note: nothing answers behind the address: Service shop/web has 2 endpoints, and none of them is ready", ""},
		{"a ClusterIP behind which all is well", virtual, "web.shop", "", "2 ready", "Note: nothing"},
		{"a pod that is not ready, of which no more is known", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas = 1
			for _, pod := range s.pods {
				pod.Status.ContainerStatuses = nil
			}
		}, "web-0.web.shop", "not-ready", "Pod web-0 is not ready.", "it is not ready"},
		{"a container called starting", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas = 1
			for _, pod := range s.pods {
				pod.Status.ContainerStatuses[0].Name = "starting"
			}
		}, "web-0.web.shop", "not-ready", `has a container "starting" that is not ready`, ""},
		{"pods with a mistake that nothing else has", func(s *set) {
			withoutEndpoints(s)
			for _, pod := range s.pods {
				pod.Labels["app"] = "wbe"
			}
		}, "web.shop", "selector-matches-nothing", "nothing else there is spelled as the pods are, so give their template the labels: {app: web}", "patch service"},
		{"a Service with a mistake that nothing else has", func(s *set) { withoutEndpoints(s); s.svc.Spec.Selector = map[string]string{"app": "wbe"} }, "web.shop", "selector-matches-nothing", "kubectl -n shop patch service", "their template"},
		{"a hostname with an underscore", renamed("web_0"), "web.shop", "", "counts, its own name is 10-244-1-10", "does not see it"},
		{"such a hostname, asked for", renamed("web_0"), "web_0.web.shop", "no-hostname", "2 ready endpoints: web-1, 10-244-1-10", "does not see it"},
		{"a pod that is leaving, and answers to its name", all(conditions(false, true, true), annotated("serving")), "web-0.web.shop", "", "0 ready, 2 terminating, but web-0 answers to its own name", "is not ready"},
		{"a pod that calls itself otherwise", func(s *set) { s.pods[0].Spec.HostnameOverride = new("boss.example.org") }, "boss.web.shop", "hostname-override", `Pod shop/web-0 calls itself boss.example.org, by hostnameOverride, and its record is made of hostname, which is "web-0"`, ""},
		{"the same by its record", func(s *set) { s.pods[0].Spec.HostnameOverride = new("boss.example.org") }, "web-0.web.shop", "", "1 record", ""},
		{"a label that is said twice", func(s *set) { s.corefile = "labels a=b\nlabels c=d" }, "web.shop", "service-filtered", "its stanza says `labels c=d`", "a=b"},
		{"pods that are said twice", func(s *set) { s.corefile = "pods disabled\npods verified" }, "10-244-1-10.shop.pod.cluster.local", "", "1 record", ""},
		{"endpoints that are said twice", func(s *set) { s.corefile = "endpoints all\nendpoints headless"; unmarked(s) }, "web.shop", "slice-filtered", "its stanza says `endpoints headless`", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := healthySet(t)
			if row.set != nil {
				row.set(s)
			}
			page, r := pageOf(t, s, row.asked)
			flat, id := strings.Join(strings.Fields(page), " "), ""
			for _, c := range r.Causes {
				id += c.ID
			}
			if id != row.id || !strings.Contains(flat, row.want) || row.not != "" && strings.Contains(flat, row.not) {
				t.Errorf("got %q\n%s\nwant %q, with %q and without %q", id, page, row.id, row.want, row.not)
			}
		})
	}
}

// TestLostPortsOfAllServices: SRV of the Service says what SRV of the port does.
func TestLostPortsOfAllServices(t *testing.T) {
	s := healthySet(t)
	s.es.Ports = nil
	s.svc.Spec.Ports[0].TargetPort.Type, s.svc.Spec.Ports[0].TargetPort.StrVal = 1, "www"
	if r := s.explain(t, "web.shop", dns.TypeSRV); r.Causes[0].ID != "target-port" {
		t.Errorf("got %+v, want target-port", r.Causes)
	}
}

// TestWhatMayNotBeReadIsNotDenied: without rights a step is open, not wrong.
func TestWhatMayNotBeReadIsNotDenied(t *testing.T) {
	s := healthySet(t)
	s.objects = []manifests.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}}
	for _, resource := range []string{"services", "endpointslices", "pods", "statefulsets"} {
		s.unknown[resource+"/shop"] = "the " + resource + " in shop are not known: forbidden"
	}
	page, r := pageOf(t, s, "web.shop")
	if r.Verdict != couldNotTell || r.Causes[0].ID != "not-permitted" || strings.Contains(page, "NO  ") {
		t.Errorf("got %s, want that it could not be told, with no step that is wrong", page)
	}
	if !strings.Contains(page, "have a ClusterRole bound that allows get and list of namespaces, and list of services, pods, endpointslices") {
		t.Errorf("got %s, want which rights to ask for", page)
	}
}

func TestInputIsOneThing(t *testing.T) {
	for _, args := range [][]string{{"-f", "-", "-corefile", "-", "web"}, {"-ndots", "-1", "web"}, {"-ndots", "16", "web"}, {"a b"}, {"web\n"}} {
		if status, _, stderr := runs(t, args...); status != statusUnknown || !strings.Contains(stderr, "expected") {
			t.Errorf("%q: got status %d and %q, want 2 and what is expected", args, status, stderr)
		}
	}
}
