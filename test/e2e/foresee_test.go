package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/foresee"
	"github.com/coredns-headless/headless/internal/oracle"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// TestForeseenNamesComeTrue applies what people deploy, and compares the records that were foreseen with those that there are then, all
// but the addresses. A server with manifests foresee and one of the cluster are asked for each name.
func TestForeseenNamesComeTrue(t *testing.T) {
	const file = "testdata/foresee/objects.yaml"
	var objects []runtime.Object
	for document := range strings.SplitSeq(string(filetest.Read(t, file)), "\n---\n") {
		text, err := yaml.YAMLToJSON([]byte(document))
		fatal.If(t, err)
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
		fatal.If(t, err)
		objects = append(objects, obj)
	}
	foreseen := foresee.Of(objects).Objects
	foreseeing := startForeseeing(t, file)
	c := startCluster(t)
	apply(t, c, "{apiVersion: v1, kind: Namespace, metadata: {name: chart}}")
	apply(t, c, string(filetest.Read(t, file)))
	var there []runtime.Object
	want := endpointsOf(foreseen)
	eventually(t, 2*time.Minute, func(ctx context.Context) error {
		var err error
		if there, err = objectsIn(ctx, c, "chart"); err == nil && !maps.Equal(endpointsOf(there), want) {
			err = fmt.Errorf("got the endpoints of Services %v, want %v", endpointsOf(there), want)
		}
		return err
	})
	names := make(map[string]bool)
	before, after := recordsOf(foreseen, names), recordsOf(there, names)
	if !slices.Equal(before, after) {
		t.Errorf("foresaw\n%s\nthere are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if len(after) < 100 {
		t.Errorf("compared %d records, want at least 100", len(after))
	}

	server := startServer(t, c, "headless")
	asked := 0
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV} {
			got, err := dnstest.Exchange(t.Context(), "tcp", foreseeing, dnstest.Query(name, qtype, dns.DefaultMsgSize))
			fatal.If(t, err)
			want, err := server.Ask(t.Context(), "tcp", name, qtype)
			fatal.If(t, err)
			if asked += len(got.Answer); leveledAnswer(got) != leveledAnswer(want) {
				t.Errorf("%s %s: foresaw %s, there is %s", name, dns.TypeToString[qtype], leveledAnswer(got), leveledAnswer(want))
			}
		}
	}
	t.Logf("%d records compared, %d in answers", len(after), asked)
}

// startForeseeing starts a CoreDNS that answers from manifests, and returns where.
func startForeseeing(t *testing.T, manifests string) (addr string) {
	t.Helper()
	dir := t.TempDir()
	ports, err := cluster.FreePorts(2)
	fatal.If(t, err)
	program, err := filepath.Abs(*corednsProgram)
	fatal.If(t, err)
	manifests, err = filepath.Abs(manifests)
	fatal.If(t, err)
	corefile := filepath.Join(dir, "Corefile")
	filetest.Write(t, corefile, fmt.Sprintf("cluster.local:%d {\n bind 127.0.0.1\n ready 127.0.0.1:%d\n headless {\n  manifests foresee %s\n }\n}\n", ports[0], ports[1], manifests))
	p := &cluster.Process{
		Name: "foreseeing", Dir: dir, Program: program, Args: []string{"-conf", corefile},
		Ready: func(ctx context.Context) error { return probeReady(ctx, ports[1]) },
	}
	fatal.If(t, p.Start(t.Context()))
	t.Cleanup(p.Stop)
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}

// objectsIn returns the Services, the EndpointSlices and the Namespace.
func objectsIn(ctx context.Context, c *cluster.Cluster, namespace string) (all []runtime.Object, err error) {
	services, err := c.Client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	epSlices, err := c.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range services.Items {
		all = append(all, &services.Items[i])
	}
	for i := range epSlices.Items {
		all = append(all, &epSlices.Items[i])
	}
	return all, nil
}

// endpointsOf returns how many ready endpoints each Service has.
func endpointsOf(all []runtime.Object) map[string]int {
	n := make(map[string]int)
	for _, obj := range all {
		if es, ok := obj.(*discoveryv1.EndpointSlice); ok {
			for _, e := range es.Endpoints {
				if deref(e.Conditions.Ready) {
					n[es.Labels[discoveryv1.LabelServiceName]]++
				}
			}
		}
	}
	return n
}

// recordsOf returns the forward records that objects give, sorted, with the same words for all addresses, and adds to names the owners
// of those without such words.
func recordsOf(all []runtime.Object, names map[string]bool) (records []string) {
	all = append(slices.Clone(all), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "chart"}})
	for name, rrs := range oracle.New(oracle.Default(apex), all...).RRsets() {
		if !strings.Contains(name, "chart.svc") {
			continue
		}
		for _, rr := range rrs {
			records = append(records, leveled(rr.String()))
		}
		if leveled(name) == name {
			names[name] = true
		}
	}
	slices.Sort(records)
	return records
}

var dashed = regexp.MustCompile(`\b(\d+-\d+-\d+-\d+|[0-9a-f]*-[0-9a-f-]*-[0-9a-f]+)\.`)

// leveled returns a text with the same word for all addresses of a family.
func leveled(text string) string {
	fields := strings.Fields(text)
	for i, field := range fields {
		if addr, err := netip.ParseAddr(field); err == nil {
			fields[i] = map[bool]string{true: "IPv4", false: "IPv6"}[addr.Is4()]
			continue
		}
		fields[i] = dashed.ReplaceAllStringFunc(field, func(label string) string {
			for _, sign := range []string{".", ":"} {
				if addr, err := netip.ParseAddr(strings.ReplaceAll(strings.TrimSuffix(label, "."), "-", sign)); err == nil {
					return map[bool]string{true: "ipv4.", false: "ipv6."}[addr.Is4()]
				}
			}
			return label
		})
	}
	return strings.Join(fields, " ")
}

// leveledAnswer writes the answer section of a message, sorted, or else its response code.
func leveledAnswer(m *dns.Msg) string {
	var records []string
	for _, rr := range m.Answer {
		records = append(records, leveled(rr.String()))
	}
	slices.Sort(records)
	return cmp.Or(strings.Join(records, "; "), dns.RcodeToString[m.Rcode])
}
