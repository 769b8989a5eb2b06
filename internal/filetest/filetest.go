// Package filetest reads and writes files for tests, which end when that fails.
package filetest

import (
	"os"
	"path/filepath"
	"testing"
)

// Read returns the content of a file.
func Read(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Write writes a file, in a folder that is made if need be.
func Write[C string | []byte](t testing.TB, path string, content C) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Temp writes a file of this name in a folder of its own, which goes with the test, and returns its path.
func Temp[C string | []byte](t testing.TB, name string, content C) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	Write(t, path, content)
	return path
}
