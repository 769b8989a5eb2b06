// Command bench measures headless side by side with CoreDNS's kubernetes and hosts plugins. It needs Linux, two cores and
// nothing else; all it does stays on the loopback.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coredns-headless/headless/bench/apiserver"
	"github.com/coredns-headless/headless/bench/cluster"
)

// commands are what bench can do; each gets the arguments behind its name.
var commands = map[string]func(args []string) error{
	"apiserver": runAPIServer,
}

const usage = `usage: bench COMMAND [FLAGS]

  apiserver  an API server with a synthetic cluster

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
	listen := flags.String("listen", "127.0.0.1:0", "the address to listen on")
	streamless := flags.Bool("streamless", false, "refuse streamed lists")
	flags.Var(&c, "group", "a `group` of Services, as NAME[,services=N][,endpoints=N][,namespaces=N][,headless][,hostnames]"+
		"[,zones][,ports][,ipv4][,ipv6]; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: apiserver.New(c, *streamless), ReadHeaderTimeout: time.Second}
	fmt.Printf("listening on http://%s\n", l.Addr())
	return s.Serve(l)
}
