// Command dnsdiff compares two DNS servers for a whole Kubernetes cluster, before one takes the other's place. It asks both for
// every name that the cluster should have, and for names that are nearly those, and reports what they answer differently.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/coredns-headless/headless/internal/buildinfo"
)

// What the process exits with.
const (
	statusSame        = 0 // everything was asked as often as need be, and there is no unexpected difference
	statusDifferent   = 1 // there are unexpected differences
	statusNotCompared = 2 // the comparison did not take place, or not all was asked once, or not all that differs again
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it prints the report to stdout, and everything else to stderr. When ctx ends it reports what it has found so
// far.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
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
	c := newCampaign(o, logger)
	if err := c.prepare(ctx); err != nil {
		return statusOf(logger, statusNotCompared, err)
	}
	c.run(ctx)
	r := c.report()
	return statusOf(logger, r.status(), r.print(stdout, o.output))
}

// statusOf returns status, or if there is an error says so.
func statusOf(logger *log.Logger, status int, err error) int {
	if err != nil {
		logger.Print(err)
		return statusNotCompared
	}
	return status
}
