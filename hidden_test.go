package headless

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// hiddenShown is the namespace that everyone may see. Some of what is in it leads into the other one, or shares an address with it.
const hiddenShown = `
{apiVersion: v1, kind: Namespace, metadata: {name: shown, labels: {exposed: "yes"}}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shown, name: web}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shown, name: web-1, labels: {kubernetes.io/service-name: web}}, ports: [{name: http, port: 80}], endpoints: [{addresses: [10.6.0.1], hostname: web-0}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shown, name: dns}, spec: {clusterIP: 10.96.0.10}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shown, name: link}, spec: {type: ExternalName, externalName: web.hidden.svc.cluster.local}}
`

// hiddenHidden has in its namespace whatever DNS has records of.
const hiddenHidden = `
{apiVersion: v1, kind: Namespace, metadata: {name: hidden, labels: {exposed: "no"}}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: hidden, name: web}, spec: {clusterIP: None, ports: [{name: http, port: 80}], externalIPs: [192.0.2.7]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: hidden, name: web-1, labels: {kubernetes.io/service-name: web}}, ports: [{name: http, port: 80}], endpoints: [
  {addresses: [10.7.0.1], hostname: web-0, zone: eu}, {addresses: ["fd07::1"]}, {addresses: [10.6.0.1], hostname: aa}, {addresses: [10.7.0.2], targetRef: {kind: Pod, name: web-pod}}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: hidden, name: vip}, spec: {clusterIPs: [10.96.0.7, "fd96::7"], ports: [{name: http, port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: hidden, name: vip-1, labels: {kubernetes.io/service-name: vip}}, ports: [{name: http, port: 80}], endpoints: [{addresses: [10.7.1.1], hostname: vip-0}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: hidden, name: dns}, spec: {clusterIP: 10.96.0.10}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: hidden, name: ext}, spec: {type: ExternalName, externalName: web.shown.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: hidden, name: all, annotations: {coredns-headless.github.io/hostnames: all}}, spec: {clusterIP: None}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: hidden, name: all-1, labels: {kubernetes.io/service-name: all}}, endpoints: [{addresses: [10.7.2.1], hostname: all-0, conditions: {ready: false}}]}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: hidden, name: web-pod}, status: {podIPs: [{ip: 10.7.0.2}]}}
---
{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, metadata: {namespace: hidden, name: db}, spec: {type: Headless, ports: [{name: sql, port: 5432, protocol: TCP}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: hidden, name: db-1, labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: east}}, ports: [{name: sql, port: 5432}], endpoints: [{addresses: [10.7.3.1], hostname: db-0}]}
`

// hiddenNames are names that exist only if the hidden namespace does, in every form of behaviour sections 2 and 3.
var hiddenNames = strings.Fields(`
	hidden.svc.cluster.local. web.hidden.svc.cluster.local. WEB.Hidden.svc.cluster.local. web-0.web.hidden.svc.cluster.local.
	fd07--1.web.hidden.svc.cluster.local. web-pod.web.hidden.svc.cluster.local. 10-7-0-2.web.hidden.svc.cluster.local.
	_tcp.web.hidden.svc.cluster.local. _http._tcp.web.hidden.svc.cluster.local. _http._tcp.web-0.web.hidden.svc.cluster.local.
	_tcp.web-0.web.hidden.svc.cluster.local. vip.hidden.svc.cluster.local. _http._tcp.vip.hidden.svc.cluster.local.
	vip-0.vip.hidden.svc.cluster.local. ext.hidden.svc.cluster.local. all.hidden.svc.cluster.local. all-0.all.hidden.svc.cluster.local.
	_zone.web.hidden.svc.cluster.local. pin._zone.web.hidden.svc.cluster.local. eu.pin._zone.web.hidden.svc.cluster.local.
	us.prefer._zone.web.hidden.svc.cluster.local. hidden.pod.cluster.local. 10-7-0-2.hidden.pod.cluster.local.
	hidden.svc.clusterset.local. db.hidden.svc.clusterset.local. east.db.hidden.svc.clusterset.local.
	db-0.east.db.hidden.svc.clusterset.local. _sql._tcp.db.hidden.svc.clusterset.local.
	1.0.7.10.in-addr.arpa. 1.2.7.10.in-addr.arpa. 0.7.10.in-addr.arpa. 7.10.in-addr.arpa. 1.1.7.10.in-addr.arpa. 7.0.96.10.in-addr.arpa.
	1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.0.d.f.ip6.arpa. 7.0.d.f.ip6.arpa. 6.9.d.f.ip6.arpa.
`)

// hiddenOther are names whose records must not tell of the hidden namespace.
var hiddenOther = strings.Fields(`
	. local. cluster.local. svc.cluster.local. pod.cluster.local. dns.cluster.local. ns.dns.cluster.local. clusterset.local.
	link.shown.svc.cluster.local. web.shown.svc.cluster.local. web-0.web.shown.svc.cluster.local. aa.web.shown.svc.cluster.local.
	nobody.hidden.svc.cluster.local. *.hidden.svc.cluster.local. 9-9-9-9.hidden.pod.cluster.local. hidden.cluster.local.
	1.0.6.10.in-addr.arpa. 10.in-addr.arpa. 10.0.96.10.in-addr.arpa. 9.9.7.10.in-addr.arpa. in-addr.arpa. d.f.ip6.arpa. ip6.arpa.
`)

// hiddenServer returns a server for the namespaces in manifests, and the plugin in it.
func hiddenServer(t *testing.T, objects, options string) (*wireServer, *Headless) {
	t.Helper()
	dir := t.TempDir()
	filetest.Write(t, filepath.Join(dir, "a.yaml"), objects)
	cfg, err := parseStanza(newController("headless cluster.local clusterset.local in-addr.arpa ip6.arpa {\nmanifests a.yaml\n" +
		"multicluster clusterset.local\nzonal\nendpoint_pod_names\n" + options + "\n}"))
	fatal.If(t, err)
	h, err := newHeadless(cfg, dir)
	fatal.If(t, err)
	h.local = []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	return newWireServer(t, h), h
}

// hiddenReply returns the reply to a query, with EDNS or without.
func hiddenReply(t *testing.T, conn *dnstest.Conn, name string, qtype, size uint16) []byte {
	t.Helper()
	r := dnstest.Query(name, qtype, 0)
	r.Id = 1
	if size > 0 {
		r.SetEdns0(size, true)
	}
	packet, err := r.Pack()
	fatal.If(t, err)
	reply, err := conn.Exchange(packet)
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.Type(qtype), err)
	}
	return withoutSerial(t, reply)
}

// withoutSerial returns a copy of a message in which the serial of its SOA, if it has one, is 0: the servers that are compared
// did not start in the same second. TestHiddenChangesAreNotSeen holds that
// what is hidden does not change it.
func withoutSerial(t *testing.T, message []byte) []byte {
	t.Helper()
	var m dns.Msg
	fatal.If(t, m.Unpack(message))
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if soa, ok := rr.(*dns.SOA); ok {
			return bytes.ReplaceAll(message, binary.BigEndian.AppendUint32(nil, soa.Serial), make([]byte, 4))
		}
	}
	return bytes.Clone(message)
}

// hiddenTransfer returns the records of a transfer, sorted.
func hiddenTransfer(t *testing.T, h *Headless, zone string) []string {
	t.Helper()
	records, err := h.Transfer(zone, 0)
	fatal.If(t, err)
	var texts []string
	for rrs := range records {
		for _, rr := range rrs {
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial = 0
			}
		}
		texts = append(texts, dnstest.Lines(rrs)...)
	}
	slices.Sort(texts)
	return texts
}

// TestHiddenNamespacesAreLikeMissingOnes: a server that hides a namespace sends the very octets that one sends whose cluster does
// not have the namespace. A third one, which hides nothing, shows that every name that is asked for would have told.
func TestHiddenNamespacesAreLikeMissingOnes(t *testing.T) {
	types := []uint16{
		dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeNS, dns.TypeSOA, dns.TypeANY, dns.TypeAXFR, 65535,
	}
	for _, hiding := range []string{"namespaces shown", "namespace_labels exposed=yes"} {
		for _, options := range []string{"pods insecure", "pods verified\nhostnames all\nignore empty_service", "fallthrough"} {
			t.Run(hiding+" "+options, func(t *testing.T) {
				hides, h := hiddenServer(t, hiddenShown+"---"+hiddenHidden, hiding+"\n"+options)
				lacks, without := hiddenServer(t, hiddenShown, hiding+"\n"+options)
				tells, _ := hiddenServer(t, hiddenShown+"---"+hiddenHidden, options)
				for i, name := range slices.Concat(hiddenNames, hiddenOther) {
					told := false
					for _, qtype := range types {
						for _, way := range []struct {
							network string
							size    uint16
						}{{"udp", 0}, {"udp", 1232}, {"tcp", 1232}} {
							ask := func(s *wireServer) []byte {
								conn := map[string]*dnstest.Conn{"udp": s.udp, "tcp": s.tcp}[way.network]
								return hiddenReply(t, conn, name, qtype, way.size)
							}
							got, want := ask(hides), ask(lacks)
							if !bytes.Equal(got, want) {
								t.Errorf("%s %s over %s: with a hidden namespace\n%x\nwithout it\n%x", name, dns.Type(qtype), way.network, got, want)
							}
							told = told || !bytes.Equal(ask(tells), want)
						}
					}
					// With fallthrough, names without records are the next plugin's.
					if i < len(hiddenNames) && !told && options != "fallthrough" {
						t.Errorf("%s: no query tells whether it exists", name)
					}
				}
				for _, zone := range h.zones {
					if got, want := hiddenTransfer(t, h, zone), hiddenTransfer(t, without, zone); !slices.Equal(got, want) {
						t.Errorf("a transfer of %s has\n%q\nwant\n%q", zone, got, want)
					}
				}
				if got, want := modeltest.ExternalHosts(h.index.AllExternalHosts), modeltest.ExternalHosts(without.index.AllExternalHosts); got != want {
					t.Errorf("a transfer of external names has\n%s\nwant\n%s", got, want)
				}
				for _, name := range []string{"hidden.example.org.", "web.hidden.example.org.", "web-0.web.hidden.example.org.", "7.2.0.192.in-addr.arpa.", "2.0.192.in-addr.arpa."} {
					external := func(h *Headless) string {
						r := dnstest.Query(name, dns.TypeA, 0)
						return fmt.Sprint(h.External(request.Request{W: &test.ResponseWriter{}, Req: r, Zone: "example.org."}, true))
					}
					if got, want := external(h), external(without); got != want {
						t.Errorf("%s outside: %s, want %s", name, got, want)
					}
				}
			})
		}
	}
}

// TestHiddenChangesAreNotSeen: what changes in a hidden namespace does not move the serials.
func TestHiddenChangesAreNotSeen(t *testing.T) {
	_, h := hiddenServer(t, hiddenShown+"---"+hiddenHidden, "namespace_labels exposed=yes")
	before, outside := h.index.Serial(), h.index.ExternalSerial()
	key := model.Key{Namespace: "hidden", Name: "web"}
	for range 2 {
		for _, change := range []func(){
			func() { h.index.PutService(&model.Service{Key: key, Kind: model.Headless, Policy: model.HostnamesAll}) },
			func() {
				h.index.PutSlice(&model.Slice{Key: key, Service: "web", Endpoints: modeltest.BigSlice(0, 9, model.Ready).Endpoints})
			},
			func() {
				h.index.PutSlice(&model.Slice{Key: key, Service: "web", Endpoints: modeltest.BigSlice(3, 5, model.NotReady).Endpoints})
			},
			func() { h.index.DropSlice(key) },
			func() {
				h.index.PutService(&model.Service{Key: key, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.8")}})
			},
			func() { h.index.DropService(key) },
			func() { h.index.DropNamespace(model.Key{Namespace: "", Name: "hidden"}) },
		} {
			change()
			if h.index.Serial() != before || h.index.ExternalSerial() != outside {
				t.Fatalf("the serials went from %d and %d to %d and %d", before, outside, h.index.Serial(), h.index.ExternalSerial())
			}
		}
	}
}
