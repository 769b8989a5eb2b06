package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// krewHead is what the manifest of the plugin dns for krew begins with: the version is put in. Its form is that of
// https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/.
const krewHead = `apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: dns
spec:
  version: %s
  homepage: https://github.com/coredns-headless/headless
  shortDescription: Explain, list, check and compare DNS names
  description: |
    Says why a name of the cluster does not resolve and what to change (explain),
    lists the names that there are (names), finds in manifests what will go wrong
    (lint), and compares two DNS servers (diff). It changes nothing.
  platforms:
`

// krewPlatform is of one platform: its os, arch, version, archive, sum and folder, and what .exe is there.
const krewPlatform = `  - selector:
      matchLabels:
        os: %s
        arch: %s
    uri: https://github.com/coredns-headless/headless/releases/download/%s/%s
    sha256: %x
    files:
    - from: %[6]s/kubectl-dns%[7]s
      to: .
    - from: %[6]s/LICENSE
      to: .
    bin: kubectl-dns%[7]s
`

// writeKrew writes dns.yaml, the manifest by which krew installs kubectl-dns from the archives in a folder.
func writeKrew(dir, version string, platforms []string) error {
	slices.Sort(platforms)
	var text strings.Builder
	fmt.Fprintf(&text, krewHead, version)
	for _, platform := range platforms {
		system, arch, _ := strings.Cut(platform, "_")
		folder, extension, exe := "headless_"+version+"_"+platform, ".tar.gz", ""
		if system == "windows" {
			extension, exe = ".zip", ".exe"
		}
		archive, err := os.ReadFile(filepath.Join(dir, folder+extension))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, krewPlatform, system, arch, version, folder+extension, sha256.Sum256(archive), folder, exe)
	}
	return os.WriteFile(filepath.Join(dir, "dns.yaml"), []byte(text.String()), 0o644) //nolint:gosec // it is for everybody
}
