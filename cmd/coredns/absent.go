package main

import (
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
)

// A Corefile is loaded when the flags have been read, and -plugins has not listed what follows.
func init() {
	caddy.RegisterCaddyfileLoader("absent", caddy.LoaderFunc(func(string) (caddy.Input, error) {
		refuseAbsent()
		return nil, nil
	}))
}

// refuseAbsent gives each plugin that CoreDNS knows and this build is without a setup that says so. CoreDNS itself tells neither
// file nor line.
var refuseAbsent = sync.OnceFunc(func() {
	for _, directive := range dnsserver.Directives {
		if _, err := caddy.DirectiveAction("dns", directive); err != nil {
			plugin.Register(directive, func(c *caddy.Controller) error {
				c.Next()
				return plugin.Error(directive, c.Errf("this build of CoreDNS is without the plugin %s%s", directive, wayOut))
			})
		}
	}
})
