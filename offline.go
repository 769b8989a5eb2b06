package headless

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/internal/model"

	"k8s.io/apimachinery/pkg/runtime"
)

// Offline returns the plugin as the stanza describes it, but for where the cluster's state comes from: that is objects, for
// ever. They are treated as those in manifests are: it may give them the namespace and the label that the API server would.
// There is nothing to start or to stop.
func (s *Stanza) Offline(objects []runtime.Object) (*Headless, error) {
	cfg := *s.config
	cfg.snapshot = snapshotConfig{}
	h, feeds := newWithoutSource(&cfg, "")
	m := &manifests{feeds: feeds, selectors: cfg.selectors()}
	return h, m.feed(objects)
}

// ReadManifests returns the objects in files and folders, which are read as those of the option manifests are. One of an unknown
// kind is left out.
func ReadManifests(paths ...string) ([]runtime.Object, error) {
	files, _, err := (&manifests{paths: paths}).files()
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	objects, err := decodeManifests(files)
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	return slices.DeleteFunc(objects, func(obj runtime.Object) bool { return obj == nil }), nil
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
