// Package cases_test asks of read-through caches what it takes to be safe under load, the same of each: see
// cases.
package cases_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	gorediscache "github.com/go-redis/cache/v9"
	"github.com/maypok86/otter/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"
	"github.com/stretchr/testify/require"
	"github.com/viccon/sturdyc"
	"golang.org/x/sync/singleflight"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/benchmarks/peers"
	"github.com/goappcache/appcache/redis"
)

// A subject is a cache with read-through, set up as its documentation says for what the cases ask.
type subject struct {
	name   string
	module string // whose version counts

	// via returns the value under key, or what load returns.
	via func(ctx context.Context, key string, load loader) ([]string, error)

	// invalidate makes the next via load.
	invalidate func(ctx context.Context, key string) error

	notFound error         // what a load returns when the origin has no such value
	over     time.Duration // after which an entry has to be loaded again
}

type loader func(context.Context) ([]string, error)

const forEver = time.Hour

// errNotFound is for caches that know no such error.
var errNotFound = errors.New("the origin has no such value")

// subjects returns the caches, of which the first is this library. Those on Redis share client.
func subjects(t *testing.T, client *goredis.Client) []subject {
	t.Helper()
	return []subject{
		onAppcache(client), onSingleflight(client), onGoRedisCache(client), onGocache(t, client),
		onRueidisaside(t, client.Options().Addr), onSturdyc(), onOtter(t),
	}
}

func onAppcache(client *goredis.Client) subject {
	const ttl = 500 * time.Millisecond
	cache := appcache.New[[]string](redis.New(client), &appcache.Options{StaleFor: forEver, NotFoundTTL: forEver})
	return subject{
		name: "appcache", module: "github.com/goappcache/appcache", notFound: appcache.ErrNotFound, over: ttl,
		via: func(ctx context.Context, key string, load loader) ([]string, error) {
			return cache.GetVia(ctx, appcache.StringKey[[]string](key), ttl, load)
		},
		invalidate: func(ctx context.Context, key string) error {
			return cache.Invalidate(ctx, appcache.StringKey[[]string](key))
		},
	}
}

// onSingleflight is what people write around golang.org/x/sync/singleflight: look, load, store.
func onSingleflight(client *goredis.Client) subject {
	const ttl = 500 * time.Millisecond
	var group singleflight.Group
	return subject{
		name: "singleflight over go-redis", module: "golang.org/x/sync", notFound: errNotFound, over: ttl,
		via: func(ctx context.Context, key string, load loader) ([]string, error) {
			value, err, _ := group.Do(key, func() (any, error) {
				stored, err := client.Get(ctx, "singleflight/"+key).Result()
				if err == nil {
					return strings.Split(stored, ","), nil
				}
				value, err := load(ctx)
				if err != nil {
					return nil, err
				}
				return value, client.Set(ctx, "singleflight/"+key, strings.Join(value, ","), ttl).Err()
			})
			got, _ := value.([]string)
			return got, err
		},
		invalidate: func(ctx context.Context, key string) error {
			err := client.Del(ctx, "singleflight/"+key).Err()
			group.Forget(key)
			return err
		},
	}
}

func onGoRedisCache(client *goredis.Client) subject {
	const ttl = time.Second // less would become an hour
	cache := gorediscache.New(&gorediscache.Options{Redis: client})
	return subject{
		name: "go-redis/cache", module: "github.com/go-redis/cache/v9", notFound: errNotFound, over: ttl,
		via: func(ctx context.Context, key string, load loader) (value []string, err error) {
			err = cache.Once(&gorediscache.Item{
				Ctx: ctx, Key: "go-redis-cache/" + key, Value: &value, TTL: ttl,
				Do: func(item *gorediscache.Item) (any, error) { return load(item.Context()) },
			})
			return value, err
		},
		invalidate: func(ctx context.Context, key string) error { return cache.Delete(ctx, "go-redis-cache/"+key) },
	}
}

func onGocache(t *testing.T, client *goredis.Client) subject {
	t.Helper()
	const ttl = 500 * time.Millisecond
	marshal, closing := peers.LoadableGocache[[]string](client, ttl)
	t.Cleanup(func() { _ = closing() })
	keyOf := func(key string, load loader) peers.GocacheKey[[]string] {
		return peers.GocacheKey[[]string]{Text: "gocache/" + key, Load: load}
	}
	return subject{
		name: "eko/gocache", module: "github.com/eko/gocache/lib/v4", notFound: errNotFound, over: ttl,
		via: func(ctx context.Context, key string, load loader) (value []string, err error) {
			_, err = marshal.Get(ctx, keyOf(key, load), &value)
			return value, err
		},
		invalidate: func(ctx context.Context, key string) error { return marshal.Delete(ctx, keyOf(key, nil)) },
	}
}

func onRueidisaside(t *testing.T, addr string) subject {
	t.Helper()
	const ttl = 3 * time.Second // which bounds each load as well
	client, err := rueidisaside.NewClient(rueidisaside.ClientOption{
		ClientOption: rueidis.ClientOption{InitAddress: []string{addr}},
	})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	typed := rueidisaside.NewTypedCacheAsideClient(client,
		func(value *[]string) (string, error) {
			data, err := json.Marshal(value)
			return string(data), err
		},
		func(data string) (value *[]string, err error) { return value, json.Unmarshal([]byte(data), &value) })
	return subject{
		name: "rueidisaside", module: "github.com/redis/rueidis/rueidisaside", notFound: errNotFound, over: ttl,
		via: func(ctx context.Context, key string, load loader) ([]string, error) {
			value, err := typed.Get(ctx, ttl, "rueidisaside/"+key, func(ctx context.Context, _ string) (*[]string, error) {
				value, err := load(ctx)
				if errors.Is(err, errNotFound) {
					return nil, nil //nolint:nilnil // a nil is how its documentation has it remember that there is none
				}
				return &value, err
			})
			switch {
			case err != nil:
				return nil, err
			case value == nil:
				return nil, errNotFound
			}
			return *value, nil
		},
		invalidate: func(ctx context.Context, key string) error { return client.Del(ctx, "rueidisaside/"+key) },
	}
}

func onSturdyc() subject {
	const refresh = 500 * time.Millisecond
	cache := sturdyc.New[[]string](1000, 10, forEver, 10, sturdyc.WithNoContinuousEvictions(), sturdyc.WithMissingRecordStorage(),
		sturdyc.WithEarlyRefreshes(refresh, 2*refresh, forEver, time.Millisecond))
	return subject{
		name: "sturdyc", module: "github.com/viccon/sturdyc", notFound: sturdyc.ErrNotFound, over: 2 * refresh,
		via: func(ctx context.Context, key string, load loader) ([]string, error) {
			return cache.GetOrFetch(ctx, key, sturdyc.FetchFn[[]string](load))
		},
		invalidate: func(_ context.Context, key string) error {
			cache.Delete(key)
			return nil
		},
	}
}

func onOtter(t *testing.T) subject {
	t.Helper()
	const refresh = 500 * time.Millisecond
	cache, err := otter.New(&otter.Options[string, []string]{
		MaximumSize:       1000,
		ExpiryCalculator:  otter.ExpiryWriting[string, []string](forEver),
		RefreshCalculator: otter.RefreshWriting[string, []string](refresh),
		Logger:            &otter.NoopLogger{},
	})
	require.NoError(t, err)
	t.Cleanup(func() { cache.StopAllGoroutines() })
	return subject{
		name: "otter", module: "github.com/maypok86/otter/v2", notFound: otter.ErrNotFound, over: refresh,
		via: func(ctx context.Context, key string, load loader) ([]string, error) {
			return cache.Get(ctx, key, otter.LoaderFunc[string, []string](func(ctx context.Context, _ string) ([]string, error) {
				return load(ctx)
			}))
		},
		invalidate: func(_ context.Context, key string) error {
			cache.Invalidate(key)
			return nil
		},
	}
}
