package memcache_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/memcache"
)

// patience is a timeout for what is expected to be quick, on a machine that isn't.
const patience = 20 * time.Second

// open is memcache.Open for tests that aren't about timeouts.
func open(t testing.TB, servers ...string) *memcache.Backend {
	t.Helper()
	b, err := memcache.Open(nil, servers...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return memcache.SetTimeout(b, patience)
}

// client is gomemcache.New for tests that aren't about timeouts.
func client(t testing.TB, servers ...string) *gomemcache.Client {
	t.Helper()
	c := gomemcache.New(servers...)
	c.Timeout = patience
	c.MaxIdleConns = 64
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// both returns a backend of either kind.
func both(t testing.TB, servers ...string) map[string]*memcache.Backend {
	t.Helper()
	return map[string]*memcache.Backend{
		"New":  memcache.New(client(t, servers...), nil),
		"Open": open(t, servers...),
	}
}

// ask sends a request to a memcached and returns its answer, which ends in end.
func ask(t testing.TB, addr, request, end string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = c.Write([]byte(request))
	require.NoError(t, err)
	var answer []byte
	buf := make([]byte, 4096)
	for !strings.HasSuffix(string(answer), end) {
		n, err := c.Read(buf)
		require.NoError(t, err, "after %q", answer)
		answer = append(answer, buf[:n]...)
	}
	return string(answer)
}

// stat returns one of the statistics of a memcached.
func stat(t testing.TB, addr, name string) string {
	t.Helper()
	for line := range strings.Lines(ask(t, addr, "stats\r\n", "END\r\n")) {
		if value, ok := strings.CutPrefix(line, "STAT "+name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	require.Fail(t, "no such statistic", name)
	return ""
}

// listener is an address where connections behave badly. It is no memcached.
type listener struct {
	addr string

	mu   sync.Mutex
	seen []string // the other ends, in the order in which they came
}

// listen serves each connection with handle, which is given its number, from 0 on.
func listen(t testing.TB, handle func(n int, c net.Conn)) *listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &listener{addr: l.Addr().String()}
	var conns sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			n := len(s.seen)
			s.seen = append(s.seen, c.RemoteAddr().String())
			s.mu.Unlock()
			conns.Go(func() { handle(n, c) })
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return s
}

// connections returns how many there have been. Accept keeps their order, so when one that is made
// now has come, so have all before.
func (l *listener) connections(t testing.TB) int {
	t.Helper()
	c, err := net.DialTimeout("tcp", l.addr, patience)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	n := -1
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, addr := range l.seen {
			if addr == c.LocalAddr().String() {
				n = i
				l.seen = slices.Delete(l.seen, i, i+1) // not one of those to be counted
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
	return n
}

// hangUp waits for a request and closes the connection.
func hangUp(_ int, c net.Conn) {
	_, _ = c.Read(make([]byte, 1))
	_ = c.Close()
}

// hang never answers.
func hang(int, net.Conn) {}

func copyAndClose(dst, src net.Conn) {
	_, _ = io.Copy(dst, src)
	_ = dst.Close()
	_ = src.Close()
}
