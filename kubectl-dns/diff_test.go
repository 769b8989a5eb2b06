package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/miekg/dns"
)

// serve starts a server with the plugin on manifests, and returns its address.
func serve(t *testing.T, paths ...string) string {
	t.Helper()
	stanzas, err := headless.ParseStanzas("Corefile", []byte("cluster.local in-addr.arpa ip6.arpa {\n headless\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifests.Read(paths...)
	if err != nil {
		t.Fatal(err)
	}
	plugin := stanzas[0].Offline(objects)
	return dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg {
		m := plugin.Reply(r.Question[0].Name, r.Question[0].Qtype)
		m.Id = r.Id
		return m
	})
}

// TestDiff: two servers of the same files, and of files of which one has more.
func TestDiff(t *testing.T) {
	const one, two = "../examples/cassandra.yaml", "../examples/cluster-ip.yaml"
	both, less := serve(t, one, two), serve(t, one)
	input, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	quick := " --rate 100000 --net tcp --again 0 --progress 0 --retries 0 --strict"
	for _, row := range []struct {
		args           string
		status         int
		stdout, stderr string
	}{
		{"diff --old " + both + " --new " + serve(t, one, two) + " -f " + one + " -f " + two + quick, 0, "\nverdict: no unexpected differences; ", "2 Services"},
		{"diff --old " + both + " --new " + less + " -f " + one + " -f " + two + quick, 1, "\nverdict: different: ", ""},
		{"diff --old " + both + " --new " + less + " -f - --repeat 2" + quick, 1, "in 2 whole rounds", "1 Service"},
		{"diff --old " + both + " --new " + less + " -f - -f - -f " + one + quick, 1, "\nverdict: different: ", "2 Services"},
		{"diff --old " + both + " --new " + less + " -n front -f " + one + quick, 2, "", "there is no Service to ask for"},
		{"diff --old " + both, 2, "", "-new: expected a server, HOST[:PORT]"},
		{"diff --old a --new b -o wide", 2, "", `-o: expected text, json or yaml, got "wide"`},
		{"diff --help", 0, "of the client, in EDNS; 0: without EDNS (default 1232)", ""},
	} {
		status, stdout, stderr := runs(t, string(input), strings.Fields(row.args)...)
		if status != row.status || !strings.Contains(stdout, row.stdout) || !strings.Contains(stderr, row.stderr) {
			t.Errorf("%s: got status %d, %q and %q; want %d, %q and %q", row.args, status, stdout, stderr, row.status, row.stdout, row.stderr)
		}
	}
	_, stdout, _ := runs(t, "", strings.Fields("diff --old "+both+" --new "+less+" -f "+one+" -f "+two+" -o json"+quick)...)
	var report struct {
		Version     int
		Differences []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Version != 1 || len(report.Differences) == 0 || !slices.Contains([]string{"denied", "endpoint"}, report.Differences[0].ID) {
		t.Errorf("got %v and %s, want that names are denied first", err, stdout)
	}
}
