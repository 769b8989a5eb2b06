package e2e

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func init() {
	clockFaults = []fault{
		{
			name: "clock a day ahead, then right", bound: soon,
			begins: func(r *faultsRun) { r.shiftClock(day) },
			undo: func(r *faultsRun) {
				tomorrow := time.Now().Add(day - time.Hour).Unix()
				serial := func() int64 { return int64(r.metric("coredns_headless_soa_serial")) }
				for began := time.Now(); serial() < tomorrow && time.Since(began) < soon; time.Sleep(100 * time.Millisecond) {
				} // it steps once a second at most
				if got := serial(); got < tomorrow {
					r.t.Errorf("the serial is %d, want more than %d, for the clock is ahead", got, tomorrow)
				}
				r.shiftClock(0)
			},
		},
		{
			name: "clock a day behind, certificate not valid", code: "<error>", bound: soon,
			begins: func(r *faultsRun) {
				r.shiftClock(-day)
				r.proxy.cut()
				r.awaitRequests("<error>", r.requests("<error>")+10) // more than the cut makes
			},
			ends: func(r *faultsRun) { r.shiftClock(0) },
		},
	}
}

const day = 24 * time.Hour

// wrongClock is what Go programs call for clock_gettime of the kernel's vDSO once shiftClock was there: it calls that, and adds
// to the seconds of CLOCK_REALTIME. Two numbers follow: the address of the true one, and the seconds to add.
var wrongClock = []byte{
	0x57,                   // push rdi
	0x56,                   // push rsi
	0x48, 0x83, 0xec, 0x08, //       sub  rsp, 8
	0xff, 0x15, 28, 0, 0, 0, //      call [rip+28]
	0x48, 0x83, 0xc4, 0x08, //       add  rsp, 8
	0x5e,       //                   pop  rsi
	0x5f,       //                   pop  rdi
	0x85, 0xff, //                   test edi, edi
	0x75, 10, //                     jne  the end
	0x48, 0x8b, 0x15, 19, 0, 0, 0, // mov rdx, [rip+19]
	0x48, 0x01, 0x16, //             add  [rsi], rdx
	0xc3, // ret
	0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
}

// shiftClock makes the wall clock of the server wrong by d from now on.
func (r *faultsRun) shiftClock(d time.Duration) {
	r.t.Helper()
	r.check("shift the clock", patchClock(*corednsProgram, r.server.PID(), d))
}

// patchClock makes the wall clock of a running process, of a Go program with symbols, wrong by d, in whole seconds. The monotonic
// clock, by which timers run, stays, as when the clock of a machine is set. That clock is everybody's, and time namespaces leave
// wall clocks alone; so this patches the process: the runtime keeps the address of clock_gettime in a variable, and does not need
// the code that started the scheduler any more.
func patchClock(program string, pid int, d time.Duration) (err error) {
	clock, err := symbol(program, "runtime.vdsoClockgettimeSym")
	if err != nil {
		return err
	}
	code, err := symbol(program, "runtime.schedinit")
	if err != nil {
		return err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close() //nolint:errcheck // each write has said what went wrong
	if err := pause(pid); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)) }()
	address := make([]byte, 8)
	if _, err := memory.ReadAt(address, clock); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(address) != uint64(code) {
		if _, err := memory.WriteAt(slices.Concat(wrongClock, address), code); err != nil {
			return err
		}
	}
	seconds := binary.LittleEndian.AppendUint64(nil, uint64(int64(d/time.Second)))
	if _, err := memory.WriteAt(seconds, code+int64(len(wrongClock)+len(address))); err != nil {
		return err
	}
	_, err = memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(code)), clock)
	return err
}

// symbol returns the address of a symbol.
func symbol(program, name string) (int64, error) {
	f, err := elf.Open(program)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	symbols, err := f.Symbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == name {
			return int64(s.Value), nil
		}
	}
	return 0, fmt.Errorf("%s has no symbol %s", program, name)
}

// pause stops a process, and returns when all of its threads have stopped.
func pause(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			return err
		}
		isRunning := false
		for _, file := range files {
			stat, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			_, state, _ := strings.Cut(string(stat), ") ")
			isRunning = isRunning || !strings.HasPrefix(state, "T")
		}
		if !isRunning {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}
