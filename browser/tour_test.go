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
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	pages "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/coredns-headless/headless/internal/fatal"
)

var (
	programFolder = flag.String("programs", "../bin", "the `folder` of sandbox, cluster and coredns, for the tour")
	tourFolder    = flag.String("tour", "", "the `folder` for pictures of the tour; none are written without one")
)

// tourSteps are the steps of the tour, and what the page says in each.
var tourSteps = []struct {
	name  string
	shows func(p *page)
}{
	{"scale", func(p *page) {
		p.says("#services", "5 ready")
		p.eventually("five dots", dotsAre("●●●●●"))
		p.says("#fails", "cassandra-9")
	}},
	{"not-ready", func(p *page) {
		p.says("#services", "4 ready, 1 not ready")
		p.eventually("a ring", dotsAre("●○●●●"))
		p.says("#fails", "cassandra-1.cassandra.default.svc.cluster.local.")
		p.says("#fails", "127.0.0.1")
		p.ask("cassandra-1.cassandra")
		p.says("#answer", "is not ready")
		p.says("#answer", "kubectl -n default describe pod")
	}},
	{"hold", func(p *page) {
		p.says("#services", "5 held")
		p.eventually("five diamonds", dotsAre("◆◆◆◆◆"))
		p.says("#resources", "Endpoints held: 5 now")
		p.ask("cassandra")
		p.says("#answer", "Answered")
	}},
	{"outage", func(p *page) {
		p.says("#services", "5 ready")
		p.says("#state", "not all of the cluster can be watched")
		p.eventually("that is so for some seconds",
			`+document.querySelector('#fresh').textContent.match(/not watched for (\d+) s/)?.[1] >= 2`)
	}},
	{"snapshot", func(p *page) {
		p.says("#state", "answers from a snapshot")
		p.says("#services", "5 ready")
		p.ask("cassandra")
		p.says("#answer", "Answered")
	}},
	{"back", func(p *page) {
		p.says("#state", "in sync")
		p.says("#services", "5 ready")
	}},
}

// dotsAre is whether these are the dots of the tour's Service.
func dotsAre(dots string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#services li')].find(li =>
		li.firstChild.textContent === 'cassandra')?.querySelector('.dots').textContent === %q`, dots)
}

// TestTour takes the tour of the sandbox, as somebody does who goes on as soon as the page shows what the tour says. At the last
// step it waits until the tour goes on by itself.
func TestTour(t *testing.T) {
	folder, err := filepath.Abs(*programFolder)
	fatal.If(t, err)
	for _, name := range []string{"sandbox", "cluster", "coredns"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Skipf("there is no bin/%s: make tour builds what the tour needs, Kubernetes among it", name)
		}
	}
	_, dnsPort, _ := net.SplitHostPort(freeAddr(t))
	_, pagePort, _ := net.SplitHostPort(freeAddr(t))
	cmd := exec.Command(filepath.Join(folder, "sandbox"), "-programs", folder, "-port", dnsPort, "-page", pagePort, "-tour", "-auto", "-pause", "15s")
	cmd.Dir = ".."
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // it ends the cluster, too
	goOn, err := cmd.StdinPipe()
	fatal.If(t, err)
	out, err := cmd.StdoutPipe()
	fatal.If(t, err)
	cmd.Stderr = cmd.Stdout
	fatal.If(t, cmd.Start())
	lines, printed := bufio.NewScanner(out), []string(nil)
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait() // it was ended
		}
		if t.Failed() {
			t.Logf("the tour has printed:\n%s", strings.Join(printed, "\n"))
		}
	})
	// next returns the first line from here on that has a text.
	next := func(text string) string {
		t.Helper()
		for lines.Scan() {
			if printed = append(printed, lines.Text()); strings.Contains(lines.Text(), text) {
				return lines.Text()
			}
		}
		t.Fatalf("the tour ends without %q: %v", text, lines.Err())
		return ""
	}
	next("http://127.0.0.1:" + pagePort)
	p := openPage(t, &server{page: "http://127.0.0.1:" + pagePort + "/"}, scheme("light"))
	p.allowed = "net::ERR_" // while CoreDNS is started anew
	heading := regexp.MustCompile(`^Step (\d) of (\d): (.*)$`)
	for i, step := range tourSteps {
		if got, want := next("Step "), fmt.Sprintf("Step %d of %d: %s", i+1, len(tourSteps), step.name); !heading.MatchString(got) || got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		next("DNS says so")
		began := time.Now()
		step.shows(p)
		t.Logf("%s: the page says so after %v", step.name, time.Since(began).Round(time.Millisecond))
		p.tourPicture(step.name)
		if i < len(tourSteps)-1 {
			_, err := io.WriteString(goOn, "\n")
			fatal.If(t, err)
		}
	}
	next("That was the tour")
	for lines.Scan() { // until its cluster has ended
		printed = append(printed, lines.Text())
	}
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Errorf("the tour ends with %v", err)
	}
}

// scheme has the page be light or dark, without movement.
func scheme(theme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, to *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, to, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return chromedp.Void{}, err
	}
}

// tourPicture writes a picture of what is seen of the page, if pictures are wanted.
func (p *page) tourPicture(name string) {
	p.Helper()
	if *tourFolder == "" {
		return
	}
	const most = 150 << 10
	picture, err := chromedp.Run(p.ctx, func(ctx context.Context, to *chromedp.Target) ([]byte, error) {
		said, err := cdp.Call(ctx, to, pages.CaptureScreenshot, pages.CaptureScreenshotParams{
			Format: pages.CaptureScreenshotFormatWebp, Quality: new(int64(80)),
			Clip: &pages.Viewport{Width: 1440, Height: 1000, Scale: 1},
		})
		if err != nil {
			return nil, err
		}
		return said.Data, nil
	})
	fatal.If(p.T, err)
	if len(picture) > most {
		p.Errorf("%s: the picture has %d octets, want %d at most", name, len(picture), most)
	}
	fatal.If(p.T, os.MkdirAll(*tourFolder, 0o750))
	fatal.If(p.T, os.WriteFile(filepath.Join(*tourFolder, name+".webp"), picture, 0o600))
}
