package manifests

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kube"
)

// within runs f, which must not wait for anything.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("%s: not done in a minute", what)
		return nil
	}
}

// encodedAs returns text in UTF-16, little-endian or big-endian, with a byte order mark.
func encodedAs(text string, bigEndian bool) string {
	var b strings.Builder
	for _, unit := range append([]uint16{0xfeff}, utf16.Encode([]rune(text))...) {
		octets := []byte{byte(unit), byte(unit >> 8)}
		if bigEndian {
			octets[0], octets[1] = octets[1], octets[0]
		}
		b.Write(octets)
	}
	return b.String()
}

func TestHostileManifests(t *testing.T) {
	const served = "a | a/web=10.96.0.1 | "
	lol := "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
	for i := range 9 {
		lol += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 8), i)
	}
	quadratic := "a: &a [" + strings.Repeat("x,", 5000) + "x]\nb: [" + strings.Repeat("*a,", 5000) + "*a]\n"
	for _, c := range []struct{ name, content, want, err string }{
		{"a byte order mark", "\ufeff" + manifestWeb, served, ""},
		{"UTF-16, little-endian", encodedAs(manifestWeb, false), served, ""},
		{"UTF-16, big-endian", encodedAs(manifestWeb, true), served, ""},
		{"UTF-16 that ends in the middle", encodedAs(manifestWeb, true)[:21], "", "document 1, line 1: "},
		{"lines that end with CR", strings.ReplaceAll(manifestWeb+"---\n"+manifestWeb, "\n", "\r"), served, ""},
		{"a zero octet behind a document", manifestWeb + "---\n\x00", "", "document 1, line 1: control characters"},
		{"octets of a program", "\x7fELF\x02\x01\x01\x00", "", "document 1, line 1: "},
		{"a billion laughs", lol, "", "document 1, line 1: document contains excessive aliasing"},
		{"a billion laughs in the second document", manifestWeb + "---\n" + lol, "", "document 2, line 2: document contains excessive aliasing"},
		{"a billion laughs in a list", "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(lol), "\n", "\n  ") + "\n", "", "document 1, line 1: document contains excessive aliasing"},
		{"25 million values by one list of aliases", quadratic, "", "document 1, line 1: document contains excessive aliasing"},
		{"an alias of what it is in", "apiVersion: v1\nkind: List\nitems: &a\n- *a\n", "", "document 1, line 1: anchor 'a' value contains itself"},
		{"such an alias behind an error", "apiVersion: v1\nkind: Service\nspec: x\n---\na: &a [*a]\n", "", "document 1, line 3: "},
		{"merges of themselves", "a: &a\n  <<: *a\n", "", "document 1, line 1: anchor 'a' value contains itself"},
		{"100,000 brackets", strings.Repeat("[", 100_000), "", "document 1, line "},
		{"100,000 brackets that close", strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), "", "document 1, line "},
		{"8 lists in each other", strings.Repeat("{apiVersion: v1, kind: List, items: [", 8) + manifestWeb + strings.Repeat("]}", 8), served, ""},
		{"9 lists in each other", strings.Repeat("{apiVersion: v1, kind: List, items: [", 9) + manifestWeb + strings.Repeat("]}", 9), "", "document 1, line 1: " + strings.Repeat("item 1: ", 8) + "more than 8 lists in each other"},
		{"1,000 lists in each other", strings.Repeat("{apiVersion: v1, kind: List, items: [", 1000) + strings.Repeat("]}", 1000), "", "document 1, line 1: " + strings.Repeat("item 1: ", 8) + "more than 8 lists in each other"},
		{"100,000 indents", strings.Repeat("- ", 100_000) + "x", "", "document 1, line "},
		{"10,000 documents", strings.Repeat("---\n", 10_000) + manifestWeb, served, ""},
		{"an error behind 10,000 documents", strings.Repeat("---\n"+manifestWeb, 1000) + "---\n[", "", "document 1001, line 20"},
		{"a line of 256 KiB", "# " + strings.Repeat("x", 1<<18) + "\n" + manifestWeb, served, ""},
		{"a key of 256 KiB", "{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web}, " + strings.Repeat("x", 1<<18) + ": 1}", "", ""},
		{"10,000 anchors", "{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web}, x: [" + strings.Repeat("&a x, ", 10_000) + "x], spec: {clusterIP: 10.96.0.1}}", served, ""},
	} {
		dir, feeds := t.TempDir(), newManifestFeeds(kube.Selection{})
		writeManifests(t, dir, 0, map[string]string{"a.yaml": c.content})
		err := within(t, c.name, func() error {
			_, err := manifestsIn(dir, feeds, "a.yaml")
			return err
		})
		switch {
		case c.err != "":
			if want := "manifests: " + filepath.Join(dir, "a.yaml") + ": " + c.err; err == nil || !strings.HasPrefix(err.Error(), want) || len(err.Error()) > 4096 {
				t.Errorf("%s: got %.300v\nwant %s", c.name, err, want)
			}
		case c.want != "" && (err != nil || feeds.String() != c.want):
			t.Errorf("%s: got %q, %.300v, want %q", c.name, feeds, err, c.want)
		}
	}
}

// TestHostileFiles: what is in a folder, or named as a path, may be anything.
func TestHostileFiles(t *testing.T) {
	withPipe := func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "d", "b.yaml"), 0o600) }
	for _, c := range []struct {
		name            string
		files           map[string]string
		make            func(dir string) error
		path, want, err string
	}{
		{"a link to the folder above", map[string]string{"d/a.yaml": manifestWeb, "d/up": "-> .."}, nil, "d", "a | a/web=10.96.0.1 | ", ""},
		{"a link to itself", map[string]string{"d/a.yaml": manifestWeb, "d/b.yaml": "-> b.yaml"}, nil, "d", "", "b.yaml: too many levels of symbolic links"},
		{"links around in a circle", map[string]string{"d/a.yaml": manifestWeb, "d/b": "-> c", "d/c": "-> b"}, nil, "d", "", "too many levels of symbolic links"},
		{"a link to nothing", map[string]string{"d/a.yaml": manifestWeb, "d/b.yaml": "-> none"}, nil, "d", "", "b.yaml: no such file or directory"},
		{"folders that all link to all", nil, func(dir string) error {
			for i := range 12 {
				if err := os.MkdirAll(filepath.Join(dir, "d", fmt.Sprint(i)), 0o700); err != nil {
					return err
				}
				for j := range 12 {
					if err := os.Symlink(filepath.Join("..", fmt.Sprint(j)), filepath.Join(dir, "d", fmt.Sprint(i), fmt.Sprint(j))); err != nil {
						return err
					}
				}
			}
			return os.WriteFile(filepath.Join(dir, "d", "7", "a.yaml"), []byte(manifestWeb), 0o600)
		}, "d", "a | a/web=10.96.0.1 | ", ""},
		{"a device for a path", nil, nil, "/dev/zero", "", "/dev/zero: expected a file or a folder"},
		{"a link to a device", map[string]string{"d/a.yaml": manifestWeb, "d/b.yaml": "-> /dev/zero", "d/c.yaml": "-> /dev/stdin"}, nil, "d", "a | a/web=10.96.0.1 | ", ""},
		{"a pipe", map[string]string{"d/a.yaml": manifestWeb}, withPipe, "d", "a | a/web=10.96.0.1 | ", ""},
		{"a pipe for a path", map[string]string{"d/a.yaml": manifestWeb}, withPipe, "d/b.yaml", "", "b.yaml: expected a file or a folder"},
		{"a socket", map[string]string{"d/a.yaml": manifestWeb}, func(dir string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "d", "b.yaml")})
			if err == nil {
				t.Cleanup(func() { _ = l.Close() }) // nobody is connected
			}
			return err
		}, "d", "a | a/web=10.96.0.1 | ", ""},
		{"a folder with the name of a file", map[string]string{"d/a.yaml/b.yaml": manifestWeb}, nil, "d", "a | a/web=10.96.0.1 | ", ""},
		{"a file of a terabyte", map[string]string{"d/a.yaml": ""}, func(dir string) error { return os.Truncate(filepath.Join(dir, "d", "a.yaml"), 1<<40) }, "d", "", "a.yaml: expected up to 256 MiB"},
		{"a file that is an octet too long", map[string]string{"d/a.yaml": ""}, func(dir string) error { return os.Truncate(filepath.Join(dir, "d", "a.yaml"), largestManifest+1) }, "d", "", "a.yaml: expected up to 256 MiB"},
		{"a file of the kernel, which has no size", nil, nil, "/proc/self/status", "", "/proc/self/status: document 1, line "},
		{"a name of odd characters", map[string]string{"d/ \n\xff.yaml": manifestWeb}, nil, "d", "a | a/web=10.96.0.1 | ", ""},
		{"a file that may not be read", map[string]string{"d/a.yaml": manifestWeb}, func(dir string) error { return os.Chmod(filepath.Join(dir, "d", "a.yaml"), 0) }, "d", "", "a.yaml: permission denied"},
		{"a folder that may not be read", map[string]string{"d/e/a.yaml": manifestWeb}, func(dir string) error { return os.Chmod(filepath.Join(dir, "d", "e"), 0) }, "d", "", "e: permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.err, "permission") && os.Geteuid() == 0 {
				t.Skip("root may read everything")
			}
			dir, feeds := t.TempDir(), newManifestFeeds(kube.Selection{})
			// Otherwise it cannot be removed.
			t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "d", "e"), 0o700) })
			writeManifests(t, dir, 0, c.files)
			if c.make != nil {
				fatal.If(t, c.make(dir))
			}
			err := within(t, c.name, func() error {
				_, err := manifestsIn(dir, feeds, c.path)
				return err
			})
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if want := cmp.Or(c.want, " |  | "); feeds.String() != want {
				t.Errorf("got %q, want %q", feeds, want)
			}
		})
	}
}

// TestAFileThatBecomesAPipe: between the look at a folder and the reading of a file there is time
// for it to become something else.
func TestAFileThatBecomesAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "a.yaml")
	fatal.If(t, syscall.Mkfifo(pipe, 0o600))
	err := within(t, "a pipe", func() error {
		_, err := file{path: pipe}.read()
		return err
	})
	if want := pipe + ": expected a file"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestFilesThatChangeWhileTheyAreRead: files are written, cut, replaced and removed while they are
// read. What is served in the end is what they are in the end.
func TestFilesThatChangeWhileTheyAreRead(t *testing.T) {
	dir := t.TempDir()
	writeManifests(t, dir, 0, map[string]string{"d/a.yaml": manifestWeb})
	feeds := newManifestFeeds(kube.Selection{})
	m, err := manifestsIn(dir, feeds, "d")
	fatal.If(t, err)
	var writing sync.WaitGroup
	stop := make(chan struct{})
	path := func(name string) string { return filepath.Join(dir, "d", name) }
	writing.Go(func() {
		content := []byte(strings.Repeat("---\n"+manifestWeb, 50))
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Each may fail, for another has moved the file away.
			switch i % 5 {
			case 0:
				_ = os.WriteFile(path("a.yaml"), content, 0o600)
			case 1:
				_ = os.Truncate(path("a.yaml"), int64(i%len(content)))
			case 2:
				_ = os.Rename(path("a.yaml"), path("b.yaml"))
			case 3:
				_ = os.Symlink("b.yaml", path("a.yaml"))
			case 4:
				_ = os.Remove(path("a.yaml"))
			}
		}
	})
	for range 200 {
		m.reload()
	}
	close(stop)
	writing.Wait()
	_ = os.Remove(path("b.yaml")) // it may not be there
	_ = os.Remove(path("a.yaml"))
	writeManifests(t, dir, 1, map[string]string{"d/a.yaml": manifestWeb + "---\n" + manifestSlice})
	m.reload()
	if got, want := feeds.String(), "a | a/web=10.96.0.1 | a/web-1=10.0.0.1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestManifestsInAConfigMapChangeAtOnce: the kubelet changes what the link ..data leads to, with
// all files behind it.
func TestManifestsInAConfigMapChangeAtOnce(t *testing.T) {
	dir := t.TempDir()
	service := func(name string, version int) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {namespace: x, name: %s}, spec: {clusterIP: 10.0.0.%d}}", name, version)
	}
	write := func(version int) {
		folder := fmt.Sprintf("..v%d", version)
		writeManifests(t, dir, version, map[string]string{folder + "/a.yaml": service("a", version), folder + "/b.yaml": service("b", version), "..tmp": "-> " + folder})
		fatal.If(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	write(1)
	writeManifests(t, dir, 0, map[string]string{"a.yaml": "-> ..data/a.yaml", "b.yaml": "-> ..data/b.yaml"})
	bubble.Test(t, func(t *testing.T) {
		feeds := newManifestFeeds(kube.Selection{})
		m, err := manifestsIn(dir, feeds, ".")
		fatal.If(t, err)
		m.Start()
		defer m.Stop()
		for version := 2; version < 6; version++ {
			write(version)
			time.Sleep(manifestInterval + manifestInterval/2)
			synctest.Wait()
			if got, want := feeds.String(), fmt.Sprintf("x | x/a=10.0.0.%d x/b=10.0.0.%d | ", version, version); got != want {
				t.Errorf("version %d: got %q, want %q", version, got, want)
			}
		}
	})
}
