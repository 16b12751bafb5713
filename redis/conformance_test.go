package redis_test

import (
	"sync/atomic"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

// manyDatabases makes a server that has one for each case.
var manyDatabases = []string{"--databases", "1000"}

// The limit of a value isn't given to these: TestTooLarge checks it without moving 512 MiB about.

func TestConformance(t *testing.T) {
	t.Parallel()
	s, databases := testserver.Redis(t, manyDatabases...), &atomic.Int32{}
	ownServer := func(t testing.TB) (appcache.RawBackend, *testserver.Server) {
		s := testserver.Redis(t)
		return redis.New(newClient(t, s.Addr, func(o *goredis.Options) {
			o.DialerRetries = 1
			// A pool that has failed to dial as often as it has places looks for the server only once
			// a second. This one stays below that.
			o.PoolSize = 500
		})), s
	}
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend {
			return redis.New(newClient(t, s.Addr, func(o *goredis.Options) { o.DB = int(databases.Add(1)) }))
		},
		Outage: func(t testing.TB) (b appcache.RawBackend, down, up func()) {
			b, s := ownServer(t)
			return b, func() { s.Kill(t) }, func() { s.Start(t) }
		},
		Hang: func(t testing.TB) (b appcache.RawBackend, hang, resume func()) {
			b, s := ownServer(t)
			return b, func() { s.Pause(t) }, func() { s.Resume(t) }
		},
	})
}

// A backend in a type of somebody else's, which has the four methods and nothing more.
func TestConformanceWrapped(t *testing.T) {
	t.Parallel()
	s, databases := testserver.Redis(t, manyDatabases...), &atomic.Int32{}
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend {
			client := newClient(t, s.Addr, func(o *goredis.Options) { o.DB = int(databases.Add(1)) })
			return struct{ appcache.RawBackend }{redis.New(client)}
		},
	})
}

func TestConformanceAutoPipeliner(t *testing.T) {
	t.Parallel()
	s, databases := testserver.Redis(t, manyDatabases...), &atomic.Int32{}
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend {
			client := newClient(t, s.Addr, func(o *goredis.Options) { o.DB = int(databases.Add(1)) })
			ap, err := client.AutoPipeline()
			require.NoError(t, err)
			return redis.New(ap)
		},
	})
}

func TestConformanceRing(t *testing.T) {
	t.Parallel()
	shards, databases := []*testserver.Server{
		testserver.Redis(t, manyDatabases...), testserver.Redis(t, manyDatabases...),
	}, &atomic.Int32{}
	newBackend := func(t testing.TB, shards []*testserver.Server) appcache.RawBackend {
		ring := goredis.NewRing(&goredis.RingOptions{
			Addrs:                 map[string]string{"first": shards[0].Addr, "second": shards[1].Addr},
			DB:                    int(databases.Add(1)),
			ContextTimeoutEnabled: true,
		})
		t.Cleanup(func() { _ = ring.Close() })
		return redis.New(ring)
	}
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend { return newBackend(t, shards) },
		Hang: func(t testing.TB) (b appcache.RawBackend, hang, resume func()) {
			shards := []*testserver.Server{testserver.Redis(t, manyDatabases...), testserver.Redis(t, manyDatabases...)}
			return newBackend(t, shards), func() {
					shards[0].Pause(t)
					shards[1].Pause(t)
				}, func() {
					shards[0].Resume(t)
					shards[1].Resume(t)
				}
		},
	})
}

// A cluster has one database, so the cases take turns with two clusters.
func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	clusters := make(chan *testserver.Cluster, 2)
	clusters <- testserver.RedisCluster(t)
	clusters <- testserver.RedisCluster(t)
	newBackend := func(t testing.TB) (appcache.RawBackend, *testserver.Cluster) {
		c := <-clusters
		t.Cleanup(func() { clusters <- c })
		for _, m := range c.Masters {
			m.Do(t, "FLUSHALL")
		}
		return redis.New(newClusterClient(t, c)), c
	}
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend { b, _ := newBackend(t); return b },
		Hang: func(t testing.TB) (b appcache.RawBackend, hang, resume func()) {
			b, c := newBackend(t)
			return b, func() {
					for _, n := range c.Nodes() {
						n.Pause(t)
					}
				}, func() {
					for _, n := range c.Nodes() {
						n.Resume(t)
					}
				}
		},
	})
}
