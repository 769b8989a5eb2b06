// Command kubectl-dns is kubectl dns: it explains why a name of a cluster does not resolve, lists the names that there are, finds in
// manifests what will go wrong, and compares two DNS servers.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/coredns-headless/headless/internal/output"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}

// statusUnknown is the exit status when a command could not do what it is for.
const statusUnknown = 2

// status is the exit status of a command that has said all that there is to say.
type status int

// Error implements error.
func (s status) Error() string { return fmt.Sprintf("status %d", int(s)) }

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	command := newCommand(streams)
	command.SetArgs(args)
	command.SetIn(streams.In)
	command.SetOut(streams.Out)
	command.SetErr(streams.ErrOut)
	err := command.ExecuteContext(ctx)
	var s status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &s):
		return int(s)
	}
	_, _ = fmt.Fprintf(streams.ErrOut, "error: %s\n", output.Printable(err.Error())) // if this fails, the status still says so
	return statusUnknown
}
