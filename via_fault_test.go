package appcache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

// faults are what may go wrong in a load, of which nothing may be left.
var faults = []struct {
	name string
	opts appcache.Options
	key  appcache.Key[[]byte] // nil: viaKey
	end  func() ([]byte, error)
	err  error // what each caller is told, or what is raised in it
	is   func(err error) bool
}{
	{"error", appcache.Options{}, nil, func() ([]byte, error) { return nil, errOrigin }, errOrigin, isError},
	{"panic", appcache.Options{}, nil, func() ([]byte, error) { panic(errOrigin) }, errOrigin, isPanic},
	{"Goexit", appcache.Options{}, nil, func() ([]byte, error) { runtime.Goexit(); return nil, nil }, flight.ErrGoexit, isError},
	{"Marshal fails", appcache.Options{Serialiser: appcache.SerialiserOf(failsCodec, asItIs)}, nil, nil, errCodec, isError},
	{"Marshal panics", appcache.Options{Serialiser: appcache.SerialiserOf(panicsCodec, asItIs)}, nil, nil, errCodec, isPanic},
	{"Marshal calls Goexit", appcache.Options{Serialiser: appcache.SerialiserOf(exitsCodec, asItIs)}, nil, nil, flight.ErrGoexit, isError},
	{"ShouldCompress panics", appcache.Options{}, badKey{}, nil, errOrigin, isPanic},
	{"Compress panics", appcache.Options{Compressor: panickyCompressor{}}, squeezeKey{viaKey}, nil, errCodec, isPanic},
}

type panickyCompressor struct{ appcache.Gzip }

func (panickyCompressor) Compress([]byte) ([]byte, error) { panic(errCodec) }

func isPanic(err error) bool {
	var p *flight.PanicError
	return errors.As(err, &p)
}

func isError(err error) bool { return !isPanic(err) }

// requireFresh wants that nothing is stored nor under way, and that the next call calls the getter and
// stores what that returns.
func requireFresh(t *testing.T, b *spy) {
	t.Helper()
	require.Zero(t, flight.Count(b), "something was left in the table")
	_, found, err := b.Memory.GetRaw(t.Context(), "appcache/k")
	require.NoError(t, err)
	require.False(t, found, "something was stored")
	calls := 0
	cache := appcache.New[[]byte](b, nil)
	requireVia(t, cache, "v", 0, get("v", &calls))
	require.Equal(t, 1, calls)
	requireStored(t, cache, "v")
}

// breaksAtTheEnd is a store whose connection breaks when the caller's context ends.
type breaksAtTheEnd struct {
	appcache.RawBackend
	end context.CancelFunc
}

func (b breaksAtTheEnd) GetRaw(context.Context, string) ([]byte, bool, error) {
	b.end()
	return nil, false, errDown
}

func TestGetViaReturnsTheContextsError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cache := appcache.New[[]byte](breaksAtTheEnd{cachetest.NewMemory(), cancel}, nil)
	_, err := cache.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) { return []byte("v"), nil })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errDown)
}

// Whatever goes wrong in a load, every caller who waits is told at once, and nothing is left. A bubble
// ends only when no goroutine is left in it.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range faults {
		for _, callers := range []int{1, 10} {
			for _, stay := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/callers %d, stay %v", c.name, callers, stay), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						p := newPlay(c.opts, c.key, c.end)
						start := time.Now()
						together(callers, func(int) {
							ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
							defer cancel()
							if stay {
								ctx = t.Context()
							}
							err := p.via(ctx, p.cache, 0, false)
							if !stay {
								require.ErrorIs(t, err, context.DeadlineExceeded)
								require.Equal(t, time.Second/2, time.Since(start))
								return
							}
							require.ErrorIs(t, err, c.err)
							require.True(t, c.is(err), "%T", err)
							require.Equal(t, time.Second, time.Since(start), "it wasn't told at once")
						})
						time.Sleep(2 * time.Second)
						require.EqualValues(t, 1, p.calls.Load())
						requireFresh(t, p.spy)
					})
				})
			}
		}
	}
}

// In a refresh, who joined it is told, and the entry stays as it is.
func TestFaultsOfARefresh(t *testing.T) {
	t.Parallel()
	for _, c := range faults {
		for _, joined := range []int{0, 10} {
			t.Run(fmt.Sprintf("%s/joined %d", c.name, joined), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					opts := c.opts
					opts.StaleFor = time.Hour
					p := newPlay(opts, c.key, c.end)
					opts.StaleFor = 0
					plain := appcache.New[[]byte](p, &opts) // what is stale to one is gone to another
					entry := fresh(time.Now(), 0, "old")
					put(t, p.Memory, "appcache/k", entry)
					start := time.Now()
					require.NoError(t, p.via(t.Context(), p.cache, 0, false))
					synctest.Wait()
					together(joined, func(int) {
						err := p.via(t.Context(), plain, 0, false)
						require.ErrorIs(t, err, c.err)
						require.True(t, c.is(err), "%T", err)
						require.Equal(t, time.Second, time.Since(start), "it wasn't told at once")
					})
					time.Sleep(2 * time.Second)
					require.EqualValues(t, 1, p.calls.Load())
					require.Zero(t, flight.Count(p))
					require.Equal(t, entry, stored(t, p.Memory, "appcache/k"))
					require.NoError(t, p.InvalidateRaw(t.Context(), "appcache/k"))
					requireFresh(t, p.spy)
					time.Sleep(2 * time.Hour)
				})
			})
		}
	}
}

// A panic of Observe in a refresh is raised in who joined that.
func TestObservePanicsInAJoinedRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSpy()
		var calls atomic.Int64
		cache := appcache.New[[]byte](b, &appcache.Options{StaleFor: time.Hour, Observe: func(_ context.Context, e appcache.Event) {
			if e.Op == appcache.OpRefresh {
				panic(errOrigin)
			}
		}})
		put(t, b, "appcache/k", fresh(time.Now(), 0, "old"))
		requireVia(t, cache, "old", time.Hour, sleepy("new", time.Second, &calls))
		plain := appcache.New[[]byte](b, nil)
		together(10, func(int) {
			p := raised(func() { _, _ = plain.GetVia(t.Context(), viaKey, 0, sleepy("newer", time.Second, &calls)) })
			require.ErrorIs(t, p.(error), errOrigin)
		})
		require.EqualValues(t, 1, calls.Load())
		require.Zero(t, flight.Count(b))
		requireStored(t, cache, "new")
		time.Sleep(2 * time.Hour)
	})
}

// goroutinesReturnTo waits until there are no more goroutines than there were.
func goroutinesReturnTo(t *testing.T, before int) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, of %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

// The same in real time, for all goroutines of the process. So it isn't parallel.
func TestFaultsLeakNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, c := range faults {
		for _, stay := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stay %v", c.name, stay), func(t *testing.T) {
				b := newSpy()
				opts := c.opts
				opts.Timeout = time.Hour
				cache := appcache.New[[]byte](b, &opts)
				key := c.key
				if key == nil {
					key = viaKey
				}
				left := make(chan struct{})
				var waiting atomic.Int64
				together(100, func(int) {
					ctx, cancel := context.WithCancel(t.Context())
					if waiting.Add(1) == 100 {
						time.AfterFunc(5*time.Millisecond, func() { close(left) })
					}
					if !stay {
						time.AfterFunc(time.Millisecond, cancel)
					}
					_ = raised(func() {
						_, _ = cache.GetVia(ctx, key, 0, func(context.Context) ([]byte, error) {
							<-left
							if c.end == nil {
								return []byte("v"), nil
							}
							return c.end()
						})
					})
					cancel()
				})
				require.Eventually(t, func() bool { return flight.Count(b) == 0 }, 10*time.Second, time.Millisecond)
				requireFresh(t, b)
			})
		}
	}
	goroutinesReturnTo(t, before)
}

// While the store hangs there is one getter at a time, and Timeout bounds each wait.
func TestOneGetterWhileTheStoreHangs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		want    time.Duration // until all are answered
		backend func() appcache.RawBackend
	}{
		{"reads and writes", 3 * time.Second, func() appcache.RawBackend { return hanging{cachetest.NewMemory()} }},
		{"reads", 2 * time.Second, func() appcache.RawBackend { return hangingReads{cachetest.NewMemory()} }},
		{"writes", 2 * time.Second, func() appcache.RawBackend { return hangingWrites{cachetest.NewMemory()} }},
	} {
		for _, key := range []appcache.Key[[]byte]{viaKey, likes(likesOf)} {
			t.Run(fmt.Sprintf("%s/%T", c.name, key), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := c.backend()
					cache := appcache.New[[]byte](b, &appcache.Options{Timeout: time.Second})
					var calls atomic.Int64
					start := time.Now()
					together(100, func(int) {
						got, err := cache.GetVia(t.Context(), key, 0, sleepy("v", time.Second, &calls))
						require.NoError(t, err)
						require.Equal(t, "v", string(got))
						took := time.Since(start)
						if key != viaKey { // the token can't be had, and then nothing is looked for nor stored
							require.LessOrEqual(t, took, c.want)
							return
						}
						// A load looks again where something else ended in the meantime, be it in another test.
						require.Contains(t, []time.Duration{c.want, c.want + time.Second}, took)
					})
					require.EqualValues(t, 1, calls.Load())
					time.Sleep(time.Hour)
					require.Zero(t, flight.Count(b))
				})
			})
		}
	}
}

type hangingReads struct{ *cachetest.Memory }

func (hangingReads) GetRaw(ctx context.Context, _ string) ([]byte, bool, error) {
	<-ctx.Done()
	return nil, false, ctx.Err()
}

type hangingWrites struct{ *cachetest.Memory }

func (hangingWrites) SetRaw(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

// slowWrites is a backend of which each write takes a second, unless its context ends.
type slowWrites struct{ *cachetest.Memory }

func (b slowWrites) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	select {
	case <-time.After(time.Second):
		return b.Memory.SetRaw(ctx, key, value, ttl)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A caller leaves at once also while the value, or the namespace's token, is being stored, which it
// doesn't disturb.
func TestLeavingAWriteBack(t *testing.T) {
	t.Parallel()
	for _, key := range []appcache.Key[[]byte]{viaKey, likes(likesOf)} {
		t.Run(fmt.Sprintf("%T", key), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := slowWrites{cachetest.NewMemory()}
				cache := appcache.New[[]byte](b, nil)
				var calls atomic.Int64
				var wg sync.WaitGroup
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
				defer cancel()
				_, err := cache.GetVia(ctx, key, 0, sleepy("v", 0, &calls))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, time.Second/2, time.Since(start))
				for range 10 {
					wg.Go(func() {
						got, err := cache.GetVia(t.Context(), key, 0, sleepy("v", 0, &calls))
						require.NoError(t, err)
						require.Equal(t, "v", string(got))
					})
				}
				wg.Wait()
				require.EqualValues(t, 1, calls.Load())
				_, found, err := cache.Get(t.Context(), key)
				require.NoError(t, err)
				require.True(t, found)
				time.Sleep(time.Hour)
				require.Zero(t, flight.Count(b))
			})
		})
	}
}

// Callers are woken once the value is stored, and not before: what they read after that is there.
func TestWokenWhenItIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](slowWrites{cachetest.NewMemory()}, nil)
		var calls atomic.Int64
		together(10, func(int) {
			requireVia(t, cache, "v", 0, sleepy("v", time.Second, &calls))
			requireStored(t, cache, "v")
		})
	})
}
