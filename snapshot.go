package headless

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/fxamacker/cbor/v2"
)

// A snapshot is a file that holds what the indexes and pods do, for a start without the API server: a line that says what it is, a
// sequence of CBOR values (RFC 8742), and the CRC-32C of all before it in four octets, the most significant first. The values are
// a snapshotHeader; the name of each Namespace, and null; for each index a snapshotService for each Service, and null; and a
// snapshotPod for each Pod, and null. The time of the file is when its content was last known to be true.
const snapshotMagic = "headless snapshot\n"

// snapshotVersion is that of the snapshots that are written and read.
const snapshotVersion = 1

// maxSnapshot is the size of the largest snapshot that is read, in octets. 100,000 endpoints take about 3 MB.
const maxSnapshot = 256 << 20

// snapshotHeader says what a snapshot is of.
type snapshotHeader struct {
	Version       int    `cbor:"version"`
	Cluster       string `cbor:"cluster"`       // the UID of kube-system, "" when it is not known
	Configuration string `cbor:"configuration"` // what in the stanza shapes the content
	Endpoints     int    `cbor:"endpoints"`     // about how many there are
}

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
		Zones  []string // likewise
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
	}
)

// fromPod is added to the state of an endpoint whose name is a pod's.
const fromPod = 0x80

// contents is what is written to a snapshot and read from one.
type contents struct {
	indexes []*index.Index // the second, if any, is that of the multicluster zones
	pods    *index.Pods
}

// write replaces the file at path by a snapshot in one step, by way of draft, a path that nobody else uses: whatever happens
// meanwhile, it is the old file or the new one. Of an index it copies one Service at a time.
func (c contents) write(path, draft string, h snapshotHeader, confirmed time.Time) error {
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := c.writeNew(draft, h)
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
func (c contents) writeNew(path string, h snapshotHeader) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, file.Close()) }()
	if err := file.Chmod(0o600); err != nil { // whatever the umask is
		return err
	}
	if err := c.encode(file, h); err != nil {
		return err
	}
	return file.Sync()
}

// encode writes a snapshot to w.
func (c contents) encode(w io.Writer, h snapshotHeader) error {
	sum := crc32.New(castagnoli)
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	_, _ = buffered.WriteString(snapshotMagic) // Flush returns the error
	if err := c.encodeValues(cbor.NewEncoder(buffered), h); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c contents) encodeValues(to *cbor.Encoder, h snapshotHeader) error {
	if err := to.Encode(h); err != nil {
		return err
	}
	for _, key := range c.indexes[0].NamespaceKeys() { // which is fed with the same as the other
		if err := to.Encode(key.Name); err != nil {
			return err
		}
	}
	if err := to.Encode(nil); err != nil {
		return err
	}
	for _, x := range c.indexes {
		for s := range x.AllContents() {
			if err := to.Encode(serviceToSnapshot(&s)); err != nil {
				return err
			}
		}
		if err := to.Encode(nil); err != nil {
			return err
		}
	}
	for _, p := range c.pods.All() {
		if err := to.Encode(snapshotPod{Namespace: p.Namespace, Name: p.Name, Addrs: p.Addrs, Labels: p.Labels}); err != nil {
			return err
		}
	}
	return to.Encode(nil)
}

func serviceToSnapshot(c *index.ServiceContents) *snapshotService {
	s := &snapshotService{Namespace: c.Namespace, Name: c.Name, Slices: make([]snapshotSlice, len(c.Slices))}
	if spec := c.Service; spec != nil {
		s.Spec = &snapshotSpec{
			Kind: spec.Kind, Policy: spec.Policy, Selector: spec.Selector, Target: spec.Target,
			ClusterIPs: spec.ClusterIPs, Ports: portsToSnapshot(spec.Ports),
		}
		if e := spec.External; e != nil {
			s.Spec.External, s.Spec.ExternalAddrs, s.Spec.ExternalNames = true, e.Addrs, e.Names
		}
	}
	for i, sl := range c.Slices {
		to, n := &s.Slices[i], len(sl.Endpoints)
		to.Name, to.Ports = sl.Name, portsToSnapshot(sl.Ports)
		to.Addrs, to.States = make([]byte, 0, len(index.Octets{})*n), make([]byte, n)
		for j, e := range sl.Endpoints {
			ip := e.Addr.As16()
			to.Addrs = append(to.Addrs, ip[:]...)
			to.States[j] = byte(e.State)
			if e.PodName {
				to.States[j] |= fromPod
			}
			setColumn(&to.Names, n, j, e.Name)
			setColumn(&to.Zones, n, j, e.Topology)
		}
	}
	return s
}

// setColumn sets element i of n. A column without values is nil.
func setColumn(column *[]string, n, i int, value string) {
	if value == "" {
		return
	}
	if *column == nil {
		*column = make([]string, n)
	}
	(*column)[i] = value
}

func portsToSnapshot(ports []model.Port) []snapshotPort {
	s := make([]snapshotPort, len(ports))
	for i, p := range ports {
		s[i] = snapshotPort{Name: p.Name(), Proto: p.Proto(), Number: p.Number}
	}
	return s
}

// endpoints returns how many there are.
func (c contents) endpoints() int {
	n := 0
	for _, x := range c.indexes {
		n += x.Counts().Endpoints
	}
	return n
}

// read puts what the snapshot at path holds, if accept does not refuse its header and time. After an error it may have put a part.
func (c contents) read(path string, accept func(h snapshotHeader, confirmed time.Time) error) error {
	file, confirmed, err := readRegular(path)
	if err != nil {
		return err
	}
	return c.parse(file, func(h snapshotHeader) error { return accept(h, confirmed) })
}

// parse puts what the snapshot in file holds, if accept does not refuse its header. After an error it may have put a part.
func (c contents) parse(file []byte, accept func(snapshotHeader) error) error {
	rest, ok := bytes.CutPrefix(file, []byte(snapshotMagic))
	if !ok {
		return errors.New("not a snapshot")
	}
	end := len(file) - crc32.Size
	if len(rest) < crc32.Size || crc32.Checksum(file[:end], castagnoli) != binary.BigEndian.Uint32(file[end:]) {
		return errors.New("damaged: its checksum is wrong")
	}
	rest = rest[:len(rest)-crc32.Size]
	var h snapshotHeader
	rest, err := snapshotDecoding.UnmarshalFirst(rest, &h)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if h.Version != snapshotVersion {
		return fmt.Errorf("of version %d, not %d", h.Version, snapshotVersion)
	}
	if err := accept(h); err != nil {
		return err
	}
	return c.decode(rest, min(h.Endpoints, len(rest)))
}

// readRegular returns the content of a file and its time. It never waits for a writer, as that of a FIFO.
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

// snapshotDecoding refuses what no snapshot has, before it takes memory. Texts may be any octets, as those of the API server.
var snapshotDecoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		MaxNestedLevels: 8, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8DecodeInvalid,
	}.DecMode()
	if err != nil {
		panic(fmt.Sprintf("headless: %v", err)) // the options are constants
	}
	return mode
}()

// decode puts what rest holds behind the header. endpoints is about how many there are.
func (c contents) decode(rest []byte, endpoints int) error {
	rest, err := each(rest, func(name *string) (*model.Namespace, error) {
		return &model.Namespace{Key: model.KeyOf("", *name)}, nil
	}, func(spec *model.Namespace) {
		for _, x := range c.indexes {
			x.PutNamespace(spec)
		}
	})
	if err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	for i, x := range c.indexes {
		x.Reserve(endpoints)
		rest, err = each(rest, func(s *snapshotService) (*index.ServiceContents, error) {
			return s.contents(i > 0)
		}, x.PutContents)
		if err != nil {
			return fmt.Errorf("services: %w", err)
		}
	}
	if rest, err = each(rest, (*snapshotPod).spec, c.pods.Put); err != nil {
		return fmt.Errorf("pods: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d octets behind the end", len(rest))
	}
	return nil
}

// each decodes a sequence that null ends, and puts what convert makes of its values, one while the next is made. It returns what is
// behind the null.
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

// contents returns what s stands for, an import if imported is set, or an error if no converter makes such a thing.
func (s *snapshotService) contents(imported bool) (*index.ServiceContents, error) {
	c := &index.ServiceContents{Key: model.KeyOf(s.Namespace, s.Name)}
	if spec := s.Spec; spec != nil {
		c.Service = &model.Service{
			Key: c.Key, Kind: spec.Kind, Policy: spec.Policy, Selector: spec.Selector, Target: spec.Target,
			ClusterIPs: spec.ClusterIPs, Ports: portsFromSnapshot(spec.Ports),
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
		if len(sl.Addrs) != len(index.Octets{})*n || len(sl.Names) != 0 && len(sl.Names) != n || len(sl.Zones) != 0 && len(sl.Zones) != n {
			return nil, malformed(s.Namespace, s.Name)
		}
		spec := &model.Slice{Key: model.Key{Namespace: c.Namespace, Name: sl.Name}, Service: c.Name, Ports: portsFromSnapshot(sl.Ports)}
		spec.Endpoints = make([]model.Endpoint, n)
		for j, said := range sl.States {
			e := &spec.Endpoints[j]
			e.Addr = netip.AddrFrom16(index.Octets(sl.Addrs[len(index.Octets{})*j:])).Unmap()
			e.State, e.PodName = model.State(said&^fromPod), said&fromPod != 0
			if len(sl.Names) > 0 {
				e.Name = sl.Names[j]
			}
			if len(sl.Zones) > 0 {
				e.Topology = model.Intern(sl.Zones[j])
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
	return &model.Pod{Key: model.KeyOf(p.Namespace, p.Name), Addrs: p.Addrs, Labels: p.Labels}, nil
}

func portsFromSnapshot(s []snapshotPort) []model.Port {
	ports := make([]model.Port, len(s))
	for i, p := range s {
		ports[i] = model.PortOf(p.Name, p.Proto, p.Number)
	}
	return model.SortedPorts(ports)
}

// snapshotter keeps a snapshot of what a plugin holds.
type snapshotter struct {
	snapshotConfig
	contents
	configuration func() string    // what in the stanza shapes the content
	cluster       func() string    // the UID of kube-system, "" while it is not known
	synced        func() bool      // whether all has been listed
	confirmed     func() time.Time // since when that may no longer be true: when every resource has been heard of last

	draft  string                         // the path of what is being written
	served atomic.Pointer[snapshotHeader] // of the snapshot that is answered from until all has been listed
	dated  atomic.Int64                   // the time of the file, Unix time in nanoseconds; 0 while there is none to use

	upToDate bool   // the file holds what was held as of written
	written  uint64 // the version then
	failure  string // why it cannot be written, as logged last

	ctx     context.Context // ends with stop
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// snapshotConfig is what a stanza says of the snapshot.
type snapshotConfig struct {
	path             string // "": there is none
	maxAge, interval time.Duration
}

// dateEvery is how much the time of the file lags behind at most.
const dateEvery = 30 * time.Second

// draftEnd is how the names of drafts end. Before it stand the name of the file and, in 16 digits, that of the snapshotter.
const draftEnd = ".new"

// abandoned is how old a draft is that somebody has left who was killed.
const abandoned = time.Minute

// load reads what an earlier process left, and has it served if it is fit to.
func (s *snapshotter) load() {
	s.removeAbandoned()
	var header snapshotHeader
	err := s.read(s.path, func(h snapshotHeader, confirmed time.Time) error {
		header = h
		s.dated.Store(confirmed.UnixNano())
		switch age := time.Since(confirmed); {
		case h.Configuration != s.configuration():
			return errors.New("made with another configuration")
		case age > s.maxAge:
			return fmt.Errorf("last confirmed %v ago, more than %v", age.Round(time.Second), s.maxAge)
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Infof("snapshot %s: there is none yet", s.path)
	case err != nil:
		log.Warningf("snapshot %s: not used: %v", s.path, err)
		s.dated.Store(0)
	default:
		log.Infof("snapshot %s: answering from it until the cluster has been listed, last confirmed %s", s.path, s.confirmedAt().Format(time.RFC3339))
		s.served.Store(&header)
	}
}

// listed ends that the snapshot is served if what has been listed is another cluster.
func (s *snapshotter) listed() {
	h, cluster := s.served.Load(), s.cluster()
	if h != nil && h.Cluster != "" && cluster != "" && h.Cluster != cluster && s.served.CompareAndSwap(h, nil) {
		log.Warningf("snapshot %s: not used any more: it is of cluster %s, and this is %s", s.path, h.Cluster, cluster)
	}
}

// removeAbandoned removes the drafts that somebody has left.
func (s *snapshotter) removeAbandoned() {
	files, _ := os.ReadDir(filepath.Dir(s.path)) // whether it can be read says load
	for _, f := range files {
		draft, ok := strings.CutPrefix(f.Name(), filepath.Base(s.path)+".")
		if info, err := f.Info(); ok && err == nil && len(draft) == 16+len(draftEnd) && strings.HasSuffix(draft, draftEnd) &&
			time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(filepath.Join(filepath.Dir(s.path), f.Name())) // it does no harm
		}
	}
}

// start keeps the file up to date until stop.
func (s *snapshotter) start() {
	s.running.Go(func() {
		tick := time.NewTicker(s.interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.keep()
			case <-s.ctx.Done():
				return
			}
		}
	})
}

// stop returns when nothing of s is left. It writes the last changes, unless a plugin that took over has the same file.
func (s *snapshotter) stop() {
	s.cancel()
	s.running.Wait()
	if !s.isShared() {
		s.keep()
	}
}

// isShared reports whether another plugin that runs has the same file: a reload hands it over from one to the other.
func (s *snapshotter) isShared() bool {
	return slices.ContainsFunc(running.all(), func(h *Headless) bool {
		return h.snapshot != nil && h.snapshot != s && h.snapshot.path == s.path
	})
}

// keep writes the file if there is something new, and dates it. Before all has been listed the old file is the best there is.
func (s *snapshotter) keep() {
	if !s.synced() {
		return
	}
	version, confirmed := s.version(), s.confirmed()
	switch {
	case !s.upToDate || version != s.written:
		err := s.write(s.path, s.draft, snapshotHeader{snapshotVersion, s.cluster(), s.configuration(), s.endpoints()}, confirmed)
		s.report(err)
		s.upToDate, s.written = err == nil, version
	case confirmed.Sub(s.confirmedAt()) >= dateEvery:
		s.upToDate = os.Chtimes(s.path, confirmed, confirmed) == nil // somebody has removed it
	default:
		return
	}
	if s.upToDate {
		s.dated.Store(confirmed.UnixNano())
	}
}

// confirmedAt returns the time of the file, or that of Unix's epoch while there is none to use.
func (s *snapshotter) confirmedAt() time.Time { return time.Unix(0, s.dated.Load()) }

// report counts a write, and logs an error that is not the same as before.
func (s *snapshotter) report(err error) {
	if err == nil {
		snapshotWrites.WithLabelValues("success").Inc()
		s.failure = ""
		return
	}
	snapshotWrites.WithLabelValues("error").Inc()
	if text := err.Error(); text != s.failure {
		log.Warningf("snapshot %s: not written: %v", s.path, err)
		s.failure = text
	}
}

// newSnapshotter returns the snapshotter of h, or nil if the stanza asks for none. A relative path is below root.
func newSnapshotter(h *Headless, root string) *snapshotter {
	cfg := h.config.snapshot
	if cfg.path == "" {
		return nil
	}
	if !filepath.IsAbs(cfg.path) {
		cfg.path = filepath.Join(root, cfg.path)
	}
	cfg.path = filepath.Clean(cfg.path)
	s := &snapshotter{
		snapshotConfig: cfg, contents: contents{h.indexes(), h.pods},
		configuration: h.fingerprint, cluster: h.converter.clusterUID, synced: h.isSynced, confirmed: h.synced.confirmed,
		draft: fmt.Sprintf("%s.%016x%s", cfg.path, rand.Uint64(), draftEnd),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// fingerprint returns what tells apart the configurations that keep different things of one cluster, or of different ones.
func (h *Headless) fingerprint() string {
	text := fmt.Sprintf("%q %q %q %q %q %q %q %t %t %t %t %t %t", h.endpoint, h.kubeconfig, h.context, h.namespaces,
		fmt.Sprint(h.namespaceLabels), fmt.Sprint(h.labels), h.podMode,
		h.noEndpoints, h.headlessOnly, h.podNames, h.converter.podLabels, h.zonal, len(h.multicluster) > 0)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

// version returns a number that changes with what c holds.
func (c contents) version() uint64 {
	n := c.pods.Version()
	for _, x := range c.indexes {
		n += x.Version()
	}
	return n
}
