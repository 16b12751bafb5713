package cachetest_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/goappcache/appcache"
)

var brokenRemoval = []broken{
	{
		name: "removes by prefix",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var keys sync.Map
			return &wrapper{
				RawBackend: good,
				set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
					keys.Store(key, true)
					return good.SetRaw(ctx, key, value, ttl)
				},
				invalidate: func(ctx context.Context, prefix string) error {
					keys.Range(func(key, _ any) bool {
						if len(prefix) < 10 && strings.HasPrefix(key.(string), prefix) { // the long ones take their time
							_ = good.InvalidateRaw(ctx, key.(string))
						}
						return true
					})
					return ctx.Err()
				},
			}
		},
		fails: []string{"invalidate"}, others: true,
	},
	{
		name: "fails to remove what isn't there",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, invalidate: func(ctx context.Context, key string) error {
				if _, found, err := good.GetRaw(ctx, key); err == nil && !found {
					return errors.New("cache miss")
				}
				return good.InvalidateRaw(ctx, key)
			}}
		},
		fails: []string{"invalidate an absent key"}, others: true,
	},
	{
		name: "clears one node of two",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var odd sync.Map // the keys on the node that is cleared
			return &wrapper{
				RawBackend: good,
				set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
					if len(key)%2 == 1 {
						odd.Store(key, true)
					}
					return good.SetRaw(ctx, key, value, ttl)
				},
				clear: func(ctx context.Context) error {
					err := ctx.Err()
					odd.Range(func(key, _ any) bool {
						err = errors.Join(err, good.InvalidateRaw(ctx, key.(string)))
						return true
					})
					return err
				},
			}
		},
		fails: []string{"clear"},
	},
	{
		name: "clears nothing",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, clear: context.Context.Err}
		},
		fails: []string{"clear", "store after clear"}, others: true, // the concurrent case, if a key is left there
	},
	{
		name: "fails to clear an empty store",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var mu sync.Mutex
			stored := false
			return &wrapper{
				RawBackend: good,
				set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
					mu.Lock()
					defer mu.Unlock()
					stored = true
					return good.SetRaw(ctx, key, value, ttl)
				},
				clear: func(ctx context.Context) error {
					mu.Lock()
					defer mu.Unlock()
					if !stored {
						return errors.New("nothing was deleted")
					}
					return good.Clear(ctx)
				},
			}
		},
		fails: []string{"clear an empty store"},
	},
	{
		name: "clears a second later what came since, too",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, clear: func(ctx context.Context) error {
				time.AfterFunc(time.Second, func() { _ = good.Clear(context.Background()) })
				return good.Clear(ctx)
			}}
		},
		fails: []string{"store after clear"},
	},
	{
		name: "doesn't work after a clear",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var mu sync.Mutex
			cleared := false
			return &wrapper{
				RawBackend: good,
				set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
					mu.Lock()
					defer mu.Unlock()
					if cleared {
						return errors.New("no such table")
					}
					return good.SetRaw(ctx, key, value, ttl)
				},
				clear: func(ctx context.Context) error {
					mu.Lock()
					defer mu.Unlock()
					cleared = ctx.Err() == nil
					return good.Clear(ctx)
				},
			}
		},
		fails: []string{"store after clear"}, others: true,
	},
}
