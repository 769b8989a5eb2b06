// Package cluster runs a Kubernetes control plane on loopback, without containers: etcd, kube-apiserver and
// kube-controller-manager as processes, and kubelets that only say that they run pods.
//
// To use it in a test: build cmd/cluster, Start one with its path and a temporary folder, and Stop it.
package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
)

// Options say how to run a cluster.
type Options struct {
	// Program is the path of the program cmd/cluster, which has all parts of the control plane in it.
	Program string
	// Dir is an existing folder for the data. A cluster goes on with what another one left in it. No two run in the same.
	Dir string
	// Port is that of the API server. 0 stands for one that is free.
	Port int
}

// Cluster is a running cluster.
type Cluster struct {
	Etcd, APIServer, Controllers *Process

	// Config has all rights, and no limit to the rate of requests.
	Config *rest.Config
	Client kubernetes.Interface

	program  string
	dir      string
	lock     *os.File
	kubelets *kubelets
}

// The networks of a cluster. Neither is routed: a pod's address is only told.
const (
	serviceNetworks = "10.96.0.0/16,fd00:10:96::/112"
	// ClusterDNS is the address that pods have in their resolv.conf, by custom.
	ClusterDNS = "10.96.0.10"
)

// Start starts a cluster and returns when it serves.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	program, err := filepath.Abs(o.Program)
	if err != nil {
		return nil, err
	}
	c := &Cluster{program: program, dir: dir}
	if c.lock, err = lock(dir); err != nil {
		return nil, err
	}
	if err := c.start(ctx, o.Port); err != nil {
		c.Stop()
		return nil, fmt.Errorf("cannot start a cluster in %s: %w", o.Dir, err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, port int) error {
	ports, err := FreePorts(3)
	if err != nil {
		return err
	}
	if port != 0 {
		ports[0] = port
	}
	token, err := c.writeCredentials()
	if err != nil {
		return err
	}
	server := fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	c.Etcd = c.process(accepts(ports[1]), "etcd", c.path("etcd"), etcd, fmt.Sprintf("http://127.0.0.1:%d", ports[2]))
	c.APIServer = c.process(c.serves, "kube-apiserver",
		"--etcd-servers="+etcd,
		"--bind-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(ports[0]),
		"--tls-cert-file="+c.path("server.crt"),
		"--tls-private-key-file="+c.path("server.key"),
		"--token-auth-file="+c.path("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file="+c.path("server.key"),
		"--service-account-key-file="+c.path("server.key"),
		"--service-cluster-ip-range="+serviceNetworks,
		"--endpoint-reconciler-type=none", // it refuses a loopback address
		// Nobody takes a node's taints away, nor makes the tokens that pods would mount.
		"--disable-admission-plugins=TaintNodesByCondition,ServiceAccount",
		"--profiling=false")
	c.Controllers = c.process(func(context.Context) error { return nil }, "kube-controller-manager",
		"--kubeconfig="+c.Kubeconfig(),
		"--authentication-kubeconfig="+c.Kubeconfig(),
		"--authorization-kubeconfig="+c.Kubeconfig(),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=2000",
		"--kube-api-burst=4000",
		"--concurrent-service-endpoint-syncs=10",
		"--concurrent-statefulset-syncs=10",
		"--controllers=deployment-controller,endpoints-controller,endpointslice-controller,endpointslice-mirroring-controller,"+
			"garbage-collector-controller,job-controller,namespace-controller,replicaset-controller,serviceaccount-controller,"+
			"statefulset-controller")
	user := clientcmdapi.AuthInfo{Token: token}
	if err := clientcmd.WriteToFile(*c.kubeconfig(server, user), c.Kubeconfig()); err != nil {
		return err
	}
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig()); err != nil {
		return err
	}
	c.Config.QPS = -1
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	if err := c.Etcd.Start(ctx); err != nil {
		return err
	}
	if err := c.APIServer.Start(ctx); err != nil {
		return err
	}
	if c.kubelets, err = startKubelets(ctx, c.Client); err != nil {
		return err
	}
	return c.Controllers.Start(ctx)
}

// Stop ends the cluster and returns when nothing of it runs. Its data stays.
func (c *Cluster) Stop() {
	if c.kubelets != nil {
		c.kubelets.stop()
	}
	for _, p := range []*Process{c.Controllers, c.APIServer, c.Etcd} {
		if p != nil {
			p.Kill() // in order takes the API server ten seconds, and there is nothing to lose
		}
	}
	_ = c.lock.Close()
}

// Kubeconfig returns the path of a kubeconfig with all rights.
func (c *Cluster) Kubeconfig() string { return Kubeconfig(c.dir) }

// Kubeconfig returns the path of that of the cluster in dir.
func Kubeconfig(dir string) string { return filepath.Join(dir, "kubeconfig") }

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

// process returns the part of the cluster that args start.
func (c *Cluster) process(ready func(context.Context) error, args ...string) *Process {
	return &Process{Name: args[0], Dir: c.dir, Program: c.program, Args: args, Ready: ready}
}

// serves reports whether the API server does.
func (c *Cluster) serves(ctx context.Context) error {
	return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// accepts returns what reports whether somebody listens on the port.
func accepts(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			err = conn.Close()
		}
		return err
	}
}

// writeCredentials writes what is not there yet: the certificate of the API server, and its key, by which it signs tokens
// of ServiceAccounts too. It writes and returns a new token of the user with all rights.
func (c *Cluster) writeCredentials() (token string, err error) {
	if _, err := os.Stat(c.path("server.key")); err != nil {
		certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(c.path("server.crt"), certificate, 0o600); err != nil {
			return "", err
		}
		if err := os.WriteFile(c.path("server.key"), key, 0o600); err != nil {
			return "", err
		}
	}
	token = rand.Text()
	return token, os.WriteFile(c.path("tokens.csv"), []byte(token+`,admin,admin,"system:masters"`+"\n"), 0o600)
}

// kubeconfig returns one for a user of the API server.
func (c *Cluster) kubeconfig(server string, user clientcmdapi.AuthInfo) *clientcmdapi.Config {
	const name = "headless"
	kc := clientcmdapi.NewConfig()
	kc.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: c.path("server.crt")}
	kc.AuthInfos[name] = &user
	kc.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	kc.CurrentContext = name
	return kc
}

// FreePorts returns n ports of loopback that nobody listens on.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() //nolint:errcheck // open until all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
