package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is a program that runs beside this one. It may be ended and started again. It ends with the process that started it,
// however that one ends: the parts of a cluster do everywhere, for their standard input is a pipe, which breaks then
// (DieWithParent); other programs on Linux only.
type Process struct {
	// Name is what it is called in errors, and its log in Dir.
	Name string
	// Dir is the folder that it runs in and logs to.
	Dir     string
	Program string
	Args    []string
	// Ready returns nil once the process serves.
	Ready func(context.Context) error

	mu     sync.Mutex // guards the fields below
	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{} // closed when cmd has ended
}

// Log returns the file that the process prints to.
func (p *Process) Log() string { return filepath.Join(p.Dir, p.Name+".log") }

// startTimeout is how long a process may take to start on a busy machine.
const startTimeout = 2 * time.Minute

// Start starts the process, which does not run, and waits until it serves.
func (p *Process) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.spawn(); err != nil {
		return err
	}
	for {
		err := p.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.Exited():
			return fmt.Errorf("%s has ended, see %s", p.Name, p.Log())
		case <-ctx.Done():
			p.Kill()
			return fmt.Errorf("%s does not serve: %w, see %s", p.Name, err, p.Log())
		}
	}
}

func (p *Process) spawn() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s was started before", p.Name)
	}
	log, err := os.OpenFile(p.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // nothing was written through it
	cmd := exec.Command(p.Program, p.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir, cmd.SysProcAttr = p.Dir, sysProcAttr()
	cmd.SysProcAttr.Setpgid = true // a Ctrl-C is for the one that started us, who ends us in order
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", p.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(exited)
	}()
	p.cmd, p.stdin, p.exited = cmd, stdin, exited
	return nil
}

// Exited returns a channel that is closed when the process, which was started, has ended.
func (p *Process) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// PID returns the number of the process, which was started.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Kill ends the process at once, as a crash does, and returns when it is gone.
func (p *Process) Kill() { p.end(syscall.SIGKILL, 0) }

// Stop ends the process in order, or at once if that takes longer than a few seconds, and returns when it is gone.
func (p *Process) Stop() { p.end(syscall.SIGTERM, 10*time.Second) }

func (p *Process) end(signal os.Signal, patience time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal) // an error says that it has ended
	if patience > 0 {
		select {
		case <-p.exited:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
		}
	}
	<-p.exited
	_ = p.stdin.Close()
	p.cmd = nil
}

// DieWithParent ends this process, without further ado, when its standard input does: that is when the one that started it as a
// Process has ended.
func DieWithParent() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// lock makes sure that dir is used by one cluster at a time. It writes the number of this process into the file that it
// returns, and the lock is held until that is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "pid"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("a cluster runs in %s already", dir)
		}
		_ = f.Close()
		return nil, err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
