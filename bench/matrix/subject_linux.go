package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/coredns-headless/headless/bench/proc"
	"github.com/coredns-headless/headless/bench/server"
)

// The servers, by the plugins that answer in them.
const (
	headless = "headless"
	stock    = "kubernetes"
	hosts    = "hosts"
	wire     = "wire"
	foreign  = "" // any program that is not a CoreDNS
)

// inBlocks is what the name of a server gets behind it when the chain is that of twoBlocksCorefile.
const inBlocks = ", two blocks"

// pair are the two that are compared in everything.
var pair = []string{headless, stock}

// subject is a running DNS server.
type subject struct {
	*proc.Process
	name    string
	plugin  string // that answers, or foreign
	address netip.AddrPort
	control string // URL; foreign ones have none
}

// lab starts processes: servers on one core, everything else on another.
type lab struct {
	dir                    string // for files
	serverCore, clientCore int
	files                  int

	// address is where the servers listen. CoreDNS shares its ports with any other server that does (SO_REUSEPORT), and a port
	// that the kernel chooses may be another's: so each run has its own address on the loopback.
	address netip.Addr
	ports   map[uint16]bool // those given away
}

// port returns a free port that nobody else was given.
func (l *lab) port() (uint16, error) {
	for {
		port, err := proc.FreePort(l.address)
		if err != nil || !l.ports[port] {
			l.ports[port] = true
			return port, err
		}
	}
}

// file writes a file and returns its path.
func (l *lab) file(write func(io.Writer) error) (string, error) {
	l.files++
	path := filepath.Join(l.dir, fmt.Sprint(l.files))
	f, err := os.Create(path) //nolint:gosec // in a folder of our own
	if err != nil {
		return "", err
	}
	if err := write(f); err != nil {
		_ = f.Close() // the first error is the one to tell
		return "", err
	}
	return path, f.Close()
}

// serve starts a server with a Corefile, in which ADDRESS and PORT stand for those of DNS and FREE for any other port. It is named
// after the plugin that answers in it.
func (l *lab) serve(plugin, corefile string) (*subject, error) {
	return l.serveWith(proc.Program{}, plugin, corefile)
}

// serveWith starts a server that is a program like this one, or this one in another environment.
func (l *lab) serveWith(program proc.Program, plugin, corefile string) (*subject, error) {
	port, err := l.port()
	if err != nil {
		return nil, err
	}
	corefile = strings.NewReplacer("PORT", fmt.Sprint(port), "ADDRESS", l.address.String()).Replace(corefile)
	for strings.Contains(corefile, "FREE") {
		free, err := l.port()
		if err != nil {
			return nil, err
		}
		corefile = strings.Replace(corefile, "FREE", fmt.Sprint(free), 1)
	}
	path, err := l.file(func(w io.Writer) error {
		_, err := io.WriteString(w, corefile)
		return err
	})
	if err != nil {
		return nil, err
	}
	program.Args = []string{"server", "-conf", path}
	p, err := program.Start(l.serverCore)
	if err != nil {
		return nil, err
	}
	control, err := p.Line("control on ", 10*time.Second)
	if err != nil {
		p.Stop()
		return nil, err
	}
	return &subject{p, plugin, plugin, netip.AddrPortFrom(l.address, port), control}, nil
}

// wait waits until the server gives a correct answer and returns when that was.
func (s *subject) wait(q query) (time.Time, error) {
	packed, err := q.pack()
	if err != nil {
		return time.Time{}, err
	}
	probe, err := load.NewProbe(s.address, packed)
	if err != nil {
		return time.Time{}, err
	}
	defer probe.Close()
	q.expect.Foreign = s.plugin == foreign
	at, err := probe.Wait(q.expect, 3*time.Minute)
	if err != nil {
		return at, fmt.Errorf("%s does not answer: %w\n%s", s.name, err, s.Output())
	}
	return at, nil
}

// runtime asks for what the server's runtime says of its memory.
func (s *subject) runtime(collected bool) (server.Runtime, error) {
	var r server.Runtime
	address := s.control + "/runtime"
	if collected {
		address += "?gc"
	}
	return r, ask(address, nil, &r)
}

// api is a running API server.
type api struct {
	*proc.Process
	url string
}

// api starts an API server with a cluster.
func (l *lab) api(c cluster.Cluster, flags ...string) (*api, error) {
	groups, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	p, err := proc.Start(l.clientCore, append([]string{"apiserver", "-cluster", string(groups)}, flags...)...)
	if err != nil {
		return nil, err
	}
	address, err := p.Line("listening on ", 3*time.Minute)
	if err != nil {
		p.Stop()
		return nil, err
	}
	return &api{p, address}, nil
}

// change changes an endpoint and returns when that was written for the watches.
func (a *api) change(c cluster.Change) (at time.Time, err error) {
	err = ask(a.url+"/change", c, &at)
	return at, err
}

// ask makes a request with a question, and with an answer, in JSON.
func ask(address string, question, answer any) error {
	asked, err := json.Marshal(question)
	if err != nil {
		return err
	}
	resp, err := http.Post(address, "application/json", bytes.NewReader(asked)) //nolint:gosec // of a process that this one started
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", address, resp.Status, body)
	}
	return json.Unmarshal(body, answer)
}
