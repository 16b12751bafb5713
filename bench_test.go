package appcache_test

import (
	"context"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/compare"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
	"github.com/goappcache/appcache/redis"
)

// account is the struct of eight fields of the benchmarks.
type account struct {
	ID      int64
	Name    string
	Email   string
	Active  bool
	Balance float64
	Visits  uint32
	Created time.Time
	Roles   []string
}

var anAccount = account{
	ID: 54, Name: "Ann Example", Email: "ann@example.org", Active: true, Balance: 12.5, Visits: 1234,
	Created: time.Date(2026, 11, 22, 10, 11, 12, 131415, time.UTC), Roles: []string{"admin", "editor"},
}

const (
	benchBytes   = appcache.StringKey[[]byte]("bench/bytes")
	benchAccount = appcache.StringKey[account]("bench/account")
)

// BenchmarkFrontEnd shows what a hit costs over what the backend and the codec cost by themselves. The
// backend is in memory, so that nothing hides it.
func BenchmarkFrontEnd(b *testing.B) {
	ctx := context.Background()
	backend := cachetest.NewMemory()
	value := make([]byte, 1024)
	raw := appcache.New[[]byte](backend, nil)
	accounts := appcache.New[account](backend, nil)
	require.NoError(b, raw.Set(ctx, benchBytes, value, 0))
	require.NoError(b, accounts.Set(ctx, benchAccount, anAccount, 0))
	const path = appcache.DefaultPrefix + "/" + string(benchAccount)

	getBackend := compare.Candidate{Name: "backend", Run: func() error {
		_, _, err := backend.GetRaw(ctx, appcache.DefaultPrefix+"/"+string(benchBytes))
		return err
	}}
	getCache := compare.Candidate{Name: "cache", Run: func() error {
		_, _, err := raw.Get(ctx, benchBytes)
		return err
	}}
	b.Run("bytes", func(b *testing.B) {
		compare.Interleaved(b, 100, []compare.Candidate{getBackend, getCache})
		reportAllocs(b, getBackend, getCache)
	})
	getBoth := compare.Candidate{Name: "backend+codec", Run: func() error {
		data, _, err := backend.GetRaw(ctx, path)
		if err != nil {
			return err
		}
		return appcache.CBOR{}.Unmarshal(data, new(account))
	}}
	getAccount := compare.Candidate{Name: "cache", Run: func() error {
		_, _, err := accounts.Get(ctx, benchAccount)
		return err
	}}
	b.Run("struct", func(b *testing.B) {
		compare.Interleaved(b, 100, []compare.Candidate{getBoth, getAccount})
		reportAllocs(b, getBoth, getAccount)
	})
	b.Run("struct-set", func(b *testing.B) {
		compare.Interleaved(b, 100, []compare.Candidate{
			{Name: "backend+codec", Run: func() error {
				data, err := appcache.CBOR{}.Marshal(&anAccount)
				if err != nil {
					return err
				}
				return backend.SetRaw(ctx, path, data, 0)
			}},
			{Name: "cache", Run: func() error { return accounts.Set(ctx, benchAccount, anAccount, 0) }},
		})
	})
}

// reportAllocs reports how many allocations more than the first the second makes.
func reportAllocs(b *testing.B, first, second compare.Candidate) {
	b.Helper()
	allocs := func(c compare.Candidate) float64 {
		return testing.AllocsPerRun(1000, func() {
			if err := c.Run(); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.ReportMetric(allocs(second)-allocs(first), "more-allocs")
}

// BenchmarkClients shows what a cache costs over the bare client: for bytes, and for a struct with
// the same codec called by hand. "again" is the bare client once more, which is the noise.
func BenchmarkClients(b *testing.B) {
	ctx := context.Background()
	value := make([]byte, 1024)
	redisClient := goredis.NewClient(&goredis.Options{Addr: testserver.Redis(b).Addr})
	b.Cleanup(func() { _ = redisClient.Close() })
	memcacheClient := gomemcache.New(testserver.Memcached(b).Addr)
	b.Cleanup(func() { _ = memcacheClient.Close() })

	for _, store := range []struct {
		name    string
		backend appcache.RawBackend
		get     func(key string) ([]byte, error)
		set     func(key string, value []byte) error
	}{
		{
			"redis", redis.New(redisClient),
			func(key string) ([]byte, error) { return redisClient.Get(ctx, key).Bytes() },
			func(key string, value []byte) error { return redisClient.Set(ctx, key, value, time.Hour).Err() },
		},
		{
			"memcached", memcache.New(memcacheClient, nil),
			func(key string) ([]byte, error) {
				item, err := memcacheClient.Get(key)
				if err != nil {
					return nil, err
				}
				return item.Value, nil
			},
			func(key string, value []byte) error {
				return memcacheClient.Set(&gomemcache.Item{Key: key, Value: value, Expiration: 3600})
			},
		},
	} {
		raw := appcache.New[[]byte](store.backend, nil)
		accounts := appcache.New[account](store.backend, nil)
		require.NoError(b, raw.Set(ctx, benchBytes, value, time.Hour))
		require.NoError(b, accounts.Set(ctx, benchAccount, anAccount, time.Hour))
		const bytesPath = appcache.DefaultPrefix + "/" + string(benchBytes)
		const accountPath = appcache.DefaultPrefix + "/" + string(benchAccount)
		getBytes := func() error {
			_, err := store.get(bytesPath)
			return err
		}
		setBytes := func() error { return store.set(bytesPath, value) }
		getAccount := func() error {
			data, err := store.get(accountPath)
			if err != nil {
				return err
			}
			return appcache.CBOR{}.Unmarshal(data, new(account))
		}
		setAccount := func() error {
			data, err := appcache.CBOR{}.Marshal(&anAccount)
			if err != nil {
				return err
			}
			return store.set(accountPath, data)
		}
		for _, c := range []struct {
			name        string
			bare, cache func() error
		}{
			{"get-bytes", getBytes, func() error { _, _, err := raw.Get(ctx, benchBytes); return err }},
			{"set-bytes", setBytes, func() error { return raw.Set(ctx, benchBytes, value, time.Hour) }},
			{"get-struct", getAccount, func() error { _, _, err := accounts.Get(ctx, benchAccount); return err }},
			{"set-struct", setAccount, func() error { return accounts.Set(ctx, benchAccount, anAccount, time.Hour) }},
		} {
			b.Run(store.name+"/"+c.name, func(b *testing.B) {
				compare.Interleaved(b, 10, []compare.Candidate{{Name: "bare", Run: c.bare}, {Name: "again", Run: c.bare}, {Name: "cache", Run: c.cache}})
			})
		}
	}
}
