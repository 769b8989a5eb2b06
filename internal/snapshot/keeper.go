package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var writes = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "coredns_headless_snapshot_writes_total",
	Help: "Counter of the times that a snapshot was written, by result: success or error.",
}, []string{"result"})

// init exports the counter before it grows: Prometheus does not see a growth from nothing.
func init() {
	writes.WithLabelValues("success")
	writes.WithLabelValues("error")
}

// Subject is what a snapshot is kept of.
type Subject struct {
	Knowledge
	Configuration func() string // what in the stanza shapes the content
	Cluster       func() string // the UID of kube-system, "" while it is not known
	// Published calls take with the indexes that are written in place of the others, or with nil. They do not change
	// meanwhile. If take returns true, it returns the journal that belongs to them, or nil. It may be nil.
	Published func(take func(indexes []*index.Index) bool) *Journal
	IsSynced  func() bool      // whether all has been listed
	Confirmed func() time.Time // when every resource had been heard of last
	IsShared  func() bool      // another keeper has the same file, as during a reload
	Log       clog.P
}

// Keeper keeps a snapshot of what a plugin holds.
type Keeper struct {
	config Config
	of     Subject

	draft  string                 // the path of what is being written
	served atomic.Pointer[header] // of the snapshot that is answered from until all has been listed
	dated  atomic.Int64           // the time of the file, Unix time in ns; 0 while no file is fit to use

	upToDate bool        // the file holds what was held as of written
	written  uint64      // the version then
	file     fs.FileInfo // of the file that was written then: another one is not ours to date
	failure  string      // why it cannot be written, as logged last

	ctx     context.Context // ends with Stop
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// NewKeeper returns the keeper of the file that cfg names.
func NewKeeper(cfg Config, of Subject) *Keeper {
	k := &Keeper{config: cfg, of: of, draft: fmt.Sprintf("%s.%016x%s", cfg.Path, rand.Uint64(), draftEnd)}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Serves reports whether queries are to be answered from the snapshot that was loaded.
func (k *Keeper) Serves() bool { return k.served.Load() != nil }

// Journal returns the journal in the snapshot that is served, if it has one.
func (k *Keeper) Journal() *Journal {
	if h := k.served.Load(); h != nil {
		return h.Journal
	}
	return nil
}

// Config is what a stanza says of the snapshot.
type Config struct {
	Path             string // "" if the stanza asks for no snapshot
	MaxAge, Interval time.Duration
}

// dateEvery is how much the time of the file lags behind at most.
const dateEvery = 30 * time.Second

// maxAhead is how far the clock may have been set back since the file was dated.
const maxAhead = time.Minute

// draftEnd is how the names of drafts end. Before it stand the name of the file and, in 16 digits,
// that of the keeper.
const draftEnd = ".new"

// abandoned is how old a draft has to be to be taken for that of a process that was killed.
const abandoned = time.Minute

// Load reads what an earlier process left, and serves it if it is fit to be served.
func (k *Keeper) Load() {
	k.removeAbandoned()
	var loaded header
	err := k.of.readIf(k.config.Path, func(h header, confirmed time.Time) error {
		loaded = h
		k.dated.Store(confirmed.UnixNano())
		switch age := time.Since(confirmed); {
		case h.Configuration != k.of.Configuration():
			return errors.New("made with another configuration")
		case age > k.config.MaxAge:
			return fmt.Errorf("last confirmed %v ago, more than %v", age.Round(time.Second), k.config.MaxAge)
		case age < -maxAhead:
			return fmt.Errorf("last confirmed in %v, so its age is not known", -age.Round(time.Second))
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.of.Log.Infof("snapshot %s: there is none yet", k.config.Path)
	case err != nil:
		k.of.Log.Warningf("snapshot %s: not used: %v", k.config.Path, err)
		k.dated.Store(0)
	default:
		k.of.Log.Infof("snapshot %s: answering from it until the cluster has been listed, last confirmed %s",
			k.config.Path, k.Dated().Format(time.RFC3339))
		k.served.Store(&loaded)
	}
}

// Listed stops serving the snapshot if the cluster that has been listed is another one.
func (k *Keeper) Listed() {
	h, cluster := k.served.Load(), k.of.Cluster()
	if h != nil && h.Cluster != "" && cluster != "" && h.Cluster != cluster &&
		k.served.CompareAndSwap(h, nil) {
		k.of.Log.Warningf("snapshot %s: not used any more: it is of cluster %s, and this is %s",
			k.config.Path, h.Cluster, cluster)
	}
}

// removeAbandoned removes the drafts of processes that were killed.
func (k *Keeper) removeAbandoned() {
	files, _ := os.ReadDir(filepath.Dir(k.config.Path)) // whether it can be read says Load
	for _, f := range files {
		draft, ok := strings.CutPrefix(f.Name(), filepath.Base(k.config.Path)+".")
		if info, err := f.Info(); ok && err == nil && len(draft) == 16+len(draftEnd) &&
			strings.HasSuffix(draft, draftEnd) &&
			time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(filepath.Join(filepath.Dir(k.config.Path), f.Name())) // it does no harm
		}
	}
}

// Start keeps the file up to date until Stop.
func (k *Keeper) Start() {
	k.running.Go(func() {
		tick := time.NewTicker(k.config.Interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				k.keep()
			case <-k.ctx.Done():
				return
			}
		}
	})
}

// Stop returns when the goroutine of k has ended. It writes the last changes, unless a plugin that took
// over has the same file.
func (k *Keeper) Stop() {
	k.cancel()
	k.running.Wait()
	if !k.of.IsShared() {
		k.keep()
	}
}

// keep writes the file if there is something new, and dates it. Before all has been listed the old
// file is the best there is.
func (k *Keeper) keep() {
	if !k.of.IsSynced() {
		return
	}
	confirmed := k.of.Confirmed()
	var held uint64
	var h header
	var news *frozen // if there is something new
	take := func(published []*index.Index) bool {
		what := k.of.Knowledge
		if published != nil {
			what.Indexes = published
		}
		if held = what.changes(); k.upToDate && held == k.written {
			return false
		}
		h = header{version, k.of.Cluster(), k.of.Configuration(), what.endpoints(), what.serials(), nil}
		news = what.freeze()
		return true
	}
	if k.of.Published != nil {
		h.Journal = k.of.Published(take)
	} else {
		take(nil)
	}
	switch {
	case news != nil:
		defer news.close()
		err := news.write(k.config.Path, k.draft, h, confirmed)
		k.noteWrite(err)
		k.upToDate, k.written = err == nil, held
		k.file, _ = os.Lstat(k.config.Path) // of a file that is gone it says so later
	case confirmed.Sub(k.Dated()) >= dateEvery:
		k.upToDate = k.isOurs() && os.Chtimes(k.config.Path, confirmed, confirmed) == nil // else it is written anew
	default:
		return
	}
	if k.upToDate {
		k.dated.Store(confirmed.UnixNano())
	}
}

// isOurs reports whether the file is the one that was written last. Another process may have put its own
// there, which may know less, or a link.
func (k *Keeper) isOurs() bool {
	file, err := os.Lstat(k.config.Path)
	return err == nil && k.file != nil && os.SameFile(file, k.file)
}

// Path returns the path of the file.
func (k *Keeper) Path() string { return k.config.Path }

// Dated returns the time of the file, which is up to when it was confirmed, or that of Unix's epoch
// while no file is fit to use.
func (k *Keeper) Dated() time.Time { return time.Unix(0, k.dated.Load()) }

// noteWrite counts a write, and logs an error that is not the same as before.
func (k *Keeper) noteWrite(err error) {
	if err == nil {
		writes.WithLabelValues("success").Inc()
		k.failure = ""
		return
	}
	writes.WithLabelValues("error").Inc()
	if text := err.Error(); text != k.failure {
		k.of.Log.Warningf("snapshot %s: not written: %v", k.config.Path, err)
		k.failure = text
	}
}
