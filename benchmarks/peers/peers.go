// Package peers puts what people would use instead behind one type, so that all can be measured at the same
// work.
package peers

import (
	"context"
	"errors"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	"github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/marshaler"
	"github.com/eko/gocache/lib/v4/store"
	gocacheredis "github.com/eko/gocache/store/redis/v4"
	gorediscache "github.com/go-redis/cache/v9"
	"github.com/maypok86/otter/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"
	"github.com/viccon/sturdyc"
	"github.com/vmihailenco/msgpack/v5"
	"golang.org/x/sync/singleflight"

	"github.com/goappcache/appcache"
)

// TTL is that of all entries.
const TTL = time.Hour

// ErrMiss is what Get returns where there is no entry.
var ErrMiss = errors.New("a miss")

// Peer is a way to cache values. What it can't do is nil.
type Peer[V any] struct {
	Name string
	Get  func(ctx context.Context, key string) (V, error)
	Set  func(ctx context.Context, key string, value V) error
	Via  func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) // gets, or loads and sets
}

// Client is a store's client without a cache.
type Client struct {
	Get func(ctx context.Context, key string) ([]byte, error) // or ErrMiss
	Set func(ctx context.Context, key string, value []byte) error
}

// Redis returns what a go-redis client does by itself.
func Redis(client goredis.UniversalClient) Client {
	return Client{
		Get: func(ctx context.Context, key string) ([]byte, error) {
			data, err := client.Get(ctx, key).Bytes()
			if errors.Is(err, goredis.Nil) {
				return nil, ErrMiss
			}
			return data, err
		},
		Set: func(ctx context.Context, key string, value []byte) error {
			return client.Set(ctx, key, value, TTL).Err()
		},
	}
}

// Memcached returns what gomemcache does by itself, which knows no context.
func Memcached(client *gomemcache.Client) Client {
	return Client{
		Get: func(_ context.Context, key string) ([]byte, error) {
			item, err := client.Get(key)
			if errors.Is(err, gomemcache.ErrCacheMiss) {
				return nil, ErrMiss
			} else if err != nil {
				return nil, err
			}
			return item.Value, nil
		},
		Set: func(_ context.Context, key string, value []byte) error {
			return client.Set(&gomemcache.Item{Key: key, Value: value, Expiration: int32(TTL.Seconds())})
		},
	}
}

// Bare is a client and, where V isn't []byte, the library's codec called by hand, and its compressor if
// compress is true. Its Via lets every caller that misses load.
func Bare[V any](name string, client Client, compress bool) Peer[V] {
	p := Peer[V]{Name: name}
	p.Get = func(ctx context.Context, key string) (value V, err error) {
		data, err := client.Get(ctx, key)
		if err != nil {
			return value, err
		}
		if compress {
			if data, err = (appcache.Gzip{}).Decompress(data); err != nil {
				return value, err
			}
		}
		if raw, ok := any(&value).(*[]byte); ok {
			*raw = data
			return value, nil
		}
		err = appcache.CBOR{}.Unmarshal(data, &value)
		return value, err
	}
	p.Set = func(ctx context.Context, key string, value V) (err error) {
		data, ok := any(value).([]byte)
		if !ok {
			if data, err = (appcache.CBOR{}).Marshal(&value); err != nil {
				return err
			}
		}
		if compress {
			if data, err = (appcache.Gzip{}).Compress(data); err != nil {
				return err
			}
		}
		return client.Set(ctx, key, data)
	}
	p.Via = func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
		value, err := p.Get(ctx, key)
		if !errors.Is(err, ErrMiss) {
			return value, err
		}
		if value, err = load(ctx); err != nil {
			return value, err
		}
		return value, p.Set(ctx, key, value)
	}
	return p
}

// Singleflight is Bare with golang.org/x/sync/singleflight in front of Via. Its callers share the value that
// one of them got.
func Singleflight[V any](client Client, compress bool) Peer[V] {
	bare := Bare[V]("", client, compress)
	var group singleflight.Group
	return Peer[V]{
		Name: "singleflight",
		Via: func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
			shared, err, _ := group.Do(key, func() (any, error) { return bare.Via(ctx, key, load) })
			value, _ := shared.(V)
			return value, err
		},
	}
}

// Appcache is the library.
func Appcache[V any](name string, backend appcache.RawBackend, compress bool) Peer[V] {
	opts := &appcache.Options{}
	if compress {
		opts.CompressOver = 1
	}
	cache := appcache.New[V](backend, opts)
	return Peer[V]{
		Name: name,
		Get: func(ctx context.Context, key string) (V, error) {
			value, found, err := cache.Get(ctx, appcache.StringKey[V](key))
			if err == nil && !found {
				err = ErrMiss
			}
			return value, err
		},
		Set: func(ctx context.Context, key string, value V) error {
			return cache.Set(ctx, appcache.StringKey[V](key), value, TTL)
		},
		Via: func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
			return cache.GetVia(ctx, appcache.StringKey[V](key), TTL, load)
		},
	}
}

// GoRedisCache is github.com/go-redis/cache. It compresses with s2, and what isn't []byte or string only;
// unless compress is true it is given its own codec without that.
func GoRedisCache[V any](client goredis.UniversalClient, compress bool) Peer[V] {
	opts := &gorediscache.Options{Redis: client}
	if _, raw := any(*new(V)).([]byte); !raw && !compress {
		opts.Marshal, opts.Unmarshal = msgpack.Marshal, msgpack.Unmarshal
	}
	cache := gorediscache.New(opts)
	return Peer[V]{
		Name: "go-redis/cache",
		Get: func(ctx context.Context, key string) (value V, err error) {
			if err = cache.Get(ctx, key, &value); errors.Is(err, gorediscache.ErrCacheMiss) {
				err = ErrMiss
			}
			return value, err
		},
		Set: func(ctx context.Context, key string, value V) error {
			return cache.Set(&gorediscache.Item{Ctx: ctx, Key: key, Value: value, TTL: TTL})
		},
		Via: func(ctx context.Context, key string, load func(context.Context) (V, error)) (value V, err error) {
			err = cache.Once(&gorediscache.Item{Ctx: ctx, Key: key, Value: &value, TTL: TTL, Do: func(*gorediscache.Item) (any, error) {
				return load(ctx)
			}})
			return value, err
		},
	}
}

// LoadableGocache is github.com/eko/gocache: its marshaler, which writes msgpack, over its loadable cache and its store
// of Redis. Its keys are a GocacheKey. It stores what was loaded in a goroutine, which closing ends, after the caller
// has gone on.
func LoadableGocache[V any](client goredis.UniversalClient, ttl time.Duration) (marshal *marshaler.Marshaler, closing func() error) {
	loadable := cache.NewLoadable(func(ctx context.Context, key any) (any, []store.Option, error) {
		value, err := key.(GocacheKey[V]).Load(ctx)
		if err != nil {
			return nil, nil, err
		}
		data, err := msgpack.Marshal(value)
		return data, nil, err
	}, cache.New[any](gocacheredis.NewRedis(client, store.WithExpiration(ttl))))
	return marshaler.New(loadable), loadable.Close
}

// GocacheKey brings along what loads it, for a loadable cache has one function for all keys.
type GocacheKey[V any] struct {
	Text string
	Load func(context.Context) (V, error)
}

// GetCacheKey is how gocache asks for the text of a key.
func (k GocacheKey[V]) GetCacheKey() string { return k.Text }

// Gocache is LoadableGocache.
func Gocache[V any](client goredis.UniversalClient) (p Peer[V], closing func() error) {
	marshal, closing := LoadableGocache[V](client, TTL)
	get := func(ctx context.Context, key GocacheKey[V]) (value V, err error) {
		_, err = marshal.Get(ctx, key, &value)
		return value, err
	}
	return Peer[V]{
		Name: "eko/gocache",
		Get: func(ctx context.Context, key string) (V, error) {
			return get(ctx, GocacheKey[V]{key, func(context.Context) (value V, err error) { return value, ErrMiss }})
		},
		Set: func(ctx context.Context, key string, value V) error {
			return marshal.Set(ctx, GocacheKey[V]{Text: key}, value)
		},
		Via: func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
			return get(ctx, GocacheKey[V]{key, load})
		},
	}, closing
}

// Rueidisaside is github.com/redis/rueidis/rueidisaside, with the library's own codec. It keeps what was read in the
// memory of the process until the server says that it has changed.
func Rueidisaside[V any](addr string) (p Peer[V], closing func(), err error) {
	client, err := rueidisaside.NewClient(rueidisaside.ClientOption{ClientOption: rueidis.ClientOption{InitAddress: []string{addr}}})
	if err != nil {
		return p, nil, err
	}
	typed := rueidisaside.NewTypedCacheAsideClient(client,
		func(value *V) (string, error) {
			if raw, ok := any(value).(*[]byte); ok {
				return string(*raw), nil
			}
			data, err := appcache.CBOR{}.Marshal(value)
			return string(data), err
		},
		func(data string) (*V, error) {
			value := new(V)
			if raw, ok := any(value).(*[]byte); ok {
				*raw = []byte(data)
				return value, nil
			}
			return value, appcache.CBOR{}.Unmarshal([]byte(data), value)
		})
	return Peer[V]{
		Name: "rueidisaside",
		Via: func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
			value, err := typed.Get(ctx, TTL, key, func(ctx context.Context, _ string) (*V, error) {
				value, err := load(ctx)
				return &value, err
			})
			if err != nil {
				return *new(V), err
			}
			return *value, nil
		},
	}, client.Close, nil
}

// InProcess returns sturdyc and otter, which keep values in the memory of the process, as they are.
func InProcess[V any]() []Peer[V] {
	const capacity = 10_000
	sturdy := sturdyc.New[V](capacity, 10, TTL, 10, sturdyc.WithNoContinuousEvictions())
	otters := otter.Must(&otter.Options[string, V]{MaximumSize: capacity, ExpiryCalculator: otter.ExpiryWriting[string, V](TTL)})
	return []Peer[V]{
		{Name: "sturdyc", Via: func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
			return sturdy.GetOrFetch(ctx, key, load)
		}},
		{Name: "otter", Via: func(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error) {
			return otters.Get(ctx, key, otter.LoaderFunc[string, V](func(ctx context.Context, _ string) (V, error) { return load(ctx) }))
		}},
	}
}
