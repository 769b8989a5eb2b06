package kube

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/model"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// TestConvertPlace: what is kept of where an endpoint is, by the options that need it.
func TestConvertPlace(t *testing.T) {
	long := strings.Repeat("z", model.MaxName+1)
	many := strings.Repeat("{name: z}, ", 8)
	for _, c := range []struct {
		name, endpoint string
		zonal, hints   bool
		want, skipped  string
	}{
		{"nothing is asked for", `zone: z, nodeName: k, hints: {forZones: [{name: z}]}`, false, false, `zone "" node "" zonal false for "" ""`, ""},
		{"the zone, for names", `zone: Z, nodeName: k, hints: {forZones: [{name: z}]}`, true, false, `zone "z" node "" zonal true for "" ""`, ""},
		{"all, for hints", `zone: Z, nodeName: k, hints: {forZones: [{name: Z}, {name: a}], forNodes: [{name: k}]}`, false, true, `zone "z" node "k" zonal false for "a\x00z" "k"`, ""},
		{"both", `zone: z, nodeName: k`, true, true, `zone "z" node "k" zonal true for "" ""`, ""},
		{"nothing is known", `hostname: a`, true, true, `zone "" node "" zonal false for "" ""`, ""},
		{"hints without names", `hints: {forZones: [{name: ""}, {}]}`, true, true, `zone "" node "" zonal false for "" ""`, ""},
		{"a zone that is too long", `zone: ` + long + `, nodeName: k`, true, true, `zone "" node "k" zonal true for "" ""`, "endpointslices name"},
		{"a hint that is too long", `hints: {forZones: [{name: ` + long + `}, {name: a}]}`, false, true, `zone "" node "" zonal false for "a" ""`, "endpointslices name"},
		{"as many hints as there may be", `hints: {forZones: [` + many + `]}`, false, true, `zone "" node "" zonal false for "z" ""`, ""},
		{"more hints than there may be", `hints: {forNodes: [` + many + `{name: k}]}`, false, true, `zone "" node "" zonal false for "" "z"`, "endpointslices limit"},
	} {
		var skips convertSkips
		conv := &Converter{skip: skips.add, Topologies: c.zonal, Hints: c.hints}
		es := convertYAML[discoveryv1.EndpointSlice](t, "{metadata: {namespace: ns, name: web-1, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.1], "+c.endpoint+"}]}")
		got, _ := conv.slice(mustWire(es))
		p := got.Endpoints[0].Place.Place()
		if text := fmt.Sprintf("zone %q node %q zonal %v for %q %q", p.Zone, p.Node, p.Zonal, p.ForZones, p.ForNodes); text != c.want || skips.String() != c.skipped {
			t.Errorf("%s: got %s, skipped %q, want %s, skipped %q", c.name, text, &skips, c.want, c.skipped)
		}
	}
}

func TestConvertTopologyAnnotation(t *testing.T) {
	for word, want := range map[string]struct {
		isOff   bool
		skipped string
	}{`"off"`: {true, ""}, `"on"`: {false, "services annotation"}, `"OFF"`: {false, "services annotation"}, `""`: {false, "services annotation"}} {
		var skips convertSkips
		conv := &Converter{skip: skips.add}
		svc := convertYAML[corev1.Service](t, `{metadata: {namespace: ns, name: web, annotations: {coredns-headless.github.io/topology: `+word+`}}, spec: {clusterIP: None}}`)
		got, _ := conv.service(svc)
		if got.NoTopology != want.isOff || skips.String() != want.skipped {
			t.Errorf("%s: off is %v, skipped %q, want %v, skipped %q", word, got.NoTopology, &skips, want.isOff, want.skipped)
		}
	}
}

func TestConvertPodAndNode(t *testing.T) {
	pod := convertYAML[corev1.Pod](t, `{metadata: {namespace: ns, name: app}, spec: {nodeName: k, hostNetwork: true}, status: {podIPs: [{ip: 10.0.0.1}]}}`)
	for node, want := range map[string]bool{"": true, "k": true, "l": false} {
		got, ok := (&Converter{Hints: true, Node: node}).pod(pod)
		if ok != want || ok && (got.Node != "k" || !got.Host) {
			t.Errorf("of node %q: got %+v, %v, want one: %v", node, got, ok, want)
		}
	}
	if got, _ := new(Converter).pod(pod); got.Node != "" {
		t.Errorf("without topology: got the node %q, want none", got.Node)
	}
	n := convertYAML[corev1.Node](t, `{metadata: {name: k, labels: {topology.kubernetes.io/zone: EU-1a}}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: k}, {type: ExternalIP, address: "fd00::1"}]}}`)
	if got, ok := new(Converter).node(n); !ok || got.Zone != "eu-1a" || fmt.Sprint(got.Addrs) != "[192.0.2.1 fd00::1]" {
		t.Errorf("got the node %+v", got)
	}
}
