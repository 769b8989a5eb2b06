package main

import (
	"strings"

	"github.com/coredns-headless/headless/internal/dnsdiff"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (t *tool) diff() *cobra.Command {
	d := dnsdiff.NewCommand()
	c := &cobra.Command{
		Use:   "diff --old SERVER --new SERVER",
		Short: "Compare two DNS servers for all names of the cluster",
		Long: `Compare two DNS servers for all names of the cluster, or with -n of a namespace.

It lists Services and EndpointSlices, asks both servers for every name that should exist, and for
names that are nearly those, over UDP and TCP, and reports differences, those first that clients
feel most. A server is HOST[:PORT].

The exit status is 0 when there are no unexpected differences, 1 when there are, and 2 when the
servers could not be compared.`,
		Example: `  kubectl dns diff --old 10.96.0.10 --new 10.244.1.7
  kubectl dns diff --old 10.96.0.10 --new 10.244.1.7 --rate 50 --duration 24h -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			given := make(map[string]bool)
			c.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
			d.Cluster, d.Manifests, d.Format = t.client, t.files, t.output
			if *t.cluster.Namespace != "" {
				d.Namespaces = strings.Split(*t.cluster.Namespace, ",")
			}
			return ended(d.Run(c.Context(), given, t.In, t.Out, t.ErrOut))
		},
	}
	c.Flags().AddGoFlagSet(d.Flags)
	c.Flags().StringSliceVarP(&t.files, "filename", "f", nil, "files or folders with manifests, or - for the input, in place of a cluster")
	t.addFormats(c, dnsdiff.Formats)
	return c
}
