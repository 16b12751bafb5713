package testserver

import "testing"

const memcachedInstall = "make setup (or: apt-get install memcached, brew install memcached)"

// Memcached starts a memcached of the test's own. Further arguments go to the program as they are.
func Memcached(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return launch(tb, memcached(args...))
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
