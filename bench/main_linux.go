// Command bench measures headless side by side with CoreDNS's kubernetes and hosts plugins. It needs Linux, two cores and
// nothing else; all it does stays on the loopback.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/coredns-headless/headless/bench/matrix"
	"github.com/coredns-headless/headless/bench/proc"
	"github.com/coredns-headless/headless/bench/server"
	"github.com/miekg/dns"
)

// commands are what bench can do; each gets the arguments behind its name.
var commands = map[string]func(args []string) error{
	"apiserver": runAPIServer,
	"server":    runServer,
	"load":      runLoad,
	"matrix":    runMatrix,
}

const usage = `usage: bench COMMAND [FLAGS]

  apiserver  an API server with a synthetic cluster
  server     CoreDNS with the plugins that are compared
  load       a load generator
  matrix     all comparisons, with their targets

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
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(*groups), &c); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: c.Handler(*streamless), ReadHeaderTimeout: time.Second}
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

func runLoad(args []string) error {
	plan := load.Plan{Count: 10000, Outstanding: 16, Pipeline: 1, Expect: load.Expect{Answers: load.Exactly(1)}}
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	flags.TextVar(&plan.Server, "server", netip.MustParseAddrPort("127.0.0.1:53"), "the `address` of the server")
	flags.BoolVar(&plan.TCP, "tcp", plan.TCP, "ask over TCP")
	flags.IntVar(&plan.Count, "count", plan.Count, "how many queries to ask")
	flags.IntVar(&plan.Outstanding, "outstanding", plan.Outstanding, "how many queries wait for a reply; over TCP, how many connections there are")
	flags.IntVar(&plan.Pipeline, "pipeline", plan.Pipeline, "how many queries wait for a reply on one connection")
	flags.BoolVar(&plan.OneShot, "oneshot", plan.OneShot, "open a connection for each query")
	flags.Float64Var(&plan.Rate, "rate", plan.Rate, "queries a second, whether there are replies or not; 0: as many as are replied to")
	flags.IntVar(&plan.Expect.Rcode, "rcode", plan.Expect.Rcode, "the code that replies must have")
	flags.BoolVar(&plan.Expect.Truncated, "truncated", plan.Expect.Truncated, "replies must be truncated")
	number := func(name string, r *load.Range, what string) {
		flags.IntVar(&r.Min, "min-"+name, r.Min, "the least number of "+what)
		flags.IntVar(&r.Max, "max-"+name, r.Max, "the largest number of "+what)
	}
	number("answers", &plan.Expect.Answers, "answers")
	number("authority", &plan.Expect.Authority, "records of authority")
	number("extra", &plan.Expect.Extra, "additional records")
	qtype := flags.String("type", "A", "the `type` to ask for")
	edns := flags.Uint("edns", server.EDNS, "the size of the client's buffer; 0: no EDNS")
	core := flags.Int("core", -1, "the core to run on; -1: any")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(flags.Output(), "usage: bench load [FLAGS] NAME...") // there is nobody else to tell
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, name := range flags.Args() {
		query, err := load.Pack(dns.Fqdn(name), dns.StringToType[*qtype], uint16(*edns)) //nolint:gosec // 16 bits is what EDNS has
		if err != nil {
			return err
		}
		plan.Queries = append(plan.Queries, query)
	}
	if len(plan.Queries) == 0 {
		return errors.New("no name to ask for")
	}
	if *core >= 0 {
		if err := proc.Pin(*core); err != nil {
			return err
		}
	}
	r, err := plan.Run()
	if err == nil {
		fmt.Printf("%d replies in %v: %.0f a second, p50 %v, p99 %v\n", r.Replies, r.Elapsed, r.QPS(), r.P50, r.P99)
	}
	return err
}

func runMatrix(args []string) error {
	o := matrix.Options{Progress: log.New(os.Stderr, "bench: ", 0).Printf}
	flags := flag.NewFlagSet("matrix", flag.ExitOnError)
	flags.StringVar(&o.Markdown, "markdown", "", "write the report to this `file` too")
	flags.StringVar(&o.Plot, "plot", "", "draw the cost of a query by the size of the Service into this SVG `file`")
	flags.BoolVar(&o.Quick, "quick", false, "measure queries and memory in less than a minute, and fail only if noise cannot be why")
	parts := flags.String("parts", "", "the `parts` to measure, with commas between: queries, latency, chains, start, changes; none is all")
	flags.StringVar(&o.Profiles, "profiles", "", "write profiles of headless in all that is measured into this `folder`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Parts = strings.FieldsFunc(*parts, func(r rune) bool { return r == ',' })
	return matrix.Run(o, os.Stdout)
}
