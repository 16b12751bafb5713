package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

func TestNewNil(t *testing.T) {
	t.Parallel()
	b := redis.New(nil)
	opts := redis.Client(b).(*goredis.Client).Options()
	require.Equal(t, "localhost:6379", opts.Addr)
	require.Zero(t, opts.DB)
	require.True(t, opts.ContextTimeoutEnabled)

	require.NoError(t, b.Close())
	_, _, err := b.GetRaw(t.Context(), "key")
	require.ErrorIs(t, err, goredis.ErrClosed, "Close closes the client that New made")
	require.NoError(t, b.Close(), "closing twice")
}

func TestNewPanicsOnNilPointer(t *testing.T) {
	t.Parallel()
	for _, client := range []goredis.UniversalClient{
		(*goredis.Client)(nil), (*goredis.ClusterClient)(nil), (*goredis.Ring)(nil), (*goredis.AutoPipeliner)(nil),
	} {
		name := fmt.Sprintf("%T", client)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.PanicsWithValue(t, "redis: New was given a nil "+name+
				": pass a client, or nil itself for the server at localhost:6379", func() { redis.New(client) })
		})
	}
}

func TestCloseLeavesCallersClient(t *testing.T) {
	t.Parallel()
	client := newClient(t, testserver.Redis(t).Addr)
	b := redis.New(client)
	require.NoError(t, b.Close())
	require.NoError(t, client.Ping(t.Context()).Err())
	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), 0))
}

// Each call is one command. What is sent is compared whole, so that a TTL of -1, which go-redis
// takes for "keep the TTL", would be seen.
func TestCommands(t *testing.T) {
	t.Parallel()
	client, sent := newClient(t, testserver.Redis(t).Addr), &commands{}
	client.AddHook(sent)
	b := redis.New(client)
	value := []byte("value")
	set := func(ttl time.Duration) func(context.Context) error {
		return func(ctx context.Context) error { return b.SetRaw(ctx, "key", value, ttl) }
	}
	for _, tt := range []struct {
		name string
		call func(ctx context.Context) error
		want []any
	}{
		{"get of an absent key", func(ctx context.Context) error { _, _, err := b.GetRaw(ctx, "key"); return err }, []any{"get", "key"}},
		{"set for ever", set(0), []any{"set", "key", value}},
		{"set for a nanosecond", set(1), []any{"set", "key", value, "px", int64(1)}},
		{"set for almost a millisecond", set(time.Millisecond - 1), []any{"set", "key", value, "px", int64(1)}},
		{"set for a millisecond", set(time.Millisecond), []any{"set", "key", value, "px", int64(1)}},
		{"set for a little more", set(time.Millisecond + 1), []any{"set", "key", value, "px", int64(2)}},
		{"set for part milliseconds", set(1500700 * time.Microsecond), []any{"set", "key", value, "px", int64(1501)}},
		{"set for almost a second", set(time.Second - 1), []any{"set", "key", value, "ex", int64(1)}},
		{"set for a second", set(time.Second), []any{"set", "key", value, "ex", int64(1)}},
		{"set for a year", set(365 * 24 * time.Hour), []any{"set", "key", value, "ex", int64(365 * 24 * 60 * 60)}},
		{"set for as long as can be", set(math.MaxInt64), []any{"set", "key", value, "px", int64(math.MaxInt64 / time.Millisecond)}},
		{"set for almost that", set(math.MaxInt64 - 1e6), []any{"set", "key", value, "px", int64(math.MaxInt64 / time.Millisecond)}},
		{"get of a present key", func(ctx context.Context) error { _, _, err := b.GetRaw(ctx, "key"); return err }, []any{"get", "key"}},
		{"invalidate", func(ctx context.Context) error { return b.InvalidateRaw(ctx, "key") }, []any{"del", "key"}},
		{"invalidate an absent key", func(ctx context.Context) error { return b.InvalidateRaw(ctx, "key") }, []any{"del", "key"}},
		{"clear", b.Clear, []any{"flushdb"}},
	} {
		require.NoError(t, tt.call(t.Context()), tt.name)
		require.Equal(t, [][]any{tt.want}, sent.take(), tt.name)
	}
	require.False(t, logged.contains("minimal supported value"), "go-redis complains of a TTL")
}

func TestTTL(t *testing.T) {
	t.Parallel()
	client := newClient(t, testserver.Redis(t).Addr)
	b := redis.New(client)
	for _, tt := range []struct {
		name string
		ttl  time.Duration
		left time.Duration // of the key, right after; 0: it never expires
	}{
		{"for ever", 0, 0},
		{"a minute", time.Minute, time.Minute},
		{"31 days", 31 * 24 * time.Hour, 31 * 24 * time.Hour},
		{"a century", 100 * 365 * 24 * time.Hour, 100 * 365 * 24 * time.Hour},
		{"as long as can be", math.MaxInt64, math.MaxInt64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, b.SetRaw(t.Context(), "key", nil, tt.ttl))
			left, err := client.PTTL(t.Context(), "key").Result()
			require.NoError(t, err)
			if tt.left == 0 {
				require.EqualValues(t, -1, left, "PTTL of a key that doesn't expire, though an earlier one did")
				return
			}
			require.InDelta(t, float64(tt.left), float64(left), float64(30*time.Second))
		})
	}
	t.Run("a nanosecond", func(t *testing.T) {
		require.NoError(t, b.SetRaw(t.Context(), "key", nil, 1))
		require.Eventually(t, func() bool {
			_, found, err := b.GetRaw(t.Context(), "key")
			return err == nil && !found
		}, 20*time.Second, time.Millisecond, "a TTL of less than a millisecond never ends")
	})
	t.Run("negative", func(t *testing.T) {
		require.NoError(t, b.SetRaw(t.Context(), "key", []byte("old"), time.Minute))
		for _, ttl := range []time.Duration{-1, -time.Second, math.MinInt64} {
			require.ErrorIs(t, b.SetRaw(t.Context(), "key", []byte("new"), ttl), appcache.ErrNegativeTTL)
		}
		require.Equal(t, "old", client.Get(t.Context(), "key").Val())
	})
}

func TestWrongTypeIsNoMiss(t *testing.T) {
	t.Parallel()
	client := newClient(t, testserver.Redis(t).Addr)
	b := redis.New(client)
	require.NoError(t, client.RPush(t.Context(), "key", "element").Err())

	value, found, err := b.GetRaw(t.Context(), "key")
	require.True(t, goredis.HasErrorPrefix(err, "WRONGTYPE"), "got %v", err)
	require.False(t, found)
	require.Nil(t, value)

	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), 0), "a set replaces whatever is there")
	value, found, err = b.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "value", string(value))

	require.NoError(t, client.RPush(t.Context(), "list", "element").Err())
	require.NoError(t, b.InvalidateRaw(t.Context(), "list"))
	require.Zero(t, client.Exists(t.Context(), "list").Val())
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	client, sent := newClient(t, testserver.Redis(t).Addr), &commands{}
	b := redis.New(client)
	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("old"), 0))
	client.AddHook(sent)

	// Mapped and never touched, it costs no memory.
	value, err := syscall.Mmap(-1, 0, 512<<20+1, syscall.PROT_READ, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	defer func() { _ = syscall.Munmap(value) }()
	err = b.SetRaw(t.Context(), "key", value, 0)
	require.ErrorIs(t, err, appcache.ErrTooLarge)
	require.EqualError(t, err, "redis: the value is too large: 536870913 bytes, of at most 536870912")
	require.Empty(t, sent.take())
	require.Equal(t, "old", client.Get(t.Context(), "key").Val())
}

func TestKeysAndValues(t *testing.T) {
	t.Parallel()
	client := newClient(t, testserver.Redis(t).Addr)
	b := redis.New(client)
	var every []byte
	for c := range 256 {
		every = append(every, byte(c))
	}
	keys := []string{
		"plain", "with space", " ", "new\r\nline", "nul\x00", "\x00", "tab\t", "\xff\xfe invalid UTF-8", "日本語",
		"{tag}", "{", "*", "$3\r\nkey\r\n", string(every), strings.Repeat("k", 10_000),
	}
	values := map[string][]byte{
		"nil": nil, "empty": {}, "binary": every, "protocol": []byte("$-1\r\n"), "nul": {0},
		"a megabyte": bytes.Repeat(every, 4096),
	}
	for name, value := range values {
		for _, key := range keys {
			require.NoError(t, b.SetRaw(t.Context(), key, value, 0))
			got, found, err := b.GetRaw(t.Context(), key)
			require.NoError(t, err)
			require.True(t, found, "%s under %.20q", name, key)
			require.True(t, bytes.Equal(value, got), "%s under %.20q", name, key)
			// As others see it: nothing of ours is around keys or values.
			require.Equal(t, string(value), client.Get(t.Context(), key).Val())
		}
		require.EqualValues(t, len(keys), client.DBSize(t.Context()).Val())
	}
	for _, key := range keys {
		require.NoError(t, b.InvalidateRaw(t.Context(), key))
		_, found, err := b.GetRaw(t.Context(), key)
		require.NoError(t, err)
		require.False(t, found)
	}
}

func TestValueIsTheCallers(t *testing.T) {
	t.Parallel()
	b := redis.New(newClient(t, testserver.Redis(t).Addr))
	stored := []byte("value")
	require.NoError(t, b.SetRaw(t.Context(), "key", stored, 0))
	clear(stored)
	first, _, err := b.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, "value", string(first))
	second, _, err := b.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	clear(first)
	_ = append(first, "and more"...)
	require.Equal(t, "value", string(second))
	third, _, err := b.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, "value", string(third))
}

func TestACL(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	s.Do(t, "ACL SETUSER app on >secret ~* +get +set +del")
	b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) { o.Username, o.Password = "app", "secret" }))

	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), time.Minute))
	value, found, err := b.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "value", string(value))
	require.NoError(t, b.InvalidateRaw(t.Context(), "key"))

	err = b.Clear(t.Context())
	require.True(t, goredis.IsPermissionError(err), "got %v", err)
	s.Do(t, "ACL SETUSER app -get")
	_, found, err = b.GetRaw(t.Context(), "key")
	require.True(t, goredis.IsPermissionError(err), "got %v", err)
	require.False(t, found)
}

func TestClearOneDatabase(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	client := newClient(t, s.Addr, func(o *goredis.Options) { o.DB = 3 })
	other := newClient(t, s.Addr)
	require.NoError(t, client.RPush(t.Context(), "not ours", "element").Err())
	require.NoError(t, other.Set(t.Context(), "key", "value", 0).Err())
	require.NoError(t, redis.New(client).Clear(t.Context()))
	require.Zero(t, client.DBSize(t.Context()).Val())
	require.EqualValues(t, 1, other.DBSize(t.Context()).Val())
}

// A server that is full refuses a set instead of evicting, unless its policy says otherwise.
func TestFullServer(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	b := redis.New(newClient(t, s.Addr))
	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("old"), 0))
	s.Do(t, "CONFIG SET maxmemory 1")
	err := b.SetRaw(t.Context(), "key", []byte("new"), 0)
	require.True(t, goredis.IsOOMError(err), "got %v", err)
	value, found, err := b.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "old", string(value))
	require.NoError(t, b.InvalidateRaw(t.Context(), "key"))
	require.NoError(t, b.Clear(t.Context()))
	s.Do(t, "CONFIG SET maxmemory 0")
	require.NoError(t, b.SetRaw(t.Context(), "key", []byte("new"), 0))
}

// AllocsPerRun can't be used beside parallel tests.
func TestAllocations(t *testing.T) {
	ctx := t.Context()
	b := redis.New(newClient(t, testserver.Redis(t).Addr))
	client := redis.Client(b) // a UniversalClient as well, which is called through an interface
	value := bytes.Repeat([]byte("v"), 1024)
	key := strings.Repeat("k", 20) // not a constant, which a call that is inlined need not allocate
	require.NoError(t, b.SetRaw(ctx, key, value, 0))
	for _, tt := range []struct {
		name          string
		bare, backend func() error
	}{
		{
			"get",
			func() error { _, err := client.Get(ctx, key).Bytes(); return err },
			func() error { _, _, err := b.GetRaw(ctx, key); return err },
		},
		{
			"set",
			func() error { return client.Set(ctx, key, value, time.Minute).Err() },
			func() error { return b.SetRaw(ctx, key, value, time.Minute) },
		},
		{
			"invalidate",
			func() error { return client.Del(ctx, key).Err() },
			func() error { return b.InvalidateRaw(ctx, key) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := func(f func() error) float64 {
				return testing.AllocsPerRun(500, func() {
					if err := f(); err != nil {
						t.Error(err)
					}
				})
			}
			require.LessOrEqual(t, run(tt.backend), run(tt.bare))
		})
	}
}
