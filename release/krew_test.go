package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKrewGetsWhatIsReleased: the manifest has the sum of each archive, and names files that are in it.
func TestKrewGetsWhatIsReleased(t *testing.T) {
	dir := t.TempDir()
	sums := make(map[string]string)
	for _, archive := range []string{"headless_v1.2.3_linux_amd64.tar.gz", "headless_v1.2.3_windows_amd64.zip"} {
		check(t, os.WriteFile(filepath.Join(dir, archive), []byte(archive), 0o600))
		sum := sha256.Sum256([]byte(archive))
		sums[archive] = hex.EncodeToString(sum[:])
	}
	check(t, writeKrew(dir, "v1.2.3", []string{"windows_amd64", "linux_amd64"}))
	text, err := os.ReadFile(filepath.Join(dir, "dns.yaml"))
	check(t, err)
	for archive, sum := range sums {
		if !strings.Contains(string(text), "/v1.2.3/"+archive+"\n    sha256: "+sum+"\n") {
			t.Errorf("got no %s with its sum %s in\n%s", archive, sum, text)
		}
	}
	for _, line := range []string{"- from: headless_v1.2.3_linux_amd64/kubectl-dns\n", "- from: headless_v1.2.3_windows_amd64/kubectl-dns.exe\n", "    bin: kubectl-dns.exe\n", "  version: v1.2.3\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("got no %q in\n%s", line, text)
		}
	}
	if err := writeKrew(dir, "v1.2.3", []string{"plan9_amd64"}); err == nil {
		t.Error("got no error for an archive that is not there")
	}
}
