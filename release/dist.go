package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// commands are what is released for each platform. The small build of CoreDNS is released as an image only.
var commands = []string{"coredns", "dnsdiff", "headless-explain", "kubectl-dns"}

// writeDist writes what a release holds into a folder, which is made anew.
func writeDist(all []*binary, image, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // it is for everybody
		return err
	}
	version := strings.Trim(all[0].version, "()") // (devel) without version control
	if err := writeImages(all, image, func(suffix string) string {
		return filepath.Join(dir, "headless_"+version+"_image"+suffix+".tar")
	}); err != nil {
		return err
	}

	platforms := make(map[string][]*binary)
	for _, b := range all {
		if slices.Contains(commands, b.command) {
			platforms[b.os+"_"+b.arch] = append(platforms[b.os+"_"+b.arch], b)
		}
	}
	for platform, binaries := range platforms {
		if len(binaries) != len(commands) {
			return fmt.Errorf("%s: got %d binaries, want %q: make binaries builds them", platform, len(binaries), commands)
		}
		if err := writeCommands(dir, "headless_"+version+"_"+platform, binaries); err != nil {
			return err
		}
	}
	if err := writeKrew(dir, version, slices.Collect(maps.Keys(platforms))); err != nil {
		return err
	}
	return writeSums(dir)
}

// writeCommands writes an archive of the commands for one platform, in a folder called as the archive.
func writeCommands(dir, name string, binaries []*binary) error {
	own, err := os.ReadFile(ownLicence)
	if err != nil {
		return err
	}
	var modules []string
	var files []file
	for _, b := range binaries {
		modules = append(modules, b.modules...)
		for _, path := range []string{b.path, b.sbom()} {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			mode := int64(0o755)
			if path == b.sbom() {
				mode = 0o644
			}
			files = append(files, file{filepath.Base(path), mode, content})
		}
	}
	slices.Sort(modules)
	terms, err := licences(slices.Compact(modules))
	if err != nil {
		return err
	}
	files = append(files, file{"LICENSE", 0o644, own}, file{"THIRD-PARTY-LICENSES", 0o644, terms})
	for i := range files {
		files[i].name = path.Join(name, files[i].name)
	}

	pack, extension := gzipped, ".tar.gz"
	if binaries[0].os == "windows" {
		pack, extension = zipped, ".zip"
	}
	archive, err := pack(files, binaries[0].time)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+extension), archive, 0o644) //nolint:gosec // it is for everybody
}

// gzipped returns an archive of files as tar -z makes it.
func gzipped(files []file, modified time.Time) ([]byte, error) {
	archive, err := tarOf(files, modified)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	w := gzip.NewWriter(&content)
	if _, err := w.Write(archive); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

// zipped returns an archive of files as zip makes it.
func zipped(files []file, modified time.Time) ([]byte, error) {
	var content bytes.Buffer
	w := zip.NewWriter(&content)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: modified}
		header.SetMode(os.FileMode(f.mode)) //nolint:gosec // a mode has 12 bits
		entry, err := w.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

// writeSums writes SHA256SUMS over the other files of a folder, as sha256sum reads it.
func writeSums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), entry.Name())
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644) //nolint:gosec // it is for everybody
}
