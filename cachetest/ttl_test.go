package cachetest_test

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/goappcache/appcache"
)

var brokenTTLs = []broken{
	{
		name:  "forgets TTLs",
		wrap:  withTTLs(func(time.Duration) time.Duration { return 0 }),
		fails: []string{"TTL", "tiny TTLs", "overwriting replaces the TTL"},
	},
	{
		name:  "keeps the TTL of the entry that was there",
		wrap:  keepsTTL(func(time.Duration) bool { return true }),
		fails: []string{"overwriting replaces the TTL"},
	},
	{
		name:  "keeps the TTL that was there when the new one is 0",
		wrap:  keepsTTL(func(ttl time.Duration) bool { return ttl == 0 }),
		fails: []string{"overwriting replaces the TTL"},
	},
	{
		name:  "never shortens a TTL",
		wrap:  keepsTTL(func(ttl time.Duration) bool { return ttl > 0 && ttl < time.Second }),
		fails: []string{"overwriting replaces the TTL"},
	},
	{
		name: "returns an expired entry once",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &lazy{ends: map[string]time.Time{}, good: good}
		},
		fails: []string{"TTL", "tiny TTLs", "overwriting replaces the TTL"},
	},
	{
		name: "lengthens the TTL when it reads",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var ttls sync.Map
			return &wrapper{
				RawBackend: good,
				set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
					ttls.Store(key, ttl)
					return good.SetRaw(ctx, key, value, ttl)
				},
				get: func(ctx context.Context, key string) ([]byte, bool, error) {
					value, found, err := good.GetRaw(ctx, key)
					if ttl, _ := ttls.Load(key); found && ttl.(time.Duration) > 0 && ttl.(time.Duration) < time.Minute {
						_ = good.SetRaw(ctx, key, value, ttl.(time.Duration))
					}
					return value, found, err
				},
			}
		},
		fails: []string{"TTL"},
	},
	{
		name:  "cuts TTLs to seconds",
		wrap:  withTTLs(func(ttl time.Duration) time.Duration { return ttl.Truncate(time.Second) }),
		fails: []string{"TTL", "tiny TTLs", "overwriting replaces the TTL"},
	},
	{
		name:  "cuts TTLs to milliseconds",
		wrap:  withTTLs(func(ttl time.Duration) time.Duration { return ttl.Truncate(time.Millisecond) }),
		fails: []string{"TTL", "tiny TTLs"},
	},
	{
		name: "makes TTLs at least a second",
		wrap: withTTLs(func(ttl time.Duration) time.Duration {
			if ttl > 0 {
				return max(ttl, time.Second)
			}
			return 0
		}),
		fails: []string{"TTL", "tiny TTLs", "overwriting replaces the TTL"},
	},
	{
		name:  "is early by a tenth",
		wrap:  withTTLs(func(ttl time.Duration) time.Duration { return ttl - ttl/10 }),
		fails: []string{"TTL"}, others: true,
	},
	{
		name: "takes TTLs over 30 days for points in time",
		wrap: withTTLs(func(ttl time.Duration) time.Duration {
			if ttl > 30*24*time.Hour {
				return time.Until(time.Unix(int64(ttl/time.Second), 0))
			}
			return ttl
		}),
		fails: []string{"huge TTLs"}, others: true, // the largest are in the future all the same
	},
	{
		name: "counts seconds in 32 bits",
		wrap: withTTLs(func(ttl time.Duration) time.Duration {
			if ttl > 24*time.Hour {
				return time.Until(time.Unix(int64(int32(time.Now().Add(ttl).Unix())), 0))
			}
			return ttl
		}),
		fails: []string{"huge TTLs"},
	},
	{
		name: "counts nanoseconds since 1970 in 64 bits",
		wrap: withTTLs(func(ttl time.Duration) time.Duration {
			if end := time.Now().UnixNano() + int64(ttl); end < 0 {
				return -1
			}
			return ttl
		}),
		fails: []string{"huge TTLs", "overwriting replaces the TTL"},
	},
	{
		name: "makes huge TTLs short",
		wrap: withTTLs(func(ttl time.Duration) time.Duration {
			if ttl > math.MaxInt64/2 {
				return time.Second
			}
			return ttl
		}),
		fails: []string{"huge TTLs"},
	},
	{
		name: "has a default for a TTL of 0",
		wrap: withTTLs(func(ttl time.Duration) time.Duration {
			if ttl == 0 {
				return time.Second
			}
			return ttl
		}),
		fails: []string{"TTL of 0", "store after clear"},
	},
}

// keepsTTL returns backends that keep what is left of the TTL that was there, when the new one is such.
func keepsTTL(such func(ttl time.Duration) bool) func(appcache.RawBackend) appcache.RawBackend {
	return func(good appcache.RawBackend) appcache.RawBackend {
		var mu sync.Mutex
		ends := map[string]time.Time{} // the zero time: never
		return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			if _, found, _ := good.GetRaw(ctx, key); found && such(ttl) {
				if ends[key].IsZero() {
					return good.SetRaw(ctx, key, value, 0)
				}
				return good.SetRaw(ctx, key, value, time.Until(ends[key]))
			}
			ends[key] = time.Time{}
			if ttl > 0 {
				ends[key] = time.Now().Add(ttl)
			}
			return good.SetRaw(ctx, key, value, ttl)
		}}
	}
}

// lazy removes an entry that has expired when somebody reads it, and returns it that once.
type lazy struct {
	mu   sync.Mutex
	good appcache.RawBackend
	ends map[string]time.Time
}

func (b *lazy) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	value, found, err := b.good.GetRaw(ctx, key)
	if end, ok := b.ends[key]; found && ok && !time.Now().Before(end) {
		_ = b.good.InvalidateRaw(ctx, key)
	}
	return value, found, err
}

func (b *lazy) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ends, key)
	if ttl > 0 {
		b.ends[key] = time.Now().Add(ttl)
	}
	return b.good.SetRaw(ctx, key, value, 0)
}

func (b *lazy) InvalidateRaw(ctx context.Context, key string) error {
	return b.good.InvalidateRaw(ctx, key)
}

func (b *lazy) Clear(ctx context.Context) error { return b.good.Clear(ctx) }
