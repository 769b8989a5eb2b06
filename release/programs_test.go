package main

import (
	"bufio"
	"context"
	"debug/elf"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// TestRelease makes what a release holds twice, from a copy of the files that are here, in two folders, and runs what is in it.
func TestRelease(t *testing.T) {
	if os.Getenv("HEADLESS_TEST_PROGRAMS") == "" {
		t.Skip("it compiles programs, which can take minutes: run `make programs`, or set HEADLESS_TEST_PROGRAMS=1")
	}
	if runtime.GOOS != "linux" {
		t.Skip("it runs what is in an image, which is for linux")
	}
	source := t.TempDir()
	shell(t, source, `git -C "$OLDPWD" ls-files -z -co --exclude-standard | tar -C "$OLDPWD" -c --null -T - --ignore-failed-read | tar -x
		git init -q && git add -A && git -c user.name=test -c user.email=test commit -qm release && git tag `+testVersion+` && git tag kubectl-dns/`+testVersion)
	var made []string
	for _, folder := range []string{"here", "else/where"} {
		dir := filepath.Join(t.TempDir(), folder)
		shell(t, source, `git clone -q . "`+dir+`"`)
		shell(t, dir, `make dist PLATFORMS=linux/`+runtime.GOARCH)
		made = append(made, filepath.Join(dir, "bin", "dist"))
	}
	first, second := made[0], made[1]
	sums, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	check(t, err)
	again, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	check(t, err)
	if string(sums) != string(again) {
		t.Errorf("got the sums\n%sand\n%s", sums, again)
	}
	t.Logf("SHA256SUMS:\n%s", sums)
	if out, err := command(t, first, "sha256sum", "-c", "SHA256SUMS").CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}

	t.Run("commands", func(t *testing.T) {
		name := "headless_" + testVersion + "_linux_" + runtime.GOARCH
		dir := t.TempDir()
		if out, err := command(t, dir, "tar", "-xzf", filepath.Join(first, name+".tar.gz")).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		for _, c := range commands {
			out, err := command(t, dir, "./"+name+"/"+c, "--version").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "headless "+testVersion+", revision ") {
				t.Errorf("%s -version: got %q (%v), want the version %s", c, out, err, testVersion)
			}
			sbom, err := os.ReadFile(filepath.Join(dir, name, c+".cdx.json"))
			check(t, err)
			if !strings.Contains(string(sbom), "pkg:golang/github.com/coredns/coredns@v") || !strings.Contains(string(sbom), "pkg:golang/std@") {
				t.Errorf("%s: got a bill of materials without CoreDNS and Go: %.300s", c, sbom)
			}
		}
	})
	for _, suffix := range []string{"", "-small"} {
		t.Run("image"+suffix, func(t *testing.T) {
			_, image := readImage(t, filepath.Join(first, "headless_"+testVersion+"_image"+suffix+".tar"))
			root := t.TempDir()
			check(t, os.Chmod(root, 0o755)) // the user of the image reads it
			unpack := command(t, root, "tar", "-x")
			unpack.Stdin = mutate.Extract(image)
			if out, err := unpack.CombinedOutput(); err != nil {
				t.Fatalf("tar: %v\n%s", err, out)
			}
			isStatic(t, filepath.Join(root, "coredns"))
			check(t, os.CopyFS(filepath.Join(root, "examples"), os.DirFS("../examples")))
			answers(t, root, suffix)
		})
	}
}

// testVersion is the tag of what is released.
const testVersion = "v0.0.1-test"

// shell runs lines of Bash in a folder. OLDPWD is the root of this repository.
func shell(t *testing.T, dir, lines string) {
	t.Helper()
	root, err := filepath.Abs("..")
	check(t, err)
	c := command(t, root, "bash", "-euo", "pipefail", "-c", `cd "$0"`+"\n"+lines, dir)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", lines, err, out)
	}
}

func command(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	return c
}

// isStatic: there is no dynamic linker in an image.
func isStatic(t *testing.T, path string) {
	t.Helper()
	program, err := elf.Open(path)
	check(t, err)
	defer func() { _ = program.Close() }() // it was only read
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s: got a segment %v, want none", path, p.Type)
		}
	}
}

// answers starts the server in root, the unpacked image of a build, in which examples are, and asks it for a name. If this test
// is of root, the server sees nothing else than the image, and is of its user.
func answers(t *testing.T, root, suffix string) {
	// Connections to others do not come from there, so that none gets the port.
	conn, err := net.ListenPacket("udp", "127.77.77.77:0")
	if err != nil { // a system whose loopback has one address
		conn, err = net.ListenPacket("udp", "127.0.0.1:0")
	}
	check(t, err)
	address := conn.LocalAddr().String()
	check(t, conn.Close())
	host, port, err := net.SplitHostPort(address)
	check(t, err)

	with := func(stanza string) *exec.Cmd {
		corefile := fmt.Sprintf(".:%s {\n bind %s\n %s\n}\n", port, host, stanza)
		check(t, os.WriteFile(filepath.Join(root, "Corefile"), []byte(corefile), 0o644)) // the user of the image reads it
		server := command(t, root, filepath.Join(root, "coredns"), "-conf", "Corefile")
		if os.Getuid() == 0 {
			server.Path, server.Dir = "/coredns", "/"
			server.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		}
		return server
	}

	server := with("headless cluster.local {\n  manifests examples\n }")
	server.Stderr = os.Stderr
	stdout, err := server.StdoutPipe()
	check(t, err)
	check(t, server.Start())
	started := false
	for log := bufio.NewScanner(stdout); !started && log.Scan(); {
		started = strings.HasPrefix(log.Text(), "CoreDNS-")
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addresses, err := resolver.LookupHost(ctx, "cassandra-0.cassandra.default.svc.cluster.local.")
	if !started || err != nil || len(addresses) != 1 || addresses[0] != "10.244.1.10" {
		t.Errorf("started: %t; got the addresses %q (%v), want 10.244.1.10", started, addresses, err)
	}
	_ = server.Process.Kill() // it may have ended
	_ = server.Wait()         // as killed

	if suffix == "-small" {
		out, err := with("kubernetes cluster.local").CombinedOutput()
		want := "Corefile:3 - Error during parsing: this build of CoreDNS is without the plugin kubernetes: it is small"
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("got %q (%v), want a failure with %q", out, err, want)
		}
	}
}
