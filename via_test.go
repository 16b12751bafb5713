package appcache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/stretchr/testify/require"
)

const viaKey = appcache.StringKey[[]byte]("k")

var errOrigin = errors.New("the origin is down")

func TestGetVia(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	calls := 0
	for range 3 {
		got, err := cache.GetVia(ctx, viaKey, time.Hour, get("loaded", &calls))
		require.NoError(t, err)
		require.Equal(t, "loaded", string(got))
	}
	require.Equal(t, 1, calls)

	require.NoError(t, cache.Invalidate(ctx, viaKey))
	got, err := cache.GetVia(ctx, viaKey, time.Hour, get("again", &calls))
	require.NoError(t, err)
	require.Equal(t, "again", string(got))
	require.Equal(t, 2, calls)
}

func TestGetViaTTL(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	got, err := cache.GetViaTTL(ctx, viaKey, func(context.Context) ([]byte, time.Duration, error) {
		return []byte("short"), time.Nanosecond, nil
	})
	require.NoError(t, err)
	require.Equal(t, "short", string(got))
	time.Sleep(time.Millisecond)
	_, found, err := cache.Get(ctx, viaKey)
	require.NoError(t, err)
	require.False(t, found)

	_, err = cache.GetViaTTL(ctx, viaKey, func(context.Context) ([]byte, time.Duration, error) {
		return []byte("v"), -1, nil
	})
	require.ErrorIs(t, err, appcache.ErrNegativeTTL)
	_, found, err = cache.Get(ctx, viaKey)
	require.NoError(t, err)
	require.False(t, found)
}

func TestGetterError(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[[]byte](newSpy(), nil)
	got, err := cache.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) { return []byte("half"), errOrigin })
	require.Equal(t, errOrigin, err, "the getter's error comes back as it is")
	require.Nil(t, got)
	_, found, err := cache.Get(ctx, viaKey)
	require.NoError(t, err)
	require.False(t, found)
}

// A store that can't answer is no reason for GetVia to fail.
func TestGetViaFailsOpen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, fail := range map[string]func(*spy){
		"reads":  func(b *spy) { b.fail(errDown, nil, nil) },
		"writes": func(b *spy) { b.fail(nil, errDown, nil) },
		"all":    func(b *spy) { b.fail(errDown, errDown, errDown) },
	} {
		for _, key := range []appcache.Key[[]byte]{viaKey, likes(likesOf), likes(appcache.NamespaceOf(changed))} {
			b := newSpy()
			fail(b)
			calls := 0
			got, err := appcache.New[[]byte](b, nil).GetVia(ctx, key, 0, get("loaded", &calls))
			require.NoError(t, err, name)
			require.Equal(t, "loaded", string(got))
			require.Equal(t, 1, calls)
		}
	}
}

func TestGetViaOfWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	calls := 0
	got, err := appcache.New[[]byte](small{newSpy()}, nil).GetVia(t.Context(), viaKey, 0, get("longer than that", &calls))
	require.NoError(t, err)
	require.Equal(t, "longer than that", string(got))
}

func TestSetVia(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	var origin []byte
	set := func(_ context.Context, v []byte) error { origin = v; return nil }
	for _, key := range []appcache.Key[[]byte]{viaKey, likes(likesOf)} {
		require.NoError(t, cache.SetVia(ctx, key, []byte("v"), time.Hour, set))
		require.Equal(t, "v", string(origin))
		got, found, err := cache.Get(ctx, key)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "v", string(got))
	}
}

// When the setter fails its error comes back as it is, and nobody is served what may be old.
func TestSetterError(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[[]byte](newSpy(), nil)
	require.NoError(t, cache.Set(ctx, viaKey, []byte("old"), 0))
	err := cache.SetVia(ctx, viaKey, []byte("new"), 0, func(context.Context, []byte) error { return errOrigin })
	require.Equal(t, errOrigin, err)
	_, found, err := cache.Get(ctx, viaKey)
	require.NoError(t, err)
	require.False(t, found)
}

// What can't be stored is invalidated, and only if that fails too is there an error.
func TestSetViaThatCannotStore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	set := func(context.Context, []byte) error { return nil }
	for _, key := range []appcache.Key[[]byte]{viaKey, likes(likesOf)} {
		b := newSpy()
		cache := appcache.New[[]byte](b, nil)
		require.NoError(t, cache.Set(ctx, key, []byte("old"), 0))
		b.fail(nil, errDown, nil)
		require.NoError(t, cache.SetVia(ctx, key, []byte("new"), 0, set))
		_, found, err := cache.Get(ctx, key)
		require.NoError(t, err)
		require.False(t, found, "what is old was left there")

		b.fail(nil, errDown, errDown)
		err = cache.SetVia(ctx, key, []byte("new"), 0, set)
		require.ErrorIs(t, err, errDown)
		require.ErrorContains(t, err, "couldn't be removed after the setter")
		b.fail(errDown, errDown, errDown)
		err = cache.SetVia(ctx, key, []byte("new"), 0, func(context.Context, []byte) error { return errOrigin })
		require.Equal(t, errOrigin, err)
	}

	large := appcache.New[[]byte](small{newSpy()}, nil)
	require.NoError(t, large.Set(ctx, viaKey, []byte("old"), 0))
	require.NoError(t, large.SetVia(ctx, viaKey, []byte("longer than that"), 0, set))
	_, found, err := large.Get(ctx, viaKey)
	require.NoError(t, err)
	require.False(t, found)
}

// The token is read before the setter runs: what is stored after the namespace was dropped is in the
// one that was dropped.
func TestNamespaceDroppedWhileLoading(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[[]byte](newSpy(), nil)
	key := likes(likesOf)
	got, err := cache.GetVia(ctx, key, 0, func(context.Context) ([]byte, error) {
		return []byte("old"), cache.InvalidateNamespace(ctx, likesOf)
	})
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	_, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)

	require.NoError(t, cache.SetVia(ctx, key, []byte("old"), 0, func(context.Context, []byte) error {
		return cache.InvalidateNamespace(ctx, likesOf)
	}))
	_, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
}

// A nil function is a mistake of the program's, whether the entry is there or not.
func TestNilFunctionsPanic(t *testing.T) {
	t.Parallel()
	cache := appcache.New[[]byte](newSpy(), nil)
	require.PanicsWithValue(t, "appcache.GetVia: the getter is nil", func() { _, _ = cache.GetVia(t.Context(), viaKey, 0, nil) })
	require.PanicsWithValue(t, "appcache.GetViaTTL: the getter is nil", func() { _, _ = cache.GetViaTTL(t.Context(), viaKey, nil) })
	require.PanicsWithValue(t, "appcache.SetVia: the setter is nil", func() { _ = cache.SetVia(t.Context(), viaKey, nil, 0, nil) })
}

// When the setter fails and the entry can't be invalidated, whoever observes is told of both.
func TestSetterErrorInVain(t *testing.T) {
	t.Parallel()
	var r recorder
	b := newSpy()
	b.fail(nil, nil, errDown)
	cache := appcache.New[[]byte](b, &appcache.Options{Observe: r.observe})
	err := cache.SetVia(t.Context(), viaKey, []byte("new"), 0, func(context.Context, []byte) error { return errOrigin })
	require.Equal(t, errOrigin, err)
	e := r.one(t)
	require.ErrorIs(t, e.Err, errOrigin)
	require.ErrorIs(t, e.Err, errDown)
}
