package memcache_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

// What the network does ends a call with an error, at the end of its context, or lets it do its work, and is
// over when it is over: no call fails after that.
func TestNetwork(t *testing.T) {
	t.Parallel()
	value := bytes.Repeat([]byte("value"), 20)
	for _, tt := range []struct {
		name    string
		network testserver.Network
		works   bool
	}{
		{"cut", testserver.Cut, false},
		{"half open", testserver.HalfOpen, false},
		{"delayed", testserver.Delayed, true},
		{"trickling", testserver.Trickling, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy := testserver.NewProxy(t, testserver.Memcached(t).Addr)
			b := open(t, proxy.Addr)
			require.NoError(t, b.SetRaw(t.Context(), "k", value, 0))
			for range 3 { // on the connection that is open, and on new ones
				proxy.Be(tt.network)
				for _, m := range operations[:4] {
					timeout := time.Minute
					if !tt.works {
						timeout = 100 * time.Millisecond
					}
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					err := m.run(ctx, b)
					if tt.network == testserver.HalfOpen {
						require.ErrorIs(t, err, context.DeadlineExceeded, m.name)
					}
					cancel()
					require.Equal(t, tt.works, err == nil, "%s: %v", m.name, err)
				}
				proxy.Be(testserver.Sound)
				require.NoError(t, b.SetRaw(t.Context(), "k", value, 0))
				got, found, err := b.GetRaw(t.Context(), "k")
				require.NoError(t, err)
				require.True(t, found)
				require.Equal(t, value, got)
			}
		})
	}
}

// An answer that comes too late is never taken for that of a later call.
func TestAnswersDontGetMixedUp(t *testing.T) {
	t.Parallel()
	proxy := testserver.NewProxy(t, testserver.Memcached(t).Addr)
	b := open(t, proxy.Addr)
	const keys = 10
	for n := range keys {
		key := fmt.Sprint("key", n)
		require.NoError(t, b.SetRaw(t.Context(), key, []byte(strings.Repeat(key, 10)), 0))
	}
	proxy.Be(testserver.Trickling) // an answer takes 70 ms and more
	var wg sync.WaitGroup
	var gaveUp atomic.Int64
	for n := range keys {
		wg.Go(func() {
			key := fmt.Sprint("key", n)
			for i := range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%4+1)*40*time.Millisecond)
				got, found, err := b.GetRaw(ctx, key)
				cancel()
				if err != nil {
					gaveUp.Add(1)
				} else if !found || string(got) != strings.Repeat(key, 10) {
					t.Errorf("%s: got %q, %v", key, got, found)
				}
			}
		})
	}
	wg.Wait()
	require.Positive(t, gaveUp.Load())
	proxy.Be(testserver.Sound)
	for n := range keys {
		key := fmt.Sprint("key", n)
		got, found, err := b.GetRaw(t.Context(), key)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, strings.Repeat(key, 10), string(got))
	}
}

// What GetVia and the others return while memcached is at its worst.
func TestGetViaLivesThroughErrors(t *testing.T) {
	t.Parallel()
	s := testserver.Memcached(t, "-m", "2", "-M") // an error in place of evictions
	b := open(t, s.Addr)
	var events sync.Map
	cache := appcache.New[[]byte](b, &appcache.Options{
		Timeout: 200 * time.Millisecond,
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
		require.NoError(t, cache.Invalidate(t.Context(), key), tt.name)
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
