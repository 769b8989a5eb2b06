package dnstest

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Lines returns records in presentation format with single spaces, sorted, so that two sections can be compared.
func Lines(rrs []dns.RR) []string {
	return sorted(rrs, func(rr dns.RR) string { return strings.ReplaceAll(rr.String(), "\t", " ") })
}

// Data returns the data of records in presentation format, sorted.
func Data(rrs []dns.RR) []string {
	return sorted(rrs, func(rr dns.RR) string { return strings.TrimPrefix(rr.String(), rr.Header().String()) })
}

func sorted(rrs []dns.RR, text func(dns.RR) string) []string {
	texts := make([]string, len(rrs))
	for i, rr := range rrs {
		texts[i] = text(rr)
	}
	slices.Sort(texts)
	return texts
}

// Records returns the records that texts are in presentation format.
func Records(t testing.TB, texts ...string) []dns.RR {
	t.Helper()
	rrs := make([]dns.RR, len(texts))
	for i, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil || rr == nil {
			t.Fatalf("%q is not a record: %v", text, err)
		}
		rrs[i] = rr
	}
	return rrs
}
