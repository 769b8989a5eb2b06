// Command bench measures headless side by side with CoreDNS's kubernetes and hosts plugins, and with Knot, NSD and Unbound where
// they are installed. It needs Linux, two cores and nothing else; all it does stays on the loopback.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/matrix"
	"github.com/coredns-headless/headless/bench/server"
	"github.com/coredns-headless/headless/internal/kubetest"
)

// commands are what bench can do; each gets the arguments behind its name.
var commands = map[string]func(args []string) error{
	"apiserver": runAPIServer,
	"server":    runServer,
	"matrix":    runMatrix,
	"drill":     runDrill,
}

const usage = `usage: bench COMMAND [FLAGS]

  apiserver  an API server with a synthetic cluster
  server     CoreDNS with the plugins that are compared
  matrix     all comparisons, with their targets
  drill      a large cluster in a container's memory: a start, a restart of the API server, and SIGTERM

bench COMMAND -h lists the flags of a command.
`

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func runAPIServer(args []string) error {
	var c cluster.Cluster
	flags := flag.NewFlagSet("apiserver", flag.ExitOnError)
	groups := flags.String("cluster", "[]", "the `groups` of Services, as a JSON list of cluster.Group")
	streamless := flags.Bool("streamless", false, "refuse streamed lists")
	plain := flags.Bool("plain", false, "compress nothing")
	restarted := flags.Bool("restarted", false, "have forgotten what the server that was here before knew")
	address := flags.String("address", "127.0.0.1:0", "the `address` and the port to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(*groups), &c); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	var options []func(*kubetest.Server)
	if *streamless {
		options = append(options, (*kubetest.Server).RefuseStreams)
	}
	if *plain {
		options = append(options, (*kubetest.Server).UsePlain)
	}
	if *restarted { // at a version that the server before has not had
		options = append(options, func(api *kubetest.Server) { api.Keep(cluster.NamespaceObject("default")) })
	}
	s := &http.Server{Handler: c.Handler(options...), ReadHeaderTimeout: time.Second}
	fmt.Printf("listening on http://%s\n", l.Addr())
	return s.Serve(l)
}

func runServer(args []string) error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	corefile := flags.String("conf", "Corefile", "the Corefile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return server.Run(*corefile)
}

func runMatrix(args []string) error {
	o := matrix.Options{Progress: log.New(os.Stderr, "bench: ", 0).Printf, Beside: make(map[string]string)}
	flags := flag.NewFlagSet("matrix", flag.ExitOnError)
	flags.StringVar(&o.Markdown, "markdown", "", "write the report to this `file` too")
	flags.StringVar(&o.Plot, "plot", "", "draw the cost of a query by the size of the Service into this SVG `file`")
	flags.BoolVar(&o.Quick, "quick", false, "measure queries and memory in less than a minute, and fail only if noise cannot be why")
	parts := flags.String("parts", "",
		"the `parts` to measure, with commas between: queries, latency, insight, cache, overload, start, changes, nodes; none is all")
	flags.BoolVar(&o.Scale, "scale", false, "measure clusters of 100,000 and 1,000,000 endpoints too, which takes minutes and 8 GB of memory")
	flags.Func("beside", "another build of this program, as `NAME=PATH`, to ask the same queries; may be given more than once", func(text string) error {
		name, path, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("expected NAME=PATH, got %q", text)
		}
		o.Beside[name] = path
		return nil
	})
	flags.StringVar(&o.Profiles, "profiles", "", "write profiles of headless in all that is measured into this `folder`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Parts = strings.FieldsFunc(*parts, func(r rune) bool { return r == ',' })
	return matrix.Run(o, os.Stdout)
}

func runDrill(args []string) error {
	o := matrix.DrillOptions{Progress: log.New(os.Stderr, "bench: ", 0).Printf}
	flags := flag.NewFlagSet("drill", flag.ExitOnError)
	limit := flags.Int64("limit", 170, "the memory of the server's container, in `MiB`")
	gogc := flags.String("gogc", "100,200,400", "the `values` of GOGC for headless, with commas between")
	flags.BoolVar(&o.Streamless, "streamless", false, "the API server refuses streamed lists")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Limit, o.GOGC = *limit<<20, strings.Split(*gogc, ",")
	return matrix.Drill(o, os.Stdout)
}
