package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
)

// BenchmarkWorstWait says how long a query and a change take at worst while an index of Services with
// ten endpoints each is frozen, read by a snapshot or listed anew, and 200 changes a second go on: the worst of all
// runs, and the median of the worst of each.
func BenchmarkWorstWait(b *testing.B) {
	for _, services := range []int{10_000, 100_000} {
		x := New(model.HostnamesReady, false, 0)
		kept := &keeper{Index: x}
		modeltest.BigCluster(kept, services, true)
		for _, act := range []struct {
			name string
			do   func()
		}{
			{"idle", func() { time.Sleep(time.Second) }},
			{"freeze", func() { x.Freeze() }},
			{"snapshot", func() {
				for range x.Moment().Services() { // which are written elsewhere
				}
			}},
			{"relist", func() { x.ReplaceSlices(slices.Values(kept.slices)) }},
		} {
			b.Run(fmt.Sprintf("endpoints=%d/%s", 10*services, act.name), func(b *testing.B) {
				var reads, writes []time.Duration
				for b.Loop() {
					read, write := worstWaits(x, kept.slices, act.do)
					reads, writes = append(reads, read), append(writes, write)
				}
				for unit, all := range map[string][]time.Duration{"reader": reads, "writer": writes} {
					slices.Sort(all)
					b.ReportMetric(all[len(all)-1].Seconds()*1e3, "ms-"+unit+"-worst")
					b.ReportMetric(all[len(all)/2].Seconds()*1e3, "ms-"+unit+"-median")
				}
			})
		}
	}
}

// keeper is an index that knows what slices it was told.
type keeper struct {
	*Index
	slices []*model.Slice
}

func (k *keeper) PutSlice(s *model.Slice) {
	k.slices = append(k.slices, s)
	k.Index.PutSlice(s)
}

// worstWaits returns how long the slowest lookup and the slowest change of x took while do ran. specs are its slices.
func worstWaits(x *Index, specs []*model.Slice, do func()) (read, write time.Duration) {
	var others sync.WaitGroup
	over := make(chan struct{})
	repeat := func(pause time.Duration, worst *time.Duration, act func(*model.Slice)) {
		others.Go(func() {
			ticks := time.NewTicker(pause)
			defer ticks.Stop()
			for {
				select {
				case <-over:
					return
				case <-ticks.C:
				}
				spec := specs[rand.IntN(len(specs))]
				began := time.Now()
				act(spec)
				*worst = max(*worst, time.Since(began))
			}
		})
	}
	var v View
	repeat(100*time.Microsecond, &read, func(spec *model.Slice) {
		q := qname.Name{Kind: qname.ServiceName, Namespace: spec.Namespace, Service: spec.Service}
		x.LookupInto(&v, &q, WantA, Part{Limit: 10})
	})
	repeat(5*time.Millisecond, &write, func(spec *model.Slice) {
		changed := *spec
		changed.Endpoints = slices.Clone(spec.Endpoints)
		changed.Endpoints[rand.IntN(len(changed.Endpoints))].State = model.State(rand.IntN(3))
		x.PutSlice(&changed)
	})
	do()
	close(over)
	others.Wait()
	return read, write
}
