package testserver

import (
	"context"
	"net"
	"testing"
)

const memcachedInstall = "make setup (or: apt-get install memcached, brew install memcached)"

// Memcached starts a memcached of the test's own. Further arguments go to the program as they are.
func Memcached(tb testing.TB, args ...string) *Server {
	tb.Helper()
	addr := FreeAddr(tb, 65535)
	_, port, _ := net.SplitHostPort(addr)
	args = append([]string{"-l", "127.0.0.1", "-p", port, "-U", "0", "-u", "nobody", "-t", "2"}, args...)
	return launch(tb, addr, memcachedInstall, "memcached", args, func(ctx context.Context, addr string) error {
		return dialAndExpect(ctx, addr, "version\r\n", "VERSION")
	})
}
