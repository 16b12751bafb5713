package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

// methods are the four calls.
var methods = []struct {
	name string
	call func(ctx context.Context, b *redis.Backend) error
}{
	{"GetRaw", func(ctx context.Context, b *redis.Backend) error { _, _, err := b.GetRaw(ctx, "key"); return err }},
	{"SetRaw", func(ctx context.Context, b *redis.Backend) error {
		return b.SetRaw(ctx, "key", []byte("value"), time.Minute)
	}},
	{"InvalidateRaw", func(ctx context.Context, b *redis.Backend) error { return b.InvalidateRaw(ctx, "key") }},
	{"Clear", func(ctx context.Context, b *redis.Backend) error { return b.Clear(ctx) }},
}

func TestDoneContextSendsNothing(t *testing.T) {
	t.Parallel()
	client, sent := newClient(t, testserver.Redis(t).Addr), &commands{}
	client.AddHook(sent)
	b := redis.New(client)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, m := range methods {
		require.ErrorIs(t, m.call(cancelled, b), context.Canceled, m.name)
		require.ErrorIs(t, m.call(over, b), context.DeadlineExceeded, m.name)
	}
	require.Empty(t, sent.take())
}

func TestServerHangs(t *testing.T) {
	t.Parallel()
	// Whoever isn't let go by the context is stuck for much longer than these tests allow.
	const readTimeout, muchLess = 5 * time.Minute, 2 * time.Minute
	for _, tt := range []struct {
		name       string
		connected  bool
		maxRetries int
	}{
		{"on a connection", true, 0},
		{"while it is connected to", false, 0},
		{"and is asked only once", true, -1}, // else it is the wait for the retry that ends
	} {
		for _, m := range methods {
			t.Run(m.name+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				s := testserver.Redis(t)
				b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) {
					o.ReadTimeout = readTimeout
					o.MaxRetries = tt.maxRetries
				}))
				if tt.connected {
					require.NoError(t, m.call(t.Context(), b))
				}
				s.Pause(t)
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				// A read that meets the deadline is an "i/o timeout", which isn't the context's error.
				require.ErrorIs(t, m.call(ctx, b), context.DeadlineExceeded)
				require.Less(t, time.Since(begin), muchLess)

				s.Resume(t)
				require.NoError(t, m.call(t.Context(), b))
			})
		}
	}
}

// The timer of a socket may go off before that of the context, and then the context isn't done when
// the client returns.
func TestDeadlineOfSocketFirst(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) { o.MaxRetries = -1 }))
	for range 20 {
		together(t, 5, func() error { return b.SetRaw(t.Context(), "key", []byte("value"), 0) }) // opens connections
		s.Pause(t)
		together(t, 5, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			defer cancel()
			if _, _, err := b.GetRaw(ctx, "key"); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("want context.DeadlineExceeded, got %w", err)
			}
			return nil
		})
		s.Resume(t)
	}
}

// A cancel without a deadline doesn't interrupt a read, as the documentation says, but it is the
// last one.
func TestCancelWhileServerHangs(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := testserver.Redis(t)
			b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) {
				o.ReadTimeout = 500 * time.Millisecond
				o.MaxRetries = 1_000_000
			}))
			require.NoError(t, m.call(t.Context(), b))
			s.Pause(t)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			require.ErrorIs(t, m.call(ctx, b), context.Canceled)

			s.Resume(t)
			require.NoError(t, m.call(t.Context(), b))
		})
	}
}

// Without ContextTimeoutEnabled the client looks at the context when its own timeout is over.
func TestServerHangsWithoutDeadline(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := testserver.Redis(t)
			const readTimeout = 100 * time.Millisecond
			b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) {
				o.ReadTimeout = readTimeout
			}))
			together(t, 5, func() error { return b.SetRaw(t.Context(), "key", nil, 0) }) // opens connections
			s.Pause(t)
			begin := time.Now()
			err := m.call(t.Context(), b)
			var timeout net.Error
			require.ErrorAs(t, err, &timeout)
			require.True(t, timeout.Timeout())
			require.NotErrorIs(t, err, context.DeadlineExceeded, "no context is over")
			require.GreaterOrEqual(t, time.Since(begin), readTimeout)
			s.Resume(t)
			require.NoError(t, m.call(t.Context(), b))
		})
	}
}

func TestContextTimeoutNotEnabled(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	const readTimeout = time.Second
	b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) {
		o.ContextTimeoutEnabled = false
		o.ReadTimeout = readTimeout
	}))
	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), 0))
	s.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, _, err := b.GetRaw(ctx, "key")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.GreaterOrEqual(t, time.Since(begin), readTimeout-100*time.Millisecond, "the documentation may promise more")
}

// What the server answered isn't lost when the context ends at the same time.
func TestErrorOfBoth(t *testing.T) {
	t.Parallel()
	client := newClient(t, testserver.Redis(t).Addr)
	require.NoError(t, client.RPush(t.Context(), "key", "element").Err())
	ctx, cancel := context.WithCancel(t.Context())
	client.AddHook(afterHook{cancel})
	_, _, err := redis.New(client).GetRaw(ctx, "key")
	require.ErrorIs(t, err, context.Canceled)
	var reply goredis.Error
	require.ErrorAs(t, err, &reply)
	require.True(t, goredis.HasErrorPrefix(reply, "WRONGTYPE"))
}

// afterHook calls f when a command has been answered.
type afterHook struct{ f func() }

func (h afterHook) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (h afterHook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		defer h.f()
		return next(ctx, cmd)
	}
}

func (h afterHook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

func TestServerDown(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) { o.DialerRetries = 1 }))
	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), 0))
	s.Kill(t)
	for _, m := range methods {
		begin := time.Now()
		err := m.call(t.Context(), b)
		require.Error(t, err, m.name)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "no context is over")
		require.Less(t, time.Since(begin), time.Minute, m.name)
	}
	_, found, err := b.GetRaw(t.Context(), "key")
	require.Error(t, err)
	require.False(t, found)

	s.Start(t)
	require.Eventually(t, func() bool {
		_, _, err := b.GetRaw(t.Context(), "key")
		return err == nil // the pool looks for the server once a second when it has failed often
	}, 30*time.Second, 10*time.Millisecond)
}

// The pool notices that its connections are dead before it gives one out.
func TestServerRestarted(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	b := redis.New(newClient(t, s.Addr))
	for range 3 {
		together(t, 10, func() error { _, _, err := b.GetRaw(t.Context(), "key"); return err }) // opens connections
		s.Kill(t)
		s.Start(t)
		together(t, 10, func() error { return b.SetRaw(t.Context(), "key", []byte("value"), 0) })
	}
}

// together makes calls from n goroutines, which must all succeed.
func together(t *testing.T, n int, call func() error) {
	t.Helper()
	errs := make(chan error, n)
	for range n {
		go func() { errs <- call() }()
	}
	for range n {
		require.NoError(t, <-errs)
	}
}

// What SetVia does after its context has ended has a deadline, which is all that ends a read of go-redis: without
// one it would take as long as ReadTimeout.
func TestSetViaEndsSoonAfterItsContext(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, ReadTimeout: 5 * time.Minute})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	cache := appcache.New[string](redis.New(client), nil)
	const key = appcache.StringKey[string]("key")
	require.NoError(t, cache.Set(t.Context(), key, "old", 0))
	server.Pause(t)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := cache.SetVia(ctx, key, "new", 0, func(context.Context, string) error { return nil })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begin), time.Minute)
}
