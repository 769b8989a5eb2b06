package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	pages "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// seenWithin is how soon a change of the cluster has to be seen.
const seenWithin = 2 * time.Second

// webSlice returns the slice of the Service web with a port and pods, of which some are not ready.
func webSlice(port int32, pods int, notReady ...int) *discoveryv1.EndpointSlice {
	es := kubetest.EmptySlice("web-1", "web")
	es.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Protocol: new(corev1.ProtocolTCP), Port: &port}}
	for n := range pods {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.0.0.%d", n)}, Hostname: new(fmt.Sprintf("web-%d", n)),
		})
	}
	for _, n := range notReady {
		es.Endpoints[n].Conditions.Ready = new(false)
	}
	return es
}

// webCluster starts an API server that has the headless Service web, with 3 pods, and a server that watches it.
func webCluster(t *testing.T, options string) (*kubetest.Server, *server) {
	t.Helper()
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"), kubetest.Service("web", "None"), webSlice(80, 3), kubetest.Service("db", "None"))
	return api, startServer(t, "endpoint "+api.URL+"\n"+options)
}

func TestChangesAreSeen(t *testing.T) {
	api, s := webCluster(t, "hold 4s")
	p := openPage(t, s)
	p.says("#services", "3 ready")
	p.says("#live", "live")
	p.says("#state", "in sync")
	p.says("#fresh", "fresh")
	for _, c := range []struct {
		what, want string
		change     func()
	}{
		{"a Service is scaled up", "4 ready", func() { api.Put(webSlice(80, 4)) }},
		{"a pod gets not ready", "3 ready, 1 not ready", func() { api.Put(webSlice(80, 4, 1)) }},
		{"it gets ready again", "4 ready", func() { api.Put(webSlice(80, 4)) }},
		{"a port is edited, and a pod held", "3 ready, 1 held", func() { api.Put(webSlice(8080, 3)) }},
		{"a Service comes", "new", func() { api.Put(kubetest.Service("new", "None")) }},
	} {
		c.change()
		took := p.says("#services", c.want)
		t.Logf("%s: seen after %v", c.what, took.Round(time.Millisecond))
		if took > seenWithin {
			t.Errorf("%s: seen after %v, want %v at most", c.what, took, seenWithin)
		}
	}
	p.says("#changes", "4 ready → 3 ready, 1 held")
	if got := p.value(`document.querySelector('#services .h').textContent`); got != "◆" {
		t.Errorf("the mark of what is held is %q", got)
	}
	p.picture("hold")
	p.eventually("the hold ends", `!document.querySelector('#services').innerText.includes('held')`)
	api.Delete(kubetest.Service("new", "None"))
	p.says("#changes", "ns/new is gone")
	p.eventually("a Service goes", `![...document.querySelectorAll('#services button')].some(b => b.textContent === 'new')`)
}

// TestWhyANameFails as somebody does it who has read nothing: web-3.web fails, and who asks?
func TestWhyANameFails(t *testing.T) {
	_, s := webCluster(t, "")
	p := openPage(t, s)
	for range 3 {
		s.ask(t, "web-3.web.ns.svc.cluster.local.")
		s.ask(t, "web.ns.svc.cluster.local.")
		s.ask(t, "www.example.com.ns.svc.cluster.local.")
	}
	const cause = "Service web in namespace ns has no endpoint web-3; it has 3 ready endpoints: "
	p.says("#fails", "web-3.web.ns.svc.cluster.local.")
	p.says("#fails", "the Service has no endpoint of that name")
	p.says("#fails", "127.0.0.1")
	p.says("#fails", "What helps: ")
	p.says("#search", "127.0.0.1")
	p.says("#search", "ndots")
	p.says("#clients", "127.0.0.1")
	if text := p.value(`document.querySelector('#fails').innerText`); strings.Contains(text, "www.example.com") {
		t.Errorf("a step of a search list stands among what fails:\n%s", text)
	}
	p.value(`document.querySelector('#name').focus()`)
	p.keys("web-3.web" + kb.Enter)
	p.says("#answer", "Denied: web-3.web.ns.svc.cluster.local.")
	p.says("#answer", "Why: "+cause)
	p.says("#answer", "kubectl -n ns get pods")
	p.says("#answer", "Asked by: 127.0.0.1")
	p.picture("denied")

	p.value(`document.querySelector('#answer').replaceChildren()`)
	p.click("#fails button")
	p.says("#answer", cause)
	p.ask("web.ns")
	p.eventually("the answer has three records, a line each", `[...document.querySelectorAll('#answer pre div')].map(e => e.innerText).sort().join() ===
		[0, 1, 2].map(n => 'web.ns.svc.cluster.local. 5 IN A 10.0.0.' + n).join()`)
	p.allowed = "400 (Bad Request)"
	p.ask(strings.Repeat("a", 64))
	p.says("#answer", "expected labels of 1 to 63 octets")
}

// TestHostileNames: what clients put into names is text.
func TestHostileNames(t *testing.T) {
	_, s := webCluster(t, "")
	p := openPage(t, s)
	label := func(octets string) string { // as miekg/dns wants it
		var b strings.Builder
		for _, c := range []byte(octets) {
			fmt.Fprintf(&b, `\%03d`, c)
		}
		return b.String()
	}
	hostile := []string{
		`<img src=x onerror=document.title='pwned'>`, `"><script>document.title='pwned'</script>`, "a\x00b\x1b[31m\r\nc", "\xff\xfe\xc0\x80",
		"\u202egnp.exe", strings.Repeat("<", 63),
	}
	long := label(strings.Repeat("l", 63))
	for _, name := range hostile {
		s.ask(t, label(name)+".web.ns.svc.cluster.local.")
	}
	s.ask(t, strings.Join([]string{long, long, long, label(strings.Repeat("l", 30))}, ".")+".ns.svc.cluster.local.")
	shown := func(what, part string) { p.says("#fails", part) }
	shown("HTML", `<img`)
	shown("control characters", `a\000b\027[31m\013\010c`)
	shown("octets that are no UTF-8", `\255\254\192\128`)
	shown("characters that turn the direction", `\226\128\174gnp\.exe`)
	p.eventually("the long name", `[...document.querySelectorAll('#fails button, #search p, #fails td')].length > 0`)
	p.ask("<img src=x onerror=document.title='pwned'>\u202e.web.ns")
	p.says("#answer", `<img\032src=x\032onerror=document.title='pwned'>\226\128\174.web.ns.svc.cluster.local.`)
	if got := p.value(`document.querySelectorAll('img, main script, iframe').length + ' ' + document.title`); strings.Contains(got, "pwned") || got[0] != '0' {
		t.Errorf("names became elements: %s", got)
	}
	if got := p.value(`document.documentElement.scrollWidth <= document.documentElement.clientWidth`); got != "true" {
		t.Error("long names make the page wider than the window")
	}
	p.picture("hostile")
}

// TestManyServices: with 10,000 of them the page is there soon, and the filter works.
func TestManyServices(t *testing.T) {
	const limit = time.Second * 5 // on a machine with two processors that do other things too
	path := filepath.Join(t.TempDir(), "many.json")
	file, err := os.Create(path)
	fatal.If(t, err)
	put := json.NewEncoder(file)
	for ns := range 10 {
		fatal.If(t, put.Encode(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": fmt.Sprint("ns-", ns)}}))
		for n := range 1000 {
			name := fmt.Sprintf("service-%d", n)
			fatal.If(t, put.Encode(map[string]any{
				"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name, "namespace": fmt.Sprint("ns-", ns)},
				"spec": map[string]any{"clusterIP": "None"},
			}))
			var endpoints []any
			for e := range 10 {
				endpoints = append(endpoints, map[string]any{"addresses": []string{fmt.Sprintf("10.%d.%d.%d", ns*10+e, n>>8, n&0xff)}})
			}
			fatal.If(t, put.Encode(map[string]any{
				"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
				"metadata": map[string]any{"name": name, "namespace": fmt.Sprint("ns-", ns), "labels": map[string]any{"kubernetes.io/service-name": name}},
			}))
		}
	}
	fatal.If(t, file.Close())
	s := startServer(t, "manifests "+path)
	began := time.Now()
	p := openPage(t, s)
	p.says("#matching", "The first 200 of 10000 that match")
	t.Logf("first list: %v after the browser was started, %s ms after the page was", time.Since(began).Round(time.Millisecond),
		p.value(`Math.round(performance.getEntriesByName('listed')[0].startTime)`))
	if got := p.value(fmt.Sprintf(`performance.getEntriesByName('listed')[0].startTime < %d`, limit.Milliseconds())); got != "true" {
		t.Errorf("the list is there later than %v after the page", limit)
	}
	p.value(`document.querySelector('#filter').focus()`)
	p.keys("service-777.ns-7")
	took := p.says("#matching", "1 of 10000")
	t.Logf("filter: %v", took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("the filter took %v, want %v at most", took, limit)
	}
	if got := p.value(`document.querySelectorAll('#services li').length`); got != "1" {
		t.Errorf("%s Services are shown, want one", got)
	}
	p.picture("many")
}

// TestKeyboard: what the page does can be done without a mouse, and what is polled leaves the focus alone.
func TestKeyboard(t *testing.T) {
	_, s := webCluster(t, "")
	p := openPage(t, s)
	p.says("#services", "3 ready")
	focused := func() string {
		return p.value(`(e => e.id || e.className || e.textContent)(document.activeElement)`)
	}
	var got []string
	for range 8 {
		p.keys(kb.Tab)
		got = append(got, focused())
	}
	if want := []string{"skip", "name", "type", "", "filter", "trouble", "link name", "link name"}; strings.Join(got[:3], ",") != strings.Join(want[:3], ",") ||
		strings.Join(got[4:], ",") != strings.Join(want[4:], ",") {
		t.Errorf("the tabulator leads to %q, want %q", got, want)
	}
	p.keys(kb.Enter)
	p.says("#services .endpoints", "web-2")
	p.says("#services .endpoints", "10.0.0.2")
	if got := p.value(`document.activeElement.getAttribute('aria-expanded')`); got != "true" {
		t.Errorf("the button says that it is expanded: %s", got)
	}
	p.filter("nothing like it")
	p.says("#matching", "0 of")
	p.filter("")
	p.says("#services .endpoints", "10.0.0.2")
	p.eventually("who says that it is expanded shows it, and no other", `[...document.querySelectorAll('#services li')].every(li =>
		(li.firstChild.getAttribute('aria-expanded') === 'true') === !!li.querySelector('.endpoints tbody'))`)
	p.value(`document.querySelector('#services [aria-expanded=true]').focus()`)
	s.ask(t, "nobody.ns.svc.cluster.local.")
	p.says("#fails", "nobody.ns")
	if got := p.value(`document.activeElement.textContent`); got != "web" {
		t.Errorf("the focus is at %q after the page has changed, want web", got)
	}
	p.keys(kb.Enter)
	p.eventually("the endpoints are hidden again", `document.querySelector('#services .endpoints') === null`)
}

// TestAccessibility: axe finds nothing serious, in light and dark.
func TestAccessibility(t *testing.T) {
	if *axeScript == "" {
		t.Skip("there is no axe-core: make browser AXE=PATH with axe.min.js of the npm package axe-core")
	}
	axe, err := os.ReadFile(*axeScript)
	fatal.If(t, err)
	api, s := webCluster(t, "hold 1m")
	for _, theme := range []string{"light", "dark"} {
		// The policy of the page keeps others' scripts out.
		p := openPage(t, s, scheme(theme), func(ctx context.Context, to *chromedp.Target) (chromedp.Void, error) {
			return cdp.Call(ctx, to, pages.SetBypassCSP, pages.SetBypassCSPParams{Enabled: true})
		})
		api.Put(webSlice(80, 4, 1))
		p.says("#services", "1 not ready")
		api.Put(webSlice(8080, 3, 1))
		p.says("#services", "held")
		s.ask(t, "web-3x.web.ns.svc.cluster.local.")
		s.ask(t, "example.com.ns.svc.cluster.local.")
		p.says("#fails", "web-3x")
		p.says("#search", "ndots")
		p.ask("web-9.web")
		p.says("#answer", "Denied")
		p.click("#services ul li:nth-child(2) button")
		p.says("#services .endpoints", "10.0.0.2")
		p.picture(theme)
		p.run(chromedp.Evaluate[chromedp.Void](string(axe)))
		result := p.value(`axe.run().then(r => JSON.stringify(r.violations.map(v =>
			({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html + ' ' + n.failureSummary)}))))`)
		var violations []struct {
			ID, Impact, Help string
			Nodes            []string
		}
		fatal.If(t, json.Unmarshal([]byte(result), &violations))
		for _, v := range violations {
			text := fmt.Sprintf("%s: %s (%s): %s\n%s", theme, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
			if v.Impact == "serious" || v.Impact == "critical" {
				t.Error(text)
			} else {
				t.Log(text)
			}
		}
	}
}
