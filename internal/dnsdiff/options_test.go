package dnsdiff

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/buildinfo"
)

func TestOptionsAreRefusedWithAReason(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "-old: expected a server, HOST[:PORT]"},
		{"-old 10.0.0.1", "-new: expected a server, HOST[:PORT]"},
		{"-old 10.0.0.1 -new 10.0.0.1:53", "-old and -new are the same server, 10.0.0.1:53"},
		{"-old 10.0.0.1:dns -new 10.0.0.2", `-old: expected HOST[:PORT], got "10.0.0.1:dns"`},
		{"-old 10.0.0.1:0 -new 10.0.0.2", `-old: expected HOST[:PORT], got "10.0.0.1:0"`},
		{"-old a:b:c -new 10.0.0.2", `-old: expected HOST[:PORT], got "a:b:c"`},
		{"-old a -new b c", `expected options only, got ["c"]`},
		{"-old a -new b -odd", "flag provided but not defined: -odd"},
		{"-old a -new b -manifests x -context y", "-manifests takes the place of -kubeconfig and -context"},
		{"-old a -new b -net sctp", `-net: expected udp or tcp, got ["sctp"]`},
		{"-old a -new b -endpoints some", `-endpoints: expected all or headless, got "some"`},
		{"-old a -new b -bufsize 100", "-bufsize: expected 0, or from 512 up to 65535, got 100"},
		{"-old a -new b -bufsize 65536", "-bufsize: expected 0, or from 512 up to 65535, got 65536"},
		{"-old a -new b -rate 0", "-rate: expected at least 1, got 0"},
		{"-old a -new b -concurrency 0", "-concurrency: expected from 1 up to 1000, got 0"},
		{"-old a -new b -timeout 0s", "-timeout: expected a positive duration, got 0s"},
		{"-old a -new b -retries -1", "-retries: expected at least 0, got -1"},
		{"-old a -new b -again -1", "-again: expected at least 0, got -1"},
		{"-old a -new b -wait -1s", "-wait: expected no negative duration, got -1s"},
		{"-old a -new b -repeat 0", "-repeat: expected at least 1, got 0"},
		{"-old a -new b -duration -1s", "-duration: expected no negative duration, got -1s"},
		{"-old a -new b -o xml", `-o: expected text, json or yaml, got "xml"`},
		{"-old a -new b -examples -1", "-examples: expected at least 0, got -1"},
		{"-old a -new b -progress -1s", "-progress: expected no negative duration, got -1s"},
		{"-old a -new b -zones .", `-zones: expected the names of zones, got "."`},
		{"-old a -new b -multicluster .", `-multicluster: expected the names of zones, got "."`},
		{"-old a -new b -multicluster A,cluster.local", `-multicluster: expected each zone once, got "cluster.local" again`},
		{"-old a -new b -namespaces a,,b", "expected words with commas between them"},
	} {
		var stdout, stderr bytes.Buffer
		status := Main(t.Context(), strings.Fields(c.args), strings.NewReader(""), &stdout, &stderr)
		if status != statusNotCompared || !strings.Contains(stderr.String(), c.want) || stdout.Len() > 0 {
			t.Errorf("%q: got status %d and %q, want %d and %q", c.args, status, stderr.String(), statusNotCompared, c.want)
		}
	}
}

func TestOptionsSayWhatToDo(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-old 10.0.0.1 -new 127.0.0.1:1053", "10.0.0.1:53 127.0.0.1:1053 [cluster.local.] [udp tcp] 1 0s"},
		{"-old fd00::1 -new [fd00::2]:1053", "[fd00::1]:53 [fd00::2]:1053 [cluster.local.] [udp tcp] 1 0s"},
		{"-old [fd00::1] -new dns.example.org", "[fd00::1]:53 dns.example.org:53 [cluster.local.] [udp tcp] 1 0s"},
		{"-old a -new b -zones A.test,b.test. -net tcp", "a:53 b:53 [a.test. b.test.] [tcp] 1 0s"},
		{"-old a -new b -zones a.test -zones b.test", "a:53 b:53 [a.test. b.test.] [udp tcp] 1 0s"},
		{"-old a -new b -multicluster Set.local", "a:53 b:53 [cluster.local. set.local.] [udp tcp] 1 0s"},
		{"-old a -new b -duration 24h", "a:53 b:53 [cluster.local.] [udp tcp] 0 24h0m0s"},
		{"-old a -new b -duration 24h -repeat 2", "a:53 b:53 [cluster.local.] [udp tcp] 2 24h0m0s"},
	} {
		o, err := parseOptions(strings.Fields(c.args))
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		if got := fmt.Sprint(o.old, " ", o.new, " ", o.zones, " ", o.networks, " ", o.repeat, " ", o.duration); got != c.want {
			t.Errorf("%q: got %q, want %q", c.args, got, c.want)
		}
		if o.timeout != 2*time.Second || o.bufsize != 1232 {
			t.Errorf("%q: got the timeout %v and the buffer %d, want the defaults", c.args, o.timeout, o.bufsize)
		}
	}
}

func TestVersion(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := Main(t.Context(), []string{"--version"}, strings.NewReader(""), &stdout, &stderr)
	if want := buildinfo.Get().String() + "\n"; status != statusSame || stderr.Len() > 0 || stdout.String() != want {
		t.Errorf("got status %d, %q and %q, want %d and %q", status, stdout.String(), stderr.String(), statusSame, want)
	}
}

// TestHelpNamesEveryOption holds the help page against the options.
func TestHelpNamesEveryOption(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := Main(t.Context(), []string{"-h"}, strings.NewReader(""), &stdout, &stderr); status != statusSame || stderr.Len() > 0 || stdout.String() != help {
		t.Errorf("got status %d, %q and %q, want %d and the help page", status, stdout.String(), stderr.String(), statusSame)
	}
	for _, name := range []string{
		"old", "new", "kubeconfig", "context", "manifests", "namespaces", "zones", "multicluster", "pods", "endpoints", "zonal", "net", "bufsize", "rate", "concurrency",
		"timeout", "retries", "again", "wait", "repeat", "duration", "seed", "ttl", "strict", "o", "examples", "progress", "version",
	} {
		if !strings.Contains(help, "\n  -"+name+" ") && !strings.Contains(help, " -"+name+" SERVER") {
			t.Errorf("got no -%s on the help page", name)
		}
	}
	for line := range strings.Lines(help) {
		if len(line) > 81 {
			t.Errorf("got %d columns, want 80: %s", len(line)-1, line)
		}
	}
}
