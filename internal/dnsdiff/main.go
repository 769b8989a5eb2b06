// Package dnsdiff compares two DNS servers for a whole Kubernetes cluster, before one takes the other's place. It asks both for
// every name that the cluster should have, and for names that are nearly those, and reports what they answer differently.
package dnsdiff

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"regexp"
	"strings"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/listing"
)

// What the process exits with.
const (
	statusSame        = 0 // everything was asked as often as need be, and there is no unexpected difference
	statusDifferent   = 1 // there are unexpected differences
	statusNotCompared = 2 // the comparison did not take place, or not all was asked once, or not all that differs again
)

// Main is the program dnsdiff: it prints the report to stdout, and everything else to stderr. When ctx ends it reports what it has found so
// far.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	logger := log.New(stderr, "dnsdiff: ", 0)
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		_, err := io.WriteString(stdout, help)
		return statusOf(logger, statusSame, err)
	}
	if err == nil && o.version {
		_, err := fmt.Fprintln(stdout, buildinfo.Get())
		return statusOf(logger, statusSame, err)
	}
	if err != nil {
		return statusOf(logger, statusNotCompared, fmt.Errorf("%w; for help: dnsdiff -h", err))
	}
	o.stdin = stdin
	return o.compare(ctx, stdout, logger)
}

// compare compares, prints the report, and returns the exit status.
func (o *options) compare(ctx context.Context, stdout io.Writer, logger *log.Logger) int {
	c := newCampaign(o, logger)
	if err := c.prepare(ctx); err != nil {
		return statusOf(logger, statusNotCompared, err)
	}
	c.run(ctx)
	r := c.report()
	return statusOf(logger, r.status(), r.print(stdout, o.output))
}

// Command is a comparison by a program with flags of its own for the cluster, the namespaces and the format.
type Command struct {
	Flags  *flag.FlagSet // what to parse: the options of dnsdiff, but for those that stand below
	parsed *parsed

	Cluster    func() (*listing.Client, error)
	Manifests  []string // files, folders and manifests.Stdin, in place of the cluster
	Namespaces []string // all if there are none
	Format     string   // text, json or yaml
}

// NewCommand returns a comparison with the standard options.
func NewCommand() *Command {
	p := &parsed{options: &options{}}
	flags := p.flags("dnsdiff")
	return &Command{Flags: flags, parsed: p, Format: "text"}
}

// Run compares, prints the report to stdout and everything else to stderr, and returns the exit status. Given are the names of the
// flags that were said.
func (c *Command) Run(ctx context.Context, given map[string]bool, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	o := c.parsed.options
	o.client, o.manifests, o.stdin, o.namespaces, o.output = c.Cluster, c.Manifests, stdin, c.Namespaces, c.Format
	if err := c.parsed.check(given); err != nil {
		return statusNotCompared, err
	}
	return o.compare(ctx, stdout, log.New(stderr, "", 0)), nil
}

// usageColumn is where the page of help says what an option is.
const usageColumn = 22

var standard = regexp.MustCompile(`; default: [^;.]*(\.\w[^;.]*)*`) // pflag says it itself

// usage returns what the page of help says of an option.
func usage(name string) string {
	_, text, isThere := strings.Cut(help, "\n  -"+name+" ")
	if !isThere {
		return "the server, HOST[:PORT]" // of -old and -new
	}
	var words []string
	start := usageColumn - len("  -"+name+" ")
	for line := range strings.Lines(text) {
		if len(line) <= start || strings.TrimSpace(line[:start]) != "" && start == usageColumn {
			break
		}
		words, start = append(words, strings.Fields(line[start:])...), usageColumn
	}
	return standard.ReplaceAllString(strings.Join(words, " "), "")
}

// statusOf returns status, or if there is an error says so.
func statusOf(logger *log.Logger, status int, err error) int {
	if err != nil {
		logger.Print(err)
		return statusNotCompared
	}
	return status
}
