package lint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns-headless/headless/internal/output"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Exit statuses of a program that runs a Command and gets no error; with one it is 2.
const (
	StatusClean    = 0
	StatusFindings = 1
)

// Command is what the linter is asked to do.
type Command struct {
	Stanza *headless.Stanza
	Paths  []string // of files and folders, and manifests.Stdin
	// Cluster leads to the cluster to look at, in place of files; nil otherwise.
	Cluster *listing.Client
	// Namespace is that of objects in files that name none. Of a cluster it is the only one to look at, or
	// "" for all.
	Namespace string
	Format    string   // one of Formats
	Skip      []string // ids of rules
}

// check returns what is wrong with the options.
func (c *Command) check() error {
	switch {
	case len(c.Paths) == 0 && c.Cluster == nil:
		return errors.New("expected files, folders or - for the input, or a cluster")
	case len(c.Paths) > 0 && c.Cluster != nil:
		return errors.New("expected either files or a cluster, got both")
	}
	for _, id := range c.Skip {
		if rank(id) < 0 {
			return fmt.Errorf("no rule is called %q", id)
		}
	}
	return output.Check(c.Format, Formats...)
}

// Run looks, writes what it finds, and returns the exit status. What it could not look at goes to stderr.
func (c *Command) Run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (status int, err error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	var objects Objects
	var notes []string
	if c.Cluster != nil {
		objects, notes, err = c.list(ctx)
	} else {
		objects, notes, err = c.read(stdin)
	}
	for _, note := range notes { // they may say why there is an error
		_, _ = fmt.Fprintf(stderr, "note: %s\n", output.Printable(note))
	}
	if err != nil {
		return 0, err
	}
	findings := Find(c.Stanza, objects, c.Skip...)
	if err := Write(stdout, c.Format, buildinfo.Get().Version, findings, len(objects.All)); err != nil {
		return 0, err
	}
	if len(findings) > 0 {
		return StatusFindings, nil
	}
	return StatusClean, nil
}

// read returns what is in the files.
func (c *Command) read(stdin io.Reader) (objects Objects, notes []string, err error) {
	files, err := manifests.Load(stdin, c.Paths...)
	switch {
	case err != nil:
		return objects, nil, err
	case len(files.Objects) == 0:
		return objects, files.Notes(), fmt.Errorf("%s: expected objects of Kubernetes, found none", strings.Join(c.Paths, ", "))
	}
	for _, obj := range files.Objects {
		if o, ok := obj.(metav1.Object); ok && o.GetNamespace() == "" && c.Namespace != "" && kube.ResourceOf(obj) != kube.Namespaces {
			o.SetNamespace(c.Namespace)
		}
	}
	return Objects{All: files.Objects, Files: files}, files.Notes(), nil
}

// list returns what is in the cluster. Only ConfigMaps may be hidden from us.
func (c *Command) list(ctx context.Context) (objects Objects, notes []string, err error) {
	objects.Whole = c.Namespace == metav1.NamespaceAll
	resources := []string{kube.Services, kube.Slices, kube.Pods, listing.StatefulSets, listing.Deployments, listing.ConfigMaps}
	if objects.Whole {
		resources = append(resources, kube.Namespaces)
	}
	for _, resource := range resources {
		err := c.Cluster.Each(ctx, resource, c.Namespace, metav1.ListOptions{}, func(obj runtime.Object) error {
			objects.All = append(objects.All, obj)
			return nil
		})
		switch {
		case resource == listing.ConfigMaps && apierrors.IsForbidden(err):
			notes = append(notes, fmt.Sprintf("the names in ConfigMaps are not looked at: %v", err))
		case err != nil:
			return objects, notes, err
		}
	}
	if len(objects.All) == 0 && !objects.Whole {
		notes = append(notes, fmt.Sprintf("there is nothing in namespace %s: is that its name?", c.Namespace))
	}
	return objects, notes, nil
}
