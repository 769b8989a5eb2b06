package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/listing"
)

// namesOf lists names in the folder of the repository.
func namesOf(t *testing.T, n *Names) (status int, stdout string, err error) {
	t.Helper()
	t.Chdir(root)
	var out bytes.Buffer
	status, err = n.Run(t.Context(), strings.NewReader(""), &out)
	return status, out.String(), err
}

func TestNamesAreThoseThatThereAre(t *testing.T) {
	status, stdout, err := namesOf(t, &Names{Setting: Setting{Manifests: []string{"examples"}}, Format: "json"})
	var got struct {
		Version int
		Records []ownRecord
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if status != statusResolves || err != nil || got.Version != 1 {
		t.Errorf("got status %d, %v and version %d", status, err, got.Version)
	}
	for _, want := range []string{
		"billing.default.svc.cluster.local. CNAME billing.example.com.",
		"cassandra.default.svc.cluster.local. A 10.244.1.10 10.244.2.10 10.244.3.10",
		"cassandra-1.cassandra.default.svc.cluster.local. A 10.244.2.10",
		"etcd-1.etcd.default.svc.cluster.local. AAAA fd00:10:244:2::1e",
		"_http._tcp.frontend.default.svc.cluster.local. SRV 0 100 80 frontend.default.svc.cluster.local.",
	} {
		if !slices.ContainsFunc(got.Records, func(r ownRecord) bool { return r.Name+" "+r.Type+" "+strings.Join(r.Data, " ") == want }) {
			t.Errorf("got no %s in %s", want, stdout)
		}
	}
}

func TestNamesAreAtable(t *testing.T) {
	_, stdout, err := namesOf(t, &Names{Setting: Setting{Manifests: []string{"testdata/chart.yaml"}, Zone: "example.org"}, Service: "db-ro", Format: "wide"})
	const want = `NAME                                      TYPE   TTL   POD    DATA
db-ro.shop.svc.example.org.               A      5     -      198.19.0.1
_sql._tcp.db-ro.shop.svc.example.org.     SRV    5     -      0 100 5432 db-ro.shop.svc.example.org.
198-18-0-1.db-ro.shop.svc.example.org.    A      5     db-0   198.18.0.1
198-18-0-2.db-ro.shop.svc.example.org.    A      5     db-1   198.18.0.2
198-18-0-3.db-ro.shop.svc.example.org.    A      5     db-2   198.18.0.3
`
	if err != nil || strings.Join(strings.Fields(stdout), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got %v and\n%s\nwant\n%s", err, stdout, want)
	}
}

func TestNamesThatThereAreNot(t *testing.T) {
	for _, row := range []struct {
		names  Names
		status int
		err    string
	}{
		{Names{Setting: Setting{Manifests: []string{"testdata/chart.yaml"}, Namespace: "front"}, Service: "db", Format: "text"}, statusDoesNot, "no names of Service db in namespace front"},
		{Names{Setting: Setting{Manifests: []string{"examples"}, Namespace: "front"}, Service: "cassandra", Format: "text"}, statusDoesNot, "there is one in default"},
		{Names{Setting: Setting{Manifests: []string{"examples"}}, Format: "xml"}, statusUnknown, "-o: expected text, wide, json or yaml"},
		{Names{Setting: Setting{Cluster: func() (*listing.Client, error) { return nil, errors.New("no cluster") }}, Format: "text"}, statusUnknown, "no cluster"},
	} {
		t.Run(row.err, func(t *testing.T) {
			if status, _, err := namesOf(t, &row.names); status != row.status || err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("got status %d and %v, want %d and %s", status, err, row.status, row.err)
			}
		})
	}
}

// TestNamesOfACluster: of the namespace of the context, or of all; without the rights that it takes there is an error.
func TestNamesOfACluster(t *testing.T) {
	api, kubeconfig := newAPI(t, "wrong-service-name.yaml")
	client := func() (*listing.Client, error) { return listing.New(kubeconfig, "other", "test", RequestTimeout) }
	for _, all := range []bool{false, true} {
		n := &Names{Setting: Setting{Cluster: client}, AllNamespaces: all, Format: "text"}
		if status, stdout, err := namesOf(t, n); status != statusResolves || err != nil || !strings.Contains(stdout, "web.shop.svc.cluster.local ") {
			t.Errorf("all %t: got status %d, %v and %s", all, status, err, stdout)
		}
	}
	if names, err := (&Setting{Cluster: client}).Services(t.Context(), nil); err != nil || !slices.Contains(names, "web") {
		t.Errorf("got the Services %q and %v", names, err)
	}
	api.Forbid("endpointslices")
	if status, stdout, err := namesOf(t, &Names{Setting: Setting{Cluster: client}, Format: "text"}); status != statusUnknown || err == nil || !strings.Contains(err.Error(), "the endpointslices in shop are not known: ") {
		t.Errorf("got status %d, %v and %s, want an error", status, err, stdout)
	}
}
