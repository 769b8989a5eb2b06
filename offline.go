package headless

import (
	"bytes"
	"net/netip"

	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
)

// Stanza is what one server block of a Corefile says to this plugin. It is for programs that answer as a server would without
// being one: parse a Corefile, read or list the objects of a cluster, and ask the plugin that Offline returns.
type Stanza struct {
	config  *config
	options map[string][]string
}

// ParseStanzas returns the stanzas of this plugin in a Corefile, in order, and those of the kubernetes plugin, which mean the
// same. The name is that of the file: it is in errors, and what is imported is found beside it.
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
			stanzas = append(stanzas, &Stanza{cfg, stanzaOptions(caddyfile.NewDispenserTokens(name, tokens))})
		}
	}
	return stanzas, nil
}

// stanzaOptions returns the arguments of each option that stands in a stanza.
func stanzaOptions(d caddyfile.Dispenser) map[string][]string {
	found := make(map[string][]string)
	for d.Next() {
		_ = d.RemainingArgs() // the zones
		for d.NextBlock() {
			name := d.Val()
			found[name] = append(found[name], d.RemainingArgs()...)
		}
	}
	return found
}

// Zones returns the zones that the plugin answers for: lower-case FQDNs.
func (s *Stanza) Zones() []string { return s.config.zones }

// Option returns the arguments of an option. ok is false if the stanza does not have it.
func (s *Stanza) Option(name string) (args []string, ok bool) {
	args, ok = s.options[name]
	return args, ok
}

// Offline returns the plugin as the stanza describes it, but for where the cluster's state comes from: that is objects, for
// ever. They are treated as those in manifests are: it may give them the namespace and the label that the API server would.
// There is nothing to start or to stop.
func (s *Stanza) Offline(objects []manifests.Object) *Headless {
	h, feeds := newWithoutSource(s.config)
	manifests.Feed(feeds, objects)
	return h
}

// AddressLabel returns the label that names an endpoint by its address, for want of a hostname; "" if address is none that an
// endpoint can have.
func AddressLabel(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" {
		return ""
	}
	return string(model.AppendDashed(nil, addr.Unmap()))
}
