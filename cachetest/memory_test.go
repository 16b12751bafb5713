package cachetest_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(testing.TB) appcache.RawBackend { return cachetest.NewMemory() },
	})
}

func TestZeroMemory(t *testing.T) {
	t.Parallel()
	var m cachetest.Memory
	_, found, err := m.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, m.InvalidateRaw(t.Context(), "key"))
	require.NoError(t, m.Clear(t.Context()))
	require.NoError(t, m.SetRaw(t.Context(), "key", []byte("value"), 0))
	value, found, err := m.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "value", string(value))
}

func TestMemoryRefuses(t *testing.T) {
	t.Parallel()
	m := cachetest.NewMemory()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want error
	}{
		{"an empty key", t.Context(), appcache.ErrEmptyKey},
		{"the context before the key", done, context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, found, err := m.GetRaw(tt.ctx, "")
			require.ErrorIs(t, err, tt.want)
			require.False(t, found)
			require.ErrorIs(t, m.SetRaw(tt.ctx, "", nil, 0), tt.want)
			require.ErrorIs(t, m.InvalidateRaw(tt.ctx, ""), tt.want)
		})
	}
	require.ErrorIs(t, m.SetRaw(t.Context(), "key", nil, -1), appcache.ErrNegativeTTL)
	require.ErrorIs(t, m.Clear(done), context.Canceled)
}

func TestMemoryExpiresByTheBubblesClock(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{1, time.Millisecond, time.Hour, 100 * 365 * 24 * time.Hour, math.MaxInt64} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := cachetest.NewMemory()
				require.NoError(t, m.SetRaw(t.Context(), "key", []byte("value"), ttl))
				_, found, _ := m.GetRaw(t.Context(), "key")
				require.True(t, found)
				if ttl > 200*365*24*time.Hour {
					return // longer than the bubble's clock goes
				}
				time.Sleep(ttl - 1)
				_, found, _ = m.GetRaw(t.Context(), "key")
				require.True(t, found, "a nanosecond before the end")
				time.Sleep(time.Nanosecond)
				_, found, _ = m.GetRaw(t.Context(), "key")
				require.False(t, found, "at the end")
			})
		})
	}
}

// A store of which nobody reads or overwrites the expired entries must not grow for ever.
func TestMemoryGivesExpiredEntriesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := cachetest.NewMemory()
		require.NoError(t, m.SetRaw(t.Context(), "kept", nil, 0))
		for i := range 10_000 {
			require.NoError(t, m.SetRaw(t.Context(), fmt.Sprint(i), nil, time.Second))
			time.Sleep(10 * time.Millisecond) // a hundred live at a time
			require.Less(t, cachetest.Entries(m), 500)
		}
		_, found, err := m.GetRaw(t.Context(), "kept")
		require.NoError(t, err)
		require.True(t, found)
	})
}

func TestMemoryGetAllocatesOnce(t *testing.T) {
	m := cachetest.NewMemory()
	ctx := t.Context()
	require.NoError(t, m.SetRaw(ctx, "key", make([]byte, 1024), time.Hour))
	allocations := testing.AllocsPerRun(100, func() { _, _, _ = m.GetRaw(ctx, "key") })
	require.LessOrEqual(t, allocations, 1.0)
}
