// Package clients has tests of real programs that ask a CoreDNS with headless in it: HAProxy, Unbound, BIND, Prometheus and
// memberlist. Prometheus also shows whether the dashboard and the alerts of the folder deploy work.
//
// It needs bin/coredns: "make clients" builds it and runs the tests. Those of a program that is not installed are skipped.
package clients
