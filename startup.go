package headless

import (
	"fmt"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/buildinfo"
)

// announce logs what h is about to serve and, when the cluster is known, how much that is. The first
// that starts says which version it is.
func (h *Headless) announce() {
	if len(running.all()) == 0 {
		log.Info(buildinfo.Get())
	}
	log.Infof("serving %s from %s", strings.Join(h.zones, " "), h.source)
	log.Infof("with %s", strings.Join(h.summary(), ", "))
	began := time.Now()
	synced := func() { log.Infof("synced after %v: %s", time.Since(began).Round(time.Millisecond), h.inventory()) }
	if h.listing.IsComplete() {
		synced()
	} else {
		h.listing.OnComplete = synced
	}
}

// summary returns the options that decide what is answered, as they are in effect.
func (cfg *config) summary() []string {
	list := []string{
		fmt.Sprint("ttl ", cfg.ttl), fmt.Sprint("headless_ttl ", cfg.headlessTTL),
		fmt.Sprint("negative_ttl ", cfg.negativeTTL),
		"hostnames " + cfg.hostnames.String(), fmt.Sprint("hold ", cfg.hold), "pods " + string(cfg.podMode),
	}
	for _, option := range []struct {
		isSet bool
		text  string
	}{
		{cfg.foresees, "manifests foresee"},
		{cfg.selection.HeadlessOnly, "endpoints headless"},
		{cfg.selection.NoEndpoints, "noendpoints"},
		{cfg.podNames, "endpoint_pod_names"},
		{cfg.ignoreEmpty, "ignore empty_service"},
		{cfg.zonal, "zonal"},
		{cfg.topology, "topology hints"},
		{cfg.searches, "search"},
		{cfg.node != "", "node " + cfg.node},
		{len(cfg.clientSubnet) > 0, fmt.Sprint("client_subnet ", cfg.clientSubnet)},
		{len(cfg.multicluster) > 0, "multicluster " + strings.Join(cfg.multicluster, " ")},
		{len(cfg.namespaces) > 0, "namespaces " + strings.Join(cfg.namespaces, " ")},
		{
			cfg.selection.NamespaceLabels != nil,
			fmt.Sprint("namespace_labels ", cfg.selection.NamespaceLabels),
		},
		{cfg.selection.Labels != nil, fmt.Sprint("labels ", cfg.selection.Labels)},
		{len(cfg.fall.Zones) > 0, "fallthrough " + strings.Join(cfg.fall.Zones, " ")},
		{cfg.soaRefresh > 0, fmt.Sprint("soa_refresh ", cfg.soaRefresh, " ", cfg.soaRetry)},
		{cfg.transferLimit > 0, fmt.Sprint("transfer_limit ", cfg.transferLimit)},
		{cfg.noExplain, "no_explain"},
		{cfg.smallStacks, "small_stacks"},
		{cfg.insightAddr != "", "insight " + cfg.insightAddr},
		{cfg.snapshot.Path != "", fmt.Sprint("snapshot ", cfg.snapshot.Path)},
	} {
		if option.isSet {
			list = append(list, option.text)
		}
	}
	return list
}
