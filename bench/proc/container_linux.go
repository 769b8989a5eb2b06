package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Container limits the memory of processes, as a kubelet does: a control group of the kernel.
type Container struct {
	folder string
	peak   string // the file with the most that was ever used
}

// NewContainer makes one, for which this process has to be root.
func NewContainer(limit int64) (*Container, error) {
	name := fmt.Sprintf("headless-bench-%d", os.Getpid())
	for _, version := range []struct{ parent, limit, peak, swap string }{
		{"/sys/fs/cgroup", "memory.max", "memory.peak", "memory.swap.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", ""},
	} {
		if _, err := os.Stat(filepath.Join(version.parent, "cgroup.procs")); err != nil {
			continue
		}
		c := &Container{filepath.Join(version.parent, name), version.peak}
		if err := os.Mkdir(c.folder, 0o700); err != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(c.folder, version.limit), []byte(strconv.FormatInt(limit, 10)), 0o600); err != nil {
			_ = os.Remove(c.folder) // another version may be the one
			continue
		}
		if version.swap != "" {
			_ = os.WriteFile(filepath.Join(c.folder, version.swap), []byte("0"), 0o600) // it is not there without swap
		}
		return c, nil
	}
	return nil, errors.New("no control group with a limit to its memory can be made: expected to be root, and the memory controller")
}

// Take puts a process into the container.
func (c *Container) Take(p *Process) error {
	return os.WriteFile(filepath.Join(c.folder, "cgroup.procs"), []byte(strconv.Itoa(p.cmd.Process.Pid)), 0o600)
}

// Peak returns the most memory that was in use, in bytes, with what the kernel keeps of files.
func (c *Container) Peak() (int64, error) {
	text, err := os.ReadFile(filepath.Join(c.folder, c.peak))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// Close removes the container, in which nothing runs any more.
func (c *Container) Close() error { return os.Remove(c.folder) }
