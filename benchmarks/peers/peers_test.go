package peers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/benchmarks/peers"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
	"github.com/goappcache/appcache/redis"
)

// Account is the struct of eight fields, a time and a slice among them.
type Account struct {
	ID      int64
	Name    string
	Email   string
	Active  bool
	Balance float64
	Visits  uint32
	Created time.Time
	Roles   []string
}

func account(i int) Account {
	return Account{
		ID: int64(54 + i), Name: "Ann Example", Email: fmt.Sprintf("ann%d@example.org", i), Active: true, Balance: 12.5, Visits: uint32(1234 + i),
		Created: time.Date(2026, 11, 22, 10, 11, 12, 131415000+i, time.UTC), Roles: []string{"admin", "editor"},
	}
}

func accounts() []Account {
	page := make([]Account, 100)
	for i := range page {
		page[i] = account(i)
	}
	return page
}

// kibibyte is text that compresses as text does.
func kibibyte() []byte {
	var b strings.Builder
	for i := 0; b.Len() < 1024; i++ {
		fmt.Fprintf(&b, "%d engines of %d analyse %d; ", i*i*7919%1009, i*31%97, i*i*i%8191)
	}
	return []byte(b.String()[:1024])
}

// servers are those that a test or a benchmark needs, with a client for each.
type servers struct {
	redis    *goredis.Client
	memcache *gomemcache.Client
	opened   *memcache.Backend // with clients of its own
}

func start(tb testing.TB) servers {
	tb.Helper()
	addr := testserver.Memcached(tb).Addr
	s := servers{
		redis:    goredis.NewClient(&goredis.Options{Addr: testserver.Redis(tb).Addr, PoolSize: 64, ContextTimeoutEnabled: true}),
		memcache: gomemcache.New(addr),
	}
	s.memcache.MaxIdleConns = 64
	s.memcache.Timeout = 10 * time.Second // the machine may be busy with the goroutines
	opened, err := memcache.Open(nil, addr)
	require.NoError(tb, err)
	s.opened = opened
	tb.Cleanup(func() {
		_ = s.redis.Close()
		_ = s.memcache.Close()
		_ = s.opened.Close()
	})
	return s
}

// bare is how the first and the second of each store's peers are called: the bare client twice, which shows
// the noise.
const (
	bare  = "bare client"
	again = "bare client again"
)

func redisPeers[V any](tb testing.TB, s servers, compress bool) []peers.Peer[V] {
	tb.Helper()
	client := peers.Redis(s.redis)
	list := []peers.Peer[V]{
		peers.Bare[V](bare, client, compress), peers.Bare[V](again, client, compress),
		peers.Appcache[V]("appcache", redis.New(s.redis), compress),
	}
	if _, raw := any(*new(V)).([]byte); !raw || !compress { // it never compresses []byte
		list = append(list, peers.GoRedisCache[V](s.redis, compress))
	}
	if !compress {
		gocache, closing := peers.Gocache[V](s.redis)
		tb.Cleanup(func() { _ = closing() })
		aside, end, err := peers.Rueidisaside[V](s.redis.Options().Addr)
		require.NoError(tb, err)
		tb.Cleanup(end)
		list = append(list, gocache, aside)
	}
	return append(list, peers.Singleflight[V](client, compress))
}

func memcachedPeers[V any](s servers, compress bool) []peers.Peer[V] {
	client := peers.Memcached(s.memcache)
	return []peers.Peer[V]{
		peers.Bare[V](bare, client, compress), peers.Bare[V](again, client, compress),
		peers.Appcache[V]("appcache", memcache.New(s.memcache, nil), compress),
		peers.Appcache[V]("appcache, Open", s.opened, compress),
	}
}

// What is compared must do the same.
func TestPeers(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, compress := range []bool{false, true} {
		testPeers(t, s, compress, kibibyte(), func(*[]byte) {})
		testPeers(t, s, compress, account(0), func(a *Account) { a.Created = a.Created.UTC() })
		testPeers(t, s, compress, accounts(), func(all *[]Account) {
			for i := range *all {
				(*all)[i].Created = (*all)[i].Created.UTC() // msgpack makes it the local time
			}
		})
	}
}

func testPeers[V any](t *testing.T, s servers, compress bool, value V, utc func(*V)) {
	t.Helper()
	var all []peers.Peer[V]
	all = append(all, redisPeers[V](t, s, compress)...)
	all = append(all, memcachedPeers[V](s, compress)...)
	all = append(all, peers.InProcess[V]()...)
	for i, p := range all {
		t.Run(fmt.Sprintf("%T/%v/%d/%s", value, compress, i, p.Name), func(t *testing.T) {
			ctx, key := t.Context(), fmt.Sprintf("test/%T/%v/%d", value, compress, i)
			if p.Get != nil {
				_, err := p.Get(ctx, key)
				require.ErrorIs(t, err, peers.ErrMiss)
				require.NoError(t, p.Set(ctx, key, value))
				got, err := p.Get(ctx, key)
				require.NoError(t, err)
				utc(&got)
				require.Equal(t, value, got)
			}
			var loads atomic.Int64
			for range 2 {
				if loads.Load() > 0 && p.Get != nil { // some store what was loaded after the caller has gone on
					require.Eventually(t, func() bool { _, err := p.Get(ctx, key+"/via"); return err == nil }, 10*time.Second, time.Millisecond)
				}
				got, err := p.Via(ctx, key+"/via", func(context.Context) (V, error) {
					loads.Add(1)
					return value, nil
				})
				require.NoError(t, err)
				utc(&got)
				require.Equal(t, value, got)
			}
			require.EqualValues(t, 1, loads.Load())
			failed := errors.New("not now")
			_, err := p.Via(ctx, key+"/fails", func(context.Context) (V, error) { return *new(V), failed })
			require.ErrorIs(t, err, failed)
		})
	}
}
