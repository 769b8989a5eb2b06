package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestExamples(t *testing.T) {
	c := startCluster(t)
	s := startServer(t, c, "headless")
	manifest, err := os.ReadFile("../../examples/cassandra.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, c, string(manifest))
	eventually(t, time.Minute, func(ctx context.Context) error {
		r, err := s.Ask(ctx, "udp", "cassandra.default.svc.cluster.local", dns.TypeA)
		if err != nil {
			return err
		}
		if len(r.Answer) != 3 {
			return fmt.Errorf("%d answers, want 3", len(r.Answer))
		}
		return nil
	})
}
