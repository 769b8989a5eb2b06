//go:build !kubernetes

package headless

import (
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/kubernetes"
)

func init() { rivals = append(rivals, rival{"kubernetes", startStock}) }

// startStock starts the kubernetes plugin.
func startStock(b *testing.B, options string) (plugin.Handler, func()) {
	b.Helper()
	c := caddy.NewTestController("dns", "kubernetes "+benchZones+" {\n"+options+"\n}")
	c.Next()
	k, err := kubernetes.ParseStanza(c)
	fatal.If(b, err)
	onStart, onShut, err := k.InitKubeCache(b.Context())
	fatal.If(b, err)
	fatal.If(b, onStart())
	return k, func() {
		if err := onShut(); err != nil {
			b.Error(err)
		}
	}
}
