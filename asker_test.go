package headless

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// threeZones is an index with the headless Service web in n, pods 10.9.0.0 to 5 in the topology zones a, b and c on two nodes each,
// with the hints of PreferSameNode.
func threeZones() *index.Index {
	x := index.New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	s := &model.Slice{Key: model.Key{Namespace: "n", Name: "web-1"}, Service: "web", Ports: []model.Port{model.PortOf("http", "tcp", 80)}}
	for i := range byte(6) {
		zone, node := string(rune('a'+i/2)), fmt.Sprint("k", i)
		s.Endpoints = append(s.Endpoints, model.Endpoint{
			Addr: netip.AddrFrom4([4]byte{10, 9, 0, i}), Name: fmt.Sprint("web-", i), State: model.Ready,
			Place: model.Place{
				Location: model.Location{Zone: zone, Node: node},
				ForZones: model.NamesOf([]string{zone}), ForNodes: model.NamesOf([]string{node}),
			}.Placed(),
		})
	}
	x.PutSlice(s)
	return x
}

// clientFrom is a client at an address.
func clientFrom(addr string) dns.ResponseWriter { return &test.ResponseWriter{RemoteIP: addr} }

// withSubnet adds an EDNS Client Subnet option to a query.
func withSubnet(text string) func(*dns.Msg) {
	return func(m *dns.Msg) {
		p := netip.MustParsePrefix(text)
		m.SetEdns0(1232, false)
		o := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
		if p.Addr().Is6() {
			o.Family = 2
		}
		opt := m.IsEdns0()
		opt.Option = append(opt.Option, o)
	}
}

// subnetOf returns the EDNS Client Subnet option of m as text.
func subnetOf(m *dns.Msg) string {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if o, ok := o.(*dns.EDNS0_SUBNET); ok {
				return o.String()
			}
		}
	}
	return ""
}

func TestClientsGetTheEndpointsOfTheirPlace(t *testing.T) {
	const own = "web.n.svc.cluster.local. "
	h, off := newTestHeadless(t, "topology hints\nclient_subnet 10.0.0.99 fd00::/64"), newTestHeadless(t, "")
	h.index = threeZones()
	off.index = h.index
	for _, c := range []struct {
		name, client, question string
		edit                   func(*dns.Msg)
		want, subnet           string
	}{
		{"an endpoint is on its node", "10.9.0.2", own + "A", nil, "10.9.0.2", ""},
		{"IPv4-mapped", "::ffff:10.9.0.3", own + "A", nil, "10.9.0.3", ""},
		{"nobody knows where another is", "10.0.0.1", own + "A", nil, "10.9.0.0 10.9.0.1 10.9.0.2 10.9.0.3 10.9.0.4 10.9.0.5", ""},
		{"SRV", "10.9.0.2", own + "SRV", nil, "0 100 80 web-2.web.n.svc.cluster.local.", ""},
		{"the SRV of a port", "10.9.0.2", "_http._tcp." + own + "SRV", nil, "0 100 80 web-2.web.n.svc.cluster.local.", ""},
		{"the addresses of a port", "10.9.0.2", "_http._tcp." + own + "A", nil, "10.9.0.2", ""},
		{"another pod's own name", "10.9.0.2", "web-5." + own + "A", nil, "10.9.0.5", ""},
		{"a PTR", "10.9.0.2", "5.0.9.10.in-addr.arpa. PTR", nil, "web-5.web.n.svc.cluster.local.", ""},
		{"a forwarder says who asks", "10.0.0.99", own + "A", withSubnet("10.9.0.4/32"), "10.9.0.4", "10.9.0.4/32/32"},
		{"one in a network of forwarders", "fd00::5", own + "A", withSubnet("10.9.0.4/32"), "10.9.0.4", "10.9.0.4/32/32"},
		{"a forwarder says who asks, whom nobody knows", "10.0.0.99", own + "A", withSubnet("192.0.2.1/32"), "10.9.0.0 10.9.0.1 10.9.0.2 10.9.0.3 10.9.0.4 10.9.0.5", "192.0.2.1/32/32"},
		{"a forwarder says a part", "10.0.0.99", own + "A", withSubnet("10.9.0.0/24"), "10.9.0.0 10.9.0.1 10.9.0.2 10.9.0.3 10.9.0.4 10.9.0.5", "10.9.0.0/24/24"},
		{"a forwarder says nothing", "10.0.0.99", own + "A", nil, "10.9.0.0 10.9.0.1 10.9.0.2 10.9.0.3 10.9.0.4 10.9.0.5", ""},
		{"a forwarder asks for what is the same for all", "10.0.0.99", "web-5." + own + "A", withSubnet("10.9.0.4/32"), "10.9.0.5", "10.9.0.4/32/0"},
		{"a forwarder is denied", "10.0.0.99", "nobody." + own + "A", withSubnet("10.9.0.4/32"), "", "10.9.0.4/32/0"},
		{"anybody else says that it is another", "10.9.0.2", own + "A", withSubnet("10.9.0.4/32"), "10.9.0.2", ""},
		{"an unknown one says that it is another", "10.0.0.1", own + "A", withSubnet("10.9.0.4/32"), "10.9.0.0 10.9.0.1 10.9.0.2 10.9.0.3 10.9.0.4 10.9.0.5", ""},
	} {
		var edits []func(*dns.Msg)
		if c.edit != nil {
			edits = append(edits, c.edit)
		}
		m, _ := askOver(t, h, clientFrom(c.client), c.question, edits...)
		got := dnstest.Data(m.Answer)
		slices.Sort(got)
		if strings.Join(got, " ") != c.want || subnetOf(m) != c.subnet {
			t.Errorf("%s: got %q and subnet %q, want %q and %q", c.name, got, subnetOf(m), c.want, c.subnet)
		}
		if m, _ := askOver(t, off, clientFrom(c.client), c.question, edits...); strings.HasPrefix(c.question, own) && len(m.Answer) != 6 || subnetOf(m) != "" {
			t.Errorf("%s, without topology: got %d records and subnet %q, want all and none", c.name, len(m.Answer), subnetOf(m))
		}
	}
}

func TestChoicesAreCounted(t *testing.T) { // not parallel: it counts
	h := newTestHeadless(t, "topology hints")
	h.index = threeZones()
	before := metrictest.Values(t, "coredns_headless_topology_answers_total")
	for client, n := range map[string]int{"10.9.0.2": 1, "10.0.0.1": 2} {
		for range n {
			askOver(t, h, clientFrom(client), "web.n.svc.cluster.local. A")
		}
	}
	askOver(t, h, clientFrom("10.9.0.2"), "web.n.svc.cluster.local. TXT")
	askOver(t, h, clientFrom("10.9.0.2"), "web-1.web.n.svc.cluster.local. A")
	transferOf(t, h, "cluster.local.", 0) // which is to nobody's place, as an explanation is
	_, err := h.account("web.n.svc.cluster.local.", "A")
	fatal.If(t, err)
	after := metrictest.Values(t, "coredns_headless_topology_answers_total")
	for endpoints, want := range map[string]float64{"node": 1, "zone": 0, "unknown_client": 2, "no_hints": 0, "no_endpoint": 0} {
		if got := after[endpoints] - before[endpoints]; got != want {
			t.Errorf("%s: counted %v, want %v", endpoints, got, want)
		}
	}
	if len(after) != index.NumChoices-1 {
		t.Errorf("got %v, want one for each choice", after)
	}
}

// TestOctetsOfPlaces: octets say what records say, to clients in every place, and by a forwarder.
func TestOctetsOfPlaces(t *testing.T) {
	h := newTestHeadless(t, "topology hints\nclient_subnet 127.0.0.0/8 10.0.0.0/8 ::/0")
	h.index = threeZones()
	tw := newTwins(t, h)
	octets := 0
	subnets := []string{"10.9.0.2/32", "10.9.0.0/24", "10.9.255.255/20", "0.0.0.0/0", "192.0.2.1/32", "fd00::1/128", "fd00::ffff/63", "::/0"}
	questions := []string{"web A", "web SRV", "web AAAA", "web-1.web A", "nobody.web A", "_http._tcp.web A", "no A", "web ANY"}
	for _, question := range questions {
		name, qtype, _ := strings.Cut(question, " ")
		for _, subnet := range subnets {
			for _, network := range []string{"udp", "tcp"} {
				q := dnstest.Query(name+".n.svc.cluster.local.", dns.StringToType[qtype], 0)
				withSubnet(subnet)(q)
				if tw.compare(t, network, q) {
					octets++
				}
			}
		}
	}
	if want := 2 * len(subnets) * (len(questions) - 1); octets != want { // ANY is a record
		t.Errorf("%d replies went as octets, want %d", octets, want)
	}
}

// TestOctetsOfSubnets: octets say what records say, whatever the family, the length and the address of the subnet, which may
// be no client's: that is one whose address is there in full, of either family.
func TestOctetsOfSubnets(t *testing.T) {
	h := newTestHeadless(t, "topology hints\nclient_subnet 127.0.0.0/8 ::/0")
	h.index = threeZones()
	tw := newTwins(t, h)
	mapped := "::ffff:10.9.0.4"
	for family, addrs := range [][]string{
		{"0.0.0.0"},
		{"0.0.0.0", "10.9.0.4", "255.255.255.255"},
		{"::", mapped, "::ffff:0.0.0.0", "::ffff:255.255.255.255", "fd00::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	} {
		for _, addr := range addrs {
			for length := range []int{1, 33, 129}[family] {
				o := &dns.EDNS0_SUBNET{
					Code: dns.EDNS0SUBNET, Family: uint16(family), SourceNetmask: uint8(length), Address: net.ParseIP(addr),
				}
				q := dnstest.Query("web.n.svc.cluster.local.", dns.TypeA, 1232)
				q.IsEdns0().Option = []dns.EDNS0{o}
				if !tw.compare(t, "udp", q) {
					t.Errorf("%s: written as records", o)
				}
				client, _ := h.clientOf(q, netip.MustParseAddr("127.0.0.1"))
				isFull := family == 1 && length == 32 || family == 2 && length == 128
				if want := netip.MustParseAddr(addr).Unmap(); client.IsValid() != isFull || isFull && client != want {
					t.Errorf("family %d, %s: the client is %v", family, o, client)
				}
			}
		}
	}
}

// podOn returns a Pod with an address, on a node.
func podOn(node, name, addr string, host bool) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, HostNetwork: host},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: addr}}},
	}
}

func nodeIn(zone, name, addr string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr}, {Type: corev1.NodeHostName, Address: name}}},
	}
}

// knows says what h knows of a client.
func knows(h *Headless, addr string) string {
	who := h.asker(netip.MustParseAddr(addr))
	pod := ""
	if who.pod != nil {
		pod = who.pod.Name
	}
	return fmt.Sprintf("zone %q node %q pod %q", who.Zone, who.Node, pod)
}

func TestWhoAsksOnOneNode(t *testing.T) {
	t.Parallel()
	s := kubetest.NewWebServer(t)
	s.Put(nodeIn("Z", "k", "192.0.2.1"), nodeIn("y", "l", "192.0.2.2"), podOn("k", "app", "10.1.0.1", false), podOn("k", "proxy", "192.0.2.1", true),
		podOn("l", "other", "10.2.0.1", false))
	h := watching(t, s, "topology hints", "node k")
	kubetest.Eventually(t, "the Node is known", func() bool { return h.ownNode.Load() != nil && h.pods.Count() == 2 })
	for addr, want := range map[string]string{
		"10.1.0.1":  `zone "z" node "k" pod "app"`,
		"192.0.2.1": `zone "z" node "k" pod ""`, // of the Pods in its network none can be told
		"10.2.0.1":  `zone "" node "" pod ""`,
		"192.0.2.2": `zone "" node "" pod ""`,
	} {
		if got := knows(h, addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	s.Put(nodeIn("x", "k", "192.0.2.1"))
	kubetest.Eventually(t, "the node moves to another zone", func() bool { return knows(h, "10.1.0.1") == `zone "x" node "k" pod "app"` })
}

// TestNodeThatDoesNotExist: a warning says so, and what endpoints say still counts. So it is where the rights for Nodes and Pods are
// missing. Nothing waits for them.
func TestNodeThatDoesNotExist(t *testing.T) { // not parallel: it captures the log
	for name, c := range map[string]struct {
		do   func(*kubetest.Server)
		says string
	}{
		"no such Node": {func(*kubetest.Server) {}, "node nobody: the cluster has no such Node"},
		"no right":     {func(s *kubetest.Server) { s.Forbid("nodes", "pods") }, "needs list and watch on nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			logged := logtest.Capture(t)
			s := kubetest.NewWebServer(t)
			c.do(s)
			es := kubetest.Slice("web-1", "web", "10.0.0.1", "web-0")
			zone, node := "z", "k"
			es.Endpoints[0].Zone, es.Endpoints[0].NodeName = &zone, &node
			s.Put(es)
			h := watching(t, s, "topology hints", "node nobody")
			kubetest.Eventually(t, "the index says where an endpoint is", func() bool { return knows(h, "10.0.0.1") == `zone "z" node "k" pod ""` })
			kubetest.Eventually(t, "a warning", func() bool { return strings.Contains(logged.String(), c.says) })
			if !h.Ready() || !h.listing.IsComplete() {
				t.Error("it is not ready, or would not write a snapshot")
			}
			checkWeb(t, h)
		})
	}
}

// TestPodsVerifiedSayWhereTheyAre: on which nodes, but not in which topology zones.
func TestPodsVerifiedSayWhereTheyAre(t *testing.T) {
	t.Parallel()
	s := kubetest.NewWebServer(t)
	s.Put(podOn("k", "app", "10.1.0.1", false), podOn("l", "other", "10.2.0.1", false))
	h := watching(t, s, "topology hints", "pods verified")
	kubetest.Eventually(t, "the Pods are known", func() bool { return h.pods.Count() == 2 })
	for addr, want := range map[string]string{"10.1.0.1": `zone "" node "k" pod "app"`, "10.2.0.1": `zone "" node "l" pod "other"`} {
		if got := knows(h, addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}
