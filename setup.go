package headless

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/internal/stacks"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/coredns/coredns/plugin/transfer"
)

var log = clog.NewWithPlugin(pluginName)

func init() { plugin.Register(pluginName, setup) }

func setup(c *caddy.Controller) error {
	cfg, err := parseStanza(c)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	h, err := newHeadless(cfg, dnsserver.GetConfig(c).Root)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	if h.keeper != nil {
		if c.Get(snapshotKey(h.keeper.Path())) != nil {
			return plugin.Error(pluginName,
				fmt.Errorf("snapshot: expected a file of its own for each server block, got %s twice",
					h.keeper.Path()))
		}
		c.Set(snapshotKey(h.keeper.Path()), true)
	}
	if h.insightAddr != "" && !strings.HasSuffix(h.insightAddr, ":0") {
		if c.Get(insightKey(h.insightAddr)) != nil {
			return plugin.Error(pluginName,
				h.at("insight", fmt.Errorf("insight: expected an address of its own for each server block, got %s twice", h.insightAddr)))
		}
		c.Set(insightKey(h.insightAddr), true)
	}
	c.OnFirstStartup(func() error {
		if cfg := dnsserver.GetConfig(c); cfg.Transport == transport.DNS {
			warnOfOtherServers(cfg.ListenHosts, cfg.Port)
		}
		return nil
	})
	c.OnStartup(func() error {
		hosts := dnsserver.GetConfig(c).ListenHosts
		h.local, h.bound = boundAddrs(hosts), namedAddrs(hosts)
		has := func(plugin string) bool { return dnsserver.GetConfig(c).Handler(plugin) != nil }
		h.fronts = fronts{nsid: has("nsid"), dnssec: has("dnssec"), rewrite: has("rewrite"), autopath: has("autopath")}
		h.converter.PodLabels = has("metadata")
		cfg := dnsserver.GetConfig(c)
		if t, ok := cfg.Handler("transfer").(*transfer.Transfer); ok {
			h.journal.serve(t, numbersOf(fmt.Sprint(cfg.Transport, cfg.ListenHosts, cfg.Port, cfg.ViewName)))
		}
		if err := h.openInsight(); err != nil {
			return plugin.Error(pluginName, err)
		}
		if !h.smallStacks {
			h.lowerStacks = stacks.Raise()
		}
		h.start()
		if has("cache") && !h.noExplain {
			log.Info("cache is in the same server block: clients do not see why it is that a name in its zones is denied")
		}
		return nil
	})
	c.OnShutdown(func() error {
		h.stop()
		return nil
	})
	c.OnRestart(reloading)
	c.OnRestartFailed(reloadFailed)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	addStandIn(dnsserver.GetConfig(c), h)
	return nil
}

// warnOfOtherServers warns of servers that have a port already, of which CoreDNS says nothing: it
// shares ports (SO_REUSEPORT), and each server gets some of the queries.
func warnOfOtherServers(hosts []string, port string) {
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	for _, host := range hosts {
		addr := net.JoinHostPort(host, port)
		conn, err := net.ListenPacket("udp", addr)
		if err == nil {
			_ = conn.Close() // nothing was sent
		} else if errors.Is(err, syscall.EADDRINUSE) {
			log.Warningf("another server has the address %s: each of the two gets some of the queries", addr)
		}
	}
}

// snapshotKey is the key of what Caddy stores for those who want to write to a file.
type snapshotKey string

// insightKey is the key of what Caddy stores for those who want to listen on an address.
type insightKey string

// start starts the source and waits until the cluster is known, but no longer than startup_timeout.
func (h *Headless) start() {
	h.announce()
	running.add(h)
	unproven.add(h)
	reload := false // and the old plugin goes on answering meanwhile
	if h.keeper != nil {
		reload = h.sharesSnapshot()
		h.keeper.Load()
		if kept := h.keeper.Journal(); kept != nil && h.journal.serves && !reload {
			if err := h.journal.resume(kept); err != nil {
				log.Infof("secondaries get whole zones: the journal in the snapshot is not used: %v", err)
			}
		}
		h.keeper.Start()
	}
	h.source.Start()
	h.journal.start()
	if h.journal.serves && h.journal.numbers.areGiven() {
		defer h.journal.keepUp() // so that no serial is answered that is before those
	}
	if h.Ready() && !reload {
		return
	}
	timeout := time.NewTimer(h.startupTimeout)
	defer timeout.Stop()
	select {
	case <-h.listing.Complete():
	case <-timeout.C:
		if missing := strings.Join(h.listing.Missing(), ", "); !h.Ready() {
			log.Warningf("starting before the cluster is known: %s not listed yet, answering SERVFAIL", missing)
		} else if !h.isRestored() {
			log.Warningf("starting before other clusters are known: %s not listed yet, answering SERVFAIL in %s",
				missing, strings.Join(h.multicluster, " "))
		}
	}
}

// stop stops the source. The index goes on answering from what it holds.
func (h *Headless) stop() {
	h.source.Stop()
	h.journal.stop()
	if h.lowerStacks != nil {
		h.lowerStacks()
	}
	running.remove(h)
	unproven.remove(h)
	if h.keeper != nil {
		h.keeper.Stop()
	}
	if h.page != nil {
		h.page.Close()
	}
}

// namedAddrs returns the addresses among hosts that stand for themselves alone.
func namedAddrs(hosts []string) (addrs []netip.Addr) {
	for _, host := range hosts {
		if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() {
			addrs = append(addrs, addr.WithZone("").Unmap())
		}
	}
	return addrs
}

// boundAddrs returns the addresses of hosts. An unspecified one, and an empty list, stand for those
// of all interfaces. Loopback addresses are left out if there are others: nobody else can
// ask them. Link-local ones always are.
func boundAddrs(hosts []string) []netip.Addr {
	var texts []string
	everywhere := len(hosts) == 0
	for _, host := range hosts {
		addr, err := netip.ParseAddr(host)
		everywhere = everywhere || host == "" || err == nil && addr.IsUnspecified()
		texts = append(texts, host)
	}
	if everywhere {
		addrs, _ := net.InterfaceAddrs() // without addresses nothing can be found
		for _, addr := range addrs {
			texts = append(texts, addr.String())
		}
	}
	var global, loopback []netip.Addr
	for _, text := range texts {
		host, _, _ := strings.Cut(text, "/") // interface addresses come with a prefix length
		addr, err := netip.ParseAddr(host)
		addr = addr.WithZone("").Unmap()
		switch {
		case err != nil || addr.IsLinkLocalUnicast() || addr.IsUnspecified():
		case addr.IsLoopback():
			loopback = append(loopback, addr)
		default:
			global = append(global, addr)
		}
	}
	if len(global) == 0 {
		global = loopback
	}
	slices.SortFunc(global, netip.Addr.Compare)
	return slices.Compact(global)
}
