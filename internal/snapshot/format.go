// Package snapshot keeps what indexes hold in a file, for a start without the API server.
package snapshot

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/fxamacker/cbor/v2"
)

// A snapshot is a file that holds what the indexes and pods do, for a start without the API server:
// a line that says what it is, a sequence of CBOR values (RFC 8742), and the CRC-32C of all before
// it in four octets, the most significant first. The values are a header; the name of each
// Namespace, and null; for each index a snapshotService for each Service, and null; and a
// snapshotPod for each Pod, and null. The time of the file is when its content was last known to be
// true.
const snapshotMagic = "headless snapshot\n"

// version is that of the snapshots that are written and read.
const version = 3

// maxSnapshot is the size of the largest snapshot that is read, in octets. 100,000 endpoints take about 3 MB.
const maxSnapshot = 256 << 20

// header says what a snapshot is of.
type header struct {
	Version       int    `cbor:"version"`
	Cluster       string `cbor:"cluster"`       // the UID of kube-system, "" when it is not known
	Configuration string `cbor:"configuration"` // what in the stanza shapes the content
	Endpoints     int    `cbor:"endpoints"`     // about how many there are
	// Serials are two for each index: of its zones, and of those with external names.
	Serials []uint32 `cbor:"serials"`
	// Journal is what zone transfers know of the time before, if there are any. What is called journal in
	// older snapshots has another form, and is not read.
	Journal *Journal `cbor:"transfers,omitempty"`
}

// Journal is what zone transfers know of the time before. Records are in wire form.
type Journal struct {
	Of     string          `cbor:"of"`     // what shapes the records
	Groups [][]Serial      `cbor:"groups"` // the serials of each index, the oldest first
	Zones  map[string]Zone `cbor:"zones"`
}

type (
	// Serial is a serial, and when it became current.
	Serial struct {
		_      struct{} `cbor:",toarray"`
		Number uint32
		At     time.Time
	}
	// Zone is what is known of a zone.
	Zone struct {
		_     struct{} `cbor:",toarray"`
		Apex  []string // its records that are not of Services
		Steps []Step   // in which it changed, in order
	}
	// Step is what differs between a serial and the next.
	Step struct {
		_              struct{} `cbor:",toarray"`
		From           uint32
		Removed, Added []string
	}
)

type (
	snapshotService struct {
		_               struct{} `cbor:",toarray"`
		Namespace, Name string
		Spec            *snapshotSpec // nil while the Service is absent
		Slices          []snapshotSlice
	}
	snapshotSpec struct {
		_             struct{} `cbor:",toarray"`
		Kind          model.Kind
		Policy        model.Policy
		Selector      bool
		NoTopology    bool
		Target        string
		ClusterIPs    []netip.Addr
		Ports         []snapshotPort
		External      bool // there is something of the following
		ExternalAddrs []netip.Addr
		ExternalNames []string
	}
	// snapshotSlice has its endpoints by columns, of which there are few to decode.
	snapshotSlice struct {
		_      struct{} `cbor:",toarray"`
		Name   string
		Ports  []snapshotPort
		Addrs  []byte   // 16 octets each, IPv4-mapped for IPv4
		States []byte   // a state, and fromPod
		Names  []string // nil when they are all ""
		// Places holds those of the endpoints, each once, and At their positions in it behind that of an
		// unknown place, 0. At is nil when they are all unknown.
		Places []snapshotPlace
		At     []uint32
	}
	snapshotPlace struct {
		_                  struct{} `cbor:",toarray"`
		Zone, Node         string
		Zonal              bool
		ForZones, ForNodes []string
	}
	snapshotPort struct {
		_           struct{} `cbor:",toarray"`
		Name, Proto string
		Number      uint16
	}
	snapshotPod struct {
		_               struct{} `cbor:",toarray"`
		Namespace, Name string
		Addrs           []netip.Addr
		Labels          map[string]string
		Node            string
		Host            bool
	}
)

// fromPod is added to the state of an endpoint whose name is a pod's.
const fromPod = 0x80

// Knowledge is what is written to a snapshot and read from one.
type Knowledge struct {
	Indexes []*index.Index // the second, if any, is that of the multicluster zones
	Pods    *index.Pods
}

// frozen is what is written to a snapshot: of each index what it held at one moment.
type frozen struct {
	moments []*index.Moment
	pods    *index.Pods
}

// freeze returns what c holds now. It has to be closed.
func (c Knowledge) freeze() *frozen {
	f := &frozen{pods: c.Pods}
	for _, x := range c.Indexes {
		f.moments = append(f.moments, x.Moment())
	}
	return f
}

func (f *frozen) close() {
	for _, m := range f.moments {
		m.Close()
	}
}

// write replaces the file at path by a snapshot in one step, by way of draft, a path that nobody else uses: whatever happens
// meanwhile, it is the old file or the new one. It may be called once.
func (f *frozen) write(path, draft string, h header, confirmed time.Time) error {
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := f.writeNew(draft, h)
	if err == nil {
		err = os.Chtimes(draft, confirmed, confirmed)
	}
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		_ = os.Remove(draft) // what went wrong is known
	}
	return err
}

// writeNew makes a file at path, where there is none, and writes a snapshot to it.
func (f *frozen) writeNew(path string, h header) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, file.Close()) }()
	if err := file.Chmod(0o600); err != nil { // whatever the umask is
		return err
	}
	if err := f.encode(file, h); err != nil {
		return err
	}
	return file.Sync()
}

// encode writes a snapshot to w.
func (f *frozen) encode(w io.Writer, h header) error {
	sum := crc32.New(castagnoli)
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	_, _ = buffered.WriteString(snapshotMagic) // Flush returns the error
	if err := f.encodeValues(cbor.NewEncoder(buffered), h); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (f *frozen) encodeValues(to *cbor.Encoder, h header) error {
	if err := to.Encode(h); err != nil {
		return err
	}
	for _, name := range f.moments[0].Namespaces() { // which is fed with the same as the other
		if err := to.Encode(name); err != nil {
			return err
		}
	}
	if err := to.Encode(nil); err != nil {
		return err
	}
	for _, m := range f.moments {
		for s := range m.Services() {
			if err := to.Encode(serviceToSnapshot(s)); err != nil {
				return err
			}
		}
		if err := to.Encode(nil); err != nil {
			return err
		}
	}
	for _, p := range f.pods.All() {
		if err := to.Encode(snapshotPod{
			Namespace: p.Namespace, Name: p.Name, Addrs: p.Addrs, Labels: p.Labels, Node: p.Node, Host: p.Host,
		}); err != nil {
			return err
		}
	}
	return to.Encode(nil)
}

func serviceToSnapshot(c *index.ServiceContents) *snapshotService {
	s := &snapshotService{Namespace: c.Namespace, Name: c.Name, Slices: make([]snapshotSlice, len(c.Slices))}
	if spec := c.Service; spec != nil {
		s.Spec = &snapshotSpec{
			Kind: spec.Kind, Policy: spec.Policy, Selector: spec.Selector, NoTopology: spec.NoTopology,
			Target: spec.Target, ClusterIPs: spec.ClusterIPs, Ports: portsToSnapshot(spec.Ports),
		}
		if e := spec.External; e != nil {
			s.Spec.External, s.Spec.ExternalAddrs, s.Spec.ExternalNames = true, e.Addrs, e.Names
		}
	}
	for i, sl := range c.Slices {
		to, n := &s.Slices[i], len(sl.Endpoints)
		to.Name, to.Ports = sl.Name, portsToSnapshot(sl.Ports)
		known := make(map[model.Placed]uint32)
		to.Addrs, to.States = make([]byte, 0, len(index.Octets{})*n), make([]byte, n)
		for j, e := range sl.Endpoints {
			ip := e.Addr.As16()
			to.Addrs = append(to.Addrs, ip[:]...)
			to.States[j] = byte(e.State)
			if e.PodName {
				to.States[j] |= fromPod
			}
			setColumn(&to.Names, n, j, e.Name)
			if e.Place != (model.Placed{}) {
				if known[e.Place] == 0 {
					to.Places = append(to.Places, placeToSnapshot(e.Place))
					known[e.Place] = uint32(len(to.Places)) //nolint:gosec // no more than endpoints
				}
				setColumn(&to.At, n, j, known[e.Place])
			}
		}
	}
	return s
}

// setColumn sets element i of n. A column without values is nil.
func setColumn[V comparable](column *[]V, n, i int, value V) {
	if value == *new(V) {
		return
	}
	if *column == nil {
		*column = make([]V, n)
	}
	(*column)[i] = value
}

func placeToSnapshot(placed model.Placed) snapshotPlace {
	p := placed.Place()
	return snapshotPlace{
		Zone: p.Zone, Node: p.Node, Zonal: p.Zonal,
		ForZones: slices.Collect(p.ForZones.All()), ForNodes: slices.Collect(p.ForNodes.All()),
	}
}

func (p *snapshotPlace) placed() model.Placed {
	return model.Place{
		Location: model.Location{Zone: p.Zone, Node: p.Node}, Zonal: p.Zonal,
		ForZones: model.NamesOf(p.ForZones), ForNodes: model.NamesOf(p.ForNodes),
	}.Placed()
}

func portsToSnapshot(ports []model.Port) []snapshotPort {
	s := make([]snapshotPort, len(ports))
	for i, p := range ports {
		s[i] = snapshotPort{Name: p.Name(), Proto: p.Proto(), Number: p.Number}
	}
	return s
}

// serials returns the Serials of a header.
func (c Knowledge) serials() (serials []uint32) {
	for _, x := range c.Indexes {
		serials = append(serials, x.Serial(), x.ExternalSerial())
	}
	return serials
}

// endpoints returns how many there are.
func (c Knowledge) endpoints() int {
	n := 0
	for _, x := range c.Indexes {
		n += x.Counts().Endpoints
	}
	return n
}

// readIf puts what the snapshot at path holds, if accept does not refuse its header and time. After an error it may have put a part.
func (c Knowledge) readIf(path string, accept func(h header, confirmed time.Time) error) error {
	file, confirmed, err := readRegular(path)
	if err != nil {
		return err
	}
	return c.parse(file, func(h header) error { return accept(h, confirmed) })
}

// Read puts what the snapshot at path holds, of whatever configuration and cluster it is.
func (c Knowledge) Read(path string) error {
	return c.readIf(path, func(header, time.Time) error { return nil })
}

// parse puts what the snapshot in file holds, if accept does not refuse its header. After an error it may have put a part.
func (c Knowledge) parse(file []byte, accept func(header) error) error {
	rest, ok := bytes.CutPrefix(file, []byte(snapshotMagic))
	if !ok {
		return errors.New("not a snapshot")
	}
	end := len(file) - crc32.Size
	if len(rest) < crc32.Size ||
		crc32.Checksum(file[:end], castagnoli) != binary.BigEndian.Uint32(file[end:]) {
		return errors.New("damaged: its checksum is wrong")
	}
	rest = rest[:len(rest)-crc32.Size]
	var h header
	rest, err := snapshotDecoding.UnmarshalFirst(rest, &h)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if h.Version != version {
		return fmt.Errorf("of version %d, not %d", h.Version, version)
	}
	if err := accept(h); err != nil {
		return err
	}
	for i, x := range c.Indexes {
		if pair := h.Serials[min(2*i, len(h.Serials)):]; len(pair) >= 2 {
			x.Follow(pair[0], pair[1])
		}
	}
	return c.decode(rest, min(h.Endpoints, len(rest)))
}

// readRegular returns the content of a file and its time. It never waits for a writer, as a reader
// of a FIFO would.
func readRegular(path string) (content []byte, modified time.Time, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, modified, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	stat, err := file.Stat()
	if err != nil {
		return nil, modified, err
	}
	if !stat.Mode().IsRegular() || stat.Size() > maxSnapshot {
		return nil, modified, fmt.Errorf("not a regular file of at most %d octets", maxSnapshot)
	}
	content = make([]byte, stat.Size())
	_, err = io.ReadFull(file, content)
	return content, stat.ModTime(), err
}

// maxElements is how many slices of one Service are read, or endpoints of one slice, and so on.
const maxElements = 1 << 20

// snapshotDecoding refuses what no snapshot has, before it takes memory. Texts may be any octets,
// as those of the API server.
var snapshotDecoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		MaxNestedLevels: 8, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: maxElements,
	}.DecMode()
	if err != nil {
		panic(fmt.Sprintf("headless: %v", err)) // the options are constants
	}
	return mode
}()

// decode puts what rest holds behind the header. endpoints is about how many there are.
func (c Knowledge) decode(rest []byte, endpoints int) error {
	rest, err := each(rest, func(name *string) (*model.Namespace, error) {
		return &model.Namespace{Key: model.KeyOf("", *name)}, nil
	}, func(spec *model.Namespace) {
		for _, x := range c.Indexes {
			x.PutNamespace(spec)
		}
	})
	if err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	for i, x := range c.Indexes {
		x.Reserve(endpoints)
		rest, err = each(rest, func(s *snapshotService) (*index.ServiceContents, error) {
			return s.contents(i > 0)
		}, x.PutContents)
		if err != nil {
			return fmt.Errorf("services: %w", err)
		}
	}
	if rest, err = each(rest, (*snapshotPod).spec, c.Pods.Put); err != nil {
		return fmt.Errorf("pods: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d octets behind the end", len(rest))
	}
	return nil
}

// each decodes a sequence that null ends, and puts what convert makes of its values, one while the
// next is made. It returns what is behind the null.
func each[T, V any](sequence []byte, convert func(*T) (V, error), put func(V)) (rest []byte, err error) {
	values := make(chan V, 64)
	go func() {
		defer close(values)
		for rest = sequence; ; {
			var encoded *T
			if rest, err = snapshotDecoding.UnmarshalFirst(rest, &encoded); err != nil || encoded == nil {
				return
			}
			var v V
			if v, err = convert(encoded); err != nil {
				return
			}
			values <- v
		}
	}()
	for v := range values {
		put(v)
	}
	return rest, err
}

// contents returns what s stands for, an import if imported is set, or an error if no converter
// makes such a thing.
func (s *snapshotService) contents(imported bool) (*index.ServiceContents, error) {
	c := &index.ServiceContents{Key: model.KeyOf(s.Namespace, s.Name)}
	if spec := s.Spec; spec != nil {
		c.Service = &model.Service{
			Key: c.Key, Kind: spec.Kind, Policy: spec.Policy, Selector: spec.Selector, NoTopology: spec.NoTopology,
			Target: spec.Target, ClusterIPs: spec.ClusterIPs, Ports: portsFromSnapshot(spec.Ports),
		}
		if spec.External {
			c.Service.External = &model.External{Addrs: spec.ExternalAddrs, Names: spec.ExternalNames}
		}
		if !c.Service.IsValid() {
			return nil, malformed(s.Namespace, s.Name)
		}
	}
	for i := range s.Slices {
		sl := &s.Slices[i]
		n := len(sl.States)
		if len(sl.Addrs) != len(index.Octets{})*n || len(sl.Names) != 0 && len(sl.Names) != n ||
			len(sl.At) != 0 && len(sl.At) != n {
			return nil, malformed(s.Namespace, s.Name)
		}
		places := make([]model.Placed, 1, 1+len(sl.Places))
		for j := range sl.Places {
			places = append(places, sl.Places[j].placed())
		}
		spec := &model.Slice{
			Key: model.Key{Namespace: c.Namespace, Name: sl.Name}, Service: c.Name,
			Ports: portsFromSnapshot(sl.Ports),
		}
		spec.Endpoints = make([]model.Endpoint, n)
		for j, said := range sl.States {
			e := &spec.Endpoints[j]
			e.Addr = netip.AddrFrom16(index.Octets(sl.Addrs[len(index.Octets{})*j:])).Unmap()
			e.State, e.PodName = model.State(said&^fromPod), said&fromPod != 0
			if len(sl.Names) > 0 {
				e.Name = sl.Names[j]
			}
			if len(sl.At) > 0 {
				if int(sl.At[j]) >= len(places) {
					return nil, malformed(s.Namespace, s.Name)
				}
				e.Place = places[sl.At[j]]
			}
		}
		if !spec.IsValid(imported) {
			return nil, malformed(s.Namespace, s.Name)
		}
		c.Slices = append(c.Slices, spec)
	}
	return c, nil
}

func malformed(namespace, name string) error {
	return fmt.Errorf("%q is malformed", namespace+"/"+name)
}

// spec returns what p stands for, or an error if no converter makes such a thing.
func (p *snapshotPod) spec() (*model.Pod, error) {
	if !model.AreAddrs(p.Addrs) {
		return nil, malformed(p.Namespace, p.Name)
	}
	return &model.Pod{Key: model.KeyOf(p.Namespace, p.Name), Addrs: p.Addrs, Labels: p.Labels, Node: p.Node, Host: p.Host}, nil
}

func portsFromSnapshot(s []snapshotPort) []model.Port {
	ports := make([]model.Port, len(s))
	for i, p := range s {
		ports[i] = model.PortOf(p.Name, p.Proto, p.Number)
	}
	return model.SortedPorts(ports)
}

// changes returns a number that grows with what c holds.
func (c Knowledge) changes() uint64 {
	n := c.Pods.Version()
	for _, x := range c.Indexes {
		n += x.Version()
	}
	return n
}
