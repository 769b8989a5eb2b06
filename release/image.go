package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// writeImages writes an archive with the image of each build of CoreDNS, for the linux platforms among the binaries. path
// returns where the one of a build with a suffix to its name goes.
func writeImages(all []*binary, name string, path func(suffix string) string) error {
	for _, suffix := range []string{"", "-small"} {
		var servers []*binary
		for _, b := range all {
			if b.os == "linux" && b.command == "coredns"+suffix {
				servers = append(servers, b)
			}
		}
		if len(servers) == 0 {
			return fmt.Errorf("no binary coredns%s for linux: make binaries builds them", suffix)
		}
		index, images, err := imageIndex(servers)
		if err != nil {
			return err
		}
		if err := writeArchive(path(suffix), reference(name, suffix, servers[0].coreDNS), servers[0].time, index, images); err != nil {
			return fmt.Errorf("%s: %w", path(suffix), err)
		}
	}
	return nil
}

// reference returns the name of the image of a build, with a tag.
func reference(name, suffix, version string) string {
	slash, colon := strings.LastIndex(name, "/"), strings.LastIndex(name, ":")
	if colon > slash {
		return name[:colon] + suffix + name[colon:]
	}
	return name + suffix + ":" + cmp.Or(version, "latest")
}

// labels say what is in an image, as https://specs.opencontainers.org/image-spec/annotations/ has it.
func labels(b *binary) map[string]string {
	const repository = "https://github.com/coredns-headless/headless"
	return map[string]string{
		"org.opencontainers.image.title":         "coredns with headless",
		"org.opencontainers.image.description":   "CoreDNS " + b.coreDNS + " with a plugin that answers for the Services of a Kubernetes cluster",
		"org.opencontainers.image.url":           repository,
		"org.opencontainers.image.source":        repository,
		"org.opencontainers.image.documentation": repository + "/blob/main/docs/deploying.md",
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.version":       b.version,
		"org.opencontainers.image.revision":      b.revision,
		"org.opencontainers.image.created":       b.time.Format(time.RFC3339),
	}
}

// imageIndex returns one image for several platforms, and the image for each of them.
func imageIndex(servers []*binary) (v1.ImageIndex, []v1.Image, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var images []v1.Image
	for _, server := range servers {
		image, err := serverImage(server)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", server.path, err)
		}
		images = append(images, image)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: server.os, Architecture: server.arch}},
		})
	}
	return mutate.Annotations(index, labels(servers[0])).(v1.ImageIndex), images, nil
}

// serverImage returns the image of a server: it, and in a layer of its own what seldom changes with it.
func serverImage(server *binary) (v1.Image, error) {
	program, err := os.ReadFile(server.path)
	if err != nil {
		return nil, err
	}
	sbom, err := os.ReadFile(server.sbom())
	if err != nil {
		return nil, err
	}
	terms, err := licences(server.modules)
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(ownLicence)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = server.os, server.arch, v1.Time{Time: server.time}
	config.Config = v1.Config{
		User:         "65532:65532", // by number, so that runAsNonRoot can be checked
		WorkingDir:   "/",
		Entrypoint:   []string{"/coredns"},
		ExposedPorts: map[string]struct{}{"53/udp": {}, "53/tcp": {}, "8080/tcp": {}, "8181/tcp": {}, "9153/tcp": {}},
		Labels:       labels(server),
	}
	image, err := mutate.ConfigFile(base, config)
	if err != nil {
		return nil, err
	}
	for _, files := range [][]file{
		{{"etc/ssl/certs/ca-certificates.crt", 0o644, certificates()}},
		{
			{"LICENSE", 0o644, own},
			{"THIRD-PARTY-LICENSES", 0o644, terms},
			{"coredns", 0o755, program},
			{"sbom.cdx.json", 0o644, sbom},
		},
	} {
		content, err := tarOf(files, server.time)
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(
			func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
			tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
		if err != nil {
			return nil, err
		}
		created := v1.History{Created: v1.Time{Time: server.time}, CreatedBy: "make image", Comment: names(files)}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: created}); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// certificates returns the certificate authorities that Mozilla trusts, for forwarding over TLS, as PEM. Those that it trusts in
// part only are left out: a file cannot say so.
func certificates() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a bytes.Buffer takes all
		}
	}
	return all.Bytes()
}

// file is one in an archive.
type file struct {
	name    string // its path, with slashes
	mode    int64
	content []byte
}

func names(files []file) string {
	var names []string
	for _, f := range files {
		names = append(names, "/"+f.name)
	}
	return strings.Join(names, " ")
}

// tarOf returns an archive of files of root, and of the folders they are in.
func tarOf(files []file, modified time.Time) ([]byte, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	var made []string // folders
	for _, f := range files {
		for i, c := range f.name {
			if folder := f.name[:i] + "/"; c == '/' && !slices.Contains(made, folder) {
				made = append(made, folder)
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: 0o755, ModTime: modified}); err != nil {
					return nil, err
				}
			}
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: modified}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}
