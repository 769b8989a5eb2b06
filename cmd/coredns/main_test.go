package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
)

func TestHeadlessHasItsPlaceAmongDirectives(t *testing.T) {
	at := slices.Index(dnsserver.Directives, name)
	if at < 0 || dnsserver.Directives[at-1] != "k8s_external" {
		t.Errorf("got %q at %d of %q, want it behind k8s_external", name, at, dnsserver.Directives)
	}
	if name == "headless" && dnsserver.Directives[at+1] != "kubernetes" {
		t.Errorf("got %q behind headless, want kubernetes", dnsserver.Directives[at+1])
	}
}

// TestVariantAnswers builds the variant named kubernetes and asks it for a name.
func TestVariantAnswers(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "coredns")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := command(t, "go", "build", "-tags", "kubernetes", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}

	packages, err := command(t, "go", "list", "-deps", "-tags", "kubernetes", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(packages)) {
		if strings.HasPrefix(path, "github.com/coredns/coredns/plugin/kubernetes") {
			t.Errorf("%s is in the variant", path)
		}
	}
	plugins, err := command(t, binary, "-plugins").Output()
	if err != nil {
		t.Fatal(err)
	}
	for plugin, want := range map[string]bool{"kubernetes": true, "headless": false, "k8s_external": false, "forward": true} {
		if got := slices.Contains(strings.Fields(string(plugins)), plugin); got != want {
			t.Errorf("the plugin %s is there: %v, want %v", plugin, got, want)
		}
	}

	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	corefile := filepath.Join(dir, "Corefile")
	content := fmt.Sprintf(".:%s {\n bind 127.0.0.1\n kubernetes cluster.local {\n  manifests %q\n }\n}\n", port, examples)
	if err := os.WriteFile(corefile, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	server := command(t, binary, "-conf", corefile)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	m, err := ask(addr, "cassandra-0.cassandra.default.svc.cluster.local.")
	_ = server.Process.Kill() // it has ended by itself when this fails, and its log says why
	_ = server.Wait()         // killed
	if err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	if len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "\t10.244.1.10") {
		t.Errorf("got %v, want the address 10.244.1.10", m)
	}
}

// TestDeployedCorefilesUseItsPlugins only: a directive that CoreDNS knows may still have no plugin in this build.
func TestDeployedCorefilesUseItsPlugins(t *testing.T) {
	corefiles, err := filepath.Glob("../../deploy/*/Corefile")
	if err != nil || len(corefiles) == 0 {
		t.Fatalf("got the files %q (%v)", corefiles, err)
	}
	for _, corefile := range corefiles {
		content, err := os.ReadFile(corefile)
		if err != nil {
			t.Fatal(err)
		}
		named := bytes.ReplaceAll(content, []byte("\n    headless {"), []byte("\n    "+name+" {"))
		blocks, err := caddyfile.Parse(corefile, bytes.NewReader(named), dnsserver.Directives)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks {
			for directive := range block.Tokens {
				if _, err := caddy.DirectiveAction("dns", directive); err != nil {
					t.Errorf("%s: %s: %v", corefile, directive, err)
				}
			}
		}
	}
}

// TestBinaryForTheImageIsStatic builds it for this architecture, as the image, in which nothing else is, needs it.
func TestBinaryForTheImageIsStatic(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip(err)
	}
	platform, dir := "linux/"+runtime.GOARCH, t.TempDir()
	if out, err := command(t, "make", "-C", "../..", "binaries", "PLATFORMS="+platform, "BIN="+dir).CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	file, err := elf.Open(filepath.Join(dir, strings.ReplaceAll(platform, "/", "-"), "coredns"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("got a segment %v, want none: there is no dynamic linker", p.Type)
		}
	}
}

// command returns a command that is killed when the test has ended or takes too long.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, name, args...)
}

// freeAddr returns an address of loopback that had no server a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // TCP has more ports in use than UDP
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// ask asks for the A records of a name until there is a reply, for half a minute at most.
func ask(addr, name string) (*dns.Msg, error) {
	client := &dns.Client{Timeout: time.Second}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), addr)
		if err == nil || time.Now().After(deadline) {
			return m, err
		}
	}
}
