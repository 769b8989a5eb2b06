package snapshot

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/model"
)

var snapshotKills = flag.Int("snapshot.kills", 50, "how many processes that write snapshots are killed")

// nobody is a user who owns nothing.
const nobody = 65534

// actAs makes this goroutine's thread act as a user when it asks for files, if the process is root.
// It does so until the end of the test, or until it acts as root again.
func actAs(t *testing.T, user int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread()
	set := func(user int) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(user), 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	set(user)
	t.Cleanup(func() {
		set(0)
		runtime.UnlockOSThread()
	})
}

// letIn lets every user into the test's folders, and user own the one that path is in.
func letIn(t *testing.T, path string, user int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	for dir := filepath.Dir(path); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		fatal.If(t, os.Chmod(dir, 0o755))
	}
	fatal.If(t, os.Chown(filepath.Dir(path), user, user))
}

func TestSnapshotThatIsNoRegularFileIsReplaced(t *testing.T) { // not parallel: it captures the log
	checkFaults(t, func() []snapshotFault {
		return []snapshotFault{
			{"a pipe that nobody writes to", func(t *testing.T, path string) { fatal.If(t, syscall.Mkfifo(path, 0o600)) }, "not used: not a regular file", false, false},
			{"a link to what has no end", linkTo("/dev/zero"), "not used: not a regular file", false, false},
			{"a file of somebody else", func(t *testing.T, path string) {
				writeSmall(t, path, 0)
				fatal.If(t, os.Chmod(path, 0))
				letIn(t, path, nobody)
				actAs(t, nobody)
			}, "permission denied", false, false},
		}
	})
}

func TestSnapshotIsKeptFromOthersWhateverTheUmask(t *testing.T) { // not parallel: the umask is the process's
	defer syscall.Umask(syscall.Umask(0))
	for _, umask := range []int{0, 0o022, 0o777} {
		syscall.Umask(umask)
		path := filepath.Join(t.TempDir(), "snapshot")
		fatal.If(t, os.Chmod(filepath.Dir(path), 0o700))
		fatal.If(t, smallKnowledge().freeze().write(path, path+".new", testHeader, time.Now()))
		stat, err := os.Stat(path)
		if err != nil || stat.Mode() != 0o600 {
			t.Errorf("umask %o: mode %v, %v, want 0600", umask, stat.Mode(), err)
		}
	}
}

func TestSnapshotCannotBeWritten(t *testing.T) { // not parallel: it captures the log
	t.Run("the folder is read-only", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "snapshots")
		fatal.If(t, os.Mkdir(dir, 0o700))
		path := filepath.Join(dir, "snapshot")
		checkWriteFault(t, path, func() {
			letIn(t, dir, 0)
			fatal.If(t, os.Chmod(dir, 0o555))
			if os.Geteuid() == 0 {
				fatal.If(t, os.Chown(path, nobody, nobody))
			}
			actAs(t, nobody)
		}, func() {
			actAs(t, os.Geteuid())
			fatal.If(t, os.Chmod(dir, 0o755))
		}, false)
	})
	t.Run("the disk is full", func(t *testing.T) {
		if os.Getenv(limitedEnv) == "" { // the limit would be that of all that this process writes
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
			child.Env = append(os.Environ(), limitedEnv+"=1")
			if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
				t.Errorf("%v\n%s", err, out)
			}
			return
		}
		signal.Ignore(syscall.SIGXFSZ)
		var limit syscall.Rlimit
		fatal.If(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
		set := func(most uint64) {
			fatal.If(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: limit.Max}))
		}
		checkWriteFault(t, filepath.Join(t.TempDir(), "snapshot"), func() { set(100) }, func() { set(limit.Cur) }, false)
	})
}

// limitedEnv is set in a child process that limits the size of its files.
const limitedEnv = "HEADLESS_SNAPSHOT_LIMITED"

// A child process has (killedServices, each with one slice of killedPods endpoints, all named for
// the same generation, and one generation follows the other.
const (
	killedServices = 20
	killedPods     = 8
)

// killedEnv holds the path of the child's snapshot and its first generation.
const killedEnv = "HEADLESS_SNAPSHOT_CHILD"

func killedSlice(service, generation int) *model.Slice {
	name := fmt.Sprint("service-", service)
	s := &model.Slice{Key: model.KeyOf("ns", name), Service: name}
	for i := range killedPods {
		s.Endpoints = append(s.Endpoints, model.Endpoint{
			Addr: netip.AddrFrom4([4]byte{byte(10 + i), byte(generation >> 16), byte(generation >> 8), byte(generation)}),
			Name: fmt.Sprintf("g-%d-%d", generation, i), State: model.Ready,
		})
	}
	return s
}

// TestSnapshotChild is no test but the child process of the next one: it changes its state without
// end, and writes the snapshot again and again. After each time it prints a generation that
// everything in the file has reached.
func TestSnapshotChild(t *testing.T) {
	path, first, ok := strings.Cut(os.Getenv(killedEnv), " ")
	if !ok {
		t.Skip("this is not the child")
	}
	generation, err := strconv.Atoi(first)
	fatal.If(t, err)
	c := newKnowledge()
	x, s := c.Indexes[0], newTestKeeper(path, c)
	s.Load()
	putNamespace(c, "ns")
	for i := range killedServices {
		x.PutService(&model.Service{Key: model.KeyOf("ns", fmt.Sprint("service-", i)), Kind: model.Headless})
		x.PutSlice(killedSlice(i, generation))
	}
	var reached atomic.Int64
	reached.Store(int64(generation))
	go func() {
		for g := generation + 1; ; g++ {
			for i := range killedServices {
				x.PutSlice(killedSlice(i, g))
			}
			reached.Store(int64(g))
		}
	}()
	for s.failure == "" {
		g := reached.Load()
		if s.keep(); s.upToDate {
			fmt.Println(g)
		}
	}
	t.Fatal(s.failure)
}

// TestSnapshotSurvivesKills kills processes at random moments while they write snapshots.
func TestSnapshotSurvivesKills(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "snapshot")
	next, writes := 1, 0
	for range *snapshotKills {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSnapshotChild$", "-test.v=false")
		child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", killedEnv, path, next))
		out, err := child.StdoutPipe()
		fatal.If(t, err)
		var log bytes.Buffer
		child.Stderr = &log
		fatal.If(t, child.Start())
		lines := bufio.NewScanner(out)
		written := 0
		scan := func() bool {
			if !lines.Scan() {
				return false
			}
			if written, err = strconv.Atoi(lines.Text()); err != nil {
				t.Errorf("the child says %q", lines.Text())
			}
			writes++
			return true
		}
		for range 1 + rand.IntN(5) {
			scan()
		}
		time.Sleep(rand.N(2 * time.Millisecond)) // to a moment in the midst of writing
		fatal.If(t, child.Process.Kill())
		for scan() { // what it said before it was killed
		}
		if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Fatalf("the child ends with %v\n%s", err, &log)
		}
		if written == 0 {
			t.Fatal("the child has written nothing")
		}
		next = 1 + checkKilled(t, path, written)
	}
	drafts, err := filepath.Glob(path + ".*")
	fatal.If(t, err)
	t.Logf("%d writes, %d kills, %d of them while a file was written", writes, *snapshotKills, len(drafts))
	if len(drafts) == 0 {
		t.Error("no process was killed while it wrote")
	}
	for _, draft := range drafts {
		setAge(t, draft, time.Hour)
	}
	k := newTestKeeper(path, newKnowledge())
	k.Load()
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("the next start leaves %q, %v", left, err)
	}
	if !k.Serves() {
		t.Error("the next start does not use the snapshot")
	}
}

// checkKilled checks that the snapshot at path is one of a child that had reached a generation, and
// returns the greatest in it.
func checkKilled(t *testing.T, path string, written int) int {
	t.Helper()
	c := newKnowledge()
	if err := c.readIf(path, anyHeaderAndTime); err != nil {
		t.Fatalf("after generation %d was written: %v", written, err)
	}
	fatal.If(t, c.Indexes[0].Check())
	greatest, services := 0, 0
	for s := range c.Indexes[0].Moment().Services() {
		services++
		var generation int
		if len(s.Slices) != 1 || s.Service == nil || len(s.Slices[0].Endpoints) != killedPods {
			t.Fatalf("%s has %+v", s.Name, s)
		}
		for i, e := range s.Slices[0].Endpoints {
			if i == 0 {
				if _, err := fmt.Sscanf(e.Name, "g-%d-0", &generation); err != nil {
					t.Fatalf("%s has %q: %v", s.Name, e.Name, err)
				}
			}
			if want := killedSlice(0, generation).Endpoints[i]; e != want {
				t.Fatalf("%s has %+v among its endpoints of generation %d, want %+v", s.Name, e, generation, want)
			}
		}
		if generation < written {
			t.Errorf("%s is of generation %d, and %d was written", s.Name, generation, written)
		}
		greatest = max(greatest, generation)
	}
	if services != killedServices {
		t.Errorf("%d Services, want %d", services, killedServices)
	}
	return greatest
}
