package testserver

import (
	"context"
	"net"
	"testing"
)

const redisInstall = "make setup (or: apt-get install redis-server, brew install redis)"

// Redis starts a redis-server of the test's own, which keeps nothing on disk. Further arguments go
// to the program as they are.
func Redis(tb testing.TB, args ...string) *Server {
	tb.Helper()
	addr := FreeAddr(tb, 65535)
	_, port, _ := net.SplitHostPort(addr)
	args = append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", tb.TempDir(), "--save", "", "--appendonly", "no"}, args...)
	return launch(tb, addr, redisInstall, "redis-server", args, func(ctx context.Context, addr string) error {
		return dialAndExpect(ctx, addr, "PING\r\n", "+PONG")
	})
}
