package memcache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/faulttest"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

func TestNetwork(t *testing.T) {
	t.Parallel()
	faulttest.Network(t, onOneServer)
}

func TestAnswersDontGetMixedUp(t *testing.T) {
	t.Parallel()
	faulttest.AnswersDontGetMixedUp(t, onOneServer)
}

var onOneServer = faulttest.Store{
	Server: testserver.Memcached,
	Open:   func(tb testing.TB, addr string) appcache.RawBackend { return open(tb, addr) },
}

// What GetVia and the others return while memcached is at its worst.
func TestGetViaLivesThroughErrors(t *testing.T) {
	t.Parallel()
	s := testserver.Memcached(t, "-m", "2", "-M") // an error in place of evictions
	b := open(t, s.Addr)
	var events sync.Map
	cache := appcache.New[[]byte](b, &appcache.Options{
		Timeout: time.Second,
		Observe: func(_ context.Context, e appcache.Event) { events.Store(e.Op, e) },
	})
	const key = appcache.StringKey[[]byte]("key")
	value := make([]byte, 200_000)
	for _, tt := range []struct {
		name        string
		start, mend func()
		unreached   bool // Get fails
	}{
		{"full", func() {
			require.Eventually(t, func() bool {
				return b.SetRaw(t.Context(), fmt.Sprint(time.Now().UnixNano()), value, 0) != nil
			}, time.Minute, time.Nanosecond)
		}, func() { require.NoError(t, b.Clear(t.Context())) }, false},
		{"killed", func() { s.Kill(t) }, func() { s.Start(t) }, true},
		{"halted", func() { s.Pause(t) }, func() { s.Resume(t) }, true},
	} {
		tt.start()
		_, found, err := cache.Get(t.Context(), key)
		require.Equal(t, tt.unreached, err != nil, "%s: %v", tt.name, err)
		require.False(t, found, tt.name)
		got, err := cache.GetVia(t.Context(), key, time.Minute, func(context.Context) ([]byte, error) { return value, nil })
		require.NoError(t, err, tt.name)
		require.Len(t, got, len(value), tt.name)
		last, _ := events.Load(appcache.OpGetVia)
		require.Error(t, last.(appcache.Event).Err, tt.name)
		require.Error(t, cache.Set(t.Context(), key, value, time.Minute), tt.name)
		tt.mend()
		require.Eventually(t, func() bool { return cache.Invalidate(t.Context(), key) == nil }, time.Minute, time.Millisecond, tt.name)
	}
}

// Of three servers one is down: its keys can't be reached, the others work.
func TestOneOfThreeServersDown(t *testing.T) {
	t.Parallel()
	servers := []*testserver.Server{testserver.Memcached(t), testserver.Memcached(t), testserver.Memcached(t)}
	b, err := memcache.Open(nil, servers[0].Addr, servers[1].Addr, servers[2].Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	key := func(n int) string { return fmt.Sprint("key", n) }
	const keys = 60
	for n := range keys {
		require.NoError(t, b.SetRaw(t.Context(), key(n), []byte(key(n)), 0))
	}
	servers[1].Kill(t)
	failed := 0
	for n := range keys {
		value, found, err := b.GetRaw(t.Context(), key(n))
		if err != nil {
			failed++
			require.False(t, found)
			continue
		}
		require.True(t, found, "an error was no miss")
		require.Equal(t, key(n), string(value))
	}
	require.Greater(t, failed, keys/10)
	require.Less(t, failed, keys*6/10)
	servers[1].Start(t)
	for n := range keys {
		_, _, err := b.GetRaw(t.Context(), key(n))
		require.NoError(t, err)
		require.NoError(t, b.SetRaw(t.Context(), key(n), []byte(key(n)), 0))
	}
}
