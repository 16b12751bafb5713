package memcache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

// operations are the four methods as one kind of function.
var operations = []struct {
	name string
	run  func(context.Context, *memcache.Backend) error
}{
	{"GetRaw", func(ctx context.Context, b *memcache.Backend) error {
		_, _, err := b.GetRaw(ctx, "k")
		return err
	}},
	{"SetRaw", func(ctx context.Context, b *memcache.Backend) error {
		return b.SetRaw(ctx, "k", []byte("v"), time.Minute)
	}},
	{"SetRaw of much", func(ctx context.Context, b *memcache.Backend) error {
		return b.SetRaw(ctx, "k", make([]byte, 100_000), time.Minute)
	}},
	{"InvalidateRaw", func(ctx context.Context, b *memcache.Backend) error { return b.InvalidateRaw(ctx, "k") }},
	{"Clear", func(ctx context.Context, b *memcache.Backend) error { return b.Clear(ctx) }},
}

func TestBroken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"no error", nil, false},
		{"end of file", io.EOF, true},
		{"end of file in a value", io.ErrUnexpectedEOF, true},
		{"closed", &net.OpError{Op: "write", Err: net.ErrClosed}, true},
		{"broken pipe", &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, true},
		{"reset", &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, true},
		{"refused", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, true},
		{"wrapped", fmt.Errorf("tls: %w", &net.OpError{Op: "read", Err: syscall.ECONNRESET}), true},
		{"timeout of the socket", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, false},
		{"timeout of the network", &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}, false},
		{"timeout of gomemcache's dial", &gomemcache.ConnectTimeoutError{Addr: &net.TCPAddr{}}, false},
		{"miss", gomemcache.ErrCacheMiss, false},
		{"no servers", gomemcache.ErrNoServers, false},
		{"server's refusal", errors.New(`memcache: unexpected response line from "set": "SERVER_ERROR"`), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, memcache.Broken(test.err))
		})
	}
}

func TestBrokenConnectionIsRetriedOnce(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []string{"New", "Open"} {
				server := listen(t, hangUp)
				err := op.run(t.Context(), both(t, server.addr)[kind])
				require.Error(t, err, kind)
				require.True(t, memcache.Broken(err), "%s: %v", kind, err)
				require.Equal(t, 2, server.connections(t), kind)
			}
		})
	}
}

func TestTimeoutIsNotRetried(t *testing.T) {
	t.Parallel()
	const timeout = 100 * time.Millisecond
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for kind, backend := range map[string]func(addr string) *memcache.Backend{
				"New": func(addr string) *memcache.Backend {
					c := client(t, addr)
					c.Timeout = timeout
					return memcache.New(c, nil)
				},
				"Open": func(addr string) *memcache.Backend { return memcache.SetTimeout(open(t, addr), timeout) },
			} {
				server := listen(t, hang)
				err := op.run(t.Context(), backend(server.addr))
				var timedOut net.Error
				require.ErrorAs(t, err, &timedOut, kind)
				require.True(t, timedOut.Timeout(), "%s: %v", kind, err)
				require.Equal(t, 1, server.connections(t), kind)
			}
		})
	}
}

func TestTimeoutOfTheDialIsNotRetried(t *testing.T) {
	t.Parallel()
	t.Run("New", func(t *testing.T) {
		t.Parallel()
		c := gomemcache.New("127.0.0.1:1")
		c.Timeout = 50 * time.Millisecond
		var dials atomic.Int64
		c.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		_, _, err := memcache.New(c, nil).GetRaw(t.Context(), "k")
		var timedOut *gomemcache.ConnectTimeoutError
		require.ErrorAs(t, err, &timedOut)
		require.EqualValues(t, 1, dials.Load())
	})
	t.Run("Open", func(t *testing.T) {
		t.Parallel()
		b := memcache.SetTimeout(open(t, unreachable(t)), 50*time.Millisecond)
		_, _, err := b.GetRaw(t.Context(), "k")
		var timedOut net.Error
		require.ErrorAs(t, err, &timedOut)
		require.True(t, timedOut.Timeout(), "%v", err)
	})
}

// TestRestart: all idle connections are dead after a restart, however many there were, and no
// operation may fail for that.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, idle := range []int{1, 2, 10} {
		for _, kind := range []string{"New", "Open"} {
			t.Run(fmt.Sprintf("%s with %d connections", kind, idle), func(t *testing.T) {
				t.Parallel()
				server := testserver.Memcached(t)
				b := both(t, server.Addr)[kind]
				occupy(t, server, b, idle)
				for _, op := range operations {
					server.Kill(t)
					require.Error(t, op.run(t.Context(), b), "the server is down")
					server.Start(t)
					for range 15 {
						require.NoError(t, op.run(t.Context(), b), op.name)
					}
					occupy(t, server, b, idle)
					server.Kill(t)
					server.Start(t)
					for range 15 {
						require.NoError(t, op.run(t.Context(), b), op.name)
					}
					occupy(t, server, b, idle)
				}
			})
		}
	}
}

func TestRestartInABurst(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"New", "Open"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := testserver.Memcached(t)
			b := both(t, server.Addr)[kind]
			for range 5 {
				occupy(t, server, b, 10)
				server.Kill(t)
				server.Start(t)
				var wg sync.WaitGroup
				var failed atomic.Int64
				for i := range 32 {
					wg.Go(func() {
						for j := range 20 {
							key := fmt.Sprint(i, "/", j)
							if b.SetRaw(t.Context(), key, []byte(key), 0) != nil {
								failed.Add(1)
							}
							if value, _, err := b.GetRaw(t.Context(), key); err != nil || string(value) != key {
								failed.Add(1)
							}
						}
					})
				}
				wg.Wait()
				require.Zero(t, failed.Load())
			}
		})
	}
}

// TestQuietClient: the server's idle_timeout closes connections as a restart does.
func TestQuietClient(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"New", "Open"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := testserver.Memcached(t, "-o", "idle_timeout=1")
			b := both(t, server.Addr)[kind]
			occupy(t, server, b, 10)
			quiet, err := net.Dial("tcp", server.Addr)
			require.NoError(t, err)
			defer func() { _ = quiet.Close() }()
			require.NoError(t, quiet.SetDeadline(time.Now().Add(patience)))
			_, err = quiet.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF, "when the youngest is closed, the older ones are too")
			for range 15 {
				for _, op := range operations {
					require.NoError(t, op.run(t.Context(), b), op.name)
				}
			}
		})
	}
}

func TestDoneContextSendsNothing(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	server := listen(t, hangUp)
	for kind, b := range both(t, server.addr) {
		for _, op := range operations {
			require.ErrorIs(t, op.run(cancelled, b), context.Canceled, "%s %s", kind, op.name)
			require.ErrorIs(t, op.run(expired, b), context.DeadlineExceeded, "%s %s", kind, op.name)
		}
	}
	require.Zero(t, server.connections(t))
}

// TestContextEndsAnOperation: with a timeout of a minute only the context can end these in time.
func TestContextEndsAnOperation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		addr func(t *testing.T) string
	}{
		{"in the dial", func(t *testing.T) string { return unreachable(t) }},
		{"waiting for the answer", func(t *testing.T) string { return listen(t, hang).addr }},
		{"in the middle of the answer", func(t *testing.T) string {
			return listen(t, func(_ int, c net.Conn) { _, _ = c.Write([]byte("VALUE k 0 1000\r\nabc")) }).addr
		}},
		{"in the second attempt", func(t *testing.T) string {
			return listen(t, func(n int, c net.Conn) {
				if n == 0 {
					hangUp(n, c)
				}
			}).addr
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, op := range operations {
				t.Run(op.name, func(t *testing.T) {
					t.Parallel()
					b := memcache.SetTimeout(open(t, test.addr(t)), time.Minute)
					if test.name == "in the middle of the answer" && op.name != "GetRaw" {
						b = memcache.SetTimeout(open(t, listen(t, hang).addr), time.Minute)
					}
					begin := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					defer cancel()
					require.ErrorIs(t, op.run(ctx, b), context.DeadlineExceeded)

					ctx, cancel = context.WithCancel(t.Context())
					defer time.AfterFunc(50*time.Millisecond, cancel).Stop()
					require.ErrorIs(t, op.run(ctx, b), context.Canceled)
					require.Less(t, time.Since(begin), patience)
					require.Zero(t, memcache.Idle(b), "the connection must not be used again")
				})
			}
		})
	}
}

func TestContextEndsAnOperationOnAnIdleConnection(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	b := memcache.SetTimeout(open(t, server.Addr), time.Minute)
	require.NoError(t, b.SetRaw(t.Context(), "a", []byte("a"), 0))
	require.NoError(t, b.SetRaw(t.Context(), "b", []byte("b"), 0))
	require.Equal(t, 1, memcache.Idle(b))
	begin := time.Now()
	server.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := b.GetRaw(ctx, "a")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	server.Resume(t)
	require.Less(t, time.Since(begin), patience)
	require.Zero(t, memcache.Idle(b))
	value, _, err := b.GetRaw(t.Context(), "b")
	require.NoError(t, err)
	require.Equal(t, "b", string(value), "not the answer to the question before")
}

// TestContextOfACallersClient: the context can't interrupt it, but says what the error is.
func TestContextOfACallersClient(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			c := client(t, listen(t, hang).addr)
			c.Timeout = 200 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, op.run(ctx, memcache.New(c, nil)), context.DeadlineExceeded)
		})
	}
}

// TestContextEndsAfterTheAnswer: whoever closes the connection for it may come late, and mustn't hit
// the next operation.
func TestContextEndsAfterTheAnswer(t *testing.T) {
	t.Parallel()
	b := open(t, testserver.Memcached(t).Addr)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, memcache.Do(ctx, b, func(c *gomemcache.Client) error {
		err := c.Set(&gomemcache.Item{Key: "k"})
		cancel()
		return err
	}), "it has succeeded")
	require.Zero(t, memcache.Idle(b))

	ctx, cancel = context.WithCancel(t.Context())
	require.NoError(t, b.SetRaw(ctx, "k", nil, 0))
	cancel()
	require.Equal(t, 1, memcache.Idle(b), "it ended after the operation")
}

// TestContextsEndAnytime ends contexts at every point of an operation: each answer must be right,
// each error the context's, and other operations mustn't notice.
func TestContextsEndAnytime(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	b := open(t, server.Addr)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			key := fmt.Sprint("k", i)
			value := strings.Repeat(key, 1000)
			for range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				timer := time.AfterFunc(time.Duration(rand.IntN(400))*time.Microsecond, cancel)
				if err := b.SetRaw(ctx, key, []byte(value), 0); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("SetRaw: %v", err)
				}
				got, found, err := b.GetRaw(ctx, key)
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("GetRaw: %v", err)
				}
				if found && string(got) != value {
					t.Errorf("GetRaw of %s returned %q", key, got)
				}
				timer.Stop()
				cancel()
				if err := b.InvalidateRaw(t.Context(), fmt.Sprint("other", i)); err != nil {
					t.Errorf("InvalidateRaw: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	b := open(t, server.Addr)
	occupy(t, server, b, memcache.MaxIdle+8)
	require.Equal(t, memcache.MaxIdle, memcache.Idle(b))
	require.Eventually(t, func() bool { return stat(t, server.Addr, "curr_connections") == fmt.Sprint(memcache.MaxIdle+1) },
		patience, 10*time.Millisecond, "the others are closed, and one asks")
}

func TestClose(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	b := open(t, server.Addr)
	occupy(t, server, b, 3)

	server.Pause(t)
	inUse := make(chan error)
	go func() { inUse <- b.SetRaw(t.Context(), "k", []byte("v"), 0) }()
	require.Eventually(t, func() bool { return memcache.Idle(b) == 2 }, patience, time.Millisecond)
	require.NoError(t, b.Close())
	require.Zero(t, memcache.Idle(b))
	server.Resume(t)
	require.NoError(t, <-inUse, "what is under way may end")
	require.Zero(t, memcache.Idle(b))
	require.Eventually(t, func() bool { return stat(t, server.Addr, "curr_connections") == "1" }, patience, 10*time.Millisecond)

	for _, op := range operations {
		require.ErrorIs(t, op.run(t.Context(), b), net.ErrClosed, op.name)
	}
	require.NoError(t, b.Close())
}

func TestCloseLeavesACallersClientAlone(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	c := client(t, server.Addr)
	var dials atomic.Int64
	c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	b := memcache.New(c, nil)
	require.NoError(t, b.SetRaw(t.Context(), "k", []byte("v"), 0))
	require.NoError(t, b.Close())
	item, err := c.Get("k")
	require.NoError(t, err)
	require.Equal(t, "v", string(item.Value))
	require.EqualValues(t, 1, dials.Load(), "the client has kept its connection")
	require.Equal(t, patience, c.Timeout)
	require.Equal(t, 64, c.MaxIdleConns)
	_, found, err := b.GetRaw(t.Context(), "k")
	require.NoError(t, err)
	require.True(t, found)
}

// occupy makes n operations run at once, so that as many connections are idle afterwards. The server
// must have no other clients.
func occupy(t *testing.T, server *testserver.Server, b *memcache.Backend, n int) {
	t.Helper()
	for open := 0; open < min(n, memcache.MaxIdle); {
		server.Pause(t)
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			wg.Go(func() { _, _, errs[i] = b.GetRaw(t.Context(), "k") })
		}
		time.Sleep(50 * time.Millisecond) // nothing says from outside that all of them wait for their answer
		server.Resume(t)
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		connections, err := strconv.Atoi(stat(t, server.Addr, "curr_connections"))
		require.NoError(t, err)
		open = connections - 1 // one asks
	}
}

// unreachable returns an address where a dial gets no answer: its queue of connections is full.
func unreachable(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 1000 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	require.Fail(t, "the queue takes every connection")
	return ""
}
