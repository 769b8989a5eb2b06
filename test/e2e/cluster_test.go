package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/test/cluster"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const oneService = `
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {clusterIP: None}}
`

func TestClustersAreApart(t *testing.T) {
	one, other := startCluster(t), startCluster(t)
	apply(t, one, oneService)
	if _, err := other.Client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a Service of one cluster in another: got %v, want that it is not found", err)
	}
}

func TestFolderHasOneCluster(t *testing.T) {
	c := startCluster(t)
	dir := filepath.Dir(c.Kubeconfig())
	if second, err := cluster.Start(t.Context(), cluster.Options{Program: *clusterProgram, Dir: dir}); err == nil {
		second.Stop()
		t.Errorf("a second cluster in %s: started, want an error", dir)
	}
}

// TestClusterProgram uses the commands as a person does, and kills one cluster as a crash would.
func TestClusterProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	up := clusterUp(t, dir)
	clusterCommand(t, "apply", "-dir", dir, filetest.Temp(t, "service.yaml", oneService))
	if got := strings.TrimSpace(clusterCommand(t, "kubeconfig", "-dir", dir)); got != cluster.Kubeconfig(dir) {
		t.Errorf("cluster kubeconfig: got %q, want %q", got, cluster.Kubeconfig(dir))
	}
	server := clusterCommand(t, "kubectl", "-dir", dir, "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")

	fatal.If(t, up.Process.Kill())
	_ = up.Wait() // it was killed
	eventually(t, time.Minute, func(ctx context.Context) error { return refuses(ctx, strings.TrimPrefix(server, "https://")) })

	clusterUp(t, dir)
	if got := clusterCommand(t, "kubectl", "-dir", dir, "get", "services", "-o", "name"); !strings.Contains(got, "service/web\n") {
		t.Errorf("Services after a crash: got %q, want service/web among them", got)
	}
	clusterCommand(t, "down", "-dir", dir)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data after cluster down: got %v, want none", err)
	}
}

// clusterUp starts a cluster, and returns the process when it serves.
func clusterUp(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(*clusterProgram, "up", "-dir", dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	fatal.If(t, err)
	fatal.If(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, cluster.Kubeconfig(dir)) {
		t.Fatalf("cluster up: got %q, %v; want the path of its kubeconfig", line, err)
	}
	return cmd
}

func clusterCommand(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), *clusterProgram, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("cluster %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// refuses returns nil if nobody listens at addr.
func refuses(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err == nil {
		_ = conn.Close()
		err = errors.New("somebody still listens")
	}
	return fmt.Errorf("%s: %w", addr, err)
}
