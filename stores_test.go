package appcache_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
	"github.com/goappcache/appcache/redis"
	"github.com/goappcache/appcache/sqlitelru"
)

// store is one of the stores that the same code runs on.
type store struct {
	name    string
	make    func(t *testing.T) appcache.RawBackend
	tick    time.Duration // how late an entry may go
	tooMuch int           // bytes of a value that it doesn't take; 0: more than a test can make
}

var stores = []store{
	{"memory", func(*testing.T) appcache.RawBackend { return cachetest.NewMemory() }, 0, 0},
	{"redis", func(t *testing.T) appcache.RawBackend {
		client := goredis.NewClient(&goredis.Options{Addr: testserver.Redis(t).Addr})
		t.Cleanup(func() { _ = client.Close() })
		return redis.New(client)
	}, 100 * time.Millisecond, 0},
	{"memcached, a client", func(t *testing.T) appcache.RawBackend {
		client := gomemcache.New(testserver.Memcached(t).Addr)
		t.Cleanup(func() { _ = client.Close() })
		return memcache.New(client, nil)
	}, 2500 * time.Millisecond, 1 << 20},
	{"memcached, opened", func(t *testing.T) appcache.RawBackend {
		b, err := memcache.Open(nil, testserver.Memcached(t).Addr, testserver.Memcached(t).Addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = b.Close() })
		return b
	}, 2500 * time.Millisecond, 1 << 20},
	{"sqlite file", func(t *testing.T) appcache.RawBackend {
		b, err := sqlitelru.Open(filepath.Join(t.TempDir(), "cache.sqlite"), &sqlitelru.Options{MaxBytes: 10 << 20})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}, 100 * time.Millisecond, 10<<20 + 1},
}

// TestStores runs what the caches of the original can do, and what they must refuse, on every store.
func TestStores(t *testing.T) {
	// Not beside all the other tests: an opened memcached must answer within half a second.
	for _, s := range stores {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := s.make(t)
			for _, c := range []struct {
				name string
				run  func(t *testing.T, s store, b appcache.RawBackend)
			}{
				{"values", storeValues},
				{"read through", storeReadThrough},
				{"namespaces", storeNamespaces},
				{"prefixes", storePrefixes},
				{"awkward keys", storeAwkwardKeys},
				{"compression", storeCompression},
				{"bad input", storeBadInput},
				{"too large", storeTooLarge},
				{"TTLs", storeTTLs},
				{"clear", storeClear}, // last: the others' entries are gone after it
			} {
				t.Run(c.name, func(t *testing.T) { c.run(t, s, b) })
			}
		})
	}
}

func storeValues(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	users := appcache.New[user](b, nil)
	ann := user{ID: 54, Name: "Ann \x00\xff", Tags: []string{"", "b"}}
	_, found, err := users.Get(ctx, userKey{id: "54"})
	require.NoError(t, err)
	require.False(t, found)
	for _, value := range []user{ann, {}, {ID: math.MinInt}} {
		require.NoError(t, users.Set(ctx, userKey{id: "54"}, value, time.Hour))
		got, found, err := users.Get(ctx, userKey{id: "54"})
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, value, got)
	}
	require.NoError(t, users.InvalidateByStr(ctx, "users/54"))
	require.NoError(t, users.Invalidate(ctx, userKey{id: "54"}))
	_, found, err = users.GetByStr(ctx, "users/54")
	require.NoError(t, err)
	require.False(t, found)

	empty := appcache.New[string](b, nil)
	require.NoError(t, empty.SetByStr(ctx, "empty", "", 0, false))
	got, found, err := empty.GetByStr(ctx, "empty")
	require.NoError(t, err)
	require.True(t, found)
	require.Empty(t, got)
}

func storeReadThrough(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	cache := appcache.New[[]byte](b, nil)
	calls := 0
	for range 3 {
		got, err := cache.GetVia(ctx, appcache.StringKey[[]byte]("via"), time.Hour, get("loaded", &calls))
		require.NoError(t, err)
		require.Equal(t, "loaded", string(got))
	}
	require.Equal(t, 1, calls)
	var origin string
	set := func(_ context.Context, v []byte) error { origin = string(v); return nil }
	require.NoError(t, cache.SetVia(ctx, appcache.StringKey[[]byte]("via"), []byte("set"), time.Hour, set))
	require.Equal(t, "set", origin)
	got, found, err := cache.GetByStr(ctx, "via")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "set", string(got))
}

func storeNamespaces(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	cache := appcache.New[[]byte](b, nil)
	require.NoError(t, cache.Set(ctx, changed, []byte("\x00 monday/\xff"), 0))
	for _, ns := range []appcache.NamespaceKey{likesOf, appcache.NamespaceOf(changed)} {
		require.NoError(t, cache.Set(ctx, likes(ns), []byte("tea"), time.Hour))
		got, found, err := cache.Get(ctx, likes(ns))
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "tea", string(got))
		require.NoError(t, cache.InvalidateNamespace(ctx, ns))
		_, found, err = cache.Get(ctx, likes(ns))
		require.NoError(t, err)
		require.False(t, found)
	}
	require.ErrorIs(t, cache.Set(ctx, likes(appcache.NamespaceOf(changed)), nil, 0), appcache.ErrNoNamespace)
}

func storePrefixes(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	one := appcache.New[string](b, &appcache.Options{Prefix: "one"})
	two := appcache.New[string](b, &appcache.Options{Prefix: "two"})
	require.NoError(t, one.SetByStr(ctx, "k", "1", 0, false))
	require.NoError(t, two.SetByStr(ctx, "k", "2", 0, false))
	got, _, err := one.GetByStr(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "1", got)
}

func storeAwkwardKeys(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	cache := appcache.New[string](b, nil)
	long := strings.Repeat("x", 10_000)
	keys := []string{
		" ", "  ", "a b", "a\tb", "a\nb", "a\r\nb", "a\x00b", "a\x00", "a", "A", "\x7f", "\xff", "\xfe", "\xc3", "é", "e\u0301", "*", "?", "[a]",
		long, long + "y", "y" + long, "@", "%40", "%2540", "a%2Fb", "a/b", "a//b", "a/", "'; DROP TABLE x; --", strings.Repeat("a", 250), strings.Repeat("a", 251),
	}
	for _, k := range keys {
		require.NoError(t, cache.SetByStr(ctx, k, k, time.Hour, false), "%.40q", k)
	}
	for _, k := range keys {
		got, found, err := cache.GetByStr(ctx, k)
		require.NoError(t, err)
		require.True(t, found, "%.40q", k)
		require.Equal(t, k, got)
	}
	for i, k := range keys {
		require.NoError(t, cache.InvalidateByStr(ctx, k))
		_, found, err := cache.GetByStr(ctx, k)
		require.NoError(t, err)
		require.False(t, found)
		if i+1 < len(keys) {
			_, found, err = cache.GetByStr(ctx, keys[i+1])
			require.NoError(t, err)
			require.True(t, found, "%.40q went with %.40q", keys[i+1], k)
		}
	}
}

func storeCompression(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	cache := appcache.New[[]byte](b, &appcache.Options{CompressOver: 1000})
	zipped, err := appcache.Gzip{}.Compress([]byte("gzip of our own"))
	require.NoError(t, err)
	for i, value := range []string{"", "short", strings.Repeat("long", 10_000), string(zipped), "\x00ac\x01", "\x00ac\x01" + string(zipped)} {
		for _, compress := range []bool{false, true} {
			key := bytesKey{segments: []string{"compression", fmt.Sprint(i)}, compress: compress}
			require.NoError(t, cache.Set(ctx, key, []byte(value), time.Hour))
			got, found, err := cache.Get(ctx, key)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, value, string(got))
		}
	}
	data, found, err := b.GetRaw(ctx, "appcache/compression/2")
	require.NoError(t, err)
	require.True(t, found)
	require.Less(t, len(data), 1000)
}

func storeBadInput(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	cache := appcache.New[[]byte](b, nil)
	key := appcache.StringKey[[]byte]("bad input")
	require.NoError(t, cache.Set(ctx, key, []byte("old"), time.Hour))
	require.ErrorIs(t, cache.Set(ctx, key, []byte("new"), -1), appcache.ErrNegativeTTL)
	require.ErrorIs(t, cache.SetByStr(ctx, "", []byte("new"), 0, false), appcache.ErrEmptyKey)
	done, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, cache.Set(done, key, []byte("new"), time.Hour), context.Canceled)
	require.ErrorIs(t, cache.Invalidate(done, key), context.Canceled)
	require.ErrorIs(t, cache.Clear(done), context.Canceled)
	_, found, err := cache.Get(done, key)
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, found)

	anything := appcache.New[any](b, nil)
	err = anything.SetByStr(ctx, "bad input", make(chan int), 0, false)
	require.ErrorContains(t, err, "interface {}")

	got, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "old", string(got))

	// What another program, or another type, left there is a miss.
	users := appcache.New[user](b, nil)
	_, found, err = users.GetByStr(ctx, "bad input")
	require.NoError(t, err)
	require.False(t, found)
}

func storeTooLarge(t *testing.T, s store, b appcache.RawBackend) {
	ctx := t.Context()
	if s.tooMuch == 0 {
		// Such a store takes what a program can have in memory, so a large value is to come back.
		s.tooMuch = 20 << 20
		cache := appcache.New[[]byte](b, nil)
		require.NoError(t, cache.SetByStr(ctx, "large", make([]byte, s.tooMuch), time.Hour, false))
		got, found, err := cache.GetByStr(ctx, "large")
		require.NoError(t, err)
		require.True(t, found)
		require.Len(t, got, s.tooMuch)
		require.NoError(t, cache.InvalidateByStr(ctx, "large"))
		return
	}
	cache := appcache.New[[]byte](b, nil)
	require.NoError(t, cache.SetByStr(ctx, "large", []byte("old"), time.Hour, false))
	require.ErrorIs(t, cache.SetByStr(ctx, "large", make([]byte, s.tooMuch), time.Hour, false), appcache.ErrTooLarge)
	got, found, err := cache.GetByStr(ctx, "large")
	require.NoError(t, err)
	require.True(t, found, "the old entry is gone")
	require.Equal(t, "old", string(got))

	// The loader's caller gets the value all the same.
	value, err := cache.GetVia(ctx, appcache.StringKey[[]byte]("large, via"), 0, func(context.Context) ([]byte, error) { return make([]byte, s.tooMuch), nil })
	require.NoError(t, err)
	require.Len(t, value, s.tooMuch)
}

func storeTTLs(t *testing.T, s store, b appcache.RawBackend) {
	ctx := t.Context()
	cache := appcache.New[string](b, nil)
	has := func(key string) bool {
		_, found, err := cache.GetByStr(ctx, key)
		require.NoError(t, err)
		return found
	}
	ever := map[string]time.Duration{
		"0": 0, "30 days": 30 * 24 * time.Hour, "31 days": 31 * 24 * time.Hour, "100 years": 100 * 365 * 24 * time.Hour, "most": math.MaxInt64,
	}
	for key, ttl := range ever {
		require.NoError(t, cache.SetByStr(ctx, key, "v", ttl, false))
	}
	const short = 1500 * time.Millisecond
	begin := time.Now()
	require.NoError(t, cache.SetByStr(ctx, "tiny", "v", 1, false))
	require.NoError(t, cache.SetByStr(ctx, "short", "v", short, false))
	end := time.Now().Add(short) // at the latest
	if found := has("short"); time.Since(begin) < short {
		require.True(t, found, "it went before its time")
	}
	time.Sleep(time.Until(begin.Add(short / 2)))
	if found := has("short"); time.Since(begin) < short {
		require.True(t, found, "it went before its time")
	}
	time.Sleep(time.Until(end.Add(s.tick + time.Millisecond)))
	require.False(t, has("short"), "it is still there %v after its end", s.tick)
	require.False(t, has("tiny"))
	for key := range ever {
		require.True(t, has(key), key)
	}
}

func storeClear(t *testing.T, _ store, b appcache.RawBackend) {
	ctx := t.Context()
	cache := appcache.New[string](b, nil)
	for i := range 100 {
		require.NoError(t, cache.SetByStr(ctx, fmt.Sprint("clear/", i), "v", 0, false))
	}
	require.NoError(t, cache.Clear(ctx))
	for i := range 100 {
		_, found, err := cache.GetByStr(ctx, fmt.Sprint("clear/", i))
		require.NoError(t, err)
		require.False(t, found)
	}
	require.NoError(t, cache.SetByStr(ctx, "clear/0", "again", 0, false))
	got, found, err := cache.GetByStr(ctx, "clear/0")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "again", got)
}
