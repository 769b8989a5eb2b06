package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coredns-headless/headless/internal/output"
	"github.com/coredns-headless/headless/kubectl-dns/live"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"k8s.io/client-go/rest"
)

// addReach adds the flags that say which servers are asked.
func (t *tool) addReach(c *cobra.Command, r *live.Reach) {
	r.Config = func() (*rest.Config, error) { return t.config("--at for the servers' addresses") }
	c.Flags().StringSliceVar(&r.At, "at", nil, "the servers' addresses of insight, HOST[:PORT] or http://HOST[:PORT], in place of the Pods of --service")
	c.Flags().StringVar(&r.Service, "service", live.DefaultService, "the servers are the Pods of this Service, NAMESPACE/NAME")
	c.Flags().IntVar(&r.Port, "port", live.DefaultPort, "the port of insight in these Pods")
	c.MarkFlagsMutuallyExclusive("at", "service")
	c.MarkFlagsMutuallyExclusive("at", "port")
}

// leastInterval is the least that may lie between two looks: each asks three questions of each server.
const leastInterval = 500 * time.Millisecond

func (t *tool) top() *cobra.Command {
	r := &live.Reach{}
	var once bool
	var limit int
	var interval time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "Show who asks what fails, and why, of all servers together",
		Long: `Show who asks what fails, and why, of all servers together: names, clients, reasons, and the headless
Services that are in trouble.

The servers need the option insight. They are asked by way of the API server, as kubectl port-forward
does it, for which one needs the right to create pods/portforward. On a terminal what they say is
shown until q is pressed; otherwise, with --once, or as JSON or YAML, it is printed once.

When it is printed once, the exit status is 0 when all servers have answered, 1 when some have, and 2
when none has.`,
		Example: `  kubectl dns top
  kubectl dns top --service dns-test/coredns-headless -o json
  kubectl dns top --at 127.0.0.1:6054 --once`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			err := cmp.Or(output.Check(t.output, topFormats...), r.Check())
			switch {
			case err != nil:
				return err
			case limit < 1:
				return fmt.Errorf("--limit: expected a number of lines, got %d", limit)
			case interval < leastInterval:
				return fmt.Errorf("--interval: expected at least %v, got %v", leastInterval, interval)
			}
			defer r.Close()
			if !once && t.output == topFormats[0] && isTerminal(t.In) && isTerminal(t.Out) {
				return show(c.Context(), t.In, t.Out, interval, func(ctx context.Context) (*live.Top, error) { return ask(ctx, r) })
			}
			top, err := ask(c.Context(), r)
			if err != nil {
				return err
			}
			top.Cut(limit)
			if t.output == topFormats[0] {
				err = writeTop(t.Out, top)
			} else {
				err = output.Encode(t.Out, t.output, top)
			}
			return ended(answered(top), err)
		},
	}
	t.addReach(c, r)
	t.addFormats(c, topFormats)
	c.Flags().BoolVar(&once, "once", false, "print it once, on a terminal too")
	c.Flags().IntVar(&limit, "limit", 20, "how many lines of each list, when it is printed once")
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "how often the servers are asked, on a terminal")
	return c
}

var topFormats = []string{"text", "json", "yaml"}

// ask asks the servers that there are now.
func ask(ctx context.Context, r *live.Reach) (*live.Top, error) {
	servers, err := r.Servers(ctx)
	if err != nil {
		return nil, err
	}
	return live.Ask(ctx, servers), context.Cause(ctx) // one that was interrupted says nothing of the servers
}

// answered returns the exit status: whether all servers have answered, or some, or none.
func answered(top *live.Top) int {
	switch answering(top) {
	case len(top.Servers):
		return 0
	case 0:
		return statusUnknown
	}
	return 1
}

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
