package kube

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"

	"k8s.io/apimachinery/pkg/util/wait"
)

func TestPaceSlowsDownARowAndBeginsAnewAfterACalm(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := &pace{backoff: wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 1, Steps: 10, Cap: 3 * time.Second}}
		for row := range 3 {
			for i, least := range []time.Duration{0, 1, 2, 3, 3, 3} {
				began := time.Now()
				fatal.If(t, waitFor(t.Context(), p))
				least *= time.Second
				if took := time.Since(began); took < least || took > 2*least {
					t.Errorf("row %d, event %d: waited %v, want %v to %v", row, i, took, least, 2*least)
				}
				p.came(time.Now(), 0)
			}
			time.Sleep(6*time.Second + calm + time.Nanosecond)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p.came(began, time.Hour)
		if err := waitFor(ctx, new(pace), p); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("waited %v, error %v, want to wait for the end of the context", time.Since(began), err)
		}
	})
}
