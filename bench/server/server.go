// Package server is CoreDNS with the plugins that are compared: headless, kubernetes and hosts, the floor wire, and what
// stands around them in production.
package server

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof" //nolint:gosec // profiles are what the control server is for
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/transfer"
)

// init gives our own plugins their places: headless where cmd/coredns has it, the floor behind hosts.
func init() {
	directives := slices.Clone(dnsserver.Directives)
	directives = slices.Insert(directives, slices.Index(directives, "kubernetes"), "headless")
	directives = slices.Insert(directives, slices.Index(directives, "hosts")+1, "wire")
	dnsserver.Directives = directives
}

// Run is CoreDNS with a Corefile. It prints the address of a control server, where POST /runtime is answered with a Runtime, after a garbage
// collection with ?gc, and /debug/pprof/ has the profiles. It returns only if that server fails.
func Run(corefile string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("control on http://%s\n", l.Addr())
	http.HandleFunc("POST /runtime", serveRuntime)
	os.Args = []string{os.Args[0], "-conf", corefile, "-quiet"}
	go coremain.Run()
	return (&http.Server{ReadHeaderTimeout: time.Second}).Serve(l)
}

// Runtime is what the Go runtime of a server says of its memory, in bytes, and of its goroutines.
type Runtime struct {
	Heap       uint64 `json:"heap"`       // in use
	Allocated  uint64 `json:"allocated"`  // in total
	Stacks     uint64 `json:"stacks"`     // of goroutines
	Goroutines int    `json:"goroutines"` // how many there are
}

func serveRuntime(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("gc") {
		runtime.GC()
		runtime.GC() // the first one leaves what sync.Pools and finalizers hold
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Runtime{m.HeapAlloc, m.TotalAlloc, m.StackInuse, runtime.NumGoroutine()}) // the client is gone
}
