package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/benchmarks/sqlite"
)

// maker makes a store in a place.
type maker func(ctx context.Context, place string) (sqlite.Store, error)

func lru(sized func(ctx context.Context, place string, maxSize int) (sqlite.Store, error), maxSize int) maker {
	return func(ctx context.Context, place string) (sqlite.Store, error) { return sized(ctx, place, maxSize) }
}

// places are where a store can be; place returns one that is new.
var places = []struct {
	name string
	path func(tb testing.TB) string
}{
	{"memory", func(testing.TB) string { return "" }},
	{"file", func(tb testing.TB) string { return filepath.Join(tb.TempDir(), "cache.db") }},
}

type contender struct {
	name    string
	make    maker
	noPlace string // the place that there isn't for it
	evicts  bool
}

// contenders are who is measured, the naive one first.
func contenders(maxSize int) []contender {
	return []contender{
		{"naive", lru(sqlite.NewNaive, maxSize), "", true},
		{"appcache", lru(sqlite.NewOurs, maxSize), "", true},
		{"two tables", lru(sqlite.NewTwoTables, maxSize), "", true},
		{"SELECT", sqlite.NewDirect, "", false},
		{"SELECT with 16 MiB", sqlite.NewDirectCached, "memory", false},
		{"SELECT by database/sql", sqlite.NewPlain, "", false},
		{"SELECT by mattn", sqlite.NewMattn, "", false},
		{"bbolt", sqlite.NewBolt, "memory", false},
	}
}

// neighbours have another database beside them in the process. What comes before the comma is what they are alone.
func neighbours(maxSize int) []contender {
	ours, large, plain := lru(sqlite.NewOurs, maxSize), lru(sqlite.NewOurs, 3*maxSize), maker(sqlite.NewDirect)
	return []contender{
		{"appcache, beside a database", beside(ours, plain, 1), "memory", true},
		{"SELECT, beside appcache", beside(plain, ours, 1), "memory", false},
		{"SELECT, beside appcache with 30,000 entries", beside(plain, large, 3), "memory", false},
	}
}

// everybody is the contenders and the neighbours.
func everybody(maxSize int) []contender { return append(contenders(maxSize), neighbours(maxSize)...) }

func beside(first, other maker, times int) maker {
	return func(ctx context.Context, place string) (sqlite.Store, error) {
		a, err := first(ctx, place)
		if err != nil {
			return nil, err
		}
		b, err := other(ctx, place+".other")
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
		return &pair{a, b, times}, nil
	}
}

// pair is a store that has a neighbour, which is filled after it, with so many times as much.
type pair struct {
	sqlite.Store
	neighbour sqlite.Store
	times     int
}

func (p *pair) Fill(ctx context.Context, n int, value []byte, ttl time.Duration) error {
	return errors.Join(p.Store.Fill(ctx, n, value, ttl), p.neighbour.Fill(ctx, p.times*n, value, ttl))
}

func (p *pair) Close() error { return errors.Join(p.Store.Close(), p.neighbour.Close()) }

func open(tb testing.TB, m maker, place string) sqlite.Store {
	tb.Helper()
	s, err := m(tb.Context(), place)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func requireHit(tb testing.TB, s sqlite.Store, key, want string) {
	tb.Helper()
	value, found, err := s.Get(tb.Context(), key)
	require.NoError(tb, err)
	require.True(tb, found)
	require.Equal(tb, want, string(value))
}

func requireMiss(tb testing.TB, s sqlite.Store, key string) {
	tb.Helper()
	value, found, err := s.Get(tb.Context(), key)
	require.NoError(tb, err)
	require.False(tb, found)
	require.Empty(tb, value)
}

// What is compared must do the same. Not in parallel: what is in memory is one for the process.
func TestStores(t *testing.T) {
	const maxSize = 20
	for _, c := range contenders(maxSize) {
		for _, place := range places {
			if place.name == c.noPlace {
				continue
			}
			t.Run(c.name+"/"+place.name, func(t *testing.T) {
				ctx, s := t.Context(), open(t, c.make, place.path(t))
				requireMiss(t, s, "a")
				require.NoError(t, s.Set(ctx, "a", []byte("1"), time.Hour))
				requireHit(t, s, "a", "1")
				require.NoError(t, s.Set(ctx, "a", []byte("22"), time.Hour))
				requireHit(t, s, "a", "22")
				requireMiss(t, s, "b")

				require.NoError(t, s.Fill(ctx, maxSize-1, []byte("filled"), time.Hour))
				requireHit(t, s, sqlite.Key(0), "filled")
				requireHit(t, s, sqlite.Key(maxSize-2), "filled")
				requireHit(t, s, "a", "22")
				require.NoError(t, s.Set(ctx, "new", []byte("n"), time.Hour))
				if c.evicts {
					requireMiss(t, s, sqlite.Key(1)) // as the others have been read
				}
				for _, key := range []string{sqlite.Key(0), sqlite.Key(2), sqlite.Key(maxSize - 2)} {
					requireHit(t, s, key, "filled")
				}
				requireHit(t, s, "a", "22")
			})
		}
	}
}

// Those that are caches hold, after each of many operations, what an LRU list holds.
func TestLRU(t *testing.T) {
	const maxSize, keys = 20, 40
	for _, c := range contenders(maxSize) {
		if !c.evicts {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			ctx, s := t.Context(), open(t, c.make, "")
			r := rand.New(rand.NewPCG(1, 2))
			var list []string // the last used at the end
			values := map[string]string{}
			use := func(key string) {
				list = append(slices.DeleteFunc(list, func(k string) bool { return k == key }), key)
			}
			hits := 0
			for i := range 2000 {
				key := sqlite.Key(r.IntN(keys))
				want, stored := values[key]
				if r.IntN(2) == 0 {
					if !stored {
						requireMiss(t, s, key)
						continue
					}
					requireHit(t, s, key, want)
					use(key)
					hits++
					continue
				}
				values[key] = fmt.Sprint(i)
				require.NoError(t, s.Set(ctx, key, []byte(values[key]), time.Hour))
				use(key)
				if len(list) > maxSize {
					delete(values, list[0])
					list = list[1:]
				}
			}
			require.Greater(t, hits, 300)
		})
	}
}

func TestNaiveTTL(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), open(t, lru(sqlite.NewNaive, 10), "")
	require.NoError(t, s.Set(ctx, "a", []byte("1"), 20*time.Millisecond))
	require.NoError(t, s.Set(ctx, "b", []byte("1"), time.Hour))
	require.Eventually(t, func() bool {
		_, found, err := s.Get(ctx, "a")
		return err == nil && !found
	}, 5*time.Second, 5*time.Millisecond)
	requireHit(t, s, "b", "1")
}
