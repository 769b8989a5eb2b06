package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
)

func TestHeadlessHasItsPlaceAmongDirectives(t *testing.T) {
	at := slices.Index(dnsserver.Directives, name)
	if at < 0 || dnsserver.Directives[at-1] != "k8s_external" {
		t.Errorf("got %q at %d of %q, want it behind k8s_external", name, at, dnsserver.Directives)
	}
	if name == "headless" && dnsserver.Directives[at+1] != "kubernetes" {
		t.Errorf("got %q behind headless, want kubernetes", dnsserver.Directives[at+1])
	}
}

// TestVariantIsWithoutStockKubernetes: both at once would register one name.
func TestVariantIsWithoutStockKubernetes(t *testing.T) {
	packages, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "kubernetes", ".").Output()
	fatal.If(t, err)
	for path := range strings.FieldsSeq(string(packages)) {
		if strings.HasPrefix(path, "github.com/coredns/coredns/plugin/kubernetes") {
			t.Errorf("%s is in the variant", path)
		}
	}
}

// TestDeployedCorefilesUseItsPlugins only: a directive that CoreDNS knows may still have no plugin in this build.
func TestDeployedCorefilesUseItsPlugins(t *testing.T) {
	corefiles, err := filepath.Glob("../../deploy/*/Corefile")
	if err != nil || len(corefiles) == 0 {
		t.Fatalf("got the files %q (%v)", corefiles, err)
	}
	for _, corefile := range corefiles {
		named := bytes.ReplaceAll(filetest.Read(t, corefile), []byte("\n    headless {"), []byte("\n    "+name+" {"))
		blocks, err := caddyfile.Parse(corefile, bytes.NewReader(named), dnsserver.Directives)
		fatal.If(t, err)
		for _, block := range blocks {
			for directive := range block.Tokens {
				if _, err := caddy.DirectiveAction("dns", directive); err != nil {
					t.Errorf("%s: %s: %v", corefile, directive, err)
				}
			}
		}
	}
}

// TestAbsentPluginIsNamed, with file and line, and the server does not start.
func TestAbsentPluginIsNamed(t *testing.T) {
	refuseAbsent()
	input := caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(".:0 {\n errors\n etcd\n}\n"), ServerTypeName: "dns"}
	err := caddy.ValidateAndExecuteDirectives(input, nil, true)
	if want := "plugin/etcd: Corefile:3 - Error during parsing: this build of CoreDNS is without the plugin etcd: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got the error %v, want %s...", err, want)
	}
}
