// Cluster runs a Kubernetes control plane on loopback, without containers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coredns-headless/headless/test/cluster"

	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const usage = `Cluster runs a Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager, and kubelets that
only say that they run pods.

	cluster up [-dir DIR] [-port PORT]    start one, and run until a signal or "cluster down" ends it
	cluster down [-dir DIR]               end the one in DIR, and remove its data
	cluster apply [-dir DIR] FILE...      apply the manifests in files and folders
	cluster kubeconfig [-dir DIR]         print the path of a kubeconfig with all rights
	cluster kubectl [-dir DIR] ARGS...    run kubectl with that

DIR holds the data, and several clusters may run, each in its own. The default is %s.
PORT is that of the API server, a free one by default.
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		args = []string{"help"}
	}
	// The parts of a cluster, which "cluster up" starts.
	switch args[0] {
	case "etcd", "kube-apiserver", "kube-controller-manager":
		cluster.DieWithParent()
		os.Args = os.Args[1:]
	}
	switch args[0] {
	case "etcd":
		return runEtcd(args[1:])
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	dir := flags.String("dir", filepath.Join(os.TempDir(), "headless-cluster-"+strconv.Itoa(os.Getuid())), "the folder of the data")
	port := flags.Int("port", 0, "the `port` of the API server; 0 stands for a free one")
	flags.Usage = func() { fmt.Fprintf(os.Stderr, usage, flags.Lookup("dir").DefValue) }
	var rest []string // what is kubectl's own
	if args[0] == "kubectl" {
		if rest = args[1:]; len(rest) > 1 && rest[0] == "-dir" {
			*dir, rest = rest[1], rest[2:]
		}
		args = args[:1]
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return up(*dir, *port)
	case "down":
		return down(*dir)
	case "kubeconfig":
		_, err := fmt.Println(cluster.Kubeconfig(*dir))
		return err
	case "apply":
		apply := []string{"apply"}
		for _, file := range flags.Args() {
			apply = append(apply, "-f", file)
		}
		return runKubectl(*dir, apply)
	case "kubectl":
		return runKubectl(*dir, rest)
	case "help", "-h", "-help", "--help":
		flags.Usage()
		return nil
	}
	flags.Usage()
	return fmt.Errorf("unknown command %q", args[0])
}

// up runs a cluster until a signal comes.
func up(dir string, port int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	began := time.Now()
	c, err := cluster.Start(ctx, cluster.Options{Program: program, Dir: dir, Port: port})
	if err != nil {
		return err
	}
	defer c.Stop()
	fmt.Printf("the cluster in %s serves after %.1f s; its kubeconfig is %s\n", dir, time.Since(began).Seconds(), c.Kubeconfig())
	select {
	case <-ctx.Done():
		return nil
	case <-c.Etcd.Exited():
		return fmt.Errorf("etcd has ended, see %s", dir)
	case <-c.APIServer.Exited():
		return fmt.Errorf("kube-apiserver has ended, see %s", dir)
	case <-c.Controllers.Exited():
		return fmt.Errorf("kube-controller-manager has ended, see %s", dir)
	}
}

// down ends the cluster in dir, if one runs, and removes its data.
func down(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "pid"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no cluster in %s", dir)
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written to it
	for sent := false; syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil; time.Sleep(50 * time.Millisecond) {
		if sent {
			continue
		}
		text, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return fmt.Errorf("%s holds no number of a process: %w", f.Name(), err)
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return fmt.Errorf("cannot end process %d: %w", pid, err)
		}
		sent = true
	}
	return os.RemoveAll(dir)
}

// runKubectl runs kubectl, and ends this process with its status.
func runKubectl(dir string, args []string) error {
	if _, err := os.Stat(cluster.Kubeconfig(dir)); err != nil {
		return fmt.Errorf("there is no cluster in %s: %w", dir, err)
	}
	os.Args = append([]string{"kubectl", "--kubeconfig", cluster.Kubeconfig(dir)}, args...)
	os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	return nil
}
