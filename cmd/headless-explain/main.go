// Command headless-explain says why a name of a Kubernetes cluster does not resolve. It runs the plugin itself on the objects of the
// cluster, from an API server or from files, and walks from the name to its records.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/manifests"
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

    -o text|json       text by default; in JSON, the id of a cause is stable
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

// requestTimeout is how long one request to the API server may take: somebody waits for the page.
const requestTimeout = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "lint" {
		status, err := runLint(ctx, args[1:], stdin, stdout, stderr)
		if err != nil {
			_, _ = fmt.Fprintf(stderr, "headless-explain lint: %s\n", printable(err.Error())) // if this fails, the status still says so
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
	var r *report
	if err == nil {
		r, err = o.explain(ctx, stdin)
	}
	if err == nil {
		err = o.write(stdout, r)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "headless-explain: %s\n", printable(err.Error())) // if this fails, the status still says so
		return statusUnknown
	}
	return map[string]int{resolves: statusResolves, doesNot: statusDoesNot, couldNotTell: statusUnknown}[r.Verdict]
}

// options are the command line.
type options struct {
	question
	kubeconfig, kubecontext string
	manifests               []string
	namespace               string // of objects in files that name none
	corefile, zone          string
	resolver, format        string
	client                  netip.Addr // the zero Addr unless one is given
	version                 bool
}

var errUsage = errors.New("expected [FLAGS] NAME [TYPE]; -h is a page of help")

// parseOptions reads the command line. Flags may stand anywhere.
func parseOptions(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("headless-explain", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned, and so is that help is asked for
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "")
	fs.StringVar(&o.kubecontext, "context", "", "")
	addPath := func(path string) error {
		o.manifests = append(o.manifests, path)
		return nil
	}
	fs.Func("manifests", "", addPath)
	fs.Func("f", "", addPath)
	fs.StringVar(&o.namespace, "n", "", "")
	fs.StringVar(&o.corefile, "corefile", "", "")
	fs.StringVar(&o.zone, "zone", "", "")
	fs.StringVar(&o.from, "from", "", "")
	fs.IntVar(&o.ndots, "ndots", 5, "")
	fs.Func("client", "", func(text string) (err error) {
		o.client, err = netip.ParseAddr(text)
		return err
	})
	fs.StringVar(&o.resolver, "resolver", "", "")
	fs.StringVar(&o.format, "o", "text", "")
	fs.BoolVar(&o.version, "version", false, "")
	var words []string
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if args = fs.Args(); len(args) == 0 {
			break
		}
		words, args = append(words, args[0]), args[1:]
	}
	switch {
	case o.version:
		return o, nil
	case len(words) < 1 || len(words) > 2:
		return nil, errUsage
	case len(o.manifests) > 0 && o.kubeconfig+o.kubecontext != "":
		return nil, errors.New("expected either -manifests or a kubeconfig, got both")
	case slices.Contains(o.manifests, manifests.Stdin) && o.corefile == "-":
		return nil, errors.New("expected the input to be either the manifests or the Corefile, got both")
	case o.ndots < 0 || o.ndots > mostDots:
		return nil, fmt.Errorf("-ndots: expected a number from 0 to %d, got %d", mostDots, o.ndots)
	case o.corefile != "" && o.zone != "":
		return nil, errors.New("expected either -corefile or -zone, got both")
	case o.format != "text" && o.format != "json":
		return nil, fmt.Errorf("-o: expected text or json, got %q", o.format)
	}
	o.from = cmp.Or(o.from, o.namespace)
	return o, o.parse(words)
}

// mostDots is the highest ndots of a resolver.
const mostDots = 15

// explain finds out what is asked for.
func (o *options) explain(ctx context.Context, stdin io.Reader) (*report, error) {
	stanza, err := o.stanza(stdin)
	if err != nil {
		return nil, err
	}
	c, source, err := o.cluster(ctx, stanza, stdin)
	if err != nil {
		return nil, err
	}
	s := newServer(stanza, c, o.resolver)
	s.client = o.client
	r := explain(s, c, &o.question)
	if o.client.IsValid() {
		r.Notes = append(r.Notes, s.choice(r.Name, o.types[0]))
	}
	r.Source = source
	return r, nil
}

// stanza returns the one of the Corefile that answers for the name, or else the one that the flags describe.
func (o *options) stanza(stdin io.Reader) (*headless.Stanza, error) {
	name, content, err := o.corefile, []byte(nil), error(nil)
	switch name {
	case "":
		name, content = "-zone", fmt.Appendf(nil, "%q in-addr.arpa ip6.arpa {\n headless\n}\n", cmp.Or(o.zone, "cluster.local"))
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
	return stanzaOf(stanzas, o.fqdn)
}

// cluster returns the state of the cluster, and where it is from. It also sets the namespace that is asked from, if no flag does.
func (o *options) cluster(ctx context.Context, stanza *headless.Stanza, stdin io.Reader) (c *cluster, source string, err error) {
	if len(o.manifests) > 0 {
		contents, err := manifests.Load(stdin, o.manifests...)
		if err != nil {
			return nil, "", err
		}
		c := clusterOf(contents, o.namespace)
		o.from = cmp.Or(o.from, c.onlyNamespace(), "default")
		return c, "manifests " + list(o.manifests), nil
	}
	client, err := listing.New(o.kubeconfig, o.kubecontext, "headless-explain", requestTimeout)
	if err != nil {
		return nil, "", fmt.Errorf("expected a cluster, by -kubeconfig or as kubectl finds it, or -manifests: %w", err)
	}
	o.from = cmp.Or(o.from, client.Namespace)
	c = newCluster(nil)
	empty := newServer(stanza, c, "")
	a := &apiServer{Client: client, cluster: c, listed: make(map[string]bool)}
	return c, "API server " + kube.WithoutUserinfo(client.Host), a.listAll(ctx, empty, o.names(empty))
}

// write writes a report.
func (o *options) write(w io.Writer, r *report) error {
	if o.format == "text" {
		return writePage(w, r)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
