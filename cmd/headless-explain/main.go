// Command headless-explain says why a name of a Kubernetes cluster does not resolve, and by its command lint what in manifests will go
// wrong. It is kubectl dns without kubectl's libraries.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/coredns-headless/headless/internal/explain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := explain.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
