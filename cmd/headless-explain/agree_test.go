package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// all does one after the other.
func all(do ...func(*set)) func(*set) {
	return func(s *set) {
		for _, f := range do {
			f(s)
		}
	}
}

// unmarked takes the label of headless Services off the EndpointSlice.
func unmarked(s *set) { delete(s.es.Labels, corev1.IsHeadlessService) }

// virtual makes the Service one with a ClusterIP.
func virtual(s *set) {
	s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
}

// TestCommandReadsWhatTheServerReads has set-ups of which the command once had a reading of its own. What the server answers to the
// name is what the page explains.
func TestCommandReadsWhatTheServerReads(t *testing.T) {
	const falls = "Note: the stanza has fallthrough"
	for _, row := range []struct {
		name  string
		set   func(*set)
		asked string
		qtype uint16 // 0: addresses
		want  string // on the page
		not   string // on the page; "": anything may be
	}{
		{"of two lines labels the last counts", stanza("labels app=web\nlabels tier=x"), "web.shop", 0, "its stanza says `labels tier=x`", "app=web`"},
		{"of two lines namespace_labels the last counts", stanza("namespace_labels a=b\nnamespace_labels c=d"), "web.shop", 0, "its stanza says `namespace_labels c=d`", "a=b"},
		{"pods that are disabled, then verified", stanza("pods disabled\npods verified"), "10-244-9-9.shop.pod.cluster.local", 0, "[no-such-pod]", ""},
		{"pods that are verified, then disabled", stanza("pods verified\npods disabled"), "10-244-9-9.shop.pod.cluster.local", 0, "[pods-disabled]", ""},
		{"endpoints of all, then of headless Services", all(unmarked, stanza("endpoints all\nendpoints headless")), "web.shop", 0, "[slice-filtered]", ""},
		{"endpoints of headless Services, then of all", all(unready, unmarked, stanza("endpoints headless\nendpoints all")), "web.shop", 0, "[publish-not-ready]", "[slice-filtered]"},
		{"fallthrough for a zone, then for all", stanza("fallthrough in-addr.arpa\nfallthrough"), "nope.shop", 0, falls, ""},
		{"fallthrough for all, then for a zone", stanza("fallthrough\nfallthrough in-addr.arpa"), "nope.shop", 0, "[no-service]", falls},
		{"fallthrough for a zone in capitals", stanza("fallthrough CLUSTER.LOCAL"), "nope.shop", 0, falls, ""},
		{"fallthrough for another zone", stanza("fallthrough example.org"), "nope.shop", 0, "[no-service]", falls},
		{"a multicluster zone in capitals and with a port", stanza("multicluster CLUSTER.local:53"), "web.shop.svc.cluster.local", 0, "ServiceImport web in Namespace shop", "selects"},
		{"an endpoint that ignore hides, with the option twice", all(unready, virtual, stanza("ignore empty_service\nignore")), "web.shop", 0, "[not-ready]", "[unexplained]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := healthySet(t)
			row.set(s)
			var types []uint16
			if row.qtype != 0 {
				types = []uint16{row.qtype}
			}
			var page strings.Builder
			if err := writePage(&page, s.explain(t, row.asked, types...)); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(strings.Fields(page.String()), " ") // it is broken into lines
			if want := strings.Join(strings.Fields(row.want), " "); !strings.Contains(got, want) {
				t.Errorf("%s: got no %q in\n%s", row.asked, row.want, page.String())
			}
			if not := strings.Join(strings.Fields(row.not), " "); not != "" && strings.Contains(got, not) {
				t.Errorf("%s: got %q in\n%s", row.asked, row.not, page.String())
			}
		})
	}
}
