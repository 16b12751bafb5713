package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/faulttest"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

func TestNetwork(t *testing.T) {
	t.Parallel()
	// A pool that couldn't dial for long looks for the server once a second.
	faulttest.Network(t, faulttest.Store{Server: testserver.Redis, Open: opened, Recovers: true})
}

func TestAnswersDontGetMixedUp(t *testing.T) {
	t.Parallel()
	faulttest.AnswersDontGetMixedUp(t, faulttest.Store{Server: testserver.Redis, Open: opened})
}

// opened has few connections, which calls wait for.
func opened(tb testing.TB, addr string) appcache.RawBackend {
	tb.Helper()
	return redis.New(newClient(tb, addr, func(o *goredis.Options) { o.PoolSize = 2 }))
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	s.Do(t, "ACL SETUSER app on >secret ~* +@all")
	b := redis.New(newClient(t, s.Addr, func(o *goredis.Options) { o.Username, o.Password = "app", "not it" }))
	for _, m := range methods {
		err := m.call(t.Context(), b)
		require.ErrorContains(t, err, "WRONGPASS", m.name)
		require.NotContains(t, err.Error(), "not it", m.name)
	}
}

// A replica is read from, and refuses what would change it.
func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	master, replica := testserver.Redis(t), testserver.Redis(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	replica.Do(t, "REPLICAOF "+host+" "+port)
	require.NoError(t, redis.New(newClient(t, master.Addr)).SetRaw(t.Context(), "key", []byte("value"), 0))
	b := redis.New(newClient(t, replica.Addr))
	require.Eventually(t, func() bool {
		value, found, err := b.GetRaw(t.Context(), "key")
		return err == nil && found && string(value) == "value"
	}, time.Minute, 10*time.Millisecond)
	for _, m := range methods[1:] {
		require.ErrorContains(t, m.call(t.Context(), b), "READONLY", m.name)
	}
	_, found, err := b.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, found, "it was refused")
}

// Slots move from one master to another while they are used: no call fails, and nothing is lost.
func TestResharding(t *testing.T) {
	t.Parallel()
	c := testserver.RedisCluster(t)
	client := newClusterClient(t, c)
	b := redis.New(client)
	from, to := c.Masters[0], c.Masters[1]
	fromID, toID := from.Do(t, "CLUSTER MYID"), to.Do(t, "CLUSTER MYID")
	host, port, _ := strings.Cut(to.Addr, ":")

	// Each goroutine has a key in one of the first slots, which is the first master's, and knows its value.
	const slots = 20
	keys := make([]string, slots)
	for slot := range keys {
		keys[slot] = keyOfSlot(t, from, slot)
		require.NoError(t, b.SetRaw(t.Context(), keys[slot], []byte("0"), 0))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var calls atomic.Int64
	for _, key := range keys {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				got, found, err := b.GetRaw(t.Context(), key)
				if err != nil || !found || string(got) != fmt.Sprint(n) {
					t.Errorf("%s: %q, %v, %v; want %d", key, got, found, err, n)
					return
				}
				if err := b.SetRaw(t.Context(), key, []byte(fmt.Sprint(n+1)), 0); err != nil {
					t.Errorf("%s: %v", key, err)
					return
				}
				calls.Add(2)
			}
		})
	}
	for slot, key := range keys {
		to.Do(t, fmt.Sprintf("CLUSTER SETSLOT %d IMPORTING %s", slot, fromID))
		from.Do(t, fmt.Sprintf("CLUSTER SETSLOT %d MIGRATING %s", slot, toID))
		time.Sleep(5 * time.Millisecond) // of MOVED and ASK
		from.Do(t, fmt.Sprintf("MIGRATE %s %s %s 0 5000", host, port, key))
		time.Sleep(5 * time.Millisecond)
		for _, n := range []*testserver.Server{to, from, c.Masters[2]} {
			n.Do(t, fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, toID))
		}
	}
	close(stop)
	wg.Wait()
	require.Positive(t, calls.Load())
	require.NoError(t, b.Clear(t.Context()))
	requireSize(t, "0", c.Masters[:]...)
}

// keyOfSlot returns a key that lies in a slot.
func keyOfSlot(t *testing.T, node *testserver.Server, slot int) string {
	t.Helper()
	client := newClient(t, node.Addr)
	for n := 0; ; {
		pipe := client.Pipeline()
		for range 1000 {
			pipe.ClusterKeySlot(t.Context(), fmt.Sprint(n))
			n++
		}
		answers, err := pipe.Exec(t.Context())
		require.NoError(t, err)
		for i, answer := range answers {
			if int(answer.(*goredis.IntCmd).Val()) == slot {
				return fmt.Sprint(n - 1000 + i)
			}
		}
	}
}

// What GetVia and the others return while Redis is at its worst.
func TestGetViaLivesThroughErrors(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	client := newClient(t, s.Addr, func(o *goredis.Options) { o.MaxRetries, o.DialerRetries = -1, 1 })
	var events sync.Map
	cache := appcache.New[string](redis.New(client), &appcache.Options{
		Timeout: time.Second,
		Observe: func(_ context.Context, e appcache.Event) { events.Store(e.Op, e) },
	})
	const key = appcache.StringKey[string]("key")
	for _, tt := range []struct {
		name      string
		start     func()
		mend      func()
		unreached bool // Get fails
		written   bool // Set works
	}{
		{"full", func() { s.Do(t, "CONFIG SET maxmemory 1") }, func() { s.Do(t, "CONFIG SET maxmemory 0") }, false, false},
		{"another type", func() { s.Do(t, "DEL appcache/key"); s.Do(t, "RPUSH appcache/key element") }, func() {}, true, true},
		{"garbage", func() { s.Do(t, "SET appcache/key \"\\x00ac\\x01\\xff\"") }, func() {}, false, true},
		{"killed", func() { s.Kill(t) }, func() { s.Start(t) }, true, false},
		{"halted", func() { s.Pause(t) }, func() { s.Resume(t) }, true, false},
	} {
		tt.start()
		_, found, err := cache.Get(t.Context(), key)
		require.Equal(t, tt.unreached, err != nil, "%s: %v", tt.name, err)
		require.False(t, found, tt.name)
		value, err := cache.GetVia(t.Context(), key, time.Minute, func(context.Context) (string, error) { return "loaded", nil })
		require.NoError(t, err, tt.name)
		require.Equal(t, "loaded", value, tt.name)
		last, _ := events.Load(appcache.OpGetVia)
		require.Error(t, last.(appcache.Event).Err, tt.name)
		err = cache.Set(t.Context(), key, "set", time.Minute)
		require.Equal(t, tt.written, err == nil, "%s: %v", tt.name, err)
		if errors.Is(err, context.DeadlineExceeded) {
			require.Equal(t, "halted", tt.name)
		}
		tt.mend()
		require.Eventually(t, func() bool { return cache.Invalidate(t.Context(), key) == nil }, time.Minute, time.Millisecond, tt.name)
	}
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	c := testserver.RedisSentinel(t)
	client := goredis.NewFailoverClient(&goredis.FailoverOptions{MasterName: c.Name, SentinelAddrs: c.Addrs(), ContextTimeoutEnabled: true, DialerRetries: 1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	underLoad(t, redis.New(client), "appcache/key", func() { c.Master.Kill(t) })
	require.Equal(t, ":0", c.Replica.Do(t, "DBSIZE"))
}

// underLoad ends the server that has the key of that path while all are used. GetVia goes on, and when another
// server has taken its place, so do the others.
func underLoad(t *testing.T, b *redis.Backend, path string, kill func()) {
	t.Helper()
	cache := appcache.New[string](b, &appcache.Options{Timeout: 200 * time.Millisecond})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := g; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := appcache.StringKey[string](fmt.Sprint("load/", n%20))
				value, err := cache.GetVia(t.Context(), key, 100*time.Millisecond, func(context.Context) (string, error) { return string(key), nil })
				if err != nil || value != string(key) {
					t.Errorf("GetVia of %s: %q, %v", key, value, err)
					return
				}
			}
		})
	}
	key := appcache.StringKey[string](strings.TrimPrefix(path, appcache.DefaultPrefix+"/"))
	at, err := cache.Path(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, path, at)
	require.Eventually(t, func() bool { return cache.Set(t.Context(), key, "old", 0) == nil }, time.Minute, 10*time.Millisecond)
	kill()
	begin, failed := time.Now(), 0
	require.Eventually(t, func() bool {
		err := cache.Set(t.Context(), key, "new", 0)
		if err != nil {
			failed++
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	t.Logf("%d calls failed, for %v", failed, time.Since(begin))
	close(stop)
	wg.Wait()
	require.Positive(t, failed, "nothing failed over")
	// On a slow machine those that vote may take others for dead too, which is over soon.
	var value string
	require.Eventually(t, func() bool { value, _, err = cache.Get(t.Context(), key); return err == nil }, time.Minute, 10*time.Millisecond)
	require.Equal(t, "new", value)
	require.Eventually(t, func() bool { return cache.Clear(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
}
