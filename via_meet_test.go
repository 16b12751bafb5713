package appcache_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/flight"
	"github.com/stretchr/testify/require"
)

// wrapper is a backend around another.
type wrapper struct{ appcache.RawBackend }

// Who joins whose loads, and whose writers mark them, according to what two caches are over.
func TestCachesThatMeet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                         string
		other                        func(b appcache.RawBackend) appcache.RawBackend // of the second cache
		uncomparable, joined, marked bool
	}{
		{"one backend", func(b appcache.RawBackend) appcache.RawBackend { return b }, false, true, true},
		{"a wrapper around it", func(b appcache.RawBackend) appcache.RawBackend { return wrapper{b} }, false, false, false},
		{"backends that == can't tell apart", func(b appcache.RawBackend) appcache.RawBackend { return b }, true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := cachetest.NewMemory()
				var b appcache.RawBackend = store
				if c.uncomparable {
					b = uncomparable{Memory: store}
				}
				one, other := appcache.New[[]byte](b, nil), appcache.New[[]byte](c.other(b), &appcache.Options{Timeout: time.Hour})
				var calls atomic.Int64
				var wg sync.WaitGroup
				for _, cache := range []*appcache.Cache[[]byte]{one, other} {
					wg.Go(func() { requireVia(t, cache, "v", 0, sleepy("v", time.Second, &calls)) })
				}
				wg.Wait()
				require.Equal(t, c.joined, calls.Load() == 1)

				require.NoError(t, one.Invalidate(t.Context(), viaKey))
				wg.Go(func() { requireVia(t, one, "old", 0, sleepy("old", time.Second, &calls)) })
				synctest.Wait()
				require.NoError(t, other.Invalidate(t.Context(), viaKey))
				wg.Wait()
				_, found, err := one.Get(t.Context(), viaKey)
				require.NoError(t, err)
				require.Equal(t, c.marked, !found)
				time.Sleep(2 * time.Hour)
				require.Zero(t, flight.Count(store))
			})
		})
	}
}

// Loads of two types at one path aren't joined, for neither could be given the other's value; but a
// writer of either marks both.
func TestTypesThatMeet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := cachetest.NewMemory()
		numbers, texts := appcache.New[int](b, nil), appcache.New[string](b, nil)
		load := func() (wait func()) {
			var wg sync.WaitGroup
			var calls atomic.Int64
			for range 3 {
				wg.Go(func() {
					got, err := numbers.GetVia(t.Context(), appcache.StringKey[int]("k"), 0, func(context.Context) (int, error) {
						calls.Add(1)
						time.Sleep(time.Second)
						return 7, nil
					})
					require.NoError(t, err)
					require.Equal(t, 7, got)
				})
				wg.Go(func() {
					got, err := texts.GetVia(t.Context(), appcache.StringKey[string]("k"), 0, func(context.Context) (string, error) {
						calls.Add(1)
						time.Sleep(time.Second)
						return "seven", nil
					})
					require.NoError(t, err)
					require.Equal(t, "seven", got)
				})
			}
			synctest.Wait()
			return func() {
				wg.Wait()
				require.EqualValues(t, 2, calls.Load())
			}
		}
		load()()
		require.NoError(t, b.InvalidateRaw(t.Context(), "appcache/k"))
		wait := load()
		require.NoError(t, numbers.Invalidate(t.Context(), appcache.StringKey[int]("k")))
		wait()
		_, found, err := b.GetRaw(t.Context(), "appcache/k")
		require.NoError(t, err)
		require.False(t, found)
	})
}

// However many caches find an entry stale, one of them refreshes it.
func TestOneRefreshForAllCaches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := cachetest.NewMemory()
		put(t, b, "appcache/k", fresh(time.Now(), 0, "old"))
		var calls atomic.Int64
		together(10, func(int) {
			cache := appcache.New[[]byte](b, &appcache.Options{StaleFor: time.Hour})
			requireVia(t, cache, "old", 0, sleepy("new", time.Second, &calls))
		})
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, calls.Load())
		require.Equal(t, "new", stored(t, b, "appcache/k"))
	})
}
