package proc

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the process that the tests start: as "busy" it keeps some threads busy, one after the other, says what this took of the
// CPU and on which cores it may run, and waits; as "parent" it starts such a process and passes on what it says.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "parent" {
		child := exec.Command(os.Args[0], "busy")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		fmt.Println(child.Run())
	}
	if len(os.Args) < 2 || os.Args[1] != "busy" {
		os.Exit(m.Run())
	}
	for range 5 {
		done := make(chan bool)
		go func() {
			defer close(done)
			for start := time.Now(); time.Since(start) < 20*time.Millisecond; {
			}
		}()
		<-done
	}
	cores, err := Cores()
	var used unix.Rusage
	if failed := unix.Getrusage(unix.RUSAGE_SELF, &used); err == nil {
		err = failed
	}
	fmt.Printf("used %d on %v, %v\n", used.Utime.Nano()+used.Stime.Nano(), cores, err)
	select {}
}

func TestProcessIsPinnedAndMeasured(t *testing.T) {
	for _, what := range []string{"busy", "parent"} {
		t.Run(what, func(t *testing.T) { checkProcess(t, what) })
	}
}

func checkProcess(t *testing.T, what string) {
	t.Helper()
	before, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	core := before[len(before)-1]
	p, err := Start(core, what)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	line, err := p.Line("used ", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var used time.Duration
	if _, err := fmt.Sscan(line, &used); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("on [%d], <nil>", core); !strings.HasSuffix(line, want) {
		t.Errorf("got %q, want it %s", line, want)
	}
	cpu, err := p.CPU()
	if err != nil || cpu < used || cpu > time.Since(p.Started) {
		t.Errorf("the clock says %v, %v; the process used %v of %v", cpu, err, used, time.Since(p.Started))
	}
	if m, err := p.Memory(); err != nil || m.RSS < 1<<20 || m.Peak < m.RSS {
		t.Errorf("got %+v, %v", m, err)
	}
	if after, err := Cores(); err != nil || len(after) != len(before) {
		t.Errorf("this process may use %v, %v, want still %v", after, err, before)
	}
	p.Stop()
	if _, err := p.CPU(); err == nil {
		t.Error("a process that has ended has a clock")
	}
}

func TestLineTellsWhenTheProcessEnds(t *testing.T) {
	cores, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(cores[0], "-test.run", "^$")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if _, err := p.Line("never", time.Minute); err == nil || !strings.Contains(err.Error(), "PASS") {
		t.Errorf("got %v, want what the process said last", err)
	}
}
