// Package coredns runs CoreDNS on loopback, and asks it.
package coredns

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/test/cluster"
	"github.com/miekg/dns"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Server is a CoreDNS that answers for cluster.local and all reverse names.
type Server struct {
	*cluster.Process
	// Addr is the address, and the port, that it answers at.
	Addr string
	// TokenFile holds its token for the API server. It is read again when it has changed.
	TokenFile string
	// MetricsURL is where its metrics are.
	MetricsURL string
}

// Options say how to run a CoreDNS.
type Options struct {
	// Program is the path of CoreDNS.
	Program string
	// Dir is an existing folder for its Corefile, its token and its log. Servers in the same one need different Plugins.
	Dir string
	// Plugin is the one that knows the cluster: "headless" or "kubernetes".
	Plugin string
	// Front is a plugin in front of it. Empty stands for none, and then headless writes octets.
	Front string
	// Options are those of the plugin, one a line.
	Options []string
	// Deploy is the folder of the kustomization that says what rights the server has in the cluster.
	Deploy string
	// APIServer is the URL to reach the API server by. Empty stands for its own.
	APIServer string
	// Host is the address that it listens on. Empty stands for 127.0.0.1.
	Host string
	// Port is the one that it listens on. 0 stands for one that is free.
	Port int
	// Outside is a zone file of the root, for the names outside the cluster. Without one such queries are refused.
	Outside string
}

// New returns a server for a cluster that does not run yet. Started, it is ready when it has listed everything.
func New(ctx context.Context, c *cluster.Cluster, o Options) (*Server, error) {
	program, err := filepath.Abs(o.Program)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(o.Dir, o.Plugin+".kubeconfig")
	if err := writeCredentials(ctx, c, &o, kubeconfig); err != nil {
		return nil, err
	}
	ports, err := cluster.FreePorts(3)
	if err != nil {
		return nil, err
	}
	if o.Port != 0 {
		ports[0] = o.Port
	}
	host, port, ready, metrics := cmp.Or(o.Host, "127.0.0.1"), ports[0], local(ports[1]), local(ports[2])
	options := append([]string{"kubeconfig " + kubeconfig}, o.Options...)
	corefile := fmt.Sprintf(`cluster.local:%[1]d in-addr.arpa:%[1]d ip6.arpa:%[1]d {
    bind %[2]s
    errors
    ready %[3]s
    prometheus %[4]s
    %[5]s
    %[6]s {
        %[7]s
    }
}
`, port, host, ready, metrics, o.Front, o.Plugin, strings.Join(options, "\n        "))
	file := filepath.Join(o.Dir, o.Plugin+".Corefile")
	if o.Outside != "" {
		zone := filepath.Join(o.Dir, o.Plugin+".zone")
		if err := os.WriteFile(zone, []byte(o.Outside), 0o600); err != nil {
			return nil, err
		}
		corefile += fmt.Sprintf(".:%d {\n    bind %s\n    errors\n    file %s\n}\n", port, host, zone)
	}
	if err := os.WriteFile(file, []byte(corefile), 0o600); err != nil {
		return nil, err
	}
	return &Server{
		Addr:      net.JoinHostPort(host, strconv.Itoa(port)),
		TokenFile: cluster.TokenFile(kubeconfig),
		Process: &cluster.Process{
			Name: o.Plugin, Dir: o.Dir, Program: program, Args: []string{"-conf", file},
			Ready: func(ctx context.Context) error { return Probe(ctx, "http://"+ready+"/ready") },
		},
		MetricsURL: "http://" + metrics + "/metrics",
	}, nil
}

// writeCredentials gives the server the rights that o.Deploy says, and writes a kubeconfig for it.
func writeCredentials(ctx context.Context, c *cluster.Cluster, o *Options, kubeconfig string) error {
	account, err := c.ApplyRBAC(ctx, o.Deploy)
	if err != nil {
		return err
	}
	return c.WriteCredentials(ctx, kubeconfig, cmp.Or(o.APIServer, c.Config.Host), account)
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Probe returns an error unless a GET of url is answered with 200.
func Probe(ctx context.Context, url string) error {
	resp, err := fetch(ctx, url)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

func fetch(ctx context.Context, url string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(request)
	if err == nil && resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return resp, err
}

// Ask asks the server a question over "udp" or "tcp", with EDNS and a buffer of 1,232 octets.
func (s *Server) Ask(ctx context.Context, network, name string, qtype uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := dnstest.Exchange(ctx, network, s.Addr, dnstest.Query(name, qtype, 1232))
	if err != nil {
		return nil, fmt.Errorf("%s %s over %s: %w", name, dns.TypeToString[qtype], network, err)
	}
	return r, nil
}

// Metrics returns what the server exports, by name.
func (s *Server) Metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	resp, err := fetch(ctx, s.MetricsURL)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(resp.Body)
}

// Metric returns the sum of the values, of counters and gauges, that a metric has for all label values that match, which are
// given as name=value.
func (s *Server) Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	families, err := s.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	family, ok := families[name]
	if !ok {
		return 0, fmt.Errorf("the server exports no %s", name)
	}
	sum := 0.0
	for _, m := range family.Metric {
		if matches(m, labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum, nil
}

func matches(m *dto.Metric, labels []string) bool {
	for _, label := range labels {
		name, value, _ := strings.Cut(label, "=")
		found := false
		for _, pair := range m.Label {
			found = found || pair.GetName() == name && pair.GetValue() == value
		}
		if !found {
			return false
		}
	}
	return true
}

// CPU returns the CPU time that the process has used, to some 10 ms.
func (s *Server) CPU(ctx context.Context) (time.Duration, error) {
	seconds, err := s.Metric(ctx, "process_cpu_seconds_total")
	return time.Duration(seconds * float64(time.Second)), err
}
