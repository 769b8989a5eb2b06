package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// dockerManifest tells a Docker that does not read OCI layouts what is in an archive.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// writeArchive writes an image as an OCI layout in an archive, under a name with a tag. A Docker that takes one platform only
// has it under a tag that ends with the architecture.
func writeArchive(path, name string, modified time.Time, index v1.ImageIndex, images []v1.Image) error {
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the way of nobody
	oci, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := oci.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          name, // what containerd calls it; the next is what OCI calls its tag
		"org.opencontainers.image.ref.name": name[strings.LastIndex(name, ":")+1:],
	})); err != nil {
		return err
	}

	var manifests []dockerManifest
	for _, image := range images {
		manifest, err := image.Manifest()
		if err != nil {
			return err
		}
		config, err := image.ConfigFile()
		if err != nil {
			return err
		}
		entry := dockerManifest{Config: blob(manifest.Config), RepoTags: []string{name + "-" + config.Architecture}}
		for _, layer := range manifest.Layers {
			entry.Layers = append(entry.Layers, blob(layer))
		}
		manifests = append(manifests, entry)
	}
	content, err := json.Marshal(manifests)
	if err != nil {
		return err
	}

	files := []file{{"manifest.json", 0o644, content}}
	if err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files = append(files, file{name, 0o644, content})
		return err
	}); err != nil {
		return err
	}
	archive, err := tarOf(files, modified)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, archive, 0o644); err != nil { //nolint:gosec // it is for everybody
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s@%s, %d MB\n", path, name, digest, len(archive)/1_000_000)
	return nil
}

// blob returns where a layout has the content that d describes.
func blob(d v1.Descriptor) string { return "blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex }
