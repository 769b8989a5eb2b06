// Package explain says why a name of a Kubernetes cluster does not resolve, and which names there are. It runs the plugin itself on the
// objects of the cluster, from an API server or from files, and walks from the name to its records.
package explain

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns-headless/headless/internal/output"
)

const help = `headless-explain says why a name of a Kubernetes cluster does not resolve, and what to change.

    headless-explain [FLAGS] NAME [TYPE]
    headless-explain lint -h   what in manifests will go wrong

NAME is a name as a program uses it, short or whole, or an address, whose name is looked for. TYPE is a
record type; without one it is A and AAAA, SRV for _PORT._PROTOCOL, and PTR for an address.

It lists the Services, EndpointSlices, Namespaces, Pods and StatefulSets that bear on the name, runs the
plugin headless on them, here in this process, and shows each step from the name to its records. It asks
no server of the cluster but the API server, where it lists, and gets a Namespace when it may not list
them, and it changes nothing.

Where the cluster's state comes from; without any of these it is the cluster that kubectl talks to:

    -kubeconfig FILE   a kubeconfig file
    -context NAME      a context of it, in place of the current one
    -f PATH            a file or a folder, as the option manifests reads it, or - for the input: a dump by
                       kubectl get ns,svc,endpointslices,pods,statefulsets -A -o yaml, or what is to be
                       deployed, as helm template prints it, of which the pods are foreseen; may be repeated
    -manifests PATH    the same

How the server and the program that asks are set up:

    -corefile FILE     take the stanza of headless, or of kubernetes, from this Corefile; - is the input:
                       kubectl -n kube-system get cm coredns -o jsonpath={.data.Corefile} |
                           headless-explain -corefile - NAME
    -zone ZONE         without a Corefile: the zone of the cluster, cluster.local by default
    -n NAMESPACE       the namespace of the pod that asks, for short names, by default that of the
                       kubeconfig's context, the only one in the files, or else default; and that of
                       objects in files that name none
    -from NAMESPACE    only the former
    -ndots N           the ndots in that pod's resolv.conf, 5 by default
    -client ADDRESS    the client that asks: with topology hints in the Corefile, which endpoints it gets, and
                       why, as far as what is listed says where it is
    -resolver ADDRESS  the name server to ask for names outside the zones, to which ExternalNames lead

What is printed:

    -o text|json|yaml  text by default; the ids of causes in JSON are stable
    -version           the version of this program, and nothing else

The exit status is 0 when the name resolves, 1 when it does not, and 2 when that could not be told: the
flags are wrong, the API server does not answer within 30 s, the files or the rights do not suffice, or
the name leads out of the cluster.
`

// Exit statuses.
const (
	statusResolves = 0
	statusDoesNot  = 1
	statusUnknown  = 2
)

// RequestTimeout is how long one request to the API server may take: somebody waits for the page.
const RequestTimeout = 30 * time.Second

// Main is the program headless-explain. It returns the exit status.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "lint" {
		status, err := runLint(ctx, args[1:], stdin, stdout, stderr)
		if err != nil {
			_, _ = fmt.Fprintf(stderr, "headless-explain lint: %s\n", output.Printable(err.Error())) // if this fails, the status still says so
			return statusUnknown
		}
		return status
	}
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stdout, help) // it is too late to say what failed
		return statusResolves
	}
	if err == nil && o.version {
		_, _ = fmt.Fprintln(stdout, buildinfo.Get())
		return statusResolves
	}
	status := statusUnknown
	if err == nil {
		status, err = o.Run(ctx, stdin, stdout)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "headless-explain: %s\n", output.Printable(err.Error())) // if this fails, the status still says so
		return statusUnknown
	}
	return status
}

// Setting is where the cluster's state comes from, and how the server is set up.
type Setting struct {
	Manifests []string // files and folders, and manifests.Stdin
	// Namespace is that of objects in files that name none, and of Pods that ask. If it is "" it is that of the client, or the only one
	// in the files.
	Namespace string
	// Cluster leads to the cluster, if there are no Manifests.
	Cluster        func() (*listing.Client, error)
	Corefile, Zone string // - is the input; of the two one is ""
}

// Formats are those of an explanation, and NameFormats those of names.
var (
	Formats     = []string{"text", "json", "yaml"}
	NameFormats = []string{"text", "wide", "json", "yaml"}
)

// Command is what to explain.
type Command struct {
	Setting
	Words    []string // NAME [TYPE]
	From     string   // the namespace of the Pod that asks, if it is not Namespace
	NDots    int
	Client   string // the address of who asks, or ""
	Resolver string // HOST[:PORT] of a name server for names outside the zones, or ""
	Format   string // one of Formats
	// Running returns the servers that run, to be asked too; nil for none.
	Running func(context.Context) ([]Running, error)
}

// options are the command line.
type options struct {
	Command
	version bool
}

var errUsage = errors.New("expected [FLAGS] NAME [TYPE]; -h is a page of help")

// parseOptions reads the command line. Flags may stand anywhere.
func parseOptions(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("headless-explain", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned, and so is that help is asked for
	kubeconfig, kubecontext := fs.String("kubeconfig", "", ""), fs.String("context", "", "")
	addPath := func(path string) error {
		o.Manifests = append(o.Manifests, path)
		return nil
	}
	fs.Func("manifests", "", addPath)
	fs.Func("f", "", addPath)
	fs.StringVar(&o.Namespace, "n", "", "")
	fs.StringVar(&o.Corefile, "corefile", "", "")
	fs.StringVar(&o.Zone, "zone", "", "")
	fs.StringVar(&o.From, "from", "", "")
	fs.IntVar(&o.NDots, "ndots", 5, "")
	fs.StringVar(&o.Client, "client", "", "")
	fs.StringVar(&o.Resolver, "resolver", "", "")
	fs.StringVar(&o.Format, "o", "text", "")
	fs.BoolVar(&o.version, "version", false, "")
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if args = fs.Args(); len(args) == 0 {
			break
		}
		o.Words, args = append(o.Words, args[0]), args[1:]
	}
	if len(o.Manifests) > 0 && *kubeconfig+*kubecontext != "" {
		return nil, errors.New("expected either -manifests or a kubeconfig, got both")
	}
	o.Cluster = func() (*listing.Client, error) {
		client, err := listing.New(*kubeconfig, *kubecontext, "headless-explain", RequestTimeout)
		if err != nil {
			err = fmt.Errorf("expected a cluster, by -kubeconfig or as kubectl finds it, or -manifests: %w", err)
		}
		return client, err
	}
	if o.version {
		return o, nil
	}
	_, err := o.question()
	return o, err
}

// question returns what is asked for. Its namespace may be "".
func (c *Command) question() (*question, error) {
	q := &question{from: cmp.Or(c.From, c.Namespace), ndots: c.NDots}
	switch {
	case len(c.Words) < 1 || len(c.Words) > 2:
		return nil, errUsage
	case c.NDots < 0 || c.NDots > mostDots:
		return nil, fmt.Errorf("-ndots: expected a number from 0 to %d, got %d", mostDots, c.NDots)
	}
	if err := output.Check(c.Format, Formats...); err != nil {
		return nil, err
	}
	if c.Client != "" {
		client, err := netip.ParseAddr(c.Client)
		if err != nil {
			return nil, fmt.Errorf("-client: expected an address, got %q", c.Client)
		}
		q.client = client
	}
	return q, q.parse(c.Words)
}

// check returns what is wrong with a setting.
func (s *Setting) check() error {
	switch {
	case slices.Contains(s.Manifests, manifests.Stdin) && s.Corefile == "-":
		return errors.New("expected the input to be either the manifests or the Corefile, got both")
	case s.Corefile != "" && s.Zone != "":
		return errors.New("expected either -corefile or -zone, got both")
	}
	return nil
}

// mostDots is the highest ndots of a resolver.
const mostDots = 15

// Run explains, and writes what it finds. It returns the exit status.
func (c *Command) Run(ctx context.Context, stdin io.Reader, stdout io.Writer) (status int, err error) {
	q, err := c.question()
	if err != nil {
		return statusUnknown, err
	}
	stanza, err := c.Stanza(stdin, q.fqdn)
	if err != nil {
		return statusUnknown, err
	}
	var source string
	var found *cluster
	if len(c.Manifests) > 0 {
		found, source, err = c.files(stdin)
		if err == nil {
			q.from = cmp.Or(q.from, found.onlyNamespace(), "default")
		}
	} else {
		found, source, err = c.list(ctx, stanza, q)
	}
	if err != nil {
		return statusUnknown, err
	}
	srv := newServer(stanza, found, c.Resolver)
	srv.client = q.client
	r := explain(srv, found, q)
	if q.client.IsValid() {
		r.Notes = append(r.Notes, srv.choice(r.Name, q.types[0]))
	}
	r.Version, r.Source = 1, source
	var notAsked error
	if c.Running != nil {
		running, err := c.Running(ctx)
		r.ask(ctx, srv, running, q.types)
		if err := context.Cause(ctx); err != nil {
			return statusUnknown, err
		}
		notAsked = err // it is told below what the API server says
	}
	if c.Format == "text" {
		err = writePage(stdout, r)
	} else {
		err = output.Encode(stdout, c.Format, r)
	}
	if err = errors.Join(err, notAsked); err != nil {
		return statusUnknown, err
	}
	return r.status(), nil
}

// Stanza returns the one of the Corefile that answers for an FQDN, or else the one that the zone describes.
func (s *Setting) Stanza(stdin io.Reader, fqdn string) (*headless.Stanza, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	name, content, err := s.Corefile, []byte(nil), error(nil)
	switch name {
	case "":
		name, content = "-zone", fmt.Appendf(nil, "%q in-addr.arpa ip6.arpa {\n headless\n}\n", cmp.Or(s.Zone, "cluster.local"))
	case "-":
		name = "Corefile"
		content, err = io.ReadAll(stdin)
	default:
		content, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	stanzas, err := headless.ParseStanzas(name, content)
	if err != nil {
		return nil, err
	}
	return stanzaOf(stanzas, fqdn)
}

// files returns the state of the cluster that files hold, and where it is from.
func (s *Setting) files(stdin io.Reader) (c *cluster, source string, err error) {
	contents, err := manifests.Load(stdin, s.Manifests...)
	if err != nil {
		return nil, "", err
	}
	return clusterOf(contents, s.Namespace), "manifests " + list(s.Manifests), nil
}

// list returns what bears on a question, from the API server, and where it is from. Unless that is said, a Pod in the namespace of the
// client asks.
func (c *Command) list(ctx context.Context, stanza *headless.Stanza, q *question) (found *cluster, source string, err error) {
	client, err := c.Cluster()
	if err != nil {
		return nil, "", err
	}
	q.from = cmp.Or(q.from, client.Namespace)
	found = newCluster(nil)
	empty := newServer(stanza, found, "")
	a := &apiServer{Client: client, cluster: found, listed: make(map[string]bool)}
	return found, sourceOf(client), a.listAll(ctx, empty, q.names(empty))
}

// sourceOf says where the state of a cluster is from.
func sourceOf(client *listing.Client) string {
	return "API server " + kube.WithoutUserinfo(client.Host)
}
