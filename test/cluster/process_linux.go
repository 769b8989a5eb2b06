package cluster

import "syscall"

// sysProcAttr has the kernel end a process with the one that started it.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
