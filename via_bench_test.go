package appcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/compare"
	"github.com/stretchr/testify/require"
)

// BenchmarkGetVia compares a hit of GetVia, and Set, with Get, over a backend in memory, so that nothing hides the
// difference. Each goroutine has a key of its own.
func BenchmarkGetVia(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background()) // as requests have one
	defer cancel()
	value := make([]byte, 100)
	getter := func(context.Context) ([]byte, error) { return nil, errors.New("the getter was called") }
	for _, goroutines := range []int{1, 64} {
		keys := make([]appcache.StringKey[[]byte], goroutines)
		for i := range keys {
			keys[i] = appcache.StringKey[[]byte](fmt.Sprint("bench/via/", i))
		}
		// all does something a hundred times in each goroutine.
		all := func(do func(key appcache.StringKey[[]byte]) error) func() error {
			return func() error {
				errs := make([]error, goroutines)
				var wg sync.WaitGroup
				for i, key := range keys {
					wg.Go(func() {
						for range 100 {
							errs[i] = errors.Join(errs[i], do(key))
						}
					})
				}
				wg.Wait()
				return errors.Join(errs...)
			}
		}
		var candidates []compare.Candidate
		for _, c := range []struct {
			name string
			opts appcache.Options
		}{
			{"", appcache.Options{}},
			{"+Timeout", appcache.Options{Timeout: time.Second}},
			{"+policies", appcache.Options{StaleFor: time.Hour, EarlyRefresh: 1}},
		} {
			cache := appcache.New[[]byte](cachetest.NewMemory(), &c.opts)
			for _, key := range keys {
				require.NoError(b, cache.Set(ctx, key, value, time.Hour))
			}
			candidates = append(candidates,
				compare.Candidate{Name: "Get" + c.name, Run: all(func(key appcache.StringKey[[]byte]) error {
					_, _, err := cache.Get(ctx, key)
					return err
				})},
				compare.Candidate{Name: "GetVia" + c.name, Run: all(func(key appcache.StringKey[[]byte]) error {
					_, err := cache.GetVia(ctx, key, time.Hour, getter)
					return err
				})},
				compare.Candidate{Name: "Set" + c.name, Run: all(func(key appcache.StringKey[[]byte]) error {
					return cache.Set(ctx, key, value, time.Hour)
				})})
		}
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) { compare.Interleaved(b, 5, candidates) })
	}
}
