// Command coredns is CoreDNS with the plugin headless compiled in, placed just before kubernetes, or with the build tag
// kubernetes in its place and under its name. plugins.go lists the other plugins.
package main

import (
	"slices"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

func init() { dnsserver.Directives = directives(dnsserver.Directives) }

// directives returns CoreDNS's own directives, which stand in the order in which plugins see a query, with headless in its
// place.
func directives(stock []string) []string {
	if slices.Contains(stock, name) {
		return stock
	}
	return slices.Insert(slices.Clone(stock), slices.Index(stock, "kubernetes"), name)
}

func main() {
	// Where CoreDNS shows its commit, in its version and its log, this program shows which headless it has.
	v := buildinfo.Get()
	coremain.GitCommit = "headless " + v.Version + ", revision " + v.Revision
	coremain.Run()
}
