// Package clients has tests of real programs that ask a CoreDNS with headless in it: HAProxy, Unbound, BIND, Prometheus and
// memberlist.
//
// It needs bin/coredns: "make clients" builds it and runs the tests. Those of a program that is not installed are skipped.
package clients
