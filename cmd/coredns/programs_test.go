package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
)

// compiles skips a test that compiles programs, unless it runs by `make programs`.
func compiles(t *testing.T) {
	t.Helper()
	if os.Getenv("HEADLESS_TEST_PROGRAMS") == "" {
		t.Skip("it compiles a program, which can take minutes: run `make programs`, or set HEADLESS_TEST_PROGRAMS=1")
	}
}

// TestVariantAnswers builds the variant named kubernetes and asks it for a name.
func TestVariantAnswers(t *testing.T) {
	compiles(t)
	dir := t.TempDir()
	binary := filepath.Join(dir, "coredns")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "kubernetes", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}

	plugins, err := exec.CommandContext(t.Context(), binary, "-plugins").Output()
	fatal.If(t, err)
	for plugin, want := range map[string]bool{"kubernetes": true, "headless": false, "k8s_external": false, "forward": true} {
		if got := slices.Contains(strings.Fields(string(plugins)), plugin); got != want {
			t.Errorf("the plugin %s is there: %v, want %v", plugin, got, want)
		}
	}

	version, err := exec.CommandContext(t.Context(), binary, "-version").Output()
	fatal.If(t, err)
	info, err := buildinfo.ReadFile(binary)
	fatal.If(t, err)
	if want := ", headless " + info.Main.Version + ", revision "; !bytes.Contains(version, []byte(want)) {
		t.Errorf("got the version %s, want one with %q", version, want)
	}

	examples, err := filepath.Abs("../../examples")
	fatal.If(t, err)
	addr := dnstest.FreeAddr(t)
	host, port, err := net.SplitHostPort(addr)
	fatal.If(t, err)
	content := fmt.Sprintf(".:%s {\n bind %s\n kubernetes cluster.local {\n  manifests %q\n }\n}\n", port, host, examples)
	corefile := filetest.Temp(t, "Corefile", content)
	log := &serverLog{started: make(chan struct{})}
	server := exec.CommandContext(t.Context(), binary, "-conf", corefile)
	server.Stdout, server.Stderr = log, log
	fatal.If(t, server.Start())
	ended := make(chan struct{})
	var result error // of the server, once it has ended
	go func() { result = server.Wait(); close(ended) }()
	select {
	case <-log.started:
	case <-ended:
		t.Fatalf("the server ended: %v\n%s", result, log.text.Bytes())
	case <-time.After(5 * time.Minute):
		_ = server.Process.Kill() // its log says what it was at
		<-ended
		t.Fatalf("the server does not say that it has started:\n%s", log.text.Bytes())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := dnstest.Exchange(ctx, "udp", addr, dnstest.Question("cassandra-0.cassandra.default.svc.cluster.local. A", 0))
	_ = server.Process.Kill() // it has ended by itself when this fails, and its log says why
	<-ended
	if err != nil {
		t.Fatalf("%v\n%s", err, log.text.Bytes())
	}
	if got := dnstest.Data(m.Answer); !slices.Equal(got, []string{"10.244.1.10"}) {
		t.Errorf("got %v, want the address 10.244.1.10", m)
	}
}

// serverLog keeps what CoreDNS prints.
type serverLog struct {
	text    bytes.Buffer  // not embedded, for its ReadFrom would take the place of Write
	started chan struct{} // closed once CoreDNS has printed its version, which it does when its servers listen
	once    sync.Once
}

// Write is called by one goroutine at a time, and by none when the command has ended.
func (l *serverLog) Write(p []byte) (int, error) {
	n, err := l.text.Write(p)
	if bytes.Contains(l.text.Bytes(), []byte("CoreDNS-")) {
		l.once.Do(func() { close(l.started) })
	}
	return n, err
}
