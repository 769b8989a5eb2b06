package explain

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/lint"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLintSaysWhatItFinds(t *testing.T) {
	for _, row := range []struct {
		args           string
		status         int
		stdout, stderr string // in what is printed
	}{
		{"examples", 0, "20 objects: 0 errors, 0 warnings\n", ""},
		{"testdata/chart.yaml", 1, "testdata/chart.yaml:16: error: StatefulSet shop/db: there is no Service db, ", ""},
		{"-skip service-name-missing testdata/chart.yaml", 0, "3 objects: 0 errors", ""},
		{"testdata/chart.yaml -o github", 1, "::error file=testdata/chart.yaml,line=16,title=service-name-missing::StatefulSet shop/db: ", ""},
		{"-o json examples", 0, `"findings": []`, ""},
		{"-zone example.org testdata/chart.yaml", 1, "db-0.db.shop.svc.example.org", ""},
		{"-h", 0, "headless-explain lint [FLAGS] -cluster", ""},
		{"", 2, "", "expected files, folders or - for the input, or a cluster"},
		{"-", 2, "", "-: expected objects of Kubernetes, found none"},
		{"internal/explain/testdata/lowerkind.yaml", 2, "", "no kind is called service; did you mean Service?"},
		{"-cluster -kubeconfig nowhere", 2, "", "nowhere"},
		{"-corefile - -", 2, "", "expected the input to be either the manifests or the Corefile, got both"},
		{"-context prod examples", 2, "", "-kubeconfig and -context are for -cluster"},
		{"-o xml examples", 2, "", `-o: expected text, json, yaml, sarif or github, got "xml"`},
		{"-skip nothing examples", 2, "", `no rule is called "nothing"`},
		{"nowhere.yaml", 2, "", "nowhere.yaml: no such file or directory"},
	} {
		status, stdout, stderr := runs(t, append([]string{"lint"}, strings.Fields(row.args)...)...)
		if status != row.status || !strings.Contains(stdout, row.stdout) || !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
			t.Errorf("lint %s: got status %d, %q and %q; want %d, %q and %q", row.args, status, stdout, stderr, row.status, row.stdout, row.stderr)
		}
	}
}

// TestLintSARIF: a result leads to its rule, its file and its line.
func TestLintSARIF(t *testing.T) {
	_, stdout, _ := runs(t, "lint", "-o", "sarif", "testdata/chart.yaml")
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 1 || len(log.Runs[0].Tool.Driver.Rules) != len(lint.Rules) {
		t.Fatalf("got %s", stdout)
	}
	run := log.Runs[0]
	got := run.Results[0]
	at := got.Locations[0].PhysicalLocation
	if run.Tool.Driver.Rules[got.RuleIndex].ID != got.RuleID || got.RuleID != "service-name-missing" || got.Level != "error" ||
		at.ArtifactLocation.URI != "testdata/chart.yaml" || at.Region.StartLine != 16 {
		t.Errorf("got %+v", got)
	}
}

// TestLintLooksAtAClusterOnce: at all of it, or at one namespace, and without the ConfigMaps that it may not list.
func TestLintLooksAtAClusterOnce(t *testing.T) {
	api, kubeconfig := newAPI(t, "wrong-service-name.yaml")
	api.Put(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "front", UID: "1"},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Env: []corev1.EnvVar{{Name: "API", Value: "http://nobody.shop.svc"}},
		}}}}},
	}, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}, Data: map[string]string{"f": "http://none.shop.svc and http://a.other.svc"}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "typo"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"app": "wbe"}}})
	findings := func(args ...string) (ids []string, stderr string) {
		t.Helper()
		_, stdout, stderr := runs(t, append([]string{"lint", "-cluster", "-o", "json", "-kubeconfig", kubeconfig}, args...)...)
		var got struct{ Findings []lint.Finding }
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatalf("%v in %q, %q", err, stdout, stderr)
		}
		for _, f := range got.Findings {
			ids = append(ids, f.ID+" "+f.Object)
		}
		return ids, stderr
	}
	all, stderr := findings()
	const outside, want = "name-absent ConfigMap shop/c, ", "name-absent ConfigMap shop/c, name-absent Deployment shop/front, selects-nothing Service shop/typo, service-name-missing StatefulSet shop/web"
	if got := strings.Join(all, ", "); got != outside+want || stderr != "" {
		t.Errorf("got %s and %q, want %s", got, stderr, outside+want)
	}
	for _, r := range requests(api) {
		if !strings.HasPrefix(r, "list ") || !strings.Contains(r, "limit=") {
			t.Errorf("got the request %s, want lists only, page by page", r)
		}
	}
	if got, _ := findings("-n", "shop"); strings.Join(got, ", ") != want {
		t.Errorf("of one namespace: got %s; want %s, for that one is known as a whole, and no other", got, want)
	}
	if got, stderr := findings("-n", "kube-system"); len(got) > 0 || stderr != "note: there is nothing in namespace kube-system: is that its name?\n" {
		t.Errorf("of another namespace: got %s and %q", got, stderr)
	}
	api.Forbid("configmaps")
	if got, stderr := findings(); len(got) != 3 || !strings.HasPrefix(stderr, "note: the names in ConfigMaps are not looked at: ") {
		t.Errorf("without ConfigMaps: got %s and %q", got, stderr)
	}
	api.Forbid("pods")
	if status, _, stderr := runs(t, "lint", "-cluster", "-kubeconfig", kubeconfig); status != 2 || !strings.Contains(stderr, "cannot list pods: ") {
		t.Errorf("without Pods: got status %d and %q", status, stderr)
	}
}
