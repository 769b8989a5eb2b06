package headless

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/logtest"
	"github.com/miekg/dns"
)

// TestForeseenNamesAreAnswered: with manifests foresee a server answers for what is not deployed yet, and says what that is.
func TestForeseenNamesAreAnswered(t *testing.T) {
	file := filetest.Temp(t, "chart.yaml", `apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec: {serviceName: db, replicas: 2, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: shop}
`)
	log := logtest.Capture(t)
	for _, c := range []struct {
		option string
		want   map[string]string // of A records
	}{
		{"", map[string]string{"db-1.db.shop": "NXDOMAIN", "db.shop": "NXDOMAIN", "web.shop": "NXDOMAIN"}},
		{"foresee ", map[string]string{"db-1.db.shop": "198.18.0.2", "db.shop": "198.18.0.1 198.18.0.2", "web.shop": "198.19.0.1", "db-2.db.shop": "NXDOMAIN"}},
	} {
		h := newTestHeadlessFrom(t, "headless cluster.local {\nmanifests "+c.option+file+"\n}")
		for name, want := range c.want {
			m := h.Reply(name+".svc.cluster.local.", dns.TypeA)
			var got []string
			for _, rr := range m.Answer {
				got = append(got, rr.(*dns.A).A.String())
			}
			if len(got) == 0 {
				got = []string{dns.RcodeToString[m.Rcode]}
			}
			if slices.Sort(got); strings.Join(got, " ") != want {
				t.Errorf("%q: %s: got %q, want %s", c.option, name, got, want)
			}
		}
	}
	for _, want := range []string{
		"manifests: left out objects of which no names are made: 1 apps/v1 StatefulSet, 1 v1 ConfigMap\n",
		"manifests: foreseen: 2 Pods of StatefulSet shop/db\n",
		"manifests: left out objects of which no names are made: 1 v1 ConfigMap\n",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("got no %q in the log\n%s", want, log)
		}
	}
}
