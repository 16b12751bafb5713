package appcache_test

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

func TestSetGetInvalidate(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[user](cachetest.NewMemory(), nil)
	key := userKey{id: "54"}

	got, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
	require.Zero(t, got)

	ann := user{ID: 54, Name: "Ann", Tags: []string{"a", "b"}}
	require.NoError(t, cache.Set(ctx, key, ann, time.Hour))
	got, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, ann, got)

	// A zero value is a value.
	require.NoError(t, cache.Set(ctx, key, user{}, 0))
	got, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)
	require.Zero(t, got)

	require.NoError(t, cache.Invalidate(ctx, key))
	require.NoError(t, cache.Invalidate(ctx, key), "what isn't there can be invalidated")
	_, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
}

// What Get returns shares nothing with what was set, nor with what another Get returns.
func TestValuesAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[user](cachetest.NewMemory(), nil)
	bytesCache := appcache.New[[]byte](cachetest.NewMemory(), nil)
	ann := user{Name: "Ann", Tags: []string{"a"}}
	raw := []byte("raw")
	require.NoError(t, cache.Set(ctx, userKey{id: "1"}, ann, 0))
	require.NoError(t, bytesCache.SetByStr(ctx, "1", raw, 0, false))
	ann.Tags[0], raw[0] = "changed", 'X'
	for range 2 {
		got, _, err := cache.Get(ctx, userKey{id: "1"})
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, got.Tags)
		got.Tags[0] = "changed"
		b, _, err := bytesCache.GetByStr(ctx, "1")
		require.NoError(t, err)
		require.Equal(t, "raw", string(b))
		b[0] = 'X'
	}
}

func TestTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		cache := appcache.New[string](cachetest.NewMemory(), nil)
		key := appcache.StringKey[string]("k")
		require.NoError(t, cache.Set(ctx, key, "v", time.Minute))
		require.NoError(t, cache.SetByStr(ctx, "for ever", "v", 0, false))
		time.Sleep(time.Minute - 1)
		_, found, err := cache.Get(ctx, key)
		require.NoError(t, err)
		require.True(t, found)
		time.Sleep(1)
		_, found, err = cache.Get(ctx, key)
		require.NoError(t, err)
		require.False(t, found)
		time.Sleep(100 * 365 * 24 * time.Hour)
		_, found, err = cache.GetByStr(ctx, "for ever")
		require.NoError(t, err)
		require.True(t, found)
	})
}

func TestNegativeTTL(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	for _, key := range []appcache.Key[[]byte]{appcache.StringKey[[]byte]("k"), likes(likesOf)} {
		require.ErrorIs(t, cache.Set(ctx, key, nil, -1), appcache.ErrNegativeTTL)
		_, err := cache.GetVia(ctx, key, -time.Second, neverGet(t))
		require.ErrorIs(t, err, appcache.ErrNegativeTTL)
		require.ErrorIs(t, cache.SetVia(ctx, key, nil, -time.Hour, neverSet(t)), appcache.ErrNegativeTTL)
	}
	require.ErrorIs(t, cache.SetByStr(ctx, "k", nil, -1, true), appcache.ErrNegativeTTL)
	require.Empty(t, b.seen(), "something was sent")
}

// A call whose context is done sends nothing, whatever the backend makes of contexts.
func TestDoneContext(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{canceled, context.Canceled}, {late, context.DeadlineExceeded}} {
		b := newSpy()
		cache := appcache.New[[]byte](b, nil)
		for _, key := range []appcache.Key[[]byte]{appcache.StringKey[[]byte]("k"), likes(likesOf)} {
			_, found, err := cache.Get(c.ctx, key)
			require.ErrorIs(t, err, c.want)
			require.False(t, found)
			require.ErrorIs(t, cache.Set(c.ctx, key, nil, 0), c.want)
			require.ErrorIs(t, cache.Invalidate(c.ctx, key), c.want)
			_, err = cache.GetVia(c.ctx, key, 0, neverGet(t))
			require.ErrorIs(t, err, c.want)
			require.ErrorIs(t, cache.SetVia(c.ctx, key, nil, 0, neverSet(t)), c.want)
			_, err = cache.Path(c.ctx, key)
			require.ErrorIs(t, err, c.want)
		}
		require.ErrorIs(t, cache.InvalidateNamespace(c.ctx, likesOf), c.want)
		require.ErrorIs(t, cache.Clear(c.ctx), c.want)
		require.Empty(t, b.seen(), "something was sent")
	}
}

func TestBackendErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	key := appcache.StringKey[[]byte]("users/54")
	secret := []byte("secret")
	require.NoError(t, cache.Set(ctx, key, secret, 0))
	b.fail(errDown, errDown, errDown)

	got, found, err := cache.Get(ctx, key)
	require.ErrorIs(t, err, errDown)
	require.EqualError(t, err, `appcache: get "appcache/users/54": the store is down`)
	require.False(t, found)
	require.Nil(t, got)
	err = cache.Set(ctx, key, secret, 0)
	require.ErrorIs(t, err, errDown)
	require.EqualError(t, err, `appcache: set "appcache/users/54": the store is down`)
	require.EqualError(t, cache.Invalidate(ctx, key), `appcache: invalidate "appcache/users/54": the store is down`)

	b.fail(nil, nil, nil)
	got, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, secret, got)
}

type failingClear struct{ *cachetest.Memory }

func (failingClear) Clear(context.Context) error { return errDown }

func TestClear(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := cachetest.NewMemory()
	one := appcache.New[string](b, &appcache.Options{Prefix: "one"})
	two := appcache.New[string](b, &appcache.Options{Prefix: "two"})
	require.NoError(t, one.SetByStr(ctx, "k", "v", 0, false))
	require.NoError(t, two.SetByStr(ctx, "k", "v", 0, false))
	require.NoError(t, one.Clear(ctx))
	for _, c := range []*appcache.Cache[string]{one, two} {
		_, found, err := c.GetByStr(ctx, "k")
		require.NoError(t, err)
		require.False(t, found)
	}
	err := appcache.New[string](failingClear{b}, nil).Clear(ctx)
	require.ErrorIs(t, err, errDown)
	require.EqualError(t, err, "appcache: clear: the store is down")
}

func TestValueThatCannotBeSerialised(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[map[string]any](b, nil)
	value := map[string]any{"secret": func() {}}
	for _, key := range []appcache.Key[map[string]any]{
		appcache.StringKey[map[string]any]("k"),
		namespaced{appcache.Generation("g")},
	} {
		err := cache.Set(ctx, key, value, 0)
		require.ErrorContains(t, err, "serialising a map[string]interface {}: ")
		require.NotContains(t, err.Error(), "secret")
		require.Empty(t, b.seen(), "something was sent")
		_, err = cache.GetVia(ctx, key, 0, func(context.Context) (map[string]any, error) { return value, nil })
		require.ErrorContains(t, err, "serialising a map[string]interface {}: ")
		for _, call := range b.seen() {
			require.NotContains(t, call, "set appcache/k")
		}
	}
}

type namespaced struct{ ns appcache.NamespaceKey }

func (namespaced) CacheKeySegments() []string                 { return []string{"k"} }
func (n namespaced) NamespaceKey() appcache.NamespaceKey      { return n.ns }
func (namespaced) ShouldCompress(map[string]any, []byte) bool { return false }

// small is a backend that takes no more than ten bytes.
type small struct{ *spy }

func (s small) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if len(value) > 10 {
		return appcache.ErrTooLarge
	}
	return s.spy.SetRaw(ctx, key, value, ttl)
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[string](small{newSpy()}, nil)
	require.NoError(t, cache.SetByStr(ctx, "k", "short", 0, false))
	require.ErrorIs(t, cache.SetByStr(ctx, "k", "longer than that", 0, false), appcache.ErrTooLarge)
	got, found, err := cache.GetByStr(ctx, "k")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "short", got)

	squeezed := appcache.New[string](cachetest.NewMemory(), &appcache.Options{Compressor: appcache.Gzip{MaxSize: 10}})
	require.NoError(t, squeezed.SetByStr(ctx, "k", "short", 0, true))
	require.ErrorIs(t, squeezed.SetByStr(ctx, "k", "longer than that", 0, true), appcache.ErrTooLarge)
	got, _, err = squeezed.GetByStr(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "short", got)
}

// An awkward key works, and is none of the others.
func TestAwkwardKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[string](cachetest.NewMemory(), nil)
	long := strings.Repeat("x", 10_000)
	keys := []string{" ", "  ", "a b", "a\tb", "a\nb", "a\x00b", "\xff", "\xfe", "é", "e\u0301", "*", "?", "[a]", long, long + "y", "A", "a", "@", "%40", "a%2Fb", "a/b", "a//b"}
	for _, k := range keys {
		require.NoError(t, cache.SetByStr(ctx, k, k, 0, false))
	}
	for _, k := range keys {
		got, found, err := cache.GetByStr(ctx, k)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, k, got)
	}
}

func TestNewPanics(t *testing.T) {
	t.Parallel()
	b := cachetest.NewMemory()
	type sealed struct{ secret int }
	for _, c := range []struct {
		name string
		make func()
		want string
	}{
		{"nil backend", func() { appcache.New[int](nil, nil) }, "the backend is nil; pass one"},
		{"nil pointer", func() { appcache.New[int]((*cachetest.Memory)(nil), nil) }, "the backend is nil; pass one"},
		{"prefix", func() { appcache.New[int](b, &appcache.Options{Prefix: "//"}) }, `Options.Prefix is "//"; write a name`},
		{"compress over", func() { appcache.New[int](b, &appcache.Options{CompressOver: -1}) }, "Options.CompressOver is -1; write"},
		{"gzip level", func() { appcache.New[int](b, &appcache.Options{Compressor: appcache.Gzip{Level: 10}}) }, "Gzip.Level is 10; write"},
		{"gzip size", func() { appcache.New[int](b, &appcache.Options{Compressor: appcache.Gzip{MaxSize: -1}}) }, "Gzip.MaxSize is -1; write"},
		{"gzip pointer", func() { appcache.New[int](b, &appcache.Options{Compressor: &appcache.Gzip{Level: 42}}) }, "Gzip.Level is 42; write"},
		{"nil map", func() { appcache.New[int](mapBackend(nil), nil) }, "the backend is nil; pass one"},
		{"nil compressor", func() { appcache.New[int](b, &appcache.Options{Compressor: (*appcache.Gzip)(nil)}) }, "is a nil pointer"},
		{"nil serialiser", func() { appcache.New[int](b, &appcache.Options{Serialiser: (*appcache.JSON)(nil)}) }, "is a nil pointer"},
		{"raw of an int", func() { appcache.New[int](b, &appcache.Options{Serialiser: appcache.Raw{}}) }, "Raw keeps []byte and string, not int"},
		{"nothing exported", func() { appcache.New[sealed](b, nil) }, "appcache.New[appcache_test.sealed]: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				text, ok := recover().(string)
				require.True(t, ok, "it doesn't panic with a text")
				require.Contains(t, text, "appcache.New[")
				require.Contains(t, text, c.want)
			}()
			c.make()
		})
	}
}

// mapBackend is a backend that can be nil without being a pointer.
type mapBackend map[string]string

func (mapBackend) GetRaw(context.Context, string) ([]byte, bool, error)        { return nil, false, nil }
func (mapBackend) SetRaw(context.Context, string, []byte, time.Duration) error { return nil }
func (mapBackend) InvalidateRaw(context.Context, string) error                 { return nil }
func (mapBackend) Clear(context.Context) error                                 { return nil }

// oddBackend isn't equal to itself if its number isn't one.
type oddBackend struct {
	*cachetest.Memory
	number float64
}

// Any value can be a backend, also one that can't be a key of a map.
func TestBackendsByValue(t *testing.T) {
	t.Parallel()
	type uncomparable struct {
		*cachetest.Memory
		_ []int
	}
	for _, b := range []appcache.RawBackend{
		oddBackend{cachetest.NewMemory(), math.NaN()}, oddBackend{cachetest.NewMemory(), 1}, uncomparable{Memory: cachetest.NewMemory()},
	} {
		cache := appcache.New[[]byte](b, nil)
		calls := 0
		for range 2 {
			got, err := cache.GetVia(t.Context(), viaKey, 0, get("loaded", &calls))
			require.NoError(t, err)
			require.Equal(t, "loaded", string(got))
		}
		require.Equal(t, 1, calls)
		require.NoError(t, cache.Invalidate(t.Context(), viaKey))
		require.NoError(t, cache.Clear(t.Context()))
		_, found, err := cache.Get(t.Context(), viaKey)
		require.NoError(t, err)
		require.False(t, found)
	}
}

// The options can be shared by caches of several types, and are copied.
func TestOptionsAreShared(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := cachetest.NewMemory()
	opts := &appcache.Options{Prefix: "shared"}
	users := appcache.New[user](b, opts)
	texts := appcache.New[string](b, opts)
	opts.Prefix = "changed"
	require.NoError(t, users.SetByStr(ctx, "u", user{ID: 1}, 0, false))
	require.NoError(t, texts.SetByStr(ctx, "t", "text", 0, false))
	require.Equal(t, "text", stored(t, b, "shared/t"))
	require.True(t, strings.HasPrefix(stored(t, b, "shared/u"), "\x82\x1a"), "a struct isn't stored as CBOR")
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[user](cachetest.NewMemory(), &appcache.Options{CompressOver: 1})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				key := userKey{id: string(rune('a' + i%5))}
				switch (g + i) % 4 {
				case 0, 1:
					got, found, err := cache.Get(ctx, key)
					if err != nil || found && got.Name != key.id {
						t.Errorf("Get(%q) = %v, %v, %v", key.id, got, found, err)
					}
				case 2:
					if err := cache.Set(ctx, key, user{Name: key.id, Tags: []string{strings.Repeat(key.id, 100)}}, 0); err != nil {
						t.Error(err)
					}
				case 3:
					if err := cache.Invalidate(ctx, key); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// A user's error type is seen through the cache's wrapping.
func TestErrorsAreSeenThrough(t *testing.T) {
	t.Parallel()
	b := newSpy()
	b.fail(&storeError{code: 7}, nil, nil)
	_, _, err := appcache.New[string](b, nil).GetByStr(t.Context(), "k")
	var e *storeError
	require.ErrorAs(t, err, &e)
	require.Equal(t, 7, e.code)
}

type storeError struct{ code int }

func (*storeError) Error() string { return "store error" }
