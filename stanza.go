package headless

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
)

// Stanza is what one server block of a Corefile says to this plugin, as the plugin reads it. It is
// for programs that answer as a server would without being one: parse a Corefile, read or list the
// objects of a cluster, and ask the plugin that Offline returns. What its methods return is never
// modified.
type Stanza struct{ config *config }

// ParseStanzas returns the stanzas of this plugin in a Corefile, in order, and those of the
// kubernetes plugin, which mean the same. The name is that of the file: it is in errors, and what
// is imported is found beside it.
func ParseStanzas(name string, corefile []byte) ([]*Stanza, error) {
	blocks, err := caddyfile.Parse(name, bytes.NewReader(corefile), nil)
	if err != nil {
		return nil, err
	}
	var stanzas []*Stanza
	for _, block := range blocks {
		for _, directive := range []string{"headless", "kubernetes"} {
			tokens := block.Tokens[directive]
			if len(tokens) == 0 {
				continue
			}
			cfg, err := parseStanza(&caddy.Controller{
				Dispenser: caddyfile.NewDispenserTokens(name, tokens), ServerBlockKeys: block.Keys,
			})
			if err != nil {
				return nil, err
			}
			stanzas = append(stanzas, &Stanza{cfg})
		}
	}
	return stanzas, nil
}

// Unfiltered returns the stanza of a server that knows all that the manifests or the API server
// have: no option keeps Namespaces, Services, EndpointSlices or topology zones from it. Beside the
// server of s it tells what the cluster has and s does not serve.
func (s *Stanza) Unfiltered() *Stanza {
	cfg := *s.config
	cfg.namespaces, cfg.selection, cfg.zonal, cfg.topology = nil, kube.Selection{}, true, true
	return &Stanza{&cfg}
}

// Zones returns the zones that the plugin answers for: lower-case FQDNs.
func (s *Stanza) Zones() []string { return s.config.zones }

// ZoneOf returns the longest of the zones that a lower-case FQDN is in, or "".
func (s *Stanza) ZoneOf(name string) string { return plugin.Zones(s.config.zones).Matches(name) }

// Primary returns the zone of the cluster's own Services, the first that is neither a reverse nor a
// multicluster zone, or else the first multicluster zone.
func (s *Stanza) Primary() string {
	return cmp.Or(append([]string{s.config.primary}, s.config.multicluster...)...)
}

// Multicluster reports whether zone, one of Zones, is one of ServiceImports.
func (s *Stanza) Multicluster(zone string) bool { return slices.Contains(s.config.multicluster, zone) }

// Serves reports whether the option namespaces exposes a namespace, if it exists.
func (s *Stanza) Serves(namespace string) bool {
	return len(s.config.namespaces) == 0 || slices.Contains(s.config.namespaces, namespace)
}

// Namespaces returns the namespaces that are exposed. An empty list stands for all.
func (s *Stanza) Namespaces() []string { return s.config.namespaces }

// NamespaceLabels returns the selector of the Namespaces that are exposed.
func (s *Stanza) NamespaceLabels() kube.Selector { return s.config.selection.Of(kube.Namespaces) }

// Labels returns the selector of the Services, the EndpointSlices and the Pods that are used.
func (s *Stanza) Labels() kube.Selector { return s.config.selection.Of(kube.Services) }

// PodMode returns which names below pod exist: disabled, insecure or verified.
func (s *Stanza) PodMode() string { return string(s.config.podMode) }

// NoEndpoints reports whether the plugin does without EndpointSlices.
func (s *Stanza) NoEndpoints() bool { return s.config.selection.NoEndpoints }

// HeadlessOnly reports whether the plugin uses the EndpointSlices of headless Services only.
func (s *Stanza) HeadlessOnly() bool { return s.config.selection.HeadlessOnly }

// Zonal reports whether there are names below _zone.
func (s *Stanza) Zonal() bool { return s.config.zonal }

// Topology reports whether clients get the endpoints of headless Services that are meant for them.
func (s *Stanza) Topology() bool { return s.config.topology }

// Falls reports whether a query for qname, a lower-case FQDN that owns no record, goes to the next
// plugin if there is one.
func (s *Stanza) Falls(qname string) bool { return s.config.fall.Through(qname) }
