// Package proc starts processes on one core and reads what the kernel knows of them. It needs Linux.
package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pin restricts the calling process, and what it starts, to one core.
func Pin(core int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks { // threads to come inherit it from these
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := setAffinity(tid, core); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func setAffinity(tid, core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("cannot pin to core %d: %w", core, err)
	}
	return nil
}

// Cores returns the cores that this process may use.
func Cores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var cores []int
	for core := range len(set) * 64 {
		if set.IsSet(core) {
			cores = append(cores, core)
		}
	}
	return cores, nil
}

// Process is a running process, with those that it starts. It dies with the process that started it.
type Process struct {
	// Started is when the process was about to be started.
	Started time.Time

	cmd    *exec.Cmd
	output output
	exited chan struct{} // closed when it has ended
}

// Start starts this program with other arguments, and on one core.
func Start(core int, args ...string) (*Process, error) { return Program{Args: args}.Start(core) }

// Program is a program to start.
type Program struct {
	Path        string // "" is this program
	Args        []string
	Environment []string // NAME=VALUE, besides the variables of this process
}

// Start starts the program on one core.
func (program Program) Start(core int) (*Process, error) {
	path := program.Path
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		path = self
	}
	p := &Process{cmd: exec.Command(path, program.Args...), exited: make(chan struct{})} //nolint:gosec // which the caller wants
	p.cmd.Env = append(os.Environ(), program.Environment...)
	p.output.grown = make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// The child inherits the affinity of the thread that forks, so that its runtime sees one core from the start.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	if err := setAffinity(0, core); err != nil {
		return nil, err
	}
	p.Started = time.Now()
	err := p.cmd.Start()
	if restored := unix.SchedSetaffinity(0, &before); err == nil {
		err = restored
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", p.cmd.Args, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is of interest only to who reads its output
		close(p.exited)
	}()
	return p, nil
}

// Stop ends the process, and those that it has started, and returns when it is gone.
func (p *Process) Stop() {
	select {
	case <-p.exited: // and its number may be another's
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // an error says that it has ended
	<-p.exited
}

// Terminate asks the process to end, by SIGTERM, and does not wait for it.
func (p *Process) Terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Output returns what the process has printed so far.
func (p *Process) Output() string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return p.output.text.String()
}

// Line waits until the process has printed a line that begins with prefix, and returns the rest of that line.
func (p *Process) Line(prefix string, timeout time.Duration) (string, error) {
	deadline := time.After(timeout)
	for {
		p.output.mu.Lock()
		text, grown := p.output.text.String(), p.output.grown
		p.output.mu.Unlock()
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(rest, "\n") {
				return strings.TrimSuffix(rest, "\n"), nil
			}
		}
		select {
		case <-grown:
		case <-p.exited:
			return "", fmt.Errorf("%q ended: %s", p.cmd.Args, text)
		case <-deadline:
			return "", fmt.Errorf("%q has not said %q within %v: %s", p.cmd.Args, prefix, timeout, text)
		}
	}
}

// CPU returns the time for which the threads of the process and of those below it, also threads that have ended, have run so far.
// It is exact when the process sleeps, and a scheduler's tick old when it runs.
func (p *Process) CPU() (time.Duration, error) {
	total, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return 0, fmt.Errorf("cannot read the CPU clock of %q: %w", p.cmd.Args, err)
	}
	return total, nil
}

func cpu(pid int) (time.Duration, error) {
	// clock_getcpuclockid(3): the inverted pid and CPUCLOCK_SCHED.
	clock := int32(^pid<<3 | 2) //nolint:gosec // a pid has 22 bits
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, err
	}
	total := time.Duration(t.Nano())
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task) //nolint:gosec // the kernel's
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return 0, err // anything but a thread that has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			below, err := strconv.Atoi(child)
			if err != nil {
				return 0, err
			}
			more, err := cpu(below)
			if err != nil {
				return 0, err
			}
			total += more
		}
	}
	return total, nil
}

// Memory is what a process has in RAM, in bytes.
type Memory struct {
	RSS, Peak int64
}

// Memory returns what the process has in RAM and has had at most.
func (p *Process) Memory() (Memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return m, err
		}
		switch fields[0] {
		case "VmRSS:":
			m.RSS = n << 10
		case "VmHWM:":
			m.Peak = n << 10
		}
	}
	if m.RSS == 0 || m.Peak == 0 {
		return m, fmt.Errorf("no memory in the status of %q", p.cmd.Args)
	}
	return m, nil
}

// output keeps the first mebibyte of what is written.
type output struct {
	mu    sync.Mutex // guards the fields below
	text  bytes.Buffer
	grown chan struct{} // closed, and replaced, with every write
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() < 1<<20 {
		o.text.Write(b)
	}
	close(o.grown)
	o.grown = make(chan struct{})
	return len(b), nil
}

// FreePort returns a port of an address that is free for both UDP and TCP.
func FreePort(address netip.Addr) (uint16, error) {
	for range 100 {
		tcp, err := net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
		if err != nil {
			return 0, err
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		_ = tcp.Close() // nothing was written
		if err == nil {
			return netip.MustParseAddrPort(tcp.Addr().String()).Port(), udp.Close()
		}
	}
	return 0, fmt.Errorf("no port of %v is free for both UDP and TCP", address)
}
