package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prober does what the pods of Kubernetes' own DNS tests do, test/e2e/network/dns.go and dns_common.go of v1.37: it asks for names
// as "dig +search" does, over UDP and TCP: by this program, and by dig itself and "getent hosts" if programs can have a resolv.conf of
// their own here.
type prober struct {
	*score
	cluster   *cluster.Cluster
	server    *coredns.Server
	noClients error // why dig and getent cannot be run
	namespace string
}

const (
	// The names in Kubernetes' tests.
	querier        = "dns-querier-1"
	querierService = "dns-test-service"
	regularService = "test-service-2"
)

// testConformance does Kubernetes' own DNS tests. Those that it calls conformance tests come first.
func testConformance(t *testing.T, c *cluster.Cluster) {
	s, port53 := startPort53(t, c)
	noClients := port53
	if noClients == nil {
		_, noClients = newPod(t, s, clusterFirst("default"), "")
	}
	for i, test := range []struct {
		name string
		run  func(p prober)
	}{
		{"should provide DNS for the cluster", func(p prober) { p.dig("kubernetes.default.svc.cluster.local") }},
		{"should provide etc hosts entries for the cluster", func(p prober) {
			p.getentHosts(p.createPod(querier, querierService, nil), querier, fullName(querier, querierService, p.namespace))
		}},
		{"should provide DNS for services", func(p prober) {
			selector := map[string]string{"dns-test": "true"}
			p.createService(querierService, "None", selector)
			regular := p.createService(regularService, "", selector)
			p.createPod(querier, querierService, selector)
			p.dig(
				querierService+"."+p.namespace+".svc.cluster.local",
				"_http._tcp."+querierService+"."+p.namespace+".svc.cluster.local",
				"_http._tcp."+regularService+"."+p.namespace+".svc.cluster.local",
			)
			p.digReverse(regular.Spec.ClusterIP)
		}},
		{"should resolve DNS of partial qualified names for services", func(p prober) { p.partialNames(nil) }},
		{"should provide DNS for pods for Hostname", func(p prober) {
			labels := map[string]string{"dns-test-hostname-attribute": "true"}
			p.createService("dns-test-service-2", "None", labels)
			pod := p.createPod("dns-querier-2", "dns-test-service-2", labels)
			p.getentHosts(pod, "dns-querier-2", fullName("dns-querier-2", "dns-test-service-2", p.namespace))
			p.dig(fullName("dns-querier-2", "dns-test-service-2", p.namespace)) // for the kubelet's /etc/hosts hides the DNS
		}},
		{"should provide DNS for pods for Subdomain", func(p prober) {
			labels := map[string]string{"dns-test-hostname-attribute": "true"}
			p.createService("dns-test-service-2", "None", labels)
			p.createPod("dns-querier-2", "dns-test-service-2", labels)
			p.dig(fullName("dns-querier-2", "dns-test-service-2", p.namespace), "dns-test-service-2."+p.namespace+".svc.cluster.local")
		}},
		{"should provide DNS for ExternalName services", prober.externalName},
		{"should support configurable pod DNS nameservers", func(p prober) { p.skip("a kubelet writes resolv.conf, and nothing is looked up") }},

		{"should resolve DNS of partial qualified names for the cluster", func(p prober) { p.dig("kubernetes.default", "kubernetes.default.svc") }},
		{"should work with the pod containing more than 6 DNS search paths and longer than 256 search list characters", func(p prober) {
			conf := clusterFirst(p.namespace)
			for i := range 6 {
				conf.search = append(conf.search, fmt.Sprintf("%038d.k8s.io", i+1))
			}
			p.digWith(conf, "kubernetes.default", "kubernetes.default.svc")
		}},
		{"should work with a search path containing an underscore and a search path with a single dot", func(p prober) {
			conf := clusterFirst(p.namespace)
			conf.search = append(conf.search, ".", "_sip._tcp.abc_d.example.com")
			p.digWith(conf, "kubernetes.default", "kubernetes.default.svc")
		}},
		{"should work with a service name that starts with a digit", func(p prober) {
			p.createService("1kubernetes", "", nil)
			p.dig("1kubernetes." + p.namespace + ".svc.cluster.local")
		}},
		{"should provide DNS for a service with multiple EndpointSlices and no Endpoints", func(p prober) {
			p.createService(querierService, "None", nil)
			p.createSlice(querierService, "http", 80, "1.2.3.4")
			p.createSlice(querierService, "https", 443, "5.6.7.8")
			name := querierService + "." + p.namespace + ".svc.cluster.local"
			p.dig(name, "_http._tcp."+name, "_https._tcp."+name)
		}},
		{"should resolve DNS of partial qualified names for services on hostNetwork pods", func(p prober) {
			p.partialNames(func(pod *corev1.Pod) {
				pod.Spec.HostNetwork, pod.Spec.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
			})
		}},
	} {
		passed := t.Run(test.name, func(t *testing.T) {
			p := prober{newScore(t, "headless"), c, s, noClients, fmt.Sprintf("dns-%d", i+1)}
			if noClients != nil {
				p.note = "SKIPPED dig and getent: " + noClients.Error()
			}
			createNamespace(t, c, p.namespace)
			test.run(p)
		})
		if !passed {
			break // the others would wait in vain as well
		}
	}
}

func fullName(hostname, subdomain, namespace string) string {
	return hostname + "." + subdomain + "." + namespace + ".svc.cluster.local"
}

func (p prober) partialNames(change func(*corev1.Pod)) {
	selector := map[string]string{"dns-test": "true"}
	p.createService(querierService, "None", selector)
	regular := p.createService(regularService, "", selector)
	p.createPod(querier, querierService, selector, change)
	p.dig(
		querierService,
		querierService+"."+p.namespace,
		querierService+"."+p.namespace+".svc",
		"_http._tcp."+querierService+"."+p.namespace+".svc",
		"_http._tcp."+regularService+"."+p.namespace+".svc",
	)
	p.digReverse(regular.Spec.ClusterIP)
}

// externalName changes what an ExternalName Service stands for, and then that it is one.
func (p prober) externalName() {
	const name = "dns-test-service-3"
	services := p.cluster.Client.CoreV1().Services(p.namespace)
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "foo.example.com"},
	}
	svc, err := services.Create(p.t.Context(), svc, metav1.CreateOptions{})
	fatal.If(p.t, err)
	p.digShort(name, "CNAME", "foo.example.com.")
	svc.Spec.ExternalName = "bar.example.com"
	svc, err = services.Update(p.t.Context(), svc, metav1.UpdateOptions{})
	fatal.If(p.t, err)
	p.digShort(name, "CNAME", "bar.example.com.")
	svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeClusterIP, ""
	svc.Spec.Ports = []corev1.ServicePort{{Port: 80, Name: "http", Protocol: corev1.ProtocolTCP}}
	svc, err = services.Update(p.t.Context(), svc, metav1.UpdateOptions{})
	fatal.If(p.t, err)
	p.digShort(name, "A", svc.Spec.ClusterIP)
}

// createService creates a Service with the port http.
func (p prober) createService(name, clusterIP string, selector map[string]string) *corev1.Service {
	p.t.Helper()
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: clusterIP, Selector: selector,
			Ports: []corev1.ServicePort{{Port: 80, Name: "http", Protocol: corev1.ProtocolTCP}},
		},
	}
	svc, err := p.cluster.Client.CoreV1().Services(p.namespace).Create(p.t.Context(), svc, metav1.CreateOptions{})
	fatal.If(p.t, err)
	return svc
}

// createSlice creates an EndpointSlice of a Service, with a port and an endpoint.
func (p prober) createSlice(service, port string, number int32, address string) {
	p.t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: service + "-",
			Labels:       map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "e2e-test"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
	}
	_, err := p.cluster.Client.DiscoveryV1().EndpointSlices(p.namespace).Create(p.t.Context(), slice, metav1.CreateOptions{})
	fatal.If(p.t, err)
}

// createPod creates a pod, and returns it when it has an address. changes are made to it before; any of them may be nil.
func (p prober) createPod(hostname, subdomain string, labels map[string]string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "dns-test-", Labels: labels},
		Spec: corev1.PodSpec{
			Hostname: hostname, Subdomain: subdomain, Containers: []corev1.Container{{Name: "webserver", Image: "agnhost"}},
		},
	}
	for _, change := range changes {
		if change != nil {
			change(pod)
		}
	}
	pods := p.cluster.Client.CoreV1().Pods(p.namespace)
	pod, err := pods.Create(p.t.Context(), pod, metav1.CreateOptions{})
	fatal.If(p.t, err)
	eventually(p.t, time.Minute, func(ctx context.Context) error {
		if pod, err = pods.Get(ctx, pod.Name, metav1.GetOptions{}); err == nil && pod.Status.PodIP == "" {
			err = errors.New("the pod has no address")
		}
		return err
	})
	return pod
}

// dig waits until dig finds something for each name, over UDP and TCP: SRV for those that start with an underscore, else A.
func (p prober) dig(names ...string) {
	p.t.Helper()
	p.digWith(clusterFirst(p.namespace), names...)
}

func (p prober) digWith(conf resolvConf, names ...string) {
	p.t.Helper()
	for _, name := range names {
		qtype := "A"
		if strings.HasPrefix(name, "_") {
			qtype = "SRV"
		}
		p.probe(conf, name, qtype)
	}
}

// digReverse waits until dig finds the name of an address.
func (p prober) digReverse(ip string) {
	p.t.Helper()
	name, err := dns.ReverseAddr(ip)
	fatal.If(p.t, err)
	p.probe(clusterFirst(p.namespace), strings.TrimSuffix(name, "."), "PTR")
}

func (p prober) probe(conf resolvConf, name, qtype string) {
	p.t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		eventually(p.t, time.Minute, func(ctx context.Context) error {
			found, err := digSearch(ctx, p.server, conf, network, name, dns.StringToType[qtype])
			if err == nil && len(found) == 0 {
				err = fmt.Errorf("%s %s over %s: no answer", name, qtype, network)
			}
			return err
		})
		p.check(nil) // or it would not have come here
	}
	if p.noClients != nil {
		return
	}
	pod := p.pod(conf, "")
	for _, option := range []string{"+notcp", "+tcp"} {
		p.client(pod, "dig", option, "+noall", "+answer", "+search", name, qtype)
	}
}

// digShort waits until a name below the namespace has one record, with this data.
func (p prober) digShort(service, qtype, want string) {
	p.t.Helper()
	name := service + "." + p.namespace + ".svc.cluster.local."
	eventually(p.t, time.Minute, func(ctx context.Context) error {
		r, err := p.server.Ask(ctx, "udp", name, dns.StringToType[qtype])
		if err == nil && (len(r.Answer) != 1 || dns.Field(r.Answer[0], 1) != want) {
			err = fmt.Errorf("%s %s: got %v, want %s", name, qtype, r.Answer, want)
		}
		return err
	})
	p.check(nil) // or it would not have come here
}

// getentHosts checks that getent finds names, with the /etc/hosts that a kubelet writes for the pod.
func (p prober) getentHosts(pod *corev1.Pod, names ...string) {
	p.t.Helper()
	if p.noClients != nil {
		return
	}
	hosts := fmt.Sprintf("%s\t%s\t%s\n", pod.Status.PodIP, fullName(pod.Spec.Hostname, pod.Spec.Subdomain, pod.Namespace), pod.Spec.Hostname)
	client := p.pod(clusterFirst(p.namespace), hosts)
	for _, name := range names {
		p.client(client, "getent", "hosts", name)
	}
}

func (p prober) pod(conf resolvConf, hosts string) pod {
	p.t.Helper()
	pod, err := newPod(p.t, p.server, conf, hosts)
	fatal.If(p.t, err)
	return pod
}

// client checks that a program, if there is one, finds something.
func (p prober) client(in pod, args ...string) {
	p.t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		p.note = "SKIPPED " + err.Error()
		return
	}
	out, err := in.run(p.t.Context(), nil, args...)
	if err == nil && strings.TrimSpace(out) == "" {
		err = fmt.Errorf("%q prints nothing", args)
	}
	p.check(err)
}
