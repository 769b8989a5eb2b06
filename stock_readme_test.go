//go:build !kubernetes

package headless

import (
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/metadata"
)

// stockCorefiles are the set-ups that the READMEs of kubernetes, autopath and k8s_external show, written anew with the directive's name
// changed: the zones and the plugins of each server block.
var stockCorefiles = map[string]map[string][]string{
	"kubernetes: a network's reverse zone, and verified pods": {"10.0.0.0/17 cluster.local": {ours("", "pods verified")}},
	"kubernetes: some namespaces":                             {"cluster.local": {ours("cluster.local", "namespaces test staging")}},
	"kubernetes: from outside the cluster":                    {"cluster.local": {ours("cluster.local")}},
	"kubernetes: multicluster":                                {"cluster.local clusterset.local": {ours("cluster.local clusterset.local", "multicluster clusterset.local")}},
	"kubernetes: stub domains":                                {"cluster.local": {ours("cluster.local")}, "example.local": {onward}, ".": {onward}},
	"kubernetes: autopath":                                    {"cluster.local": {"autopath @headless", ours("", "pods verified")}},
	"kubernetes: metadata":                                    {"cluster.local": {"metadata", ours("", "pods verified")}},
	"kubernetes: zonal names":                                 {"cluster.local": {ours("", "zonal")}},
	"k8s_external: beside the cluster's zone":                 {".": {ours("cluster.local"), "k8s_external example.org"}},
	"k8s_external: with headless Services and an apex of its own": {".": {
		ours("cluster.local"), block("k8s_external example.org", "apex dns1", "ttl 30", "headless", "fallthrough"),
	}},
	"k8s_external: with a plugin behind":     {".": {ours("cluster.local"), block("k8s_external example.org", "fallthrough"), onward}},
	"k8s_external: with transfers":           {".": {block("transfer example.org", "to *"), ours("cluster.local"), "k8s_external example.org"}},
	"autopath: with the search list of pods": {".": {"autopath @headless", ours("cluster.local", "pods verified"), onward}},
}

// onward is a plugin that asks a server on loopback.
const onward = "forward . UPSTREAM"

// ours returns a stanza of the plugin that asks the API server of the test, in place of the cluster's own or the README's.
func ours(zones string, options ...string) string {
	return block("headless "+zones, append(options, "API")...)
}

func block(head string, lines ...string) string {
	return head + " {\n" + strings.Join(lines, "\n") + "\n}"
}

func TestStockSetUpsStart(t *testing.T) {
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("default"))
	upstream := startUpstream(t)
	port := dnsserver.Port
	dnsserver.Port = "0" // for the server blocks, which name none
	defer func() { dnsserver.Port = port }()
	for name, blocks := range stockCorefiles {
		t.Run(name, func(t *testing.T) {
			corefile := ""
			for zones, plugins := range blocks {
				corefile += block(zones, append(plugins, "bind 127.0.0.1")...) + "\n"
			}
			startServer(t, strings.NewReplacer("API", "endpoint "+api.URL, "UPSTREAM", upstream).Replace(corefile))
			for _, h := range running.all() {
				if !h.Ready() {
					t.Errorf("not ready, without %q", h.listing.Missing())
				}
			}
		})
	}
}
