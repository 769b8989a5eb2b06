package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/manifests"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

// runs runs the program, and returns its exit status and what it prints.
func runs(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	status = run(t.Context(), args, genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &errors})
	return status, out.String(), errors.String()
}

const chart = "../testdata/chart.yaml"

// TestCommands: each command with files, from the input too, and with what is wrong.
func TestCommands(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	rendered, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args           string
		status         int
		stdout, stderr string // in what is printed
	}{
		{"explain db-0.db -f " + chart, 1, "[wrong-service-name]", ""},
		{"explain db-0.db -n shop -f -", 1, "[wrong-service-name]", ""},
		{"explain db-ro AAAA -f " + chart, 1, "db-ro.shop.svc.cluster.local does not resolve: NODATA", ""},
		{"explain db-headless SRV -f - -o json", 0, `"version": 1,`, ""},
		{"explain db-0.db --zone example.org -f -", 1, "db-0.db.shop.svc.example.org does not resolve", ""},
		{"explain db-0.db --from front -f -", 2, "A pod in front, ndots:5", ""},
		{"names -f -", 0, "db-ro.shop.svc.cluster.local", ""},
		{"names db-ro -A -f - -o yaml", 0, "version: 1\n", ""},
		{"names nothing -f -", 1, "", "no names of Service nothing in namespace shop\n"},
		{"lint -", 1, "the input:16: error: StatefulSet shop/db", ""},
		{"lint -f - -o yaml", 1, "id: service-name-missing\n", ""},
		{"lint ../examples --skip service-name-missing,name-absent", 0, "0 errors, 0 warnings", ""},
		{"--version", 0, "headless ", ""},
		{"completion", 0, "#!/bin/sh\n", ""},
		{"__complete lint --skip service-name-n", 0, "service-name-not-headless\t", "ShellCompDirectiveNoFileComp"},
		{"__complete explain -f " + chart + " db", 0, "db-headless\ndb-ro\n", "ShellCompDirectiveNoFileComp"},
		{"__complete explain -f " + chart + " -n s", 0, "shop\n", "ShellCompDirectiveNoFileComp"},
		{"explain --help", 0, "kubectl dns explain NAME [TYPE]", ""},
		{"explain", 2, "", "error: expected NAME, and perhaps TYPE, got 0 words; "},
		{"explain web", 2, "", "error: expected a cluster, as kubectl finds it, or -f for files; found none in "},
		{"top", 2, "", "error: expected a cluster, as kubectl finds it, or --at for the servers' addresses; found none in "},
		{"explain web --corefile x --zone y -f -", 2, "", "none of the others can be"},
		{"names -o xml -f -", 2, "", `error: -o: expected text, wide, json or yaml, got "xml"`},
		{"explain web -o wide -f -", 2, "", `error: -o: expected text, json or yaml, got "wide"`},
		{"lint nowhere", 2, "", "nowhere: no such file or directory"},
		{"lint - --corefile -", 2, "", "expected the input to be either the manifests or the Corefile, got both"},
		{"explian web", 2, "", "\texplain\n"},
		{"nothing", 2, "", `unknown command "nothing"`},
	} {
		status, stdout, stderr := runs(t, string(rendered), strings.Fields(row.args)...)
		if status != row.status || !strings.Contains(stdout, row.stdout) || !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
			t.Errorf("%s: got status %d, %q and %q; want %d, %q and %q", row.args, status, stdout, stderr, row.status, row.stdout, row.stderr)
		}
	}
}

// TestKubectlsFlagsLeadToTheCluster: to the one of the context, with its namespace, and by a server without any kubeconfig.
func TestKubectlsFlagsLeadToTheCluster(t *testing.T) {
	objects, err := manifests.Read("../testdata/broken/wrong-service-name.yaml")
	if err != nil {
		t.Fatal(err)
	}
	api := kubetest.NewServer(t)
	api.Put(objects...)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "dead",
"clusters": [{"name": "c", "cluster": {"server": %q}}, {"name": "dead", "cluster": {"server": "http://127.0.0.1:1"}}],
"contexts": [{"name": "dead", "context": {"cluster": "dead"}}, {"name": "live", "context": {"cluster": "c", "namespace": "shop"}}]}`, api.URL)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	for _, row := range []struct {
		args           string
		status         int
		stdout, stderr string
	}{
		{"explain web-0.web", 2, "", "127.0.0.1:1"},
		{"explain web-0.web --context live", 1, "web-0.web.shop.svc.cluster.local does not resolve", ""},
		{"explain web-0.web --server " + api.URL + " -n shop", 1, "[wrong-service-name]", ""},
		{"explain web-0.web --context nowhere", 2, "", `context "nowhere" does not exist`},
		{"names --context live --request-timeout 1ns", 2, "", "deadline exceeded"},
		{"names --context live", 0, "web.shop.svc.cluster.local", ""},
		{"names --context live -n front", 1, "", "no names in namespace front\n"},
		{"names web --context live -A", 0, "web.shop.svc.cluster.local", ""},
		{"names web --context live -n default", 1, "", "no names of Service web in namespace default"},
		{"lint --context live", 1, "error: StatefulSet shop/web: there is no Service web-headless", ""},
		{"lint --context live -n default", 0, "0 errors", "note: there is nothing in namespace default"},
		{"lint --context live -n default -A", 1, "StatefulSet shop/web", ""},
		{"__complete names --context live w", 0, "web\n", "NoFileComp"},
		{"__complete names --context live -n s", 0, "shop\n", "NoFileComp"},
	} {
		status, stdout, stderr := runs(t, "", strings.Fields(row.args)...)
		if status != row.status || !strings.Contains(stdout, row.stdout) || !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
			t.Errorf("%s: got status %d, %q and %q; want %d, %q and %q", row.args, status, stdout, stderr, row.status, row.stdout, row.stderr)
		}
	}
}

// TestServerWithoutKubeconfig: the flag for the API server is enough.
func TestServerWithoutKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if status, _, stderr := runs(t, "", "names", "-n", "shop", "--server", kubetest.NewServer(t).URL); status != 1 || stderr != "no names in namespace shop\n" {
		t.Errorf("got status %d and %q, want no names", status, stderr)
	}
}

// TestJSONAndYAMLSayTheSame: in each command.
func TestJSONAndYAMLSayTheSame(t *testing.T) {
	for _, args := range []string{"explain db-0.db -f " + chart, "names -f " + chart, "lint " + chart} {
		_, text, _ := runs(t, "", append(strings.Fields(args), "-o", "json")...)
		_, same, _ := runs(t, "", append(strings.Fields(args), "-o", "yaml")...)
		converted, err := yaml.YAMLToJSON([]byte(same))
		var a, b any
		if err != nil || json.Unmarshal([]byte(text), &a) != nil || json.Unmarshal(converted, &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: got %v,\n%s\nand\n%s", args, err, text, same)
		}
	}
}
