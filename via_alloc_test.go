package appcache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// A hit of GetVia allocates at most once more than Get, whatever the policies, and Timeout costs no more than its
// context. Not in parallel: what is counted is the process's.
func TestAllocations(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	allocs := func(do func() error) float64 {
		return testing.AllocsPerRun(200, func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		})
	}
	var plain float64
	for _, c := range []struct {
		name string
		opts appcache.Options
		more float64 // than Get without options: a context with a deadline, and a struct for what an envelope says
	}{
		{"no policies", appcache.Options{}, 0},
		{"Timeout", appcache.Options{Timeout: time.Minute}, 1},
		{"policies", appcache.Options{StaleFor: time.Hour, EarlyRefresh: 1, NotFoundTTL: time.Hour, Jitter: 0.1}, 1},
	} {
		for _, key := range []appcache.Key[[]byte]{viaKey, likes(likesOf)} {
			cache := appcache.New[[]byte](cachetest.NewMemory(), &c.opts)
			require.NoError(t, cache.Set(ctx, key, make([]byte, 100), time.Hour))
			get := allocs(func() error { _, _, err := cache.Get(ctx, key); return err })
			via := allocs(func() error {
				_, err := cache.GetVia(ctx, key, time.Hour, func(context.Context) ([]byte, error) { return nil, errOrigin })
				return err
			})
			t.Logf("%s, %s: Get %v, GetVia %v", c.name, fmt.Sprintf("%T", key), get, via)
			require.LessOrEqual(t, via, get+1, "%s, %T", c.name, key)
			if key != viaKey {
				continue
			}
			if c.name == "no policies" {
				plain = get
			}
			require.LessOrEqual(t, get, plain+c.more, c.name)
		}
	}
}
