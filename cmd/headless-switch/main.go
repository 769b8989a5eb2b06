// Command headless-switch writes the kustomizations by which the DNS of a Kubernetes cluster becomes headless: it reads what
// serves now, and says what of that it could not keep.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/coredns-headless/headless/internal/buildinfo"
)

const help = `headless-switch writes the kustomizations by which the DNS of a Kubernetes cluster becomes headless.

    headless-switch -image IMAGE [FLAGS] FOLDER

It reads the Service, the Deployment and the Corefile of the CoreDNS that serves, and writes into FOLDER,
which is made:

    beside/    a CoreDNS with the same Corefile, in which kubernetes has become headless, and as many
               replicas. Nobody asks it
    compare/   a Job that asks both for every name of the cluster, and fails if they differ
    serving/   the same as beside/, and the cluster's Service chooses its pods

Then it prints what of the running CoreDNS it could not keep, which also stands in the kustomization, and
the commands of the switch and of the way back. It changes nothing in the cluster.

    -image IMAGE       of a CoreDNS with headless, such as registry.example.com/coredns:v1.15.0
    -dnsdiff IMAGE     of dnsdiff; by default with the tag of -image, and dnsdiff for the last word of its name
    -deploy PATH       the folder deploy of headless, or a URL of it that kustomize takes; deploy by default

What serves now; without -kubeconfig and -manifests it is in the cluster that kubectl talks to:

    -kubeconfig FILE   a kubeconfig file
    -context NAME      a context of it, in place of the current one
    -manifests FILE    the objects in a file, - is the input:
                       kubectl -n kube-system get svc/kube-dns deploy/coredns cm/coredns -o yaml
    -namespace NAME    kube-system by default
    -service NAME      kube-dns by default
    -deployment NAME   coredns by default
    -corefile FILE     take this Corefile, not the one that the Deployment mounts
    -version           print the version of this program, and nothing else

The exit status is 0 when the folder is written, and 1 when it is not, with the reason.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "headless-switch: %v\n", err) // if this fails, the status still says so
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	folder, deploy          string
	image, dnsdiff          string
	kubeconfig, kubecontext string
	manifests, corefile     string
	namespace               string
	serviceName             string
	deploymentName          string
}

// run is the program. It prints to stdout what is to be known.
func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	o := &options{}
	fs := flag.NewFlagSet("headless-switch", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned, and so is that help is asked for
	fs.StringVar(&o.deploy, "deploy", "deploy", "")
	fs.StringVar(&o.image, "image", "", "")
	fs.StringVar(&o.dnsdiff, "dnsdiff", "", "")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "")
	fs.StringVar(&o.kubecontext, "context", "", "")
	fs.StringVar(&o.manifests, "manifests", "", "")
	fs.StringVar(&o.corefile, "corefile", "", "")
	fs.StringVar(&o.namespace, "namespace", "kube-system", "")
	fs.StringVar(&o.serviceName, "service", "kube-dns", "")
	fs.StringVar(&o.deploymentName, "deployment", "coredns", "")
	version := fs.Bool("version", false, "")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(stdout, help)
		return err
	case err != nil:
		return fmt.Errorf("%w; -h is a page of help", err)
	case *version:
		_, err := fmt.Fprintln(stdout, buildinfo.Get())
		return err
	case fs.NArg() != 1:
		return fmt.Errorf("expected [FLAGS] FOLDER, in this order, got %q; -h is a page of help", fs.Args())
	case o.manifests != "" && o.kubeconfig+o.kubecontext != "":
		return errors.New("expected either -manifests or a kubeconfig, got both")
	}
	o.folder = fs.Arg(0)
	image, err := parseImage("-image", o.image)
	if err != nil {
		return err
	}
	dnsdiff, err := image.ofDnsdiff(o.dnsdiff)
	if err != nil {
		return err
	}
	now, err := o.read(ctx, stdin)
	if err != nil {
		return err
	}
	w, err := newOverlay(o, now)
	if err != nil {
		return err
	}
	w.image, w.dnsdiff = image, dnsdiff
	if err := w.write(); err != nil {
		return err
	}
	page, err := w.page()
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, page)
	return err
}

// image is the name of an image, and the part that says which: ":TAG" or "@DIGEST".
type image struct{ name, version string }

func parseImage(option, text string) (image, error) {
	i := strings.Index(text, "@")
	if i < 0 {
		i = strings.LastIndex(text, ":")
	}
	if i <= 0 || i < strings.LastIndex(text, "/") || i == len(text)-1 {
		return image{}, fmt.Errorf("%s: expected an image with a tag or a digest, such as registry.example.com/coredns:v1.15.0, got %q", option, text)
	}
	return image{text[:i], text[i:]}, nil
}

// ofDnsdiff returns the image of dnsdiff: the one that is asked for, or the one beside that of CoreDNS. A digest says nothing of
// another image, so that needs a tag.
func (i image) ofDnsdiff(text string) (image, error) {
	if text != "" {
		return parseImage("-dnsdiff", text)
	}
	if strings.HasPrefix(i.version, "@") {
		tagged, err := parseImage("-image", i.name)
		if err != nil {
			return image{}, errors.New("-dnsdiff: expected an image, for that of -image has a digest and no tag to go by")
		}
		i = tagged
	}
	return image{i.name[:strings.LastIndex(i.name, "/")+1] + "dnsdiff", i.version}, nil
}
