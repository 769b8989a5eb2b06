// Package logtest captures what tests log and print.
package logtest

import (
	"bytes"
	"io"
	golog "log"
	"os"
	"sync"
	"testing"
)

// Captured collects all that is logged, by whichever logger, until the test ends. Such a test is not parallel.
type Captured struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Capture begins to collect.
func Capture(t *testing.T) *Captured {
	t.Helper()
	c := new(Captured)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = writer, writer // klog's output is what os.Stderr is at the time
	golog.SetOutput(c)
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(c, reader) }) // until writer is closed
	t.Cleanup(func() {
		golog.SetOutput(stderr)
		os.Stdout, os.Stderr = stdout, stderr
		_ = writer.Close()
		copying.Wait()
		_ = reader.Close()
	})
	return c
}

// Write implements io.Writer.
func (c *Captured) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *Captured) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}
