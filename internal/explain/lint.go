package explain

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/coredns-headless/headless/internal/lint"
	"github.com/coredns-headless/headless/internal/listing"
)

const lintHelp = `headless-explain lint says what in manifests, or in a cluster, goes wrong in DNS.

    headless-explain lint [FLAGS] PATH...
    headless-explain lint [FLAGS] -cluster

PATH is a file or a folder, or - for the input, as helm template or kustomize build prints it.

    -cluster           look at the cluster that kubectl talks to
    -kubeconfig FILE   a kubeconfig file
    -context NAME      a context of it, in place of the current one
    -n NAMESPACE       that of objects in files that name none; of a cluster the only one to look at
    -corefile FILE     take the stanza of headless, or of kubernetes, from this Corefile
    -zone ZONE         without a Corefile: the zone of the cluster, cluster.local by default
    -skip ID,ID        rules that do not matter; docs/lint.md lists all
    -o FORMAT          text, json, yaml, sarif or github; text by default

The exit status is 0 when nothing was found, 1 when something was, and 2 when that could not be told.
`

// runLint runs the command lint. It returns the exit status.
func runLint(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int, err error) {
	o, c := &Setting{}, &lint.Command{}
	fs := flag.NewFlagSet("headless-explain lint", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	isCluster := fs.Bool("cluster", false, "")
	kubeconfig, kubecontext := fs.String("kubeconfig", "", ""), fs.String("context", "", "")
	fs.StringVar(&c.Namespace, "n", "", "")
	fs.StringVar(&o.Corefile, "corefile", "", "")
	fs.StringVar(&o.Zone, "zone", "", "")
	fs.StringVar(&c.Format, "o", "text", "")
	fs.Func("skip", "", func(ids string) error {
		c.Skip = append(c.Skip, strings.Split(ids, ",")...)
		return nil
	})
	for len(args) > 0 {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				_, err = io.WriteString(stdout, lintHelp)
			}
			return statusResolves, err
		}
		if args = fs.Args(); len(args) > 0 {
			c.Paths, args = append(c.Paths, args[0]), args[1:]
		}
	}
	o.Manifests = c.Paths
	if c.Stanza, err = o.Stanza(stdin, ""); err != nil {
		return 0, err
	}
	switch {
	case *isCluster:
		if c.Cluster, err = listing.New(*kubeconfig, *kubecontext, "headless-explain", RequestTimeout); err != nil {
			return 0, fmt.Errorf("expected a cluster, by -kubeconfig or as kubectl finds it: %w", err)
		}
	case *kubeconfig != "" || *kubecontext != "":
		return 0, errors.New("-kubeconfig and -context are for -cluster, which is not there")
	}
	return c.Run(ctx, stdin, stdout, stderr)
}
