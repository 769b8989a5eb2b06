package index

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
)

func TestPickGivesEveryAddressFirstEquallyOften(t *testing.T) {
	var addrs []netip.Addr
	for _, text := range []string{"fd00::1", "10.0.0.1", "10.0.0.2", "fd00::2", "fd00::3", "10.0.0.3", "10.0.0.4"} {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	const rounds = 3000
	for _, c := range []struct {
		name         string
		f            model.Family
		limit, total int
	}{
		{"all of IPv4", model.V4, 9, 4},
		{"some of IPv4", model.V4, 3, 4},
		{"none of IPv4", model.V4, 0, 4},
		{"all of IPv6", model.V6, 3, 3},
		{"some of IPv6", model.V6, 2, 3},
	} {
		own := slices.DeleteFunc(slices.Clone(addrs), func(addr netip.Addr) bool { return model.FamilyOf(addr) != c.f })
		first := make([]int, len(own))
		for range rounds {
			window, total := pick(addrs, c.f, c.limit)
			if n := len(window) / c.f.Size(); total != c.total || n != min(c.limit, c.total) {
				t.Fatalf("%s: got %d addresses of %d, want %d of %d", c.name, n, total, min(c.limit, c.total), c.total)
			}
			for i := range len(window) / c.f.Size() {
				at := slices.Index(own, addressSet(window).at(i, c.f))
				if i == 0 {
					first[at]++
				}
				if before := addressSet(window).at(max(0, i-1), c.f); i > 0 && own[(slices.Index(own, before)+1)%len(own)] != own[at] {
					t.Fatalf("%s: %v follows %v, want the order %v, again from the start", c.name, own[at], before, own)
				}
			}
		}
		// A standard deviation is 24 or 26; seven of them do not happen.
		for i, times := range first {
			if want := rounds / c.total; c.limit > 0 && (times < want-200 || times > want+200) {
				t.Errorf("%s: %v came first %d times of %d, want about %d", c.name, own[i], times, rounds, want)
			}
		}
	}
	if window, total := pick(addrs[:1], model.V4, 9); window != nil || total != 0 {
		t.Errorf("got %d octets of %d addresses, want none where the family has none", len(window), total)
	}
}
