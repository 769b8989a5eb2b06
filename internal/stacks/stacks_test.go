package stacks

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"
)

// parkedNow counts the goroutines that are in park.
func parkedNow(t *testing.T) (n int) {
	t.Helper()
	var text bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&text, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(text.String(), "stacks.park(")
}

// TestGoroutinesStartWithWhatIsWanted: with idle goroutines beside it, as connections have them.
func TestGoroutinesStartWithWhatIsWanted(t *testing.T) {
	leave := make(chan struct{})
	defer close(leave)
	for range 300 {
		go func() { <-leave }()
	}
	runtime.GC()
	if _, before := collected(); before >= wanted {
		t.Fatalf("goroutines start with %d octets without it", before)
	}
	defer Raise()()
	eventually(t, "goroutines start with what is wanted", func() bool {
		runtime.GC()
		_, size := collected()
		return size == wanted
	})
	for range 300 { // as when more clients connect
		go func() { <-leave }()
	}
	eventually(t, "they do when there are more", func() bool {
		runtime.GC()
		_, size := collected()
		return size == wanted
	})
	if n := Parked(); n != parkedNow(t) || n > 2*600*lift/frame {
		t.Errorf("got %d parked, %d seen, want about %d", n, parkedNow(t), 600*lift/frame)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestParkedGoroutinesEndWithTheirLastUser starts a second user before the first stops, as a reload does.
func TestParkedGoroutinesEndWithTheirLastUser(t *testing.T) {
	for range 3 {
		lowerOld := Raise()
		eventually(t, "some are parked", func() bool { return parkedNow(t) > 0 })
		lowerNew := Raise()
		lowerOld()
		lowerOld() // which does nothing
		if Parked() == 0 || parkedNow(t) == 0 {
			t.Error("got none parked, though there is a user")
		}
		lowerNew()
		if Parked() != 0 || parkedNow(t) != 0 {
			t.Errorf("got %d parked, %d seen, want none", Parked(), parkedNow(t))
		}
	}
}

func TestEnough(t *testing.T) {
	for _, row := range []struct {
		name               string
		parked, goroutines int
		size               uint64
		want               int
	}{
		{"at the start", 0, 30, 0, 30 * lift / (frame - lift)},
		{"one at least", 0, 1, 2048, 1},
		{"more by one when the estimate is there", 3, 33, 4096, 4},
		{"many connections", 2, 1002, 4096, 1000 * lift / (frame - lift)},
		{"the bound", 2, 100002, 2048, most},
		{"at the bound", most, 100000, 2048, most},
		{"as wanted", 7, 30, wanted, 7},
		{"too many, for others use a lot", 8, 308, 2 * wanted, 6},
		{"one too many", 1, 100, 2 * wanted, 0},
		{"too many, for connections have gone", 65, 95, 8 * wanted, 30 * lift / (frame - lift)},
	} {
		if got := enough(row.parked, row.size, row.goroutines); got != row.want {
			t.Errorf("%s: got %d, want %d", row.name, got, row.want)
		}
	}
}

// TestParkedGoroutinesTakeLittleMemory: two or three pages of the kernel each, where the stack has sixteen.
// The race detector keeps more than as much again for what is touched, so the bound has room for that.
func TestParkedGoroutinesTakeLittleMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		t.Skip("needs Linux")
	}
	debug.FreeOSMemory()
	parkedNow(t) // which takes memory
	before := resident(t)
	l := &lot{}
	l.adjust(most)
	defer func() {
		l.adjust(0)
		l.ended.Wait()
	}()
	eventually(t, "all are parked", func() bool { return parkedNow(t) == most })
	if got, bound := resident(t)-before, most*frame*2/3; got > bound {
		t.Errorf("%d goroutines take %d octets, want at most %d", most, got, bound)
	} else {
		t.Logf("%d goroutines take %d octets, their frames have %d", most, got, most*frame)
	}
}

// resident returns how much memory this process has, in octets.
func resident(t *testing.T) int {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
