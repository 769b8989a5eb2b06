//go:build !kubernetes

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/kubectl-dns/live"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	"github.com/miekg/dns"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func init() { dnsserver.Directives = append(dnsserver.Directives, "headless") }

// startInsight starts a CoreDNS with headless on manifests and with insight, and returns the addresses of DNS over TCP and of insight.
func startInsight(t *testing.T, manifests string) (server, at string) {
	t.Helper()
	at = dnstest.FreeAddr(t)
	corefile := fmt.Sprintf("cluster.local:0 in-addr.arpa:0 {\nbind 127.0.0.1\nheadless {\nmanifests %s\ninsight %s\n}\n}\n", manifests, at)
	instance, err := caddy.Start(caddy.CaddyfileInput{Contents: []byte(corefile), ServerTypeName: "dns"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = instance.Stop() // it was started
		instance.ShutdownCallbacks()
	})
	return instance.Servers()[0].Addr().String(), at
}

// TestTop: of two servers and one that is not there.
func TestTop(t *testing.T) {
	const examples = "../examples"
	one, oneAt := startInsight(t, examples)
	two, twoAt := startInsight(t, examples)
	gone := dnstest.FreeAddr(t)
	for _, server := range []string{one, one, two} {
		for _, name := range []string{"nobody.default.svc.cluster.local.", `\027[31m<b>\255.default.svc.cluster.local.`} {
			if _, err := dnstest.Exchange(t.Context(), "tcp", server, dnstest.Query(name, dns.TypeA, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	status, stdout, stderr := runs(t, "", strings.Fields("top --at "+oneAt+" --at http://"+twoAt+" --at "+gone)...)
	for _, want := range []string{
		"2 of 3 servers: ", "  " + oneAt + ": in sync\n", "  " + gone + ": ", "connection refused\n",
		"\nNames\n  COUNT   OFF BY   WHY ", " nobody.default.svc.cluster.local. ", "   service   ", "   all servers\n", "\nClients\n", "\nReasons\n", "\nServices\n", "127.0.0.1",
		`\027[31m<b>\255.default.svc.cluster.local.`,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("got status %d, %s and\n%s\nwant %q", status, stderr, stdout, want)
		}
	}
	if status != 1 || stderr != "" || strings.Contains(stdout, "\x1b") {
		t.Errorf("got status %d and %s, want 1 because one did not answer, and nothing that a terminal obeys", status, stderr)
	}
	status, stdout, stderr = runs(t, "", strings.Fields("top -o json --limit 1 --at "+oneAt+","+twoAt)...)
	var top live.Top
	if err := json.Unmarshal([]byte(stdout), &top); err != nil || status != 0 {
		t.Fatalf("got status %d, %s and %v", status, stderr, err)
	}
	if n := top.Names; len(n) != 1 || n[0].Count < 2.9 || n[0].Count > 3 || n[0].Over+n[0].Under > 0 || top.Unlisted.Names < 2.9 {
		t.Errorf("got %+v, and %v of others, want one name with its three queries, and at most as many of others", n, top.Unlisted)
	}
	if _, same, _ := runs(t, "", strings.Fields("top -o yaml --at "+oneAt)...); !strings.Contains(same, "half_life_seconds: 300\n") {
		t.Errorf("got %s, want YAML", same)
	}
	if _, none, _ := runs(t, "", "top", "--at", gone); strings.Contains(none, "counted") || !strings.Contains(none, "0 of 1 server: ") {
		t.Errorf("got\n%s\nwant nothing said of counts, for nobody answers", none)
	}
	for _, row := range []struct{ args, stderr string }{
		{"top --at " + gone, ""},
		{"top --at nowhere/x", `--at: expected HOST[:PORT] or http://HOST[:PORT], got "nowhere/x"`},
		{"top --service x", `--service: expected NAMESPACE/NAME, got "x"`},
		{"top --port 0", "--port: expected a number from 1 to 65535, got 0"},
		{"top --limit 0", "--limit: expected a number of lines, got 0"},
		{"top --interval 1ms", "--interval: expected at least 500ms, got 1ms"},
		{"top -o wide", `-o: expected text, json or yaml, got "wide"`},
		{"top web", "unknown command"},
		{"top --at h --service a/b", "[at service]"},
		{"top --at h --port 1", "[at port]"},
		{"explain web -f " + examples + " --service a/b", "expected --live beside --service and --port"},
		{"explain web -f " + examples + " --port 1", "expected --live beside --service and --port"},
	} {
		if status, _, stderr := runs(t, "", strings.Fields(row.args)...); status != statusUnknown || !strings.Contains(stderr, row.stderr) {
			t.Errorf("%s: got status %d and %q, want 2 and %q", row.args, status, stderr, row.stderr)
		}
	}
}

// TestInterruptedIsNoAnswer: what was not asked to the end is not what the servers say.
func TestInterruptedIsNoAnswer(t *testing.T) {
	for _, args := range []string{"top -o json", "explain cassandra -f ../examples"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel(errors.New("interrupted"))
			<-r.Context().Done()
		}))
		t.Cleanup(hangs.Close)
		var out, stderr strings.Builder
		status := run(ctx, append(strings.Fields(args), "--at", hangs.URL), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &stderr})
		if status != statusUnknown || out.Len() > 0 || stderr.String() != "error: interrupted\n" {
			t.Errorf("%s: got status %d, %s and %s, want that it was interrupted", args, status, out.String(), stderr.String())
		}
	}
}

// TestExplainLive: beside what the API server says it shows what servers that run say, and where they differ.
func TestExplainLive(t *testing.T) {
	const manifest = "../examples/cassandra.yaml"
	content, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "old.yaml")
	before := strings.Replace(string(content), "10.244.3.10", "10.244.9.9", 1)
	if before == string(content) {
		t.Fatal("there is no such address")
	}
	if err := os.WriteFile(old, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	_, fresh := startInsight(t, manifest)
	_, stale := startInsight(t, old)
	_, empty := startInsight(t, "../examples/cluster-ip.yaml")
	gone := dnstest.FreeAddr(t)
	for _, row := range []struct {
		args   string
		status int
		stdout []string
	}{
		{"cassandra --at " + fresh, 0, []string{" resolves: 3 A records", "\nServers that run:\nsame       " + fresh + " (in sync)\n"}},
		{"cassandra --at " + fresh + " --at " + stale, 1, []string{
			"same       " + fresh, "DIFFERS    " + stale + " (in sync; its stanza: ", "           A: it has 10.244.9.9, which it should not; it lacks 10.244.3.10\n",
		}},
		{"cassandra --at " + gone, 2, []string{" resolves: 3 A records", "no answer  " + gone + ": ", "connection refused"}},
		{"cassandra-9.cassandra --at " + fresh, 1, []string{"does not resolve: NXDOMAIN", "same       "}},
		{"cassandra --at " + empty, 1, []string{"A: it has none [service], and should say 10.244.1.10, ", "AAAA: it has none [service], and should say NODATA [type]"}},
		{"_cql._tcp.cassandra --at " + stale, 0, []string{"same       "}},
		{"10.244.3.10 --at " + stale, 1, []string{"PTR: it has none [reverse], and should say cassandra-"}},
		{"10.244.9.9 --at " + stale, 1, []string{"PTR: it has cassandra-", "and should say NXDOMAIN [reverse]"}},
		{"www.example.com --at " + stale, 2, []string{"same       "}},
	} {
		status, stdout, stderr := runs(t, "", append(strings.Fields("explain "+row.args), "-f", manifest)...)
		for _, want := range row.stdout {
			if !strings.Contains(stdout, want) || status != row.status {
				t.Errorf("%s: got status %d, %s and\n%s\nwant %d and %s", row.args, status, stderr, stdout, row.status, want)
			}
		}
	}
	_, stdout, _ := runs(t, "", strings.Fields("explain cassandra -o json -f "+manifest+" --at "+stale)...)
	var r struct {
		Running []struct {
			Server  string
			Differs []string
			Answers []insight.Explanation
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || len(r.Running) != 1 || r.Running[0].Server != stale || len(r.Running[0].Differs) != 1 || len(r.Running[0].Answers) != 2 {
		t.Errorf("got %v and %s, want one server that differs, and its two answers", err, stdout)
	}
	if status, _, stderr := runs(t, "", strings.Fields("explain cassandra --live --service x -f "+manifest)...); status != statusUnknown || !strings.Contains(stderr, "--service: ") {
		t.Errorf("got status %d and %s, want what is wrong with --service", status, stderr)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	status, stdout, stderr := runs(t, "", strings.Fields("explain cassandra --live -f "+manifest)...)
	if status != statusUnknown || !strings.Contains(stdout, " resolves: 3 A records") || !strings.Contains(stderr, "error: expected a cluster") {
		t.Errorf("got status %d, %s and %s, want what is known, and that no server could be asked", status, stdout, stderr)
	}
}

// topOf returns what servers know: n names, one of them with what a terminal would obey.
func topOf(n int) *live.Top {
	t := &live.Top{Servers: []live.Standing{{Name: "coredns-a", Status: &insight.Status{State: "synced"}}, {Name: "coredns-b", Error: "no \x1b[2Janswer"}}, HalfLife: 300}
	for i := range n {
		t.Names = append(t.Names, live.Name{NameShown: insight.NameShown{Name: fmt.Sprintf("web-%d.\x1b]0;x\a\u202e%s", i, strings.Repeat("long.", 40)), Reason: "hostname", Type: "A", Clients: []insight.Who{{Address: "10.0.0.1"}, {Address: "10.0.0.2"}}, Count: float64(n - i), Over: 1}, Under: 2.25})
	}
	t.Services = []live.Service{{ServiceLine: insight.ServiceLine{Namespace: "prod", Name: "db", NotReady: 3}, Servers: []string{"coredns-a"}}}
	return t
}

// TestWordsOfTop: for seconds, counts and clients.
func TestWordsOfTop(t *testing.T) {
	for got, want := range map[string]string{
		span(89): "89 s", span(90): "2 min", span(5399): "90 min", span(5400): "2 h", count(9.94): "9.9", count(10.4): "10", margin(0, 0): "",
		client(insight.Who{Address: "a", Namespace: "n", Pod: "p"}): "n/p", client(insight.Who{Address: "a", Namespace: "n"}): "a in n",
		client(insight.Who{Address: "a"}): "a", client(insight.Who{}): "unknown",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestScreen: keys change what is seen, nothing is wider or higher than the terminal, and nothing in it is obeyed by it.
func TestScreen(t *testing.T) {
	asked := 0
	var s tea.Model = screen{interval: time.Hour, width: 80, height: 24, ask: func() tea.Msg { asked++; return nil }}
	seen := func() []string {
		content := s.View().Content
		if left := ansi.Strip(content); strings.ContainsFunc(left, func(r rune) bool { return r != '\n' && (r < ' ' || r == '\u202e') }) {
			t.Errorf("the terminal would obey %q", left)
		}
		lines := strings.Split(ansi.Strip(content), "\n")
		size := s.(screen)
		if widest := slices.MaxFunc(lines, func(a, b string) int { return ansi.StringWidth(a) - ansi.StringWidth(b) }); ansi.StringWidth(widest) > size.width || len(lines) > size.height {
			t.Errorf("%d lines, the widest of them %q, do not fit into %d × %d", len(lines), widest, size.width, size.height)
		}
		return lines
	}
	send := func(messages ...tea.Msg) (command tea.Cmd) {
		for _, m := range messages {
			s, command = s.Update(m)
		}
		return command
	}
	press := func(keys ...string) (command tea.Cmd) {
		for _, key := range keys {
			s, command = s.(screen).press(key)
		}
		return command
	}
	shows := func(what, want string) {
		t.Helper()
		if lines := seen(); !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("%s: got\n%s\nwant %q", what, strings.Join(lines, "\n"), want)
		}
	}
	s.Init()()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	shows("before the first answer", "asking the servers …\ntab or 1-4: list")
	send(answer{at: at, err: errors.New("no \x1bcluster")})
	shows("an error", "error: no ?cluster\ntab or 1-4: list")
	send(answer{at: at, top: topOf(50)})
	shows("servers", "1 of 2 servers: 0 answers, 0 denials and 0 failures a second\n  coredns-a: in sync\n  coredns-b: no ?[2Janswer\n")
	shows("names", " 1 names   2 clients   3 reasons   4 services \nCOUNT   OFF BY    WHY        LAST   TYPE   NAME ")
	shows("the first name", "\n50      -1 +2.3   hostname   0 s    A      web-0.?]0;x??long.")
	press("down", "j", "up")
	shows("the second name", "\n49      -1 +2.3   hostname   0 s    A      web-1.")
	press("pgdown", "pgdown", "pgdown", "pgdown", "pgdown", "space")
	shows("the last name", "\n1       -1 +2.3   hostname   0 s    A      web-49.")
	send(answer{at: at, top: topOf(3)})
	shows("all names, of which there are few now", "hostname   0 s    A      web-0.")
	send(answer{at: at, top: topOf(50)})
	press("home", "end")
	shows("the last name at once", "\n1       -1 +2.3   hostname   0 s    A      web-49.")
	press("pgup", "home", "up")
	shows("the first name again", "\n50      -1 +2.3   hostname   0 s    A      web-0.")
	press("tab")
	shows("clients", "(none)")
	press("4")
	shows("services", "NAMESPACE   SERVICE   READY   NOT READY   TERMINATING   HELD   BY\nprod        db        0       3           0             0      all servers")
	press("right", "left", "shift+tab", "l", "h", "h", "1")
	shows("names again", "web-0.")
	send(answer{at: at.Add(time.Hour), err: errors.New("gone")})
	shows("when it was known", "\n03:04:05   tab or 1-4: list")
	shows("what was known, beside an error", "error: gone")
	shows("what was known, beside an error", "web-0.")
	many := topOf(50)
	for i := range 60 {
		many.Servers = append(many.Servers, live.Standing{Name: fmt.Sprintf("coredns-%d", i), Status: &insight.Status{State: "synced"}})
	}
	send(answer{top: many})
	shows("servers that do not answer, before others", "1 of 62 servers: 0 answers, 0 denials and 0 failures a second\n  coredns-b: no ?[2Janswer\n  coredns-a: in sync\n")
	shows("as many servers as leave room for names", "\n  coredns-2: in sync\n  and 57 others\n")
	shows("names below them", "web-11.")
	shows("the keys", "q: quit")
	for _, size := range [][2]int{{1, 1}, {20, 5}, {300, 100}} {
		send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		seen()
	}
	if command := send(again{}); command == nil || command() != nil || asked != 2 {
		t.Errorf("asked %d times, want once more", asked)
	}
	for _, key := range []string{"q", "esc", "ctrl+c"} {
		if command := press(key); command == nil {
			t.Errorf("%s does not end it", key)
		} else if _, ends := command().(tea.QuitMsg); !ends {
			t.Errorf("%s does not end it", key)
		}
	}
}

// TestShow: it ends by a key and by a signal, and gives the terminal back.
func TestShow(t *testing.T) {
	ask := func(context.Context) (*live.Top, error) { return topOf(3), nil }
	var out strings.Builder
	if err := show(t.Context(), strings.NewReader("2q"), &out, time.Hour, ask); err != nil {
		t.Errorf("got %v and %q, want that it ended", err, out.String())
	}
	if !strings.Contains(out.String(), "\x1b[?1049l") {
		t.Errorf("got %q, want the terminal's own screen in the end", out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	input, _ := io.Pipe()
	err := show(ctx, input, io.Discard, time.Hour, func(context.Context) (*live.Top, error) {
		cancel()
		return nil, ctx.Err()
	})
	if err != nil {
		t.Errorf("got %v, want nothing to be wrong", err)
	}
}
