package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/coredns-headless/headless"
)

// FuzzExplain asks for any name. What resolves has no cause, and what does not has one, with a text and what to change.
func FuzzExplain(f *testing.F) {
	for _, word := range []string{
		"web", "web-0.web.shop", "_http._tcp.web.shop", "web.shop.svc.cluster.local.", "10.244.1.10", "fd00::1", "10-244-1-10.shop.pod", ".", "a..b", "x.pin._zone.web.shop",
		"orders.shop", "svc", "shop.svc", "in-addr.arpa", "\\.web.shop", "ns.dns.cluster.local", "dns-version",
	} {
		f.Add(word, "shop", 5)
	}
	objects, err := headless.ReadManifests(filepath.Join(root, "testdata/broken"), filepath.Join(root, "examples"))
	if err != nil {
		f.Fatal(err)
	}
	c := newCluster(objects)
	stanzas, err := headless.ParseStanzas("Corefile", []byte(". {\n headless cluster.local in-addr.arpa {\n zonal\n pods verified\n }\n}"))
	if err != nil {
		f.Fatal(err)
	}
	s, err := newServer(stanzas[0], c, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, word, from string, ndots int) {
		q := &question{word: word, from: from, ndots: ndots}
		if err := q.setTypes(nil); err != nil {
			t.Fatal(err)
		}
		r, err := explain(s, c, q)
		if err != nil {
			return // no name
		}
		if (r.Verdict == resolves) != (len(r.Causes) == 0) {
			t.Errorf("%q %s because of %+v", word, r.Verdict, r.Causes)
		}
		for _, c := range r.Causes {
			if c.ID == "" || c.Text == "" || c.Fix == "" {
				t.Errorf("%q: got the cause %+v, want all of it", word, c)
			}
		}
		if err := writePage(io.Discard, r); err != nil {
			t.Error(err)
		}
	})
}
