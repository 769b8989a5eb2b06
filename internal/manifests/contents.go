package manifests

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Contents is what files hold.
type Contents struct {
	Objects []Object
	origins map[Object]*origin
	others  map[string]int // how many objects are of no use, by kind
	skipped int            // how many documents and objects were left out because of what is in them
	notes   []string       // of the first flaws and mistakes
	flaws   int            // how many flaws there are
	// mistakes is how often each is made in a field.
	mistakes map[string]int
}

// Place is where something in files is.
type Place struct {
	File     string
	Document int // in the file, from 1
	Line     int // of the file, from 1
}

// String writes the place as errors do.
func (p Place) String() string {
	return fmt.Sprintf("%s: document %d, line %d", p.File, p.Document, p.Line)
}

// PlaceOf returns where a field of an object stands, or the object if it does not have that field. Path
// are the names of the fields that lead to it. ok is false for an object that
// is in no file.
func (c *Contents) PlaceOf(obj Object, path ...string) (p Place, ok bool) {
	from := c.origins[obj]
	if from == nil {
		return p, false
	}
	p = Place{from.file, from.number, from.line}
	node := from.node(from.items)
	if found := fields(node, path); len(found) > 0 && found[0] != nil {
		node = found[0]
	}
	if node != nil {
		p.Line += node.Line - 1
	}
	return p, true
}

// PlaceOfText returns where a text stands in a value of an object, or the object if it does not. ok
// is false for an object that is in no file.
func (c *Contents) PlaceOfText(obj Object, text string) (p Place, ok bool) {
	if p, ok = c.PlaceOf(obj); !ok {
		return p, false
	}
	from := c.origins[obj]
	if line, found := lineOf(from.node(from.items), text); found {
		p.Line = from.line + line - 1
	}
	return p, true
}

// HasCustom reports whether objects were left out that are of no kind of Kubernetes' own: somebody may
// make workloads of them.
func (c *Contents) HasCustom() bool {
	for kind := range c.others {
		group, _, _ := strings.Cut(kind, "/")
		if strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io") {
			return true
		}
	}
	return false
}

// Stdin is the path that stands for the input.
const Stdin = "-"

// Load returns what is in files and folders, and, for the path Stdin, in the input. Without an input, which is nil, Stdin is the
// name of a file.
func Load(input io.Reader, paths ...string) (*Contents, error) {
	var files []file
	for _, path := range paths {
		found, err := []file{{path: "the input", isNamed: true}}, error(nil)
		if path == Stdin && input != nil {
			found[0].content, err = readAll(input, 0)
		} else {
			found, _, err = find([]string{path})
		}
		if err != nil {
			return nil, fmt.Errorf("manifests: %w", err)
		}
		files = append(files, found...)
	}
	c, err := read(files, func(obj Object) bool { return kube.ResourceOf(obj) != "" || isWorkload(obj) })
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	return c, nil
}

// Read returns the objects in files and folders. One of an unknown kind is left out.
func Read(paths ...string) ([]Object, error) {
	c, err := Load(nil, paths...)
	if err != nil {
		return nil, err
	}
	return c.Objects, nil
}

// read returns what is in files. uses reports whether objects of a type are used.
func read(files []file, uses func(Object) bool) (*Contents, error) {
	c := &Contents{origins: make(map[Object]*origin), others: make(map[string]int), mistakes: make(map[string]int)}
	for _, f := range files {
		content, err := f.content, error(nil)
		if content == nil {
			content, err = f.read()
		}
		if err == nil {
			d := decoder{Contents: c, uses: uses, isNamed: f.isNamed}
			err = d.file(f.path, content)
		}
		if err != nil {
			return nil, err
		}
	}
	c.mirror()
	return c, nil
}

// mostNotes is how many flaws, and how many mistakes, are told one by one.
const mostNotes = 20

// flaw notes what is wrong with something that is left out, or not taken as it stands.
func (c *Contents) flaw(tell func() error) {
	if c.flaws++; c.flaws <= mostNotes {
		c.notes = append(c.notes, tell().Error())
	}
}

// skip notes why a document or an object is left out.
func (c *Contents) skip(tell func() error) {
	c.skipped++
	c.flaw(func() error { return fmt.Errorf("skipped %w", tell()) })
}

var (
	index      = regexp.MustCompile(`\[\d+\]`)
	quotedPath = regexp.MustCompile(`"(.+)"`)
)

// mistake notes what is wrong with a field that is ignored. What is wrong with many objects is told of
// the first.
func (c *Contents) mistake(from *origin, kind, text string) {
	text = kind + ": " + index.ReplaceAllString(text, "")
	if c.mistakes[text]++; c.mistakes[text] > 1 || len(c.mistakes) > mostNotes {
		return
	}
	node := from.node(from.items)
	if path := quotedPath.FindStringSubmatch(text); path != nil {
		if found := fields(node, strings.Split(path[1], ".")); len(found) > 0 {
			node = found[0]
		}
	}
	c.notes = append(c.notes, from.document.errorf("%s: %s", from.at(node), text).Error())
}

// Notes returns what was left out because of what is in it, and what looks like a mistake: a line each,
// and not many.
func (c *Contents) Notes() []string {
	notes := slices.Clone(c.notes)
	if more := c.flaws - mostNotes; more > 0 {
		notes = append(notes, fmt.Sprintf("and %d documents or objects more that are not as expected", more))
	}
	if more := len(c.mistakes) - mostNotes; more > 0 {
		notes = append(notes, fmt.Sprintf("and %d other mistakes in fields", more))
	}
	if again := sum(c.mistakes) - len(c.mistakes); again > 0 {
		notes = append(notes, fmt.Sprintf("and the same mistakes in fields %d times more", again))
	}
	return notes
}

// LeftOut says how many objects are of kinds that are of no use, or returns "".
func (c *Contents) LeftOut() string {
	if len(c.others) == 0 {
		return ""
	}
	kinds := slices.SortedFunc(maps.Keys(c.others), func(a, b string) int {
		return cmp.Or(c.others[b]-c.others[a], cmp.Compare(a, b))
	})
	var words []string
	for _, kind := range kinds[:min(len(kinds), 8)] {
		words = append(words, fmt.Sprintf("%d %.60s", c.others[kind], kind))
	}
	if more := len(kinds) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("and %d kinds more", more))
	}
	return shortened("left out objects of which no names are made: " + strings.Join(words, ", "))
}

// sum returns the sum of the values of counts.
func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

// mirror makes EndpointSlices of the Endpoints of Services that have none, as the control plane does.
func (c *Contents) mirror() {
	hasSlices := make(map[model.Key]bool)
	for _, obj := range c.Objects {
		if es, ok := obj.(*discoveryv1.EndpointSlice); ok {
			hasSlices[model.Key{Namespace: es.Namespace, Name: es.Labels[discoveryv1.LabelServiceName]}] = true
		}
	}
	made := 0
	for _, obj := range c.Objects {
		if e, ok := obj.(*corev1.Endpoints); ok && !hasSlices[model.Key{Namespace: e.Namespace, Name: e.Name}] { //nolint:staticcheck // old files have them
			c.Objects = append(c.Objects, mirrored(e)...)
			made++
		}
	}
	if made > 0 {
		c.notes = append(c.notes, fmt.Sprintf("the EndpointSlices of Services without any are made of their Endpoints, %d of them", made))
	}
}

// mirrored returns the EndpointSlices that say what Endpoints do.
func mirrored(from *corev1.Endpoints) (made []Object) { //nolint:staticcheck // old files have them
	for _, subset := range from.Subsets {
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			es := &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: from.Namespace, Name: fmt.Sprintf("%s-mirrored-%d", from.Name, len(made)), Labels: maps.Clone(from.Labels), UID: from.UID,
				},
				AddressType: family,
			}
			if es.Labels == nil {
				es.Labels = make(map[string]string)
			}
			es.Labels[discoveryv1.LabelServiceName] = from.Name
			for _, p := range subset.Ports {
				es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port})
			}
			add := func(addresses []corev1.EndpointAddress, isReady bool) {
				for _, a := range addresses {
					if addr, err := netip.ParseAddr(a.IP); err != nil || addr.Is4() != (family == discoveryv1.AddressTypeIPv4) {
						continue
					}
					e := discoveryv1.Endpoint{Addresses: []string{a.IP}, TargetRef: a.TargetRef, NodeName: a.NodeName}
					e.Conditions.Ready = &isReady
					if a.Hostname != "" {
						e.Hostname = &a.Hostname
					}
					es.Endpoints = append(es.Endpoints, e)
				}
			}
			add(subset.Addresses, true)
			add(subset.NotReadyAddresses, false)
			if len(es.Endpoints) > 0 {
				made = append(made, es)
			}
		}
	}
	return made
}
