package headless

import (
	"fmt"
	"testing"
)

func TestStanzaSaysWhatThePluginReads(t *testing.T) {
	for _, row := range []struct {
		name, lines string
		got         func(*Stanza) any
		want        string
	}{
		{"the primary zone is the first that is not a reverse zone", "", func(s *Stanza) any { return s.Primary() }, "cluster.local."},
		{"the longest zone of a name counts", "", func(s *Stanza) any { return s.ZoneOf("web.n.svc.cluster.local.") }, "cluster.local."},
		{"a name in no zone has none", "", func(s *Stanza) any { return s.ZoneOf("example.org.") }, ""},
		{"lines of namespaces add up", "namespaces a\nnamespaces b", func(s *Stanza) any { return s.Namespaces() }, "[a b]"},
		{"a namespace that is among them is served", "namespaces a b", func(s *Stanza) any { return s.Serves("b") }, "true"},
		{"a namespace that is not among them is not", "namespaces a b", func(s *Stanza) any { return s.Serves("c") }, "false"},
		{"without namespaces all are served", "", func(s *Stanza) any { return s.Serves("c") }, "true"},
		{"of labels the last line counts", "labels a=b\nlabels c=d", func(s *Stanza) any { return s.Labels() }, "c=d"},
		{"without labels all match", "", func(s *Stanza) any { return s.Labels().Empty() }, "true"},
		{"of namespace_labels the last line counts", "namespace_labels a=b\nnamespace_labels c=d", func(s *Stanza) any { return s.NamespaceLabels() }, "c=d"},
		{"of endpoints the last line counts", "endpoints headless\nendpoints all", func(s *Stanza) any { return s.HeadlessOnly() }, "false"},
		{"of pods the last line counts", "pods verified\npods insecure", func(s *Stanza) any { return s.PodMode() }, "insecure"},
		{"pods are disabled without the option", "", func(s *Stanza) any { return s.PodMode() }, "disabled"},
		{"noendpoints", "noendpoints", func(s *Stanza) any { return s.NoEndpoints() }, "true"},
		{"zonal", "zonal", func(s *Stanza) any { return s.Zonal() }, "true"},
		{"a multicluster zone is named as zones are", "multicluster CLUSTERSET.local:53", func(s *Stanza) any { return s.Multicluster("clusterset.local.") }, "true"},
		{"the primary zone is not multicluster", "multicluster clusterset.local", func(s *Stanza) any { return s.Multicluster("cluster.local.") }, "false"},
		{"fallthrough for a zone is for that alone", "fallthrough IN-ADDR.arpa", func(s *Stanza) any { return s.Falls("web.n.svc.cluster.local.") }, "false"},
		{"fallthrough for a zone is for names below it", "fallthrough CLUSTER.local", func(s *Stanza) any { return s.Falls("web.n.svc.cluster.local.") }, "true"},
		{"of fallthrough the last line counts", "fallthrough in-addr.arpa\nfallthrough", func(s *Stanza) any { return s.Falls("web.n.svc.cluster.local.") }, "true"},
		{"nothing falls without the option", "", func(s *Stanza) any { return s.Falls("web.n.svc.cluster.local.") }, "false"},
		{"nothing is filtered without filters", "labels a=b\nnamespaces c\nendpoints headless", func(s *Stanza) any {
			u := s.Unfiltered()
			return fmt.Sprint(u.Labels(), u.Serves("x"), u.HeadlessOnly(), u.NoEndpoints(), u.Zonal(), s.Labels(), s.HeadlessOnly())
		}, " true false false true a=b true"},
	} {
		stanzas, err := ParseStanzas("Corefile", []byte(".:53 {\n kubernetes in-addr.arpa cluster.local clusterset.local {\n"+row.lines+"\n}\n}"))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if got := fmt.Sprint(row.got(stanzas[0])); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}
