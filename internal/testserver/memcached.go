package testserver

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const memcachedInstall = "make setup (or: apt-get install memcached, brew install memcached)"

// Memcached starts a memcached of the test's own. Further arguments go to the program as they are.
func Memcached(tb testing.TB, args ...string) *Server {
	tb.Helper()
	firstHalf()
	return launch(tb, memcached(args...))
}

// firstHalf waits for the first half of a second of the system's clock. memcached's own clock takes the whole seconds
// of that once in a little more than a second, and so it skips one when what it cuts off gets to a whole second. What was
// stored in the second before goes a second early then. After the first half that is minutes away.
func firstHalf() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil && time.Duration(now.Nsec) > time.Second/2 {
		time.Sleep(time.Second - time.Duration(now.Nsec))
	}
}

func memcached(args ...string) program {
	return program{
		name:    "memcached",
		install: memcachedInstall,
		args: func(addr string) []string {
			return append([]string{"-l", "127.0.0.1", "-p", port(addr), "-U", "0", "-u", "nobody", "-t", "2"}, args...)
		},
		pid:   "stats\r\n",
		pidAt: "STAT pid ",
	}
}
