package main

import (
	"fmt"
	"slices"
	"strings"
)

// name is an FQDN as the server takes it apart.
type name struct {
	fqdn string // lower case
	zone string // the zone that it is in; "": none
	// The labels; "" where the name has none. Those of port and protocol are without their underscores.
	namespace, service, hostname, port, proto string

	// scope is what stands before the Service in a zonal name, up to _zone, and topology the topology zone in it. Both are "" in other
	// names.
	scope, topology string

	pod          bool // it is below pod: service is the label made of an address
	invalid      bool // no name of this form exists
	multicluster bool // its zone is one of ServiceImports
}

// isService reports whether n is the name of a Service, or below it.
func (n *name) isService() bool {
	return n.zone != "" && n.service != "" && !n.pod && !n.multicluster && !n.invalid
}

// isNamespace reports whether n is the name of a Namespace.
func (n *name) isNamespace() bool {
	return n.zone != "" && n.namespace != "" && n.service == "" && !n.pod && !n.multicluster
}

// isPinned reports whether n has the endpoints in its topology zone and no others.
func (n *name) isPinned() bool {
	return n.topology != "" && strings.HasPrefix(n.scope, n.topology+".pin.")
}

// isReverse reports whether an FQDN is a reverse name.
func isReverse(fqdn string) bool {
	return strings.HasSuffix("."+fqdn, ".in-addr.arpa.") || strings.HasSuffix("."+fqdn, ".ip6.arpa.")
}

// below returns the FQDN of labels of a namespace.
func (n *name) below(labels ...string) string {
	labels = slices.DeleteFunc(slices.Concat(labels, []string{"svc", n.zone}), func(l string) bool { return l == "" })
	return strings.Join(labels, ".")
}

// shown returns what below does, as people write it.
func (n *name) shown(labels ...string) string { return trimmed(n.below(labels...)) }

// with returns the FQDN that n would be in another Service.
func (n *name) with(namespace, service string) string {
	port := ""
	if n.proto != "" {
		port = strings.TrimPrefix("_"+n.port+"._"+n.proto, "_.")
	}
	return n.below(port, n.hostname, n.scope, service, namespace)
}

// trimmed returns an FQDN as people write it.
func trimmed(fqdn string) string { return strings.TrimSuffix(fqdn, ".") }

// zonal returns the name that n is if it is below _zone of a Service, whose name of returns from its FQDN. The plugin has such
// names with an option only, and people ask for them without it.
func (n name) zonal(of func(fqdn string) name) name {
	i := strings.LastIndex("."+n.fqdn, "._zone.")
	if i < 0 {
		return n
	}
	scope := n.fqdn[:i] + "_zone" // behind a dot, if there is something before
	topology, directive := "", strings.TrimSuffix(n.fqdn[:i], ".")
	if j := strings.LastIndexByte(directive, '.'); j >= 0 {
		topology, directive = directive[:j], directive[j+1:]
	}
	svc := of(n.fqdn[i+len("_zone."):])
	if !svc.isService() || svc.fqdn != svc.below(svc.service, svc.namespace) || directive != "pin" && directive != "prefer" && scope != "_zone" {
		return n
	}
	svc.fqdn, svc.scope, svc.topology = n.fqdn, scope, topology
	return svc
}

// String says what n is.
func (n *name) String() string {
	switch {
	case n.zone == "":
		return "in none of the zones"
	case isReverse(n.fqdn):
		return "a reverse name, in zone " + trimmed(n.zone)
	case n.pod && n.service != "":
		return fmt.Sprintf("address %s as a pod of Namespace %s, zone %s", n.service, n.namespace, trimmed(n.zone))
	case n.invalid:
		return "no form of name that Kubernetes has, in zone " + trimmed(n.zone)
	case n.service == "":
		return "no Service's name, in zone " + trimmed(n.zone)
	}
	kind := "Service"
	if n.multicluster {
		kind = "ServiceImport"
	}
	text := fmt.Sprintf("%s %s in Namespace %s, zone %s", kind, n.service, n.namespace, trimmed(n.zone))
	if n.hostname != "" {
		text = fmt.Sprintf("endpoint %s of %s", n.hostname, text)
	}
	switch {
	case n.topology != "":
		text = fmt.Sprintf("topology zone %s of %s", n.topology, text)
	case n.scope != "":
		text = "the topology zones of " + text
	case n.port != "":
		text = fmt.Sprintf("port %s/%s of %s", n.port, n.proto, text)
	case n.proto != "":
		text = fmt.Sprintf("protocol %s of %s", n.proto, text)
	}
	return text
}
