// Command dnsdiff compares two DNS servers for a whole Kubernetes cluster. It is kubectl dns diff without kubectl's libraries.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/coredns-headless/headless/internal/dnsdiff"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(dnsdiff.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
