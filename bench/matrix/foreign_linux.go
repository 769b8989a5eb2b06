package matrix

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/proc"
	"github.com/miekg/dns"
)

// foreignServer is a DNS server that is not a CoreDNS. In its configuration and its arguments ADDRESS and PORT stand for those of
// DNS, ZONE for the file with the cluster's zone, DIR for a folder of its own and CONF for the file with the configuration.
type foreignServer struct {
	name, program string
	args          []string
	configuration string
}

// foreigners are the servers that others serve large zones with, each with one thread, and without limits to what one client may
// ask. They get the zone by a transfer.
var foreigners = []foreignServer{
	{"knot", "knotd", []string{"-c", "CONF"}, `server:
    rundir: "DIR"
    listen: ADDRESS@PORT
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    udp-max-payload: 1232
log:
  - target: stderr
    any: warning
database:
    storage: "DIR"
zone:
  - domain: ` + cluster.Zone + `.
    file: "ZONE"
    zonefile-sync: -1
    journal-content: none
`},
	{"nsd", "nsd", []string{"-d", "-c", "CONF"}, `server:
    server-count: 1
    ip-address: ADDRESS@PORT
    ipv4-edns-size: 1232
    username: ""
    chroot: ""
    database: ""
    zonesdir: "DIR"
    pidfile: ""
    xfrdfile: "DIR/xfrd.state"
    zonelistfile: "DIR/zone.list"
    xfrdir: "DIR"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    round-robin: yes
    minimal-responses: yes
    tcp-query-count: 0
remote-control:
    control-enable: no
zone:
    name: ` + cluster.Zone + `
    zonefile: "ZONE"
`},
	{"unbound", "unbound", []string{"-d", "-c", "CONF"}, `server:
    num-threads: 1
    interface: ADDRESS
    port: PORT
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "DIR"
    pidfile: ""
    use-syslog: no
    edns-buffer-size: 1232
    max-udp-size: 1232
    access-control: 127.0.0.0/8 allow
    module-config: "iterator"
    tcp-idle-timeout: 60000
remote-control:
    control-enable: no
auth-zone:
    name: ` + cluster.Zone + `
    zonefile: "ZONE"
    for-upstream: no
    for-downstream: yes
`},
}

// foreignIndex returns which of the foreigners has a name, or -1.
func foreignIndex(name string) int {
	return slices.IndexFunc(foreigners, func(f foreignServer) bool { return f.name == name })
}

func isForeign(name string) bool { return foreignIndex(name) >= 0 }

// start starts the server, if it is installed: otherwise it returns nil.
func (f foreignServer) start(l *lab, zoneFile string) (*subject, error) {
	path, err := f.find()
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // it is not installed, as nil says
	}
	port, err := l.port()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(l.dir, f.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("ADDRESS", l.address.String(), "PORT", fmt.Sprint(port), "ZONE", zoneFile, "DIR", dir)
	conf, err := l.file(func(w io.Writer) error {
		_, err := fill.WriteString(w, f.configuration)
		return err
	})
	if err != nil {
		return nil, err
	}
	program := proc.Program{Path: path}
	for _, arg := range f.args {
		program.Args = append(program.Args, strings.ReplaceAll(arg, "CONF", conf))
	}
	p, err := program.Start(l.serverCore)
	if err != nil {
		return nil, err
	}
	return &subject{Process: p, name: f.name, plugin: foreign, address: netip.AddrPortFrom(l.address, port)}, nil
}

// find returns the path of the program, which may be where only root looks for programs.
func (f foreignServer) find() (string, error) {
	path, err := exec.LookPath(f.program)
	if err != nil {
		return exec.LookPath(filepath.Join("/usr/sbin", f.program))
	}
	return path, nil
}

// zoneFile returns the path of a file with the cluster's zone, as headless transfers it.
func (l *lab) zoneFile(api string) (string, error) {
	corefile := strings.Replace(watching(headless, api), "bind ADDRESS", "bind ADDRESS\n\ttransfer {\n\t\tto *\n\t}", 1)
	s, err := l.serve(headless, corefile)
	if err != nil {
		return "", err
	}
	defer s.Stop()
	if _, err := s.wait(query{cluster.Zone + ".", dns.TypeSOA, someAnswer}); err != nil {
		return "", err
	}
	return l.file(func(w io.Writer) error {
		soas := 0
		return s.transfer(func(rr dns.RR) error {
			if rr.Header().Rrtype == dns.TypeSOA {
				if soas++; soas > 1 { // it ends the transfer, and is in the file already
					return nil
				}
			}
			_, err := fmt.Fprintln(w, rr)
			return err
		})
	})
}

// transfer calls use with each record of the cluster's zone, as a secondary gets them.
func (s *subject) transfer(use func(dns.RR) error) error {
	const patience = time.Minute
	t := &dns.Transfer{ReadTimeout: patience}
	envelopes, err := t.In(new(dns.Msg).SetAxfr(cluster.Zone+"."), s.address.String())
	if err != nil {
		return err
	}
	for e := range envelopes { // to the end, for there is somebody who writes
		if err == nil {
			err = e.Error
		}
		for _, rr := range e.RR {
			if err == nil {
				err = use(rr)
			}
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the transfer from %s failed", s.name), err)
	}
	return nil
}
