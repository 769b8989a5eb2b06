package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"
)

// resolvConf is the resolv.conf of a pod.
type resolvConf struct {
	search []string
	ndots  int
}

// clusterFirst returns the one that a kubelet writes for a pod in a namespace, unless the pod asks for another.
func clusterFirst(namespace string) resolvConf {
	return resolvConf{[]string{namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}, 5}
}

func (c resolvConf) text(nameserver string) string {
	return fmt.Sprintf("nameserver %s\nsearch %s\noptions ndots:%d\n", nameserver, strings.Join(c.search, " "), c.ndots)
}

// candidates returns the names to ask for, one after another, when a program asks for name.
func (c resolvConf) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var names []string
	for _, suffix := range c.search {
		names = append(names, dns.Fqdn(name+"."+strings.TrimPrefix(suffix, ".")))
	}
	if strings.Count(name, ".") >= c.ndots {
		return slices.Insert(names, 0, name+".")
	}
	return append(names, name+".")
}

// digSearch returns the answer section that "dig +search" prints: that of the first candidate that is not denied.
func digSearch(ctx context.Context, s *coredns.Server, c resolvConf, network, name string, qtype uint16) ([]dns.RR, error) {
	var r *dns.Msg
	for _, candidate := range c.candidates(name) {
		var err error
		if r, err = s.Ask(ctx, network, candidate, qtype); err != nil {
			return nil, err
		}
		if r.Rcode != dns.RcodeNameError {
			break
		}
	}
	return r.Answer, nil
}

// startPort53 starts a server for resolver clients. If that is allowed, it has port 53, on a loopback address of its own, as they
// know no other; else it has another, and notAllowed says why.
func startPort53(t *testing.T, c *cluster.Cluster) (s *coredns.Server, notAllowed error) {
	t.Helper()
	options := coredns.Options{
		Plugin: "headless", Outside: outsideZone, Port: 53,
		Host: fmt.Sprintf("127.53.%d.%d", rand.N(256), 1+rand.N(254)),
	}
	conn, err := net.ListenPacket("udp", net.JoinHostPort(options.Host, "53"))
	if err == nil {
		err = conn.Close()
	}
	if err != nil {
		options.Host, options.Port = "", 0
	}
	s = newServerOf(t, c, options)
	fatal.If(t, s.Start(t.Context()))
	return s, err
}

// pod runs programs with a resolv.conf and an /etc/hosts of their own, as in a pod.
type pod struct {
	resolvConf, hosts string // files
}

// newPod returns one, or an error if this machine allows none.
func newPod(t *testing.T, s *coredns.Server, c resolvConf, hosts string) (pod, error) {
	t.Helper()
	host, _, err := net.SplitHostPort(s.Addr)
	fatal.If(t, err)
	dir := t.TempDir()
	p := pod{filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")}
	for file, text := range map[string]string{p.resolvConf: c.text(host), p.hosts: "127.0.0.1\tlocalhost\n" + hosts} {
		fatal.If(t, os.WriteFile(file, []byte(text), 0o644))
	}
	_, err = p.run(t.Context(), nil, "true")
	return p, err
}

// run runs a program, with env added to its environment, and returns what it prints.
func (p pod) run(ctx context.Context, env []string, args ...string) (string, error) {
	const mount = `mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", mount, "sh", p.resolvConf, p.hosts}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%q: %w: %s", args, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// lookups are names that a program in a pod of the namespace default may ask for, and their addresses.
var lookups = []struct {
	name, v4, v6 string // with what the control plane has chosen in braces
}{
	{"cassandra", "{cassandra-0} {cassandra-1} {cassandra-2}", ""},
	{"cassandra-0.cassandra", "{cassandra-0}", ""},
	{"cassandra.default.svc.cluster.local", "{cassandra-0} {cassandra-1} {cassandra-2}", ""},
	{"cassandra.default.svc.cluster.local.", "{cassandra-0} {cassandra-1} {cassandra-2}", ""},
	{"etcd", "{etcd-0} {etcd-1}", "{etcd-0:6} {etcd-1:6}"},
	{"etcd-1.etcd.default", "{etcd-1}", "{etcd-1:6}"},
	{"{workers.0:dash}.workers", "{workers.0}", ""},
	{"db.rows", "{db-0} {db-1}", ""},
	{"db-0.db.rows.svc", "{db-0}", ""},
	{"frontend", "10.96.0.80", ""},
	{"kubernetes.default", "{svc/kubernetes}", ""},
	{"six.rows", "", "{pair.0:6} {pair.1:6}"},
	{"inside.rows", "{cassandra-0} {cassandra-1} {cassandra-2}", ""},
	{"billing", "192.0.2.1", ""},
	{"www.example.com", "192.0.2.2", "2001:db8:2::2"},
	{"starting", "", ""},
	{"starting-0.starting", "", ""},
	{"nobody.rows", "", ""},
	{"cassandra-3.cassandra", "", ""},
	{"gone.example.com", "", ""},
}

// lookup returns the addresses of a name, none if it is denied.
type lookup func(ctx context.Context, name string) ([]string, error)

// testResolvers looks names up by resolver clients that others wrote. The objects are those of testRows.
func testResolvers(t *testing.T, c *cluster.Cluster) {
	s, port53 := startPort53(t, c)
	values := chosenValues(t, c)
	for _, network := range []string{"udp", "tcp"} {
		t.Run("Go's net.Resolver over "+network, func(t *testing.T) {
			r := goResolver(network, s.Addr)
			y := newScore(t, "headless")
			checkLookups(y, values, both, func(ctx context.Context, name string) ([]string, error) {
				// It knows no resolv.conf but the machine's, so it gets whole names, one after another, as it would try them.
				for _, candidate := range clusterFirst("default").candidates(name) {
					if addrs, err := r.LookupHost(ctx, candidate); !isNotFound(err) {
						return addrs, err
					}
				}
				return nil, nil
			})
			checkServices(y, values, r, ".default.svc.cluster.local.")
		})
	}
	p, err := newPod(t, s, clusterFirst("default"), "")
	if err = cmp.Or(port53, err); err != nil {
		t.Run("in a pod", func(t *testing.T) { newScore(t, "headless").skip("no resolv.conf and port of its own: " + err.Error()) })
		return
	}
	t.Run("Go's net.Resolver in a pod", func(t *testing.T) {
		text, err := json.Marshal(values)
		fatal.If(t, err)
		program, err := os.Executable()
		fatal.If(t, err)
		out, err := p.run(t.Context(), []string{valuesInPod + "=" + string(text)}, program, "-test.run", "^TestInPod$", "-test.v",
			"-cluster", *clusterProgram, "-coredns", *corednsProgram)
		if err == nil && !strings.Contains(out, "--- PASS: TestInPod") {
			err = errors.New("TestInPod did not run")
		}
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		y := newScore(t, "headless")
		y.note = "one check is all of TestInPod"
		y.check(err)
	})
	for _, client := range []struct {
		name   string
		lookup func(ctx context.Context, command, name string) ([]string, error)
		wants  func(v4, v6 []string) []string
	}{
		{"getent hosts", p.getent, v6First},
		{"getent ahosts", p.getent, configured},
		{"dig +search", p.dig, both},
	} {
		t.Run(client.name, func(t *testing.T) {
			y := newScore(t, "headless")
			program, command, _ := strings.Cut(client.name, " ")
			if _, err := exec.LookPath(program); err != nil {
				y.skip(err.Error())
			}
			checkLookups(y, values, client.wants, func(ctx context.Context, name string) ([]string, error) {
				return client.lookup(ctx, command, name)
			})
			if command == "hosts" {
				out, err := p.run(t.Context(), nil, "getent", "hosts", values["db-0"])
				fields := strings.Fields(out)
				y.check(same("the name of db-0", fields[min(len(fields), 1):min(len(fields), 2)], err, []string{"db-0.db.rows.svc.cluster.local"}))
			}
		})
	}
}

// valuesInPod is an environment variable with chosen values, in JSON.
const valuesInPod = "E2E_CHOSEN_VALUES"

// TestInPod uses Go's resolver, with what resolv.conf says. testResolvers runs it in a pod.
func TestInPod(t *testing.T) {
	text := os.Getenv(valuesInPod)
	if text == "" {
		t.Skip("TestBehaviour runs it")
	}
	var values chosen
	fatal.If(t, json.Unmarshal([]byte(text), &values))
	y, r := newScore(t, "headless"), &net.Resolver{PreferGo: true}
	checkLookups(y, values, both, r.LookupHost)
	checkServices(y, values, r, "")
}

// goResolver returns Go's resolver, which asks a server over a network.
func goResolver(network, addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
}

func isNotFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// checkLookups checks what a client finds for all lookups. wants says what it is to find of the addresses of both families.
func checkLookups(y *score, values chosen, wants func(v4, v6 []string) []string, find lookup) {
	for _, l := range lookups {
		filled, err := values.fill(l.name + "|" + l.v4 + "|" + l.v6)
		fatal.If(y.t, err)
		fields := strings.Split(filled, "|")
		want := wants(strings.Fields(fields[1]), strings.Fields(fields[2]))
		got, err := find(y.t.Context(), fields[0])
		if isNotFound(err) {
			err = nil
		}
		y.check(same(fields[0], got, err, want))
	}
}

// same returns an error unless a lookup gave what is wanted, in any order.
func same(what string, got []string, err error, want []string) error {
	slices.Sort(got)
	slices.Sort(want)
	if err != nil {
		return fmt.Errorf("%s: %w; want %q", what, err, want)
	}
	if !slices.Equal(slices.Compact(got), want) {
		return fmt.Errorf("%s: got %q, want %q", what, got, want)
	}
	return nil
}

// checkServices checks the lookups of Go's resolver for other records. domain is added to a name.
func checkServices(y *score, values chosen, r *net.Resolver, domain string) {
	_, records, err := r.LookupSRV(y.t.Context(), "cql", "tcp", "cassandra"+domain)
	var targets, want []string
	for _, srv := range records {
		targets = append(targets, fmt.Sprintf("%s %d", srv.Target, srv.Port))
	}
	for i := range 3 {
		want = append(want, fmt.Sprintf("cassandra-%d.cassandra.default.svc.cluster.local. 9042", i))
	}
	y.check(same("LookupSRV", targets, err, want))
	names, err := r.LookupAddr(y.t.Context(), values["db-0"])
	y.check(same("LookupAddr, the first", names[:min(len(names), 1)], err, []string{"db-0.db.rows.svc.cluster.local."}))
}

func both(v4, v6 []string) []string { return append(v4, v6...) }

// v6First is what gethostbyname2 is asked for by getent.
func v6First(v4, v6 []string) []string {
	if len(v6) > 0 {
		return v6
	}
	return v4
}

// configured is what getaddrinfo gives with AI_ADDRCONFIG: the families that this machine has addresses of.
func configured(v4, v6 []string) []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return both(v4, v6)
	}
	var has4, has6 bool
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLoopback() {
			has4, has6 = has4 || prefix.Addr().Is4(), has6 || prefix.Addr().Is6()
		}
	}
	switch {
	case has4 && !has6:
		return v4
	case has6 && !has4:
		return v6
	}
	return both(v4, v6)
}

// getent returns the addresses that getent prints.
func (p pod) getent(ctx context.Context, database, name string) ([]string, error) {
	out, err := p.run(ctx, nil, "getent", database, name)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 { // "one or more supplied key could not be found"
		return nil, nil
	}
	return firstAddrs(out), err
}

// dig returns the addresses that dig prints. option is one of dig's.
func (p pod) dig(ctx context.Context, option, name string) ([]string, error) {
	out, err := p.run(ctx, nil, "dig", "+short", option, name, "A", name, "AAAA")
	return firstAddrs(out), err
}

// firstAddrs returns the addresses that lines begin with.
func firstAddrs(lines string) []string {
	var addrs []string
	for line := range strings.Lines(lines) {
		field, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if addr, err := netip.ParseAddr(field); err == nil {
			addrs = append(addrs, addr.String())
		}
	}
	return addrs
}
