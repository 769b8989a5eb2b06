package clients

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/hashicorp/go-multierror"
	"github.com/hashicorp/memberlist"

	discoveryv1 "k8s.io/api/discovery/v1"
)

const memberPort = 7946

// startMember starts a member that listens at an address.
func startMember(t *testing.T, addr string) *memberlist.Memberlist {
	t.Helper()
	c := memberlist.DefaultLocalConfig()
	c.Name, c.BindAddr, c.AdvertiseAddr = addr, addr, addr
	c.BindPort, c.AdvertisePort = memberPort, memberPort
	c.LogOutput = io.Discard
	m, err := memberlist.Create(c)
	fatal.If(t, err)
	t.Cleanup(func() {
		if err := m.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// TestMemberlistJoinsEveryMember: it asks for ANY first and, if addresses come, for nothing else. So ANY must not
// hide one family of a dual-stack Service whose pods listen on the other one only.
func TestMemberlistJoinsEveryMember(t *testing.T) {
	needWorld(t)
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"), kubetest.Service("peers", "None"))
	four, six := kubetest.EmptySlice("peers-4", "peers"), kubetest.EmptySlice("peers-6", "peers")
	six.AddressType = discoveryv1.AddressTypeIPv6
	for i, addr := range v6Pods {
		four.Endpoints = append(four.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprint("127.7.0.", i+1)}})
		six.Endpoints = append(six.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}})
	}
	api.Put(four, six)
	startHeadless(t, api, dnsAddr)
	var last *memberlist.Memberlist
	for _, addr := range v6Pods {
		last = startMember(t, addr)
	}
	joined, err := last.Join([]string{"peers" + suffix})
	t.Logf("joined %d, members %d", joined, last.NumMembers())
	if err != nil || joined != len(v6Pods) || last.NumMembers() != len(v6Pods) {
		t.Errorf("joined %d, members %d, %v; want %d of each", joined, last.NumMembers(), err, len(v6Pods))
	}
}

// TestMemberlistTriesWhatFits: of a set that is larger than any message it tries the part that fits.
func TestMemberlistTriesWhatFits(t *testing.T) {
	needWorld(t)
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"))
	s := newService(api, "large", 1000, 5000)
	startHeadless(t, api, dnsAddr)
	joined, err := startMember(t, "127.0.0.1").Join([]string{s.name + suffix})
	var failed *multierror.Error
	if !errors.As(err, &failed) {
		t.Fatalf("joined %d, %v; want an error for each address: nobody listens there", joined, err)
	}
	addrs, tried := s.addrs(), make(map[string]bool)
	for _, err := range failed.Errors {
		addr, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "failed to join "), ":")
		if tried[addr] = true; !slices.Contains(addrs, addr) {
			t.Fatalf("%v: this is no pod", err)
		}
	}
	t.Logf("tried %d of %d addresses", len(tried), len(addrs))
	if least, most := inLargest(s.name+suffix, addrSize); len(tried) < least || len(tried) > most {
		t.Errorf("tried %d addresses, want %d to %d", len(tried), least, most)
	}
}
