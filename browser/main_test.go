package browser

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/miekg/dns"
)

var (
	corednsProgram = flag.String("coredns", "../bin/coredns", "the `path` of CoreDNS with headless in it")
	axeScript      = flag.String("axe", "", "the `path` of axe.min.js, of the npm package axe-core")
	screenFolder   = flag.String("screens", filepath.Join(os.TempDir(), "headless-screens"), "the `folder` for pictures of the page")
)

// server is a CoreDNS that shows itself.
type server struct {
	dns  string // its address for queries
	page string // the URL of the page
}

// startServer starts a CoreDNS with options in its stanza, and ends it with the test.
func startServer(t *testing.T, options string) *server {
	t.Helper()
	program, err := filepath.Abs(*corednsProgram)
	fatal.If(t, err)
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: run make browser, which builds it", err)
	}
	s := &server{dns: freeAddr(t)}
	_, port, _ := net.SplitHostPort(s.dns)
	corefile := filepath.Join(t.TempDir(), "Corefile")
	fatal.If(t, os.WriteFile(corefile, fmt.Appendf(nil, ".:%s {\nbind 127.0.0.1\nheadless cluster.local in-addr.arpa {\ninsight 127.0.0.1:0\n%s\n}\n}\n", port, options), 0o600))
	r, w := io.Pipe()
	cmd := exec.Command(program, "-conf", corefile)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	fatal.If(t, cmd.Start())
	var running sync.WaitGroup
	page, lines := make(chan string, 1), bufio.NewScanner(r)
	var printed []string // which is read when nothing runs any more
	running.Go(func() {
		for lines.Scan() {
			printed = append(printed, lines.Text())
			if _, url, ok := strings.Cut(lines.Text(), "insight on "); ok {
				page <- url + "/"
			}
		}
	})
	running.Go(func() {
		_ = cmd.Wait() // it is ended
		_ = w.Close()  // a pipe's cannot fail
	})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
		running.Wait()
		if t.Failed() {
			t.Logf("the server has printed:\n%s", strings.Join(printed, "\n"))
		}
	})
	select {
	case s.page = <-page:
	case <-time.After(time.Minute):
		t.Fatal("the server does not say where its page is")
	}
	return s
}

// freeAddr returns an address that has nobody, for UDP and TCP.
func freeAddr(t *testing.T) string {
	t.Helper()
	for {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		fatal.If(t, err)
		addr := udp.LocalAddr().String()
		tcp, taken := net.Listen("tcp", addr)
		fatal.If(t, udp.Close())
		if taken == nil {
			fatal.If(t, tcp.Close())
			return addr
		}
	}
}

// ask asks the server for a name.
func (s *server) ask(t *testing.T, name string) {
	t.Helper()
	if _, err := dnstest.Exchange(t.Context(), "udp", s.dns, dnstest.Query(name, dns.TypeA, 1232)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// page is a browser that shows the page of a server.
type page struct {
	*testing.T
	ctx     context.Context
	allowed string // a part of the faults that the test wants

	mu     sync.Mutex // guards the fields below
	faults []string   // what the console says, and requests that leave the origin
}

// openPage opens the page of s. At the end of the test nothing may have gone wrong in the browser, and no request may have gone
// elsewhere.
func openPage(t *testing.T, s *server, before ...chromedp.Action[chromedp.Void]) *page {
	t.Helper()
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && chromium == "" {
			chromium = path
		}
	}
	if chromium == "" {
		t.Skip("Chromium is not installed: it is in Debian's package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.WindowSize(1440, 1500),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which Chromium does not start with as root
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &page{T: t, ctx: ctx}
	fatal.If(t, chromedp.Listen(ctx, func(event any) {
		fault := ""
		switch event := event.(type) {
		case *network.EventRequestWillBeSent:
			if url := event.Request.URL; !strings.HasPrefix(url, s.page) && !strings.HasPrefix(url, "data:") {
				fault = "a request goes to " + url
			}
		case *runtime.EventExceptionThrown:
			fault = fmt.Sprintf("an exception: %s %+v", event.ExceptionDetails.Text, event.ExceptionDetails.Exception)
		case *runtime.EventConsoleAPICalled:
			fault = fmt.Sprintf("the console has %s %+v", event.Type, event.Args)
		case *log.EventEntryAdded:
			fault = fmt.Sprintf("the log has %s: %s %s", event.Entry.Level, event.Entry.Text, event.Entry.URL)
		}
		if fault != "" {
			p.mu.Lock()
			p.faults = append(p.faults, fault)
			p.mu.Unlock()
		}
	}))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, fault := range p.faults {
			if p.allowed == "" || !strings.Contains(fault, p.allowed) {
				t.Error(fault)
			}
		}
	})
	p.run(append(before, chromedp.Navigate(s.page))...)
	return p
}

// run does something in the browser.
func (p *page) run(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	fatal.If(p.T, chromedp.Do(p.ctx, actions...))
}

// keys types keys where the focus is.
func (p *page) keys(keys string) {
	p.Helper()
	p.run(chromedp.KeyEvent(keys))
}

// value returns what an expression is, or becomes, as text.
func (p *page) value(expression string) string {
	p.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[string]("(async () => String(await ("+expression+")))()", chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return value
}

// ask asks the page for a name.
func (p *page) ask(name string) {
	p.Helper()
	p.value(fmt.Sprintf(`(e => { e.value = %q; e.form.requestSubmit(); })(document.querySelector('#name'))`, name))
}

// filter has the page show the Services that match a text.
func (p *page) filter(text string) {
	p.Helper()
	p.value(fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event('input')); })(document.querySelector('#filter'))`, text))
}

// click clicks on the first element that a selector chooses.
func (p *page) click(selector string) {
	p.Helper()
	p.value(fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// eventually waits until an expression is true, and returns how long that took.
func (p *page) eventually(what, expression string) time.Duration {
	p.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if p.value(expression) == "true" {
			return time.Since(began)
		}
		if time.Since(began) > 30*time.Second {
			p.Fatalf("not after 30 s: %s\n%s\nthe page says\n%s", what, expression, p.value("document.body.innerText"))
		}
	}
}

// says waits until the text of an element has a part, and returns how long that took.
func (p *page) says(selector, part string) time.Duration {
	p.Helper()
	return p.eventually(selector+" says "+part, fmt.Sprintf("(document.querySelector(%q)?.innerText || '').includes(%q)", selector, part))
}

// picture writes a picture of the whole page.
func (p *page) picture(name string) {
	p.Helper()
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	fatal.If(p.T, err)
	fatal.If(p.T, os.MkdirAll(*screenFolder, 0o700))
	path := filepath.Join(*screenFolder, name+".png")
	fatal.If(p.T, os.WriteFile(path, png, 0o600))
	p.Logf("a picture is in %s", path)
}
