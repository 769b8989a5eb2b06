package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"

	"github.com/coredns-headless/headless/internal/model"
)

// Each set of records has one order, by a hash of what its members are: the same in every replica,
// whatever came before. What does not fit a message is left out from a place on that depends on the
// client alone, so that one client gets the same part each time, and from every replica (behaviour
// section 7). The hashes are fixed for that: two versions of this code may run side by side.

// Part says which part of a set a lookup copies.
type Part struct {
	Limit  int    // records at most
	Client uint64 // who asks: a hash from ClientOf
	// At is where the client is, as far as that counts: a headless Service whose endpoints have hints is
	// answered with those that are meant for it.
	At model.Location
	// Room is how many octets the labels of a name may have in a message before those of svc and the
	// zone, see RoomIn. What is longer is no name (RFC 1035 section 2.3.4). 0 is no limit.
	Room int
}

// ClientOf returns the hash of a client's address, spread evenly also over the addresses of one
// subnet. It differs from that of the same address as a member of a set: a pod that asks for its own
// Service is not to find itself first.
func ClientOf(addr netip.Addr) uint64 {
	var room [16]byte
	if addr = addr.Unmap(); !addr.IsValid() {
		addr = netip.IPv4Unspecified()
	}
	return mix(hashAddr(model.AppendAddr(room[:0], addr)) + 1)
}

// from returns the position of the client's place in a set of n.
func (p Part) from(n int) int {
	high, _ := bits.Mul64(p.Client, uint64(n)) //nolint:gosec // n is not negative
	return int(high)                           //nolint:gosec // less than n
}

// mix spreads h over all bits: the finalizer of MurmurHash3, a bijection.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// hashText returns a hash of text: FNV-1a, whose last octets would not reach all bits by themselves.
func hashText(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mix(h)
}

// hashAddr returns a hash of an address of either family.
func hashAddr(octets []byte) uint64 {
	if len(octets) == model.V4.Size() {
		return mix(uint64(binary.BigEndian.Uint32(octets)))
	}
	return mix(binary.BigEndian.Uint64(octets) ^ mix(binary.BigEndian.Uint64(octets[8:])))
}

// compareAddrs orders addresses of one family.
func compareAddrs(a, b []byte) int {
	return cmp.Or(cmp.Compare(hashAddr(a), hashAddr(b)), bytes.Compare(a, b))
}

// hashLabel returns a hash of an endpoint's label.
func hashLabel(l model.Label) uint64 {
	if l.Name != "" {
		return hashText(l.Name)
	}
	var b [16]byte
	return hashAddr(model.AppendAddr(b[:0], l.Addr))
}

// compareLabels orders labels.
func compareLabels(a, b model.Label) int {
	return cmp.Or(cmp.Compare(hashLabel(a), hashLabel(b)), a.Compare(b))
}

// hashPorts returns a hash of a list of ports.
func hashPorts(ports []model.Port) uint64 {
	h := uint64(len(ports))
	for _, p := range ports {
		h = mix(h^hashText(p.Name())) + hashText(p.Proto()) + uint64(p.Number)
	}
	return mix(h)
}

// addressSet holds addresses of one family in order, as octets, one address behind the other.
type addressSet []byte

// at returns the address at position i.
func (s addressSet) at(i int, f model.Family) netip.Addr {
	addr, _ := netip.AddrFromSlice(s[i*f.Size() : (i+1)*f.Size()])
	return addr
}

// find returns the position that the address of octets has in s, or would have.
func (s addressSet) find(octets []byte) (at int, found bool) {
	size := len(octets)
	return sort.Find(len(s)/size, func(i int) int { return compareAddrs(octets, s[i*size:(i+1)*size]) })
}

// positions returns the positions of some addresses, which are in order, in s, or those they would have.
func (s addressSet) positions(some addressSet, f model.Family) []int {
	at := make([]int, 0, len(some)/f.Size())
	for octets := range slices.Chunk(some, f.Size()) {
		i, _ := s.find(octets)
		at = append(at, i)
	}
	return at
}

// appendWindow appends p.Limit addresses at most to w, which is empty. All of them begin at a random one; those that
// are not all begin at the client's place, and are in random order: whichever it is, each comes
// first equally often.
func (s addressSet) appendWindow(w []byte, f model.Family, p Part) []byte {
	n := len(s) / f.Size()
	if n == 0 {
		return w
	}
	isWhole := p.Limit >= n
	from := p.from(n)
	if isWhole {
		from = rand.IntN(n)
	}
	size := min(p.Limit, n) * f.Size()
	w = slices.Grow(w, size)[:size]
	copy(w[copy(w, s[from*f.Size():]):], s)
	if !isWhole {
		addressSet(w).shuffle(f)
	}
	return w
}

// shuffle puts s in random order. Its numbers come of two of the runtime's, each of which costs several times as much.
func (s addressSet) shuffle(f model.Family) {
	var random rand.PCG
	random.Seed(rand.Uint64(), rand.Uint64())
	for i := len(s)/f.Size() - 1; i > 0; i-- {
		j, _ := bits.Mul64(random.Uint64(), uint64(i)+1) // one of 0 to i, all equally often but for 1 in 2^60
		if f == model.V4 {
			a, b := (*[4]byte)(s[4*i:]), (*[4]byte)(s[4*j:])
			*a, *b = *b, *a
		} else {
			a, b := (*[16]byte)(s[16*i:]), (*[16]byte)(s[16*j:])
			*a, *b = *b, *a
		}
	}
}

// setOf returns those of addrs, which it puts in order, that are of family f, each once.
func setOf(addrs []netip.Addr, f model.Family) addressSet {
	if len(addrs) == 0 {
		return nil
	}
	slices.SortFunc(addrs, compareNetip)
	s := make(addressSet, 0, len(addrs)*f.Size())
	for i, addr := range addrs {
		if model.FamilyOf(addr) == f && (i == 0 || addr != addrs[i-1]) {
			s = model.AppendAddr(s, addr)
		}
	}
	return s
}

// compareNetip is compareAddrs for addresses of either family, those of IPv4 first.
func compareNetip(a, b netip.Addr) int {
	var roomA, roomB [16]byte
	return cmp.Or(cmp.Compare(a.BitLen(), b.BitLen()),
		compareAddrs(model.AppendAddr(roomA[:0], a), model.AppendAddr(roomB[:0], b)))
}

// remove returns s without what stands at positions, which ascend, and count elements of stride. What
// is behind them moves.
func remove[S ~[]E, E any](s S, stride int, positions []int) S {
	if len(positions) == 0 {
		return s
	}
	for i, at := range positions {
		next := len(s) / stride
		if i+1 < len(positions) {
			next = positions[i+1]
		}
		copy(s[(at-i)*stride:], s[(at+1)*stride:next*stride])
	}
	left := len(s) - len(positions)*stride
	clear(s[left:])
	return shrink(s[:left])
}

// insert returns s with each of the elements of came, of stride, before what stands at its position
// in s. Positions ascend.
func insert[S ~[]E, E any](s S, stride int, came S, positions []int) S {
	end := len(s) / stride
	s = fit(s, len(came))[:len(s)+len(came)]
	for i, at := range slices.Backward(positions) {
		copy(s[(at+i+1)*stride:], s[at*stride:end*stride])
		copy(s[(at+i)*stride:], came[i*stride:(i+1)*stride])
		end = at
	}
	return s
}

// fit returns s with room for size more elements. If s has to move, it gets room for an eighth of its
// length besides: most such lists are short, and append would double them.
func fit[S ~[]E, E any](s S, size int) S {
	if cap(s)-len(s) >= size {
		return s
	}
	return append(make(S, 0, len(s)+size+len(s)/8), s...)
}

// shrink returns s with less room behind it when most of the room is unused.
func shrink[S ~[]E, E any](s S) S {
	if len(s) == 0 {
		return nil
	}
	if cap(s) > 256 && len(s) < cap(s)/4 {
		return slices.Clone(s)
	}
	return s
}
