package appcache_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/flight"
	"github.com/stretchr/testify/require"
)

// requireVia wants GetVia to return a value, by the getter or without it.
func requireVia(t *testing.T, cache *appcache.Cache[[]byte], want string, ttl time.Duration, getter func(context.Context) ([]byte, error)) {
	t.Helper()
	got, err := cache.GetVia(t.Context(), viaKey, ttl, getter)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func requireNone(t *testing.T, cache *appcache.Cache[[]byte]) {
	t.Helper()
	_, found, err := cache.Get(t.Context(), viaKey)
	require.NoError(t, err)
	require.False(t, found)
}

func requireStored(t *testing.T, cache *appcache.Cache[[]byte], want string) {
	t.Helper()
	got, found, err := cache.Get(t.Context(), viaKey)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, want, string(got))
}

// ofKind returns the events of an operation since the last call.
func (r *recorder) ofKind(op appcache.Op) (events []appcache.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Op == op {
			events = append(events, e)
		}
	}
	r.events = nil
	return events
}

func TestStale(t *testing.T) {
	var r recorder
	bubble(t, &appcache.Options{StaleFor: time.Hour, Observe: r.observe}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		var calls atomic.Int64
		requireVia(t, cache, "1", time.Minute, sleepy("1", time.Second, &calls))
		time.Sleep(59 * time.Second)
		requireStored(t, cache, "1")
		time.Sleep(2 * time.Second)
		requireNone(t, cache)
		require.Len(t, r.ofKind(appcache.OpGetVia), 1)

		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { requireVia(t, cache, "1", time.Minute, sleepy("2", time.Second, &calls)) })
		}
		wg.Wait()
		require.Equal(t, start, time.Now(), "it wasn't served at once")
		for _, e := range r.ofKind(appcache.OpGetVia) {
			require.Equal(t, appcache.Stale, e.Outcome)
			require.NoError(t, e.Err)
			require.NotZero(t, e.Size)
		}
		requireNone(t, cache)
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 2, calls.Load())
		requireStored(t, cache, "2")
		refreshes := r.ofKind(appcache.OpRefresh)
		require.Len(t, refreshes, 1)
		size := len(stored(t, b, "appcache/k"))
		require.Equal(t, appcache.Event{Op: appcache.OpRefresh, Outcome: appcache.Done, Key: "appcache/k", Size: size, Duration: time.Second}, refreshes[0])

		// When the window is over nothing is served any more.
		time.Sleep(time.Hour + time.Minute)
		requireVia(t, cache, "3", time.Minute, sleepy("3", time.Second, &calls))
	})
}

func TestRefreshFails(t *testing.T) {
	var r recorder
	bubble(t, &appcache.Options{StaleFor: time.Hour, Observe: r.observe}, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), time.Minute))
		time.Sleep(time.Minute)
		calls := 0
		fail := func(context.Context) ([]byte, error) { calls++; return nil, errOrigin }
		for range 300 { // in three seconds
			requireVia(t, cache, "v", time.Minute, fail)
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, 3, calls)
		events := r.ofKind(appcache.OpRefresh)
		require.Len(t, events, 3)
		require.Equal(t, appcache.Failed, events[0].Outcome)
		require.Equal(t, errOrigin, events[0].Err)
		// It isn't only the refresh that mustn't be tried again: without the entry each call is one.
		time.Sleep(time.Second)
		requireVia(t, cache, "v", time.Minute, func(context.Context) ([]byte, error) { return []byte("new"), nil })
		synctest.Wait()
		requireStored(t, cache, "new")
	})
}

// What can't be stored isn't loaded again and again either.
func TestRefreshIsNotStored(t *testing.T) {
	bubble(t, &appcache.Options{StaleFor: time.Hour}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), time.Minute))
		time.Sleep(time.Minute)
		b.fail(nil, errDown, nil)
		calls := 0
		for range 300 {
			requireVia(t, cache, "v", time.Minute, get("new", &calls))
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, 3, calls)
	})
}

func TestRefreshFindsNothing(t *testing.T) {
	none := func(context.Context) ([]byte, error) {
		return nil, fmt.Errorf("no such user: %w", appcache.ErrNotFound)
	}
	for _, ttl := range []time.Duration{0, time.Minute} {
		t.Run(ttl.String(), func(t *testing.T) {
			bubble(t, &appcache.Options{StaleFor: time.Hour, NotFoundTTL: ttl}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), time.Minute))
				time.Sleep(time.Minute)
				requireVia(t, cache, "v", time.Minute, none)
				synctest.Wait()
				calls := 0
				if ttl == 0 {
					requireVia(t, cache, "new", time.Minute, get("new", &calls))
					return
				}
				_, err := cache.GetVia(t.Context(), viaKey, time.Minute, get("new", &calls))
				require.ErrorIs(t, err, appcache.ErrNotFound)
				require.Zero(t, calls)
			})
		})
	}
}

// The window counts as one caller: at its end the getter is cancelled, unless somebody else waits.
func TestWindowOfARefresh(t *testing.T) {
	for _, joined := range []bool{false, true} {
		t.Run(fmt.Sprint("joined ", joined), func(t *testing.T) {
			bubble(t, &appcache.Options{StaleFor: time.Hour}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), time.Minute))
				time.Sleep(time.Minute)
				start := time.Now()
				var cancelled atomic.Int64
				requireVia(t, cache, "v", time.Minute, func(ctx context.Context) ([]byte, error) {
					select {
					case <-time.After(3 * time.Hour):
						return []byte("new"), nil
					case <-ctx.Done():
						cancelled.Store(int64(time.Since(start)))
						return nil, ctx.Err()
					}
				})
				time.Sleep(time.Hour / 2)
				require.Zero(t, cancelled.Load())
				if !joined {
					time.Sleep(time.Hour)
					require.InDelta(t, time.Hour, cancelled.Load(), float64(2*time.Millisecond))
					return
				}
				time.Sleep(time.Hour/2 - 10*time.Second)
				// What is stale to one may be gone to another: who asks then joins.
				plain := appcache.New[[]byte](b, nil)
				got, err := plain.GetVia(t.Context(), viaKey, time.Minute, neverGet(t))
				require.NoError(t, err)
				require.Equal(t, "new", string(got))
				require.Equal(t, 3*time.Hour, time.Since(start).Truncate(time.Second))
				require.Zero(t, cancelled.Load())
			})
		})
	}
}

// At most so many loads run in the background, however many keys are stale. Not in parallel: that is for all of the
// process, and other tests would find that there may be no more.
func TestManyStaleKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](cachetest.NewMemory(), &appcache.Options{StaleFor: time.Hour})
		const keys = 100_000
		key := func(i int) appcache.StringKey[[]byte] { return appcache.StringKey[[]byte](fmt.Sprint(i)) }
		for i := range keys {
			require.NoError(t, cache.Set(t.Context(), key(i), []byte("v"), time.Minute))
		}
		time.Sleep(time.Minute)
		var running, most, more atomic.Int64
		for i := range keys {
			_, err := cache.GetVia(t.Context(), key(i), time.Minute, func(context.Context) ([]byte, error) {
				n := running.Add(1)
				defer running.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Second)
				return []byte("v"), nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		require.EqualValues(t, 64, most.Load())
		time.Sleep(2 * time.Second) // and when they are over, others may
		for i := range 100 {
			_, err := cache.GetVia(t.Context(), key(keys-1-i), time.Minute, func(context.Context) ([]byte, error) {
				more.Add(1)
				time.Sleep(time.Second)
				return []byte("v"), nil
			})
			require.NoError(t, err)
		}
		synctest.Wait()
		require.EqualValues(t, 64, more.Load())
		time.Sleep(2 * time.Hour)
	})
}

// A hit is refreshed early with the probability exp(-left / (beta * cost)).
func TestEarlyRefresh(t *testing.T) {
	for _, c := range []struct {
		beta float64
		left time.Duration
	}{{1, 500 * time.Millisecond}, {1, time.Second}, {1, 3 * time.Second}, {2, 3 * time.Second}, {0.5, time.Second}} {
		t.Run(fmt.Sprint(c.beta, c.left), func(t *testing.T) {
			bubble(t, &appcache.Options{EarlyRefresh: c.beta}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				const ttl, cost, tries = time.Minute, time.Second, 2000
				var calls atomic.Int64
				requireVia(t, cache, "v", ttl, sleepy("v", cost, &calls))
				time.Sleep(ttl - c.left)
				entry := stored(t, b, "appcache/k")
				refreshed := 0
				for range tries {
					before := calls.Load()
					start := time.Now()
					requireVia(t, cache, "v", ttl, func(context.Context) ([]byte, error) { calls.Add(1); return []byte("v"), nil })
					require.Equal(t, start, time.Now())
					synctest.Wait()
					if calls.Load() > before {
						refreshed++
						put(t, b, "appcache/k", entry)
					}
				}
				p := math.Exp(-float64(c.left) / (c.beta * float64(cost+time.Millisecond)))
				deviation := math.Sqrt(p * (1 - p) * tries)
				require.InDelta(t, p*tries, refreshed, 6*deviation)
			})
		})
	}
}

// What was stored without anybody knowing its cost isn't refreshed early, nor is what never ends.
func TestEarlyRefreshNeedsACost(t *testing.T) {
	bubble(t, &appcache.Options{EarlyRefresh: 1e9}, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), time.Minute))
		for range 100 {
			requireVia(t, cache, "v", time.Minute, neverGet(t))
		}
		var calls atomic.Int64
		require.NoError(t, cache.Invalidate(t.Context(), viaKey))
		for range 100 {
			requireVia(t, cache, "v", 0, sleepy("v", time.Second, &calls))
		}
		synctest.Wait()
		require.EqualValues(t, 1, calls.Load())
	})
}

func TestNotFound(t *testing.T) {
	errNone := fmt.Errorf("user 54: %w", appcache.ErrNotFound)
	var r recorder
	bubble(t, &appcache.Options{NotFoundTTL: time.Minute, Observe: r.observe}, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		calls := 0
		none := func(context.Context) ([]byte, error) { calls++; return []byte("half"), errNone }
		got, err := cache.GetVia(t.Context(), viaKey, time.Hour, none)
		require.Equal(t, errNone, err, "the getter's error comes back as it is")
		require.Nil(t, got)
		require.Equal(t, appcache.Miss, r.one(t).Outcome)
		for range 10 {
			got, err = cache.GetVia(t.Context(), viaKey, time.Hour, none)
			require.ErrorIs(t, err, appcache.ErrNotFound)
			require.ErrorContains(t, err, "appcache/k")
			require.Nil(t, got)
			e := r.one(t)
			require.Equal(t, appcache.Hit, e.Outcome)
			require.ErrorIs(t, e.Err, appcache.ErrNotFound)
			require.NotZero(t, e.Size)
		}
		require.Equal(t, 1, calls)
		requireNone(t, cache)
		require.Equal(t, appcache.Miss, r.one(t).Outcome)

		require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), 0))
		requireVia(t, cache, "v", 0, none)
		require.NoError(t, cache.Invalidate(t.Context(), viaKey))

		_, err = cache.GetVia(t.Context(), viaKey, time.Hour, none)
		require.ErrorIs(t, err, appcache.ErrNotFound)
		time.Sleep(time.Minute)
		requireVia(t, cache, "v", time.Hour, func(context.Context) ([]byte, error) { return []byte("v"), nil })
	})
}

// Without NotFoundTTL it isn't remembered, and what there was, or may be, is removed.
func TestNotFoundIsNotRemembered(t *testing.T) {
	none := func(context.Context) ([]byte, error) { return nil, appcache.ErrNotFound }
	for name, before := range map[string]func(*spy){
		"nothing there": func(*spy) {},
		"unreadable":    func(b *spy) { _ = b.SetRaw(context.Background(), "appcache/k", []byte("\x00ac\x01\x80"), 0) },
		"can't be read": func(b *spy) {
			_ = b.SetRaw(context.Background(), "appcache/k", []byte("old"), 0)
			b.fail(errDown, nil, nil) // during the first call
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				before(b)
				for range 2 {
					_, err := cache.GetVia(t.Context(), viaKey, 0, none)
					require.ErrorIs(t, err, appcache.ErrNotFound)
					b.fail(nil, nil, nil)
				}
				_, found, err := b.Memory.GetRaw(t.Context(), "appcache/k")
				require.NoError(t, err)
				require.False(t, found, "what the origin doesn't have any more is still there")
			})
		})
	}
}

// ttls is a backend that notes how long things are stored for.
type ttls struct {
	*cachetest.Memory
	mu  sync.Mutex
	all []time.Duration
}

func newTTLs() *ttls { return &ttls{Memory: cachetest.NewMemory()} }

func (b *ttls) seen() []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

func (b *ttls) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, ttl)
	return b.Memory.SetRaw(ctx, key, value, ttl)
}

func TestJitter(t *testing.T) {
	t.Parallel()
	for _, jitter := range []float64{0.1, 0.9, math.Nextafter(1, 0)} {
		for _, ttl := range []time.Duration{0, 1, time.Second, 24 * time.Hour, math.MaxInt64} {
			b := newTTLs()
			cache := appcache.New[[]byte](b, &appcache.Options{Jitter: jitter})
			for range 500 {
				require.NoError(t, cache.Set(t.Context(), viaKey, nil, ttl))
			}
			got := b.seen()
			least, most := got[0], got[0]
			for _, d := range got {
				least, most = min(least, d), max(most, d)
			}
			if ttl <= 1 {
				require.Equal(t, []time.Duration{ttl, ttl}, []time.Duration{least, most})
				continue
			}
			require.Positive(t, least, "it became nothing, or for ever")
			require.LessOrEqual(t, most, ttl)
			bound := float64(ttl) * (1 - jitter)
			require.GreaterOrEqual(t, float64(least), bound*0.999-1)
			require.Less(t, float64(least), bound+0.2*jitter*float64(ttl), "it isn't spread")
			require.Greater(t, float64(most), float64(ttl)*(1-0.2*jitter))
		}
	}
}

// A TTL and a window that are more together than there is are the longest that there is.
func TestLongTTLs(t *testing.T) {
	for _, c := range []struct{ ttl, stale time.Duration }{
		{math.MaxInt64, time.Hour}, {time.Hour, math.MaxInt64}, {math.MaxInt64, math.MaxInt64}, {math.MaxInt64, 1},
	} {
		t.Run(fmt.Sprint(c.ttl, c.stale), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newTTLs()
				cache := appcache.New[[]byte](b, &appcache.Options{StaleFor: c.stale, EarlyRefresh: 1e300})
				load := func(ctx context.Context) ([]byte, error) {
					time.Sleep(time.Millisecond)
					return []byte("v"), ctx.Err()
				}
				requireVia(t, cache, "v", c.ttl, load)
				require.Equal(t, []time.Duration{math.MaxInt64}, b.seen())
				requireStored(t, cache, "v")
				// The window of the refresh that follows is as long.
				requireVia(t, cache, "v", c.ttl, load)
				time.Sleep(time.Minute)
				require.Equal(t, []time.Duration{math.MaxInt64, math.MaxInt64}, b.seen(), "the refresh was cancelled at once")
				requireStored(t, cache, "v")
			})
		})
	}
}

// Whatever is stored with a TTL has it shortened.
func TestJitterOfAll(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	load := func(context.Context) ([]byte, error) { return []byte("v"), nil }
	for name, c := range map[string]func(*appcache.Cache[[]byte]) error{
		"GetVia": func(c *appcache.Cache[[]byte]) error { _, err := c.GetVia(ctx, viaKey, time.Hour, load); return err },
		"GetViaTTL": func(c *appcache.Cache[[]byte]) error {
			_, err := c.GetViaTTL(ctx, viaKey, func(context.Context) ([]byte, time.Duration, error) { return nil, time.Hour, nil })
			return err
		},
		"SetVia": func(c *appcache.Cache[[]byte]) error {
			return c.SetVia(ctx, viaKey, nil, time.Hour, func(context.Context, []byte) error { return nil })
		},
		"absence": func(c *appcache.Cache[[]byte]) error {
			_, err := c.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) { return nil, appcache.ErrNotFound })
			require.ErrorIs(t, err, appcache.ErrNotFound)
			return nil
		},
	} {
		b := newTTLs()
		cache := appcache.New[[]byte](b, &appcache.Options{Jitter: 0.5, NotFoundTTL: time.Hour})
		for range 100 {
			require.NoError(t, c(cache), name)
			require.NoError(t, b.InvalidateRaw(ctx, "appcache/k"))
		}
		all := b.seen()
		require.Len(t, all, 100, name)
		require.GreaterOrEqual(t, slices.Min(all), time.Hour/2, name)
		require.LessOrEqual(t, slices.Max(all), time.Hour, name)
		require.Greater(t, slices.Max(all)-slices.Min(all), time.Hour/4, name)
	}
}

// A refresh that a writer made old isn't stored, and nobody joins it.
func TestRefreshIsOutdated(t *testing.T) {
	for name, write := range map[string]func(context.Context, *appcache.Cache[[]byte]) error{
		"Invalidate": func(ctx context.Context, c *appcache.Cache[[]byte]) error { return c.Invalidate(ctx, viaKey) },
		"Set": func(ctx context.Context, c *appcache.Cache[[]byte]) error {
			return c.Set(ctx, viaKey, []byte("new"), 0)
		},
		"Clear": func(ctx context.Context, c *appcache.Cache[[]byte]) error { return c.Clear(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, &appcache.Options{StaleFor: time.Hour}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				var olds, news atomic.Int64
				put(t, b, "appcache/k", fresh(time.Now(), 0, "older"))
				requireVia(t, cache, "older", 0, sleepy("old", time.Minute, &olds))
				synctest.Wait()
				require.NoError(t, write(t.Context(), cache))
				requireVia(t, cache, "new", 0, sleepy("new", time.Second, &news))
				time.Sleep(2 * time.Minute)
				require.EqualValues(t, 1, olds.Load())
				requireStored(t, cache, "new")
			})
		})
	}
}

// The getter of a refresh is served what is stale, as everybody is, and waits for nobody.
func TestRefreshAsksForItsOwnKey(t *testing.T) {
	bubble(t, &appcache.Options{StaleFor: time.Hour}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		put(t, b, "appcache/k", fresh(time.Now(), 0, "old"))
		requireVia(t, cache, "old", 0, func(ctx context.Context) ([]byte, error) {
			got, err := cache.GetVia(ctx, viaKey, 0, neverGet(t))
			require.Equal(t, "old", string(got))
			return []byte("new"), err
		})
		synctest.Wait()
		requireStored(t, cache, "new")
	})
}

// fresh returns an entry as a writer stores it whose clock is off by so much.
func fresh(until time.Time, cost uint32, body string) string {
	e := []byte("\x00ac\x01\x02")
	if cost != 0 {
		e[4] |= 4
	}
	e = binary.BigEndian.AppendUint64(e, uint64(until.UnixMilli()))
	if cost != 0 {
		e = binary.BigEndian.AppendUint32(e, cost)
	}
	return string(e) + body
}

// The clocks of two writers are a minute apart: what one calls fresh the other may call stale, which costs
// loads, but no value is served beyond what the store keeps, and the loads don't pile up.
func TestClocksApart(t *testing.T) {
	for _, skew := range []time.Duration{-time.Minute, time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			bubble(t, &appcache.Options{StaleFor: time.Minute}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				const ttl = 30 * time.Second
				theirs := func() { // as the other process stores it
					until := time.Now().Add(skew).Add(ttl)
					require.NoError(t, b.SetRaw(t.Context(), "appcache/k", []byte(fresh(until, 0, "theirs")), ttl+time.Minute))
				}
				theirs()
				var calls atomic.Int64
				for range 100 {
					requireVia(t, cache, "theirs", ttl, sleepy("ours", time.Second, &calls))
				}
				if skew > 0 {
					require.Zero(t, calls.Load())
					time.Sleep(ttl + time.Minute)
					requireVia(t, cache, "ours", ttl, sleepy("ours", time.Second, &calls))
					return
				}
				time.Sleep(2 * time.Second)
				require.EqualValues(t, 1, calls.Load())
				requireStored(t, cache, "ours")
			})
		})
	}
}

// Without a window, what a writer whose clock is behind has stored is over too soon, and loaded again;
// what one whose clock is ahead has stored is served until the store drops it, and not refreshed early.
func TestClocksApartWithoutAWindow(t *testing.T) {
	bubble(t, &appcache.Options{EarlyRefresh: 1}, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		const ttl = 30 * time.Second
		theirs := func(skew time.Duration) {
			data := fresh(time.Now().Add(skew).Add(ttl), 1000, "theirs")
			require.NoError(t, b.SetRaw(t.Context(), "appcache/k", []byte(data), ttl))
		}
		var calls atomic.Int64
		theirs(-time.Minute)
		requireNone(t, cache)
		requireVia(t, cache, "ours", ttl, sleepy("ours", time.Second, &calls))
		requireStored(t, cache, "ours")
		require.EqualValues(t, 1, calls.Load())

		theirs(time.Minute)
		for range 100 {
			requireVia(t, cache, "theirs", ttl, neverGet(t))
			time.Sleep(ttl / 101)
		}
		time.Sleep(time.Second)
		requireNone(t, cache)
		requireVia(t, cache, "ours", ttl, sleepy("ours", time.Second, &calls))
	})
}

// Entries of a cache with policies are read by one without, and the other way round.
func TestEntriesAcrossPolicies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := cachetest.NewMemory()
		plain := appcache.New[[]byte](b, nil)
		policies := appcache.New[[]byte](b, &appcache.Options{StaleFor: time.Hour, EarlyRefresh: 1, NotFoundTTL: time.Hour, Jitter: 0.5})
		calls := 0

		requireVia(t, policies, "v", time.Minute, get("v", &calls))
		require.True(t, strings.HasPrefix(stored(t, b, "appcache/k"), "\x00ac\x01"))
		requireStored(t, plain, "v")
		requireVia(t, plain, "v", time.Minute, neverGet(t))
		time.Sleep(time.Minute)
		requireNone(t, plain)
		requireVia(t, plain, "w", time.Minute, get("w", &calls)) // it knows no window
		require.Equal(t, "w", stored(t, b, "appcache/k"))

		requireStored(t, policies, "w")
		requireVia(t, policies, "w", time.Minute, neverGet(t))
		time.Sleep(time.Minute)
		requireNone(t, policies)

		_, err := policies.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return nil, appcache.ErrNotFound })
		require.ErrorIs(t, err, appcache.ErrNotFound)
		requireNone(t, plain)
		_, err = plain.GetVia(t.Context(), viaKey, 0, neverGet(t))
		require.ErrorIs(t, err, appcache.ErrNotFound)
		time.Sleep(time.Hour)
	})
}

// Faults.

// A backend that answers garbage is a backend with nothing in it.
func TestGetViaOverGarbage(t *testing.T) {
	for _, garbage := range []string{"", "x", "\x1f\x8b", "\x00ac\x01", "\x00ac\x01\x02", "\x00ac\x01\xff", "\x00ac\x01\x01\x1f\x8bgarbage", "\xa1\xff"} {
		t.Run(fmt.Sprintf("%q", garbage), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := cachetest.NewMemory()
				put(t, b, "appcache/k", garbage)
				cache := appcache.New[user](b, nil)
				var calls atomic.Int64
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						got, err := cache.GetVia(t.Context(), appcache.StringKey[user]("k"), 0, func(context.Context) (user, error) {
							time.Sleep(time.Second)
							calls.Add(1)
							return user{ID: 1}, nil
						})
						require.NoError(t, err)
						require.Equal(t, user{ID: 1}, got)
					})
				}
				wg.Wait()
				require.EqualValues(t, 1, calls.Load())
				_, found, err := cache.Get(t.Context(), appcache.StringKey[user]("k"))
				require.NoError(t, err)
				require.True(t, found)
			})
		})
	}
}

// While the store is down there is one getter at a time.
func TestOneGetterInAnOutage(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		b.fail(errDown, errDown, errDown)
		var calls atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { requireVia(t, cache, "v", 0, sleepy("v", time.Second, &calls)) })
		}
		wg.Wait()
		require.EqualValues(t, 1, calls.Load())
	})
}

// panicky is a backend that panics.
type panicky struct{ *cachetest.Memory }

func (panicky) SetRaw(context.Context, string, []byte, time.Duration) error { panic(errDown) }

func TestBackendPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := panicky{cachetest.NewMemory()}
		cache := appcache.New[[]byte](b, nil)
		calls := 0
		for range 2 {
			p := raised(func() { _, _ = cache.GetVia(t.Context(), viaKey, 0, get("v", &calls)) })
			require.ErrorIs(t, p.(error), errDown)
		}
		require.NotNil(t, raised(func() { _ = cache.Set(t.Context(), viaKey, nil, 0) }))
		require.NotNil(t, raised(func() { _, _ = cache.GetVia(t.Context(), likes(likesOf), 0, get("v", &calls)) }))
		require.NoError(t, cache.Invalidate(t.Context(), viaKey), "a write that panicked is still waited for")
		require.Zero(t, flight.Count(b))
	})
}
