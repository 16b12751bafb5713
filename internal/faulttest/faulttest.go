// Package faulttest has the tests of faults that the backends of servers share.
package faulttest

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
)

// Store says how to make what is tested.
type Store struct {
	Server func(tb testing.TB, args ...string) *testserver.Server
	Open   func(tb testing.TB, addr string) appcache.RawBackend

	// Recovers says that calls may fail for some time after the network is sound again.
	Recovers bool
}

var calls = []struct {
	name string
	call func(ctx context.Context, b appcache.RawBackend) error
}{
	{"GetRaw", func(ctx context.Context, b appcache.RawBackend) error { _, _, err := b.GetRaw(ctx, "key"); return err }},
	{"SetRaw", func(ctx context.Context, b appcache.RawBackend) error {
		return b.SetRaw(ctx, "key", []byte("v"), time.Minute)
	}},
	{"SetRaw of much", func(ctx context.Context, b appcache.RawBackend) error {
		return b.SetRaw(ctx, "key", make([]byte, 100_000), time.Minute)
	}},
	{"InvalidateRaw", func(ctx context.Context, b appcache.RawBackend) error { return b.InvalidateRaw(ctx, "key") }},
}

// Network shows that what the network does ends a call with an error, at the latest at the end of its context,
// or lets it do its work, and is over when it is over.
func Network(t *testing.T, s Store) {
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
			proxy := testserver.NewProxy(t, s.Server(t).Addr)
			b := s.Open(t, proxy.Addr)
			require.NoError(t, b.SetRaw(t.Context(), "key", value, 0))
			for range 3 { // on the connection that is open, and on new ones
				proxy.Be(tt.network)
				for _, c := range calls {
					timeout := time.Minute
					if !tt.works {
						timeout = 100 * time.Millisecond
					}
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					err := c.call(ctx, b)
					cancel()
					require.Equal(t, tt.works, err == nil, "%s: %v", c.name, err)
					if tt.network == testserver.HalfOpen {
						require.ErrorIs(t, err, context.DeadlineExceeded, c.name)
					}
				}
				proxy.Be(testserver.Sound)
				if s.Recovers {
					require.Eventually(t, func() bool { return b.SetRaw(t.Context(), "key", value, 0) == nil }, time.Minute, time.Millisecond)
				}
				for _, c := range calls {
					require.NoError(t, c.call(t.Context(), b), c.name)
				}
				require.NoError(t, b.SetRaw(t.Context(), "key", value, 0))
				requireHit(t, b, "key", string(value))
			}
		})
	}
}

// AnswersDontGetMixedUp shows that an answer which comes too late is never taken for that of a later call.
func AnswersDontGetMixedUp(t *testing.T, s Store) {
	proxy := testserver.NewProxy(t, s.Server(t).Addr)
	b := s.Open(t, proxy.Addr)
	valueOf := func(key string) string { return strings.Repeat(key, 10) }
	var keys []string
	for n := range 10 {
		key := fmt.Sprint("key ", n)
		keys = append(keys, key)
		require.NoError(t, b.SetRaw(t.Context(), key, []byte(valueOf(key)), 0))
	}
	proxy.Be(testserver.Trickling) // an answer takes 70 ms and more
	var wg sync.WaitGroup
	var gaveUp atomic.Int64
	for _, key := range keys {
		wg.Go(func() {
			for i := range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%4+1)*40*time.Millisecond)
				got, found, err := b.GetRaw(ctx, key)
				cancel()
				if err != nil {
					gaveUp.Add(1)
				} else if !found || string(got) != valueOf(key) {
					t.Errorf("%s: got %q, %v", key, got, found)
				}
			}
		})
	}
	wg.Wait()
	require.Positive(t, gaveUp.Load())
	proxy.Be(testserver.Sound)
	for _, key := range keys {
		requireHit(t, b, key, valueOf(key))
	}
}

func requireHit(t *testing.T, b appcache.RawBackend, key, want string) {
	t.Helper()
	got, found, err := b.GetRaw(t.Context(), key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, want, string(got))
}
