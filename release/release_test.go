package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeBinaries returns the binaries of a release for this architecture, in a folder. Each is a text, and what Go noted in this test
// stands for what it would have noted in them.
func fakeBinaries(t *testing.T) (all []*binary, bin string) {
	t.Helper()
	t.Chdir("..") // where the program runs
	bin = t.TempDir()
	self, err := os.Executable()
	check(t, err)
	for _, command := range []string{"coredns", "coredns-small", "dnsdiff", "headless-explain", "kubectl-dns"} {
		b, err := readBinary(self)
		check(t, err)
		b.command, b.os, b.path, b.coreDNS = command, "linux", filepath.Join(bin, command), "v1.15.0"
		check(t, os.WriteFile(b.path, []byte("the program "+command), 0o600))
		check(t, os.WriteFile(b.sbom(), []byte("what is in "+command), 0o600))
		all = append(all, b)
	}
	return all, bin
}

// unpacked returns the files of an archive, with their headers in order.
func unpacked(t *testing.T, r io.Reader) (map[string][]byte, []*tar.Header) {
	t.Helper()
	files := make(map[string][]byte)
	var headers []*tar.Header
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, headers
		}
		check(t, err)
		headers = append(headers, header)
		if header.Typeflag == tar.TypeReg {
			files[header.Name], err = io.ReadAll(archive)
			check(t, err)
		}
	}
}

// readImage returns the index in an archive that was written, and the image for this architecture in it.
func readImage(t *testing.T, path string) (v1.ImageIndex, v1.Image) {
	t.Helper()
	archive, err := os.Open(path)
	check(t, err)
	defer func() { _ = archive.Close() }()
	files, _ := unpacked(t, archive)
	dir := t.TempDir()
	for name, content := range files {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	top, err := layout.ImageIndexFromPath(dir)
	check(t, err)
	list, err := top.IndexManifest()
	check(t, err)
	if len(list.Manifests) != 1 {
		t.Fatalf("got %d images in %s, want one: crane pushes no more", len(list.Manifests), path)
	}
	index, err := top.ImageIndex(list.Manifests[0].Digest)
	check(t, err)
	check(t, validate.Index(index))
	manifest, err := index.IndexManifest()
	check(t, err)
	i := slices.IndexFunc(manifest.Manifests, func(d v1.Descriptor) bool {
		return d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH
	})
	if i < 0 {
		t.Fatalf("got no image for this architecture among %v", manifest.Manifests)
	}
	image, err := index.Image(manifest.Manifests[i].Digest)
	check(t, err)
	return index, image
}

func TestImageHoldsWhatItShould(t *testing.T) {
	all, bin := fakeBinaries(t)
	check(t, writeImages(all, "registry.example.org:5000/dns/coredns", func(suffix string) string { return filepath.Join(bin, "image"+suffix+".tar") }))
	for _, suffix := range []string{"", "-small"} {
		path := filepath.Join(bin, "image"+suffix+".tar")
		index, image := readImage(t, path)

		manifest, err := index.IndexManifest()
		check(t, err)
		config, err := image.ConfigFile()
		check(t, err)
		if config.OS != "linux" || config.Architecture != runtime.GOARCH || config.Config.User != "65532:65532" ||
			!slices.Equal(config.Config.Entrypoint, []string{"/coredns"}) || len(config.Config.ExposedPorts) != 5 {
			t.Errorf("%s: got the configuration %+v", path, config)
		}
		for _, label := range []string{"version", "revision", "created", "source", "licenses", "title"} {
			label = "org.opencontainers.image." + label
			if config.Config.Labels[label] == "" || manifest.Annotations[label] != config.Config.Labels[label] {
				t.Errorf("%s: got the label %s %q, and %q as an annotation", path, label, config.Config.Labels[label], manifest.Annotations[label])
			}
		}

		files, headers := unpacked(t, mutate.Extract(image))
		for _, h := range headers {
			if h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 || h.Uname != "" {
				t.Errorf("%s: got %s of user %d %q with mode %o, want one that others than root cannot change", path, h.Name, h.Uid, h.Uname, h.Mode)
			}
		}
		if got, want := string(files["sbom.cdx.json"]), "what is in coredns"+suffix; got != want {
			t.Errorf("%s: got the bill of materials %s, want %s", path, got, want)
		}
		if got, want := string(files["coredns"]), "the program coredns"+suffix; got != want {
			t.Errorf("%s: got the program %q, want %q", path, got, want)
		}
		if !bytes.Contains(files["LICENSE"], []byte("Apache License")) {
			t.Errorf("%s: got the licence %.60s", path, files["LICENSE"])
		}
		for _, want := range []string{"Go " + runtime.Version() + " (LICENSE)", "github.com/google/go-containerregistry v"} {
			if !bytes.Contains(files["THIRD-PARTY-LICENSES"], []byte(want)) {
				t.Errorf("%s: got no licence of %s", path, want)
			}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"]) {
			t.Errorf("%s: got no certificates", path)
		}
		for rest, n := files["etc/ssl/certs/ca-certificates.crt"], 0; ; n++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				if n < 100 {
					t.Errorf("%s: got %d certificates, want those of Mozilla", path, n)
				}
				break
			}
			_, err := x509.ParseCertificate(block.Bytes)
			check(t, err)
		}
		if len(files) != 5 {
			t.Errorf("%s: got %d files, want no others", path, len(files))
		}

		tag, err := name.NewTag("registry.example.org:5000/dns/coredns" + suffix + ":v1.15.0-" + runtime.GOARCH)
		check(t, err)
		docker, err := tarball.ImageFromPath(path, &tag)
		check(t, err)
		got, err := docker.ConfigName()
		check(t, err)
		want, err := image.ConfigName()
		check(t, err)
		if got != want {
			t.Errorf("%s: a Docker of one platform gets %v, want %v", path, got, want)
		}
	}
}

func TestReference(t *testing.T) {
	for _, c := range []struct{ name, suffix, version, want string }{
		{"example.org/dns/coredns", "", "v1.15.0", "example.org/dns/coredns:v1.15.0"},
		{"example.org:5000/coredns", "-small", "v1.15.0", "example.org:5000/coredns-small:v1.15.0"},
		{"example.org:5000/coredns:edge", "-small", "v1.15.0", "example.org:5000/coredns-small:edge"},
		{"coredns", "", "", "coredns:latest"},
	} {
		if got := reference(c.name, c.suffix, c.version); got != c.want {
			t.Errorf("%q, %q, %q: got %q, want %q", c.name, c.suffix, c.version, got, c.want)
		}
	}
}

// TestSameBinariesMakeTheSameRelease, in another folder and at another time.
func TestSameBinariesMakeTheSameRelease(t *testing.T) {
	var sums []string
	for range 2 {
		t.Run("", func(t *testing.T) {
			all, bin := fakeBinaries(t)
			for _, b := range all[2:] { // zip has a form of its own for times
				windows := *b
				windows.os = "windows"
				all = append(all, &windows)
			}
			coredns := *all[0]
			coredns.os = "windows"
			all = append(all, &coredns)
			check(t, writeDist(all, "coredns", filepath.Join(bin, "dist")))
			content, err := os.ReadFile(filepath.Join(bin, "dist", "SHA256SUMS"))
			check(t, err)
			sums = append(sums, string(content))
			if n := strings.Count(string(content), "\n"); n != 5 {
				t.Errorf("got the sums of %d files, want those of two images, two archives and the manifest for krew:\n%s", n, content)
			}
		})
	}
	if len(sums) != 2 || sums[0] != sums[1] {
		t.Errorf("got the sums\n%s", strings.Join(sums, "and\n"))
	}
}

func TestWhatIsMissingIsTold(t *testing.T) {
	without := func(all []*binary, command string) []*binary {
		return slices.DeleteFunc(all, func(b *binary) bool { return b.command == command })
	}
	for _, c := range []struct {
		name string
		harm func(t *testing.T, all []*binary) []*binary
		want string
	}{
		{"no server", func(_ *testing.T, all []*binary) []*binary { return without(all, "coredns") }, "no binary coredns for linux"},
		{"no small server", func(_ *testing.T, all []*binary) []*binary { return without(all, "coredns-small") }, "no binary coredns-small for linux"},
		{"a command is missing", func(_ *testing.T, all []*binary) []*binary { return without(all, "dnsdiff") }, "got 3 binaries, want "},
		{"no bill of materials", func(t *testing.T, all []*binary) []*binary {
			check(t, os.Remove(all[0].sbom()))
			return all
		}, "coredns.cdx.json: no such file"},
		{"a module that is nowhere", func(_ *testing.T, all []*binary) []*binary {
			all[0].modules = []string{"github.com/google/go-containerregistry@v0.0.0-none"}
			return all
		}, "go mod download: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, bin := fakeBinaries(t)
			if err := writeDist(c.harm(t, all), "coredns", filepath.Join(bin, "dist")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got the error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestBinariesAreFromOneSource tries folders of programs in which one is not what the others are.
func TestBinariesAreFromOneSource(t *testing.T) {
	self, err := os.Executable()
	check(t, err)
	good := "build/" + runtime.GOOS + "-" + runtime.GOARCH + "/coredns"
	text := filepath.Join(t.TempDir(), "text")
	check(t, os.WriteFile(text, []byte("no program"), 0o600))
	gofmt, err := exec.LookPath("gofmt")
	if err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		name  string
		files map[string]string // where they lead to
		want  string            // the error
	}{
		{"one", map[string]string{good: self, good + ".cdx.json": text}, ""},
		{"none", nil, "no binaries in "},
		{"a file that is no program", map[string]string{good: text}, "unrecognized file format"},
		{"a folder of another platform", map[string]string{"build/plan9-none/coredns": self}, "in the folder plan9-none"},
		{"one of another source", map[string]string{good: self, good + "-small": gofmt}, "build all of them anew"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := t.TempDir()
			for file, target := range c.files {
				path := filepath.Join(bin, file)
				check(t, os.MkdirAll(filepath.Dir(path), 0o700))
				check(t, os.Symlink(target, path))
			}
			all, err := findBinaries(bin)
			if c.want == "" && (err != nil || len(all) != 1 || all[0].command != "coredns") {
				t.Errorf("got %v and the error %v, want one", all, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got the error %v, want one with %q", err, c.want)
			}
		})
	}
	if err := run([]string{"tarball"}, t.TempDir(), ""); err == nil {
		t.Error("got no error of an argument that nobody knows")
	}
}
