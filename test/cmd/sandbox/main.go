// Sandbox runs a Kubernetes cluster on loopback, with the example manifests in it and CoreDNS with headless as its DNS, and says
// what to try. Ctrl-C ends all of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/test/cluster"
	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"
)

// try says what to try. Its arguments are the folder of the programs, the folder of the cluster, and the port, the metrics and
// the page of the DNS server.
const try = `
The cluster and its DNS serve. Ctrl-C ends all of it. Watch it in a browser, which a client that asks all the time keeps busy:

  http://%[5]s

From another terminal:

  alias kubectl='%[1]s/cluster kubectl -dir %[2]s'
  alias ask='dig @127.0.0.1 -p %[3]d'

  kubectl get pods -o wide
  ask +short cassandra.default.svc.cluster.local
  kubectl scale statefulset cassandra --replicas 5                # and ask again
  ask +short SRV _cql._tcp.cassandra.default.svc.cluster.local
  kubectl annotate pod cassandra-1 kubelets.test/ready=false      # its probe fails: it leaves the Service
  ask cassandra-1.cassandra.default.svc.cluster.local
  kubectl annotate pod cassandra-1 kubelets.test/ready-           # it is back
  kubectl delete pod cassandra-2                                  # and comes back with another address
  kubectl rollout restart statefulset cassandra
  ask +short workers.default.svc.cluster.local
  kubectl get services                                            # more to ask for

Why a name does not resolve, and what the server exports:

  go run ./cmd/headless-explain -kubeconfig %[2]s/kubeconfig cassandra-9.cassandra
  curl -s %[4]s | grep headless

Your own kubectl can use that kubeconfig, and so can its plugin of docs/kubectl.md, which the alias above does not find:

  go build -C kubectl-dns -o ../bin/kubectl-dns .
  bin/kubectl-dns --kubeconfig %[2]s/kubeconfig explain cassandra-9.cassandra

`

func main() {
	o := options{}
	flag.StringVar(&o.programs, "programs", "bin", "the `folder` of the programs cluster and coredns")
	flag.StringVar(&o.examples, "examples", "examples", "the `folder` of the manifests")
	flag.StringVar(&o.deploy, "deploy", "deploy/base", "the `folder` of the kustomization that says what rights CoreDNS has")
	flag.IntVar(&o.port, "port", 1053, "the `port` that CoreDNS listens on")
	flag.IntVar(&o.page, "page", 6054, "the `port` of the page that shows what goes on")
	flag.BoolVar(&o.tour, "tour", false, "show, step by step, what the server does about what happens to a cluster")
	flag.BoolVar(&o.auto, "auto", false, "have the tour go on by itself, as it does without a terminal")
	flag.DurationVar(&o.pause, "pause", 8*time.Second, "`how long` it stays at a step if it goes on by itself")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := sandbox(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

type options struct {
	programs, examples, deploy string
	port, page                 int
	tour, auto                 bool
	pause                      time.Duration
}

// sandbox runs one until ctx ends, or the tour. If it fails before, of its data the logs stay.
func sandbox(ctx context.Context, o options) error {
	if err := isFree(o.port); err != nil {
		return err
	}
	if err := isPageFree(o.page); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "headless-sandbox-")
	if err != nil {
		return err
	}
	err = run(ctx, o, dir)
	if ctx.Err() != nil || err == nil {
		return os.RemoveAll(dir)
	}
	return errors.Join(err, removeAllBut(dir, "*.log"))
}

// removeAllBut empties dir, except for the files whose names match a pattern.
func removeAllBut(dir, pattern string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if isKept, _ := filepath.Match(pattern, entry.Name()); !isKept {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return err
}

// run runs a sandbox with its data in dir until ctx ends, or the tour.
func run(ctx context.Context, o options, dir string) error {
	programs, err := filepath.Abs(o.programs)
	if err != nil {
		return err
	}
	fmt.Println("starting etcd, kube-apiserver and kube-controller-manager, and CoreDNS ...")
	c, err := cluster.Start(ctx, cluster.Options{Program: filepath.Join(programs, "cluster"), Dir: dir})
	if err != nil {
		return err
	}
	defer c.Stop()
	examples, err := cluster.Manifests(filepath.Join(o.examples, "*.yaml"))
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, examples); err != nil {
		return err
	}
	stanza := []string{"insight " + pageAddr(o.page)}
	if o.tour {
		stanza = append(stanza, tourOptions(dir)...)
	}
	server, err := coredns.New(ctx, c, coredns.Options{
		Program: filepath.Join(programs, "coredns"), Dir: dir, Plugin: "headless", Deploy: o.deploy, Port: o.port, Options: stanza,
	})
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer server.Stop()
	asking, stop := context.WithCancel(ctx)
	var client sync.WaitGroup
	client.Go(func() { askAllTheTime(asking, server) })
	defer client.Wait()
	defer stop()
	if o.tour {
		fmt.Printf(begin, pageAddr(o.page))
		t := &tour{cluster: c, server: server, port: o.port, auto: o.auto, pause: o.pause}
		t.read(os.Stdin)
		return t.run(ctx)
	}
	fmt.Printf(try, programs, dir, o.port, server.MetricsURL, pageAddr(o.page))
	select {
	case <-ctx.Done():
		return nil
	case <-server.Exited():
		return errors.New("CoreDNS has ended, see " + server.Log())
	case <-c.APIServer.Exited():
		return errors.New("the API server has ended, see " + c.APIServer.Log())
	}
}

// asked are what the client asks for, in turn: names that are there, one that is not, and what a search list makes of another.
var asked = []string{
	"cassandra.default.svc.cluster.local.", "cassandra-0.cassandra.default.svc.cluster.local.", "workers.default.svc.cluster.local.",
	"cassandra-1.cassandra.default.svc.cluster.local.", "cassandra-9.cassandra.default.svc.cluster.local.", "www.example.com.default.svc.cluster.local.",
}

// askAllTheTime asks the server until ctx ends. Whether it answers is for others to say.
func askAllTheTime(ctx context.Context, server *coredns.Server) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_, _ = server.Ask(ctx, "udp", asked[n%len(asked)], dns.TypeA)
		}
	}
}

// pageAddr returns the address of the page.
func pageAddr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// isPageFree returns an error if another server has the port of the page, which CoreDNS would share with it.
func isPageFree(port int) error {
	l, err := net.Listen("tcp", pageAddr(port))
	if err != nil {
		return fmt.Errorf("cannot have the port for the page, choose another one with -page: %w", err)
	}
	return l.Close()
}

// isFree returns an error if another server has the port, which CoreDNS would share with it.
func isFree(port int) error {
	conn, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("cannot have the port for DNS, choose another one with -port: %w", err)
	}
	return conn.Close()
}
