package testserver

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Main is for the TestMain of each package that uses this one. It runs the tests and returns the code to exit
// with, which isn't 0 when goroutines or files are left that were not there before. Tests run side by side, so
// they can only be told apart by the stacks and the names that it writes.
//
// It calls setup, unless that is nil, with what stands in for a [testing.T], which examples don't have, and ends
// what setup started:
//
//	func TestMain(m *testing.M) {
//		os.Exit(testserver.Main(m, func(tb testing.TB) { exampleAddr = testserver.Redis(tb).Addr }))
//	}
func Main(m interface{ Run() int }, setup func(tb testing.TB)) int {
	before := held()
	code := run(m, setup)
	if code != 0 {
		return code // tests that failed may have left anything
	}
	var left []string
	for end := time.Now().Add(leakTimeout); ; time.Sleep(50 * time.Millisecond) {
		// go-redis forgets to close a connection whose context ends during the handshake. The garbage collector
		// does, and so a file that nobody closed is found here only while somebody has it.
		runtime.GC()
		left = left[:0]
		for name, what := range held() {
			if _, ok := before[name]; !ok {
				left = append(left, what)
			}
		}
		if len(left) == 0 {
			return 0
		}
		if time.Now().After(end) {
			slices.Sort(left)
			fmt.Fprintf(os.Stderr, "%v after the tests there are yet:\n\n%s\n", leakTimeout, strings.Join(left, "\n\n"))
			return 1
		}
	}
}

// leakTimeout bounds how long what the tests started may take to end after them.
var leakTimeout = 10 * time.Second

func run(m interface{ Run() int }, setup func(tb testing.TB)) int {
	tb := &mainTB{}
	defer tb.end()
	if setup != nil {
		setup(tb)
	}
	return m.Run()
}

// held returns the goroutines of this process, and its open files where the system says what they are, as
// Linux does. What the runtime itself starts or opens once, and keeps, is left out.
func held() map[string]string {
	held := map[string]string{}
	buf := make([]byte, 1<<18)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*n)
		n = runtime.Stack(buf, true)
	}
	for stack := range strings.SplitSeq(strings.TrimSpace(string(buf[:n])), "\n\n") {
		if name, _, _ := strings.Cut(stack, " ["); !strings.Contains(stack, "os/signal.loop()") {
			held[name] = stack
		}
	}
	files, _ := filepath.Glob("/proc/self/fd/*")
	for _, file := range files {
		to, err := os.Readlink(file)
		if err != nil || to == "anon_inode:[eventpoll]" || to == "anon_inode:[eventfd]" {
			continue // one without a name was open only to list them, and these are of the network poller
		}
		held[file+to] = "file " + filepath.Base(file) + ": " + to
	}
	return held
}

// mainTB is as much of a testing.TB as this package needs.
type mainTB struct {
	testing.TB // nil
	cleanups   []func()
}

func (tb *mainTB) Helper()          {}
func (tb *mainTB) Cleanup(f func()) { tb.cleanups = append(tb.cleanups, f) }

func (tb *mainTB) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	tb.end()
	os.Exit(1)
}

func (tb *mainTB) TempDir() string {
	dir, err := os.MkdirTemp("", "testserver")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (tb *mainTB) end() {
	for i := len(tb.cleanups) - 1; i >= 0; i-- {
		tb.cleanups[i]()
	}
	tb.cleanups = nil
}
