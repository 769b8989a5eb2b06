package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/listing"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Names is what to list the names of.
type Names struct {
	Setting
	Service       string // only of this one; "" for all
	AllNamespaces bool
	Format        string // one of NameFormats
}

// ownRecord is what the server answers for a name and a type.
type ownRecord struct {
	Namespace string   `json:"namespace"`
	Service   string   `json:"service"`
	Name      string   `json:"name"` // an FQDN
	Type      string   `json:"type"`
	TTL       uint32   `json:"ttl"`
	Data      []string `json:"data"` // in presentation format

	pod string
}

// Run lists the names that exist, with their records. The exit status is 1 when there is none.
func (n *Names) Run(ctx context.Context, stdin io.Reader, stdout io.Writer) (status int, err error) {
	if err := output.Check(n.Format, NameFormats...); err != nil {
		return statusUnknown, err
	}
	stanza, err := n.Stanza(stdin, "")
	if err != nil {
		return statusUnknown, err
	}
	c, namespace := (*cluster)(nil), n.Namespace
	if len(n.Manifests) > 0 {
		if c, _, err = n.files(stdin); err == nil {
			namespace = cmp.Or(namespace, c.onlyNamespace(), metav1.NamespaceDefault)
		}
	} else {
		c, namespace, err = n.list(ctx)
	}
	if err != nil {
		return statusUnknown, err
	}
	if n.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	records := newServer(stanza, c, "").records(c, namespace, n.Service)
	switch {
	case n.Format == "json" || n.Format == "yaml":
		err = output.Encode(stdout, n.Format, struct {
			Version int         `json:"version"` // of this form
			Records []ownRecord `json:"records"`
		}{1, records})
	case len(records) == 0:
		return statusDoesNot, n.nothing(c, namespace)
	default:
		err = n.table(stdout, records)
	}
	if len(records) == 0 {
		return statusDoesNot, err
	}
	return statusResolves, err
}

// nothing says why no name was found.
func (n *Names) nothing(c *cluster, namespace string) error {
	where := " in namespace " + namespace
	if namespace == metav1.NamespaceAll {
		where = ""
	}
	if n.Service == "" {
		return errors.New("no names" + where)
	}
	if slices.Contains(c.namespacesOf(n.Service), namespace) {
		return fmt.Errorf("no names of Service %s%s, which is there: explain says why", n.Service, where)
	}
	return fmt.Errorf("no names of Service %s%s%s", n.Service, where, didYouMeanIn(c, n.Service))
}

// didYouMeanIn names the namespaces that have a Service of this name.
func didYouMeanIn(c *cluster, service string) string {
	if others := c.namespacesOf(service); len(others) > 0 {
		return "; there is one in " + list(others)
	}
	return ""
}

// list lists what bears on the names, and returns the namespace that they are in.
func (n *Names) list(ctx context.Context) (c *cluster, namespace string, err error) {
	client, err := n.Cluster()
	if err != nil {
		return nil, "", err
	}
	namespace = cmp.Or(n.Namespace, client.Namespace)
	if n.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	c = newCluster(nil)
	a := &apiServer{Client: client, cluster: c, listed: make(map[string]bool)}
	a.list(ctx, kube.Namespaces, metav1.NamespaceAll, metav1.ListOptions{})
	a.listNamespace(ctx, namespace)
	for _, resource := range []string{kube.Services, kube.Slices} {
		if why := c.whyUnknown(resource, namespace); why != "" && a.err == nil {
			a.err = errors.New(why)
		}
	}
	return c, namespace, a.err
}

// records returns what the server answers for the names of Services, sorted: first a Service's own name, then those of its ports, and
// those of its endpoints.
func (s *server) records(c *cluster, namespace, service string) []ownRecord {
	all := []ownRecord{}
	services := slices.DeleteFunc(in[*corev1.Service](c, namespace), func(svc *corev1.Service) bool { return service != "" && svc.Name != service })
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, svc := range services {
		own := svc.Name + "." + svc.Namespace + ".svc." + s.stanza.Primary()
		add := func(fqdn, pod string, types ...uint16) {
			for _, qtype := range types {
				a := s.ask(fqdn, qtype)
				if a.Total == 0 {
					continue
				}
				r := ownRecord{Namespace: svc.Namespace, Service: svc.Name, Name: fqdn, Type: a.Type, TTL: a.TTL, pod: pod}
				if len(a.cnames) > 0 {
					r.Type = "CNAME"
				}
				for _, rr := range s.plugin.Reply(fqdn, qtype).Answer {
					if rr.Header().Rrtype == dns.StringToType[r.Type] {
						r.Data = append(r.Data, strings.TrimPrefix(rr.String(), rr.Header().String()))
					}
				}
				slices.Sort(r.Data)
				if len(all) == 0 || all[len(all)-1].Name != r.Name || all[len(all)-1].Type != r.Type { // a CNAME is the answer for A and AAAA
					all = append(all, r)
				}
			}
		}
		e := s.plugin.Explain(own, dns.TypeA)
		add(own, "", addressTypes...)
		ports := make(map[string]bool)
		for _, p := range svc.Spec.Ports {
			if label := fmt.Sprintf("_%s._%s.", p.Name, strings.ToLower(string(protocolOf(p.Protocol)))); p.Name != "" && !ports[label] {
				ports[label] = true
				add(label+own, "", dns.TypeSRV)
			}
		}
		endpoints, entries := e.Endpoints, entriesOf(c.slicesOf(svc))
		slices.SortFunc(endpoints, func(a, b index.Endpoint) int { return cmp.Compare(a.Names[0], b.Names[0]) })
		seen := make(map[string]bool)
		for _, e := range endpoints {
			if name := e.Names[0]; !seen[name] && e.Answers {
				seen[name] = true
				add(name+"."+own, entries[ownName{e.Addr, name}].pod, addressTypes...)
			}
		}
	}
	return all
}

// table writes records for people: without -o wide the first few data of a name.
func (n *Names) table(w io.Writer, records []ownRecord) error {
	t := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	line := func(words ...string) { _, _ = fmt.Fprintln(t, strings.Join(each(words, output.Cell), "\t")) } // Flush returns its error
	header := []string{"NAME", "TYPE", "DATA"}
	if n.Format == "wide" {
		header = []string{"NAME", "TYPE", "TTL", "POD", "DATA"}
	}
	line(header...)
	for _, r := range records {
		if n.Format == "wide" {
			line(r.Name, r.Type, fmt.Sprint(r.TTL), cmp.Or(r.pod, "-"), strings.Join(r.Data, ", "))
			continue
		}
		line(trimmed(r.Name), r.Type, list(r.Data))
	}
	return t.Flush()
}

// Services returns the names of the Services in the namespace.
func (s *Setting) Services(ctx context.Context, stdin io.Reader) ([]string, error) {
	if len(s.Manifests) > 0 {
		c, _, err := s.files(stdin)
		if err != nil {
			return nil, err
		}
		return each(in[*corev1.Service](c, s.Namespace), (*corev1.Service).GetName), nil
	}
	client, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	return listNames(ctx, client, kube.Services, cmp.Or(s.Namespace, client.Namespace))
}

// Namespaces returns the names of the Namespaces.
func (s *Setting) Namespaces(ctx context.Context, stdin io.Reader) ([]string, error) {
	if len(s.Manifests) > 0 {
		c, _, err := s.files(stdin)
		if err != nil {
			return nil, err
		}
		return c.namespaces(), nil
	}
	client, err := s.Cluster()
	if err != nil {
		return nil, err
	}
	return listNames(ctx, client, kube.Namespaces, metav1.NamespaceAll)
}

// listNames returns the names of the objects of a resource in a namespace.
func listNames(ctx context.Context, client *listing.Client, resource, namespace string) (names []string, err error) {
	err = client.Each(ctx, resource, namespace, metav1.ListOptions{}, func(obj runtime.Object) error {
		if o, err := meta.Accessor(obj); err == nil {
			names = append(names, o.GetName())
		}
		return nil
	})
	return names, err
}
