package headless

import (
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// AutoPath implements the interface of the autopath plugin: it returns the search list of the Pod
// that asks, as the kubelet writes it into the Pod's resolv.conf, with an empty string at the end.
// It is nil, for no search, when the name is in none of our zones or the client is no Pod that we
// know of; we know Pods with pods verified, and those of one node with node.
func (h *Headless) AutoPath(state request.Request) []string {
	zone := h.zoneOf(state.Name())
	if zone == "" {
		return nil
	}
	pod := h.askerOf(&state).pod
	if pod == nil {
		return nil
	}
	search := make([]string, 0, 4+len(h.hostSearch))
	search = append(search, below(pod.Namespace+".svc", zone), below("svc", zone), zone)
	search = append(search, h.hostSearch...)
	return append(search, "")
}

// hostSearch returns the search list of this machine, which the kubelet puts behind the cluster's.
func hostSearch() []string {
	rc, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	plugin.Zones(rc.Search).Normalize()
	return rc.Search
}
