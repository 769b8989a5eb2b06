package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// ownLicence is the licence of this repository, in whose root the program runs.
const ownLicence = "LICENSE"

// licenceFile is what the files with terms are called in the modules that are compiled in.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)`)

// licences returns the terms of all that is compiled into programs: each text once, under those whose text it is. These are
// modules, as path@version, and Go itself.
func licences(modules []string) ([]byte, error) {
	folders, err := moduleFolders(modules)
	if err != nil {
		return nil, err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	folders["Go "+runtime.Version()] = strings.TrimSpace(string(goroot))

	owners := make(map[string][]string) // by text
	for _, owner := range slices.Sorted(maps.Keys(folders)) {
		entries, err := os.ReadDir(folders[owner])
		if err != nil {
			return nil, err
		}
		found := false
		for _, entry := range entries {
			if entry.IsDir() || !licenceFile.MatchString(entry.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folders[owner], entry.Name()))
			if err != nil {
				return nil, err
			}
			found = true
			owners[string(text)] = append(owners[string(text)], owner+" ("+entry.Name()+")")
		}
		if !found {
			return nil, fmt.Errorf("%s has no file with its licence", owner)
		}
	}

	var all bytes.Buffer
	texts := slices.SortedFunc(maps.Keys(owners), func(a, b string) int { return strings.Compare(owners[a][0], owners[b][0]) })
	for _, text := range texts {
		fmt.Fprintf(&all, "%s\n%s\n\n%s\n\n", strings.Repeat("=", 80), strings.Join(owners[text], "\n"), strings.TrimSpace(text))
	}
	return all.Bytes(), nil
}

// moduleFolders returns where the module cache has modules.
func moduleFolders(modules []string) (map[string]string, error) {
	folders := make(map[string]string)
	if len(modules) == 0 {
		return folders, nil
	}
	out, err := exec.Command("go", append([]string{"mod", "download", "-json"}, modules...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go mod download: %w: %s", err, out)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var module struct{ Path, Version, Dir string }
		if err := decoder.Decode(&module); err != nil {
			return nil, fmt.Errorf("go mod download: %w", err)
		}
		folders[module.Path+" "+module.Version] = module.Dir
	}
	return folders, nil
}
