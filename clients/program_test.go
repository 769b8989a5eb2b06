package clients

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"
)

// installed returns the path of a program, and skips the test if it is not installed. pkg is Debian's package that has it.
func installed(t *testing.T, name, pkg string) string {
	t.Helper()
	needWorld(t)
	for _, file := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} { // a user's PATH may lack them
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed: it is in Debian's package %s", name, pkg)
	return ""
}

// program is one that runs beside the test, and ends with it.
type program struct {
	name  string
	ended chan struct{} // closed when it has ended
	stop  func()        // ends it, and returns when it has ended

	mu    sync.Mutex // guards the field below
	lines []string   // what it has printed
}

// start starts a program in a folder of its own.
func start(t *testing.T, path string, args ...string) *program {
	t.Helper()
	p := &program{name: filepath.Base(path), ended: make(chan struct{})}
	r, w := io.Pipe()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = w, w, t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	fatal.If(t, cmd.Start())
	var running sync.WaitGroup
	running.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, lines.Text())
			p.mu.Unlock()
		}
	})
	running.Go(func() {
		_ = cmd.Wait() // it says itself why it ends
		_ = w.Close()  // a pipe's cannot fail
		close(p.ended)
	})
	p.stop = sync.OnceFunc(func() {
		select {
		case <-p.ended:
			t.Errorf("%s has ended before its test", p.name)
		default:
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
		}
		running.Wait()
	})
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			last := p.printed()
			t.Logf("the end of what %s has printed:\n%s", p.name, strings.Join(last[max(0, len(last)-40):], "\n"))
		}
	})
	return p
}

// eventually waits until ok. It fails the test when that takes too long, or the program ends.
func (p *program) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	kubetest.Eventually(t, what, func() bool {
		select {
		case <-p.ended:
			t.Fatalf("%s has ended before this: %s", p.name, what)
		default:
		}
		return ok()
	})
}

// printed returns the lines that p has printed and that contain all of the words.
func (p *program) printed(words ...string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, line := range p.lines {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			found = append(found, line)
		}
	}
	return found
}

// write writes a file for a program and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	fatal.If(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// waitForZone waits until p, at addr, gives the SOA record of a zone over both networks.
func (p *program) waitForZone(t *testing.T, addr, zone string) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		p.eventually(t, fmt.Sprintf("the SOA of %s from %s over %s", zone, addr, network), func() bool {
			m, err := dnstest.Exchange(t.Context(), network, addr+":53", dnstest.Query(zone, dns.TypeSOA, 1232))
			return err == nil && m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0
		})
	}
}

// zones are those that the cluster's server has, and that resolvers ask it for. A BIND that forwards part of a zone
// takes no denial with the SOA record of the whole one.
var zones = []string{"cluster.local.", "10.in-addr.arpa.", "d.f.ip6.arpa."}

// startHeadless starts a CoreDNS for the cluster of api, at port 53 of addr, and waits until it knows the cluster.
func startHeadless(t *testing.T, api *kubetest.Server, addr string) {
	t.Helper()
	corefile := fmt.Sprintf(`%s {
    bind %s
    errors
    headless {
        endpoint %s
    }
}
`, strings.Join(zones, " "), addr, api.URL)
	start(t, *corednsProgram, "-conf", write(t, "Corefile", corefile)).waitForZone(t, addr, zones[0])
}
