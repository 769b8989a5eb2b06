package matrix

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// heading returns the beginning of the report: what was run at which commit, when and where, and the plot.
func (o Options) heading(commit string, took time.Duration) string {
	plot := ""
	if o.Plot != "" {
		path, err := filepath.Rel(filepath.Dir(o.Markdown), o.Plot)
		if err != nil {
			path = o.Plot
		}
		plot = "![Server CPU per query by the size of the Service](" + filepath.ToSlash(path) + ")\n\n"
	}
	var kernel unix.Utsname
	_ = unix.Uname(&kernel) // it stays empty
	return fmt.Sprintf(`# Benchmarks

This page is written by `+"`make bench`"+`, which needs Linux and two cores. It measures *headless* side by side with CoreDNS's
*kubernetes* and *hosts* plugins and with a floor, in one binary: *wire* writes a ready-made packet. Beside them are Knot, NSD and
Unbound, where they are installed, with the zone as *headless* transfers it and one thread each. A synthetic API server and a load
generator share the first core; the servers have the second core for themselves and are asked in turn, in short rounds. The load
generator checks the shape of every reply: a wrong one ends the run. The CPU time of a query is that of the whole server, by the
kernel's clock for its processes, kernel time included. It is the figure to trust; rates and latencies suffer from whatever else
the machine does, and on a busy machine a ratio says more than its two figures.

| | |
|---|---|
| date | %s |
| commit | %s |
| command | `+"`make bench`"+` (%s) |
| took | %v |
| machine | %s, %d cores, Linux %s |
| Go | %s |

%s`, time.Now().UTC().Format(time.DateOnly), commit, "`bench "+strings.Join(os.Args[1:], " ")+"`", took.Round(time.Second),
		processor(), runtime.NumCPU(), unix.ByteSliceToString(kernel.Release[:]), runtime.Version(), plot)
}

// commit returns the short hash of the commit in the current folder, and whether something was changed since.
func commit() string {
	hash, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(hash))
}

// processor returns the model of the first processor.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close() //nolint:errcheck // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
