package kube

import (
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns/coredns/plugin/kubernetes/object"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// BenchmarkConvertSlice reduces an EndpointSlice of 100 endpoints, as the API server sends it, to
// what a plugin keeps of it.
func BenchmarkConvertSlice(b *testing.B) {
	m, err := kubetest.BigSlice(0, 100).Marshal()
	fatal.If(b, err)
	b.Run("headless", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			es := new(wireSlice)
			fatal.If(b, es.Unmarshal(m))
			new(Converter).slice(es)
		}
	})
	b.Run("kubernetes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			es := new(discoveryv1.EndpointSlice)
			fatal.If(b, es.Unmarshal(m))
			if _, err := object.EndpointSliceToEndpoints(es); err != nil {
				b.Fatal(err)
			}
		}
	})
}
