package clients

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

var corednsProgram = flag.String("coredns", "../bin/coredns", "the `path` of CoreDNS with headless in it")

// inside is set in the environment of the process that has a network of its own.
const inside = "HEADLESS_TEST_CLIENTS_INSIDE"

// noWorld says why this process has no network of its own, in which case every test is skipped.
var noWorld error

// TestMain runs the tests in another process, which has a network and a /etc/resolv.conf of its own: there is only
// its loopback, so that nothing that a resolver asks leaves it, and port 53 may be used. That needs no rights where
// the kernel has user namespaces.
func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if *corednsProgram, err = filepath.Abs(*corednsProgram); err != nil {
		panic(err) // there is no working directory
	}
	if _, err := os.Stat(*corednsProgram); err != nil {
		fmt.Fprintf(os.Stderr, "%v: run make clients, which builds it\n", err)
		os.Exit(1)
	}
	if os.Getenv(inside) != "" {
		noWorld = furnish()
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // the process is killed when the thread that started it ends
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if noWorld = cmd.Start(); noWorld != nil {
		os.Exit(m.Run())
	}
	if err := cmd.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The addresses of the world. All of 127.0.0.0/8 is there, too.
const (
	dnsAddr    = "127.0.0.10" // of the server that /etc/resolv.conf names
	secondAddr = "127.0.0.11" // of the other replica
	rootAddr   = "127.0.0.9"
)

// v6Pods are addresses of pods that programs can listen at.
var v6Pods = []string{"fd00:10:244::1", "fd00:10:244::2", "fd00:10:244::3"}

// resolverAddrs are where resolvers listen. BIND wants such addresses to be those of an interface.
var resolverAddrs = []string{"127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"}

// furnish makes the world: the loopback, its addresses, and /etc/resolv.conf.
func furnish() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("the loopback: %w", err)
	}
	for _, text := range slices.Concat(v6Pods, resolverAddrs) {
		addr := &netlink.Addr{IPNet: netlink.NewIPNet(net.ParseIP(text))}
		if err := netlink.AddrAdd(loopback, addr); err != nil {
			return fmt.Errorf("the address %s: %w", text, err)
		}
	}
	f, err := os.CreateTemp("", "resolv.conf")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it stays where it is mounted
	if _, err := fmt.Fprintf(f, "nameserver %s\n", dnsAddr); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := syscall.Mount(f.Name(), "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("/etc/resolv.conf: %w", err)
	}
	return nil
}

// needWorld skips a test where there is no world for it.
func needWorld(t *testing.T) {
	t.Helper()
	if noWorld != nil {
		t.Skipf("this machine allows no network namespace: %v", noWorld)
	}
}
