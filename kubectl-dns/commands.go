package main

import (
	"cmp"
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"strings"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/explain"
	"github.com/coredns-headless/headless/internal/lint"
	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/coredns-headless/headless/kubectl-dns/live"
	"github.com/spf13/cobra"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
)

// tool is what the commands share: the flags of kubectl, and those of the server.
type tool struct {
	genericiooptions.IOStreams
	cluster        *genericclioptions.ConfigFlags
	files          []string
	corefile, zone string
	output         string
}

// newCommand returns the command dns with its commands.
func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	t := &tool{IOStreams: streams, cluster: genericclioptions.NewConfigFlags(true)}
	dns := &cobra.Command{
		Use:   "dns",
		Short: "Explain, list, check, compare and watch the names of a cluster",
		Long: `Explain, list, check, compare and watch the names of a cluster.

It lists objects of the cluster, or reads files, and runs the DNS server itself on them, in this
process; top, and explain --live, ask the servers that run. It changes nothing.`,
		Version:       buildinfo.Get().String(),
		SilenceErrors: true, SilenceUsage: true,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl dns"},
	}
	dns.SetVersionTemplate("{{.Version}}\n")
	t.cluster.AddFlags(dns.PersistentFlags())
	dns.CompletionOptions.DisableDefaultCmd = true // its scripts are for a command called dns
	if err := dns.RegisterFlagCompletionFunc("namespace", t.completeNamespaces); err != nil {
		panic(err) // there is no such flag
	}
	dns.AddCommand(t.explain(), t.names(), t.lint(), t.diff(), t.top(), t.completion())
	return dns
}

// add adds the flags that say where the cluster's state comes from, how the server is set up, and which format is wanted.
func (t *tool) add(c *cobra.Command, formats []string) {
	c.Flags().StringSliceVarP(&t.files, "filename", "f", nil, "files or folders with manifests, or - for the input, in place of a cluster; Pods are foreseen")
	c.Flags().StringVar(&t.corefile, "corefile", "", "take the stanza of headless, or of kubernetes, from this Corefile; - is the input")
	c.Flags().StringVar(&t.zone, "zone", "", "without a Corefile: the zone of the cluster (default cluster.local)")
	t.addFormats(c, formats)
	c.MarkFlagsMutuallyExclusive("corefile", "zone")
}

// addFormats adds the flag for a format, the first by default.
func (t *tool) addFormats(c *cobra.Command, formats []string) {
	c.Flags().StringVarP(&t.output, "output", "o", formats[0], "one of "+strings.Join(formats, ", "))
	complete(c, "output", formats...)
}

// complete completes the values of a flag.
func complete(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// setting returns what the shared flags say.
func (t *tool) setting() explain.Setting {
	return explain.Setting{Manifests: t.files, Namespace: *t.cluster.Namespace, Cluster: t.client, Corefile: t.corefile, Zone: t.zone}
}

// client returns the client for the cluster that the flags lead to.
func (t *tool) client() (*listing.Client, error) {
	rc, err := t.config("-f for files")
	if err != nil {
		return nil, err
	}
	namespace, _, err := t.cluster.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	return listing.Of(rc, namespace, "kubectl-dns", cmp.Or(rc.Timeout, explain.RequestTimeout))
}

// config returns what leads to that cluster. An error says what there is in place of one.
func (t *tool) config(other string) (*rest.Config, error) {
	config := t.cluster.ToRawKubeConfigLoader()
	rc, err := config.ClientConfig()
	if err != nil {
		return nil, err
	}
	raw, err := config.RawConfig()
	if err != nil {
		return nil, err
	}
	if len(raw.Clusters) == 0 && *t.cluster.APIServer == "" && rc.BearerToken == "" && rc.BearerTokenFile == "" { // nor is this a Pod
		return nil, fmt.Errorf("expected a cluster, as kubectl finds it, or %s; found none in %s", other,
			strings.Join(config.ConfigAccess().GetLoadingPrecedence(), " or "))
	}
	return rc, nil
}

// ended returns what a command ended with, as an error.
func ended(s int, err error) error {
	if err != nil || s == 0 {
		return err
	}
	return status(s)
}

func (t *tool) explain() *cobra.Command {
	e, r := &explain.Command{}, &live.Reach{}
	var isLive bool
	c := &cobra.Command{
		Use:   "explain NAME [TYPE]",
		Short: "Say why a name does not resolve, and what to change",
		Long: `Say why a name does not resolve, and what to change.

NAME is a name as a program uses it, short or whole, a URL, or an address. TYPE is a record type;
without one it is A and AAAA, SRV for _PORT._PROTOCOL, and PTR for an address.

The exit status is 0 when the name resolves, 1 when it does not, and 2 when that could not be told.`,
		Example: `  kubectl dns explain db-0.db -n prod
  kubectl dns explain _sql._tcp.db SRV -n prod
  kubectl dns explain db-0.db -n prod --live
  helm template my-release ./chart | kubectl dns explain -f - db-0.db`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return fmt.Errorf("expected NAME, and perhaps TYPE, got %d words; --help has examples", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			e.Setting, e.Words, e.Format = t.setting(), args, t.output
			isLive = isLive || len(r.At) > 0
			if !isLive && (c.Flags().Changed("service") || c.Flags().Changed("port")) {
				return errors.New("expected --live beside --service and --port, which say what servers that run are asked")
			}
			if isLive {
				defer r.Close()
				e.Running = func(ctx context.Context) ([]explain.Running, error) { return running(r.Servers(ctx)) }
			}
			return ended(e.Run(c.Context(), t.In, t.Out))
		},
		ValidArgsFunction: t.completeServices,
	}
	t.add(c, explain.Formats)
	c.Flags().StringVar(&e.From, "from", "", "the namespace of the pod that asks, if it is not that of -n")
	c.Flags().IntVar(&e.NDots, "ndots", 5, "the ndots in that pod's resolv.conf")
	c.Flags().StringVar(&e.Client, "client", "", "the address of the client that asks: which endpoints it gets, by topology hints")
	c.Flags().StringVar(&e.Resolver, "resolver", "", "the name server to ask for names outside the zones")
	c.Flags().BoolVar(&isLive, "live", false, "ask the servers that run too, by their option insight, and show where they differ; --at does the same")
	t.addReach(c, r)
	return c
}

// running returns servers as explain takes them.
func running(servers []*live.Server, err error) (all []explain.Running, _ error) {
	for _, s := range servers {
		all = append(all, s)
	}
	return all, err
}

func (t *tool) names() *cobra.Command {
	n := &explain.Names{}
	c := &cobra.Command{
		Use:   "names [SERVICE]",
		Short: "List the names that there are, with their records",
		Long: `List the names that there are, of Services, their ports and their endpoints, with their records.

The exit status is 0 when there are some, 1 when there are none, and 2 when that could not be told.`,
		Example: `  kubectl dns names -n prod
  kubectl dns names db -n prod -o wide
  kustomize build | kubectl dns names -A -f -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			n.Setting, n.Format = t.setting(), t.output
			if len(args) > 0 {
				n.Service = args[0]
			}
			s, err := n.Run(c.Context(), t.In, t.Out)
			if err != nil && s != statusUnknown {
				_, _ = fmt.Fprintln(t.ErrOut, output.Printable(err.Error())) // as kubectl get does: there is nothing, and nothing is wrong
				err = nil
			}
			return ended(s, err)
		},
		ValidArgsFunction: t.completeServices,
	}
	t.add(c, explain.NameFormats)
	c.Flags().BoolVarP(&n.AllNamespaces, "all-namespaces", "A", false, "those of all namespaces")
	return c
}

func (t *tool) lint() *cobra.Command {
	l := &lint.Command{}
	var all bool
	c := &cobra.Command{
		Use:   "lint [FILE...]",
		Short: "Find what will go wrong in DNS, in manifests or in the cluster",
		Long: `Find what will go wrong in DNS, in manifests or in the cluster.

FILE is a file or a folder, or - for the input. Without one, it looks at a namespace of the cluster,
or with -A at all of it.

The exit status is 0 when nothing was found, 1 when something was, and 2 when that could not be told.`,
		Example: `  helm template my-release ./chart | kubectl dns lint -
  kubectl dns lint deploy/ -o sarif
  kubectl dns lint -A`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			setting := t.setting()
			setting.Manifests = append(args, t.files...)
			l.Paths, l.Format, l.Namespace = setting.Manifests, t.output, setting.Namespace
			if l.Stanza, err = setting.Stanza(t.In, ""); err != nil {
				return err
			}
			if len(l.Paths) == 0 {
				if l.Cluster, err = t.client(); err != nil {
					return err
				}
				if l.Namespace = l.Cluster.Namespace; all {
					l.Namespace = ""
				}
			}
			return ended(l.Run(c.Context(), t.In, t.Out, t.ErrOut))
		},
	}
	t.add(c, lint.Formats)
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "of the cluster: all namespaces")
	c.Flags().StringSliceVar(&l.Skip, "skip", nil, "rules that do not matter; docs/lint.md lists all")
	var ids []string
	for _, rule := range lint.Rules {
		ids = append(ids, rule.ID+"\t"+rule.About)
	}
	complete(c, "skip", ids...)
	return c
}

//go:embed kubectl_complete-dns
var completer string

func (t *tool) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion",
		Short: "Print the script by which kubectl completes the arguments of kubectl dns",
		Long: `Print the script by which kubectl completes the arguments of kubectl dns, once its own completion
is set up. It has to be called kubectl_complete-dns and be in the PATH.`,
		Example: `  kubectl dns completion > ~/.local/bin/kubectl_complete-dns
  chmod +x ~/.local/bin/kubectl_complete-dns`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(t.Out, completer)
			return err
		},
	}
}

// completeNamespaces completes the names of Namespaces, of the cluster or of the files.
func (t *tool) completeNamespaces(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	setting := t.setting()
	names, err := setting.Namespaces(c.Context(), t.In)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeServices completes the names of Services, of the cluster or of the files.
func (t *tool) completeServices(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	setting := t.setting()
	names, err := setting.Services(c.Context(), t.In)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
