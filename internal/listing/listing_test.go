package listing

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

const kubeconfig = `{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x}}],
clusters: [{name: x, cluster: {server: "http://127.0.0.1:1"}}]}`

// TestNoClusterIsSaidWithThePlace: the error names the files that were looked for.
func TestNoClusterIsSaidWithThePlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nothing")
	t.Setenv("KUBECONFIG", file)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := New("", "", "test", 0); err == nil || err.Error() != "found none in "+file {
		t.Errorf("got %v, want that none is in %s", err, file)
	}
}

// TestRequestsMayTakeTheTimeout holds that each resource's client has the timeout that the caller asks for.
func TestRequestsMayTakeTheTimeout(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []time.Duration{0, time.Minute} {
		c, err := New(file, "", "test", want)
		if err != nil {
			t.Fatal(err)
		}
		for resource, clients := range c.resources {
			for _, client := range clients {
				rc, ok := client.(*rest.RESTClient)
				if !ok {
					t.Fatalf("%s: got a %T, want a REST client", resource, client)
				}
				if got := rc.Client.Timeout; got != want {
					t.Errorf("%s: got the timeout %s, want %s", resource, got, want)
				}
			}
		}
	}
}
