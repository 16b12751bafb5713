package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
)

// exampleAddr is the server of the examples, for an example has no testing.T to start one with.
var exampleAddr string

func TestMain(m *testing.M) {
	goredis.SetLogger(&logged)
	os.Exit(testserver.Main(m, func(tb testing.TB) { exampleAddr = testserver.Redis(tb).Addr }))
}

// logged is what go-redis would have written to stderr.
var logged logger

type logger struct {
	mu    sync.Mutex
	lines []string
}

func (l *logger) Printf(_ context.Context, format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, v...))
}

// contains says whether a line that holds part was logged.
func (l *logger) contains(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

// newClient returns a client of a server, set up as the documentation advises, and closes it when the
// test is over.
func newClient(tb testing.TB, addr string, change ...func(*goredis.Options)) *goredis.Client {
	tb.Helper()
	opts := &goredis.Options{Addr: addr, ContextTimeoutEnabled: true}
	for _, f := range change {
		f(opts)
	}
	client := goredis.NewClient(opts)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// commands is a hook that records what is sent.
type commands struct {
	mu   sync.Mutex
	sent [][]any
}

func (c *commands) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *commands) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		c.record(cmd)
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		c.record(cmds...)
		return next(ctx, cmds)
	}
}

func (c *commands) record(cmds ...goredis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		if name := cmd.Name(); name == "hello" || name == "client" {
			continue // the handshake of a connection
		}
		c.sent = append(c.sent, cmd.Args())
	}
}

// take returns what was sent since the last call.
func (c *commands) take() [][]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.sent
	c.sent = nil
	return sent
}

// size returns the number of keys that a server has.
func size(t *testing.T, s *testserver.Server) string {
	t.Helper()
	return strings.TrimPrefix(s.Do(t, "DBSIZE"), ":")
}

func requireSize(t *testing.T, want string, servers ...*testserver.Server) {
	t.Helper()
	for _, s := range servers {
		require.Equal(t, want, size(t, s), "the keys of %s", s.Addr)
	}
}
