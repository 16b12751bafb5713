package appcache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
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

// bubble runs test in a bubble, over a cache and its backend. At its end nothing may be under way.
func bubble(t *testing.T, opts *appcache.Options, test func(t *testing.T, cache *appcache.Cache[[]byte], b *spy)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newSpy()
		test(t, appcache.New[[]byte](b, opts), b)
		time.Sleep(time.Hour) // whatever goes on in the background ends
		require.Zero(t, flight.Count(b), "something was left in the table")
	})
}

// raised returns what f panics with.
func raised(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

func sleepy(value string, d time.Duration, calls *atomic.Int64) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		calls.Add(1)
		select {
		case <-time.After(d):
			return []byte(value), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Contexts.

func TestFirstCallerLeaves(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		var calls atomic.Int64
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 4 { // the first three leave, one second after the other
			time.Sleep(time.Millisecond)
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*time.Second)
				defer cancel()
				if i == 3 {
					ctx = t.Context()
				}
				begun := time.Now()
				got, err := cache.GetVia(ctx, viaKey, 0, sleepy("v", 10*time.Second, &calls))
				if i < 3 {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, time.Duration(i+1)*time.Second, time.Since(begun), "it didn't leave at once")
					return
				}
				require.NoError(t, err)
				require.Equal(t, "v", string(got))
				require.Equal(t, 10*time.Second, time.Since(start).Truncate(time.Second))
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, calls.Load())
	})
}

type ctxKey struct{}

func TestContextOfTheGetter(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "first"))
		var left atomic.Value
		getter := func(ctx context.Context) ([]byte, error) {
			_, bounded := ctx.Deadline()
			require.False(t, bounded)
			require.Equal(t, "first", ctx.Value(ctxKey{}))
			<-ctx.Done()
			left.Store(ctx.Err())
			return nil, ctx.Err()
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := cache.GetVia(ctx, viaKey, 0, getter)
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		second, cancelSecond := context.WithTimeout(t.Context(), time.Minute)
		defer cancelSecond()
		wg.Go(func() {
			_, err := cache.GetVia(second, viaKey, 0, func(context.Context) ([]byte, error) { panic("two getters") })
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		require.Nil(t, left.Load(), "the getter was cancelled, though somebody waits for it")
		wg.Wait()
		synctest.Wait()
		require.Equal(t, context.Canceled, left.Load())

		// A new caller has nothing to do with the getter that was given up.
		got, err := cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return []byte("v"), nil })
		require.NoError(t, err)
		require.Equal(t, "v", string(got))
		require.Equal(t, "v", stored(t, b, "appcache/k"))
	})
}

// A getter that was given up and ends all the same doesn't overwrite what the next one stored.
func TestGivenUpGetterIsLate(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := cache.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) {
			time.Sleep(time.Minute)
			return []byte("old"), nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		got, err := cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return []byte("new"), nil })
		require.NoError(t, err)
		require.Equal(t, "new", string(got))
		time.Sleep(time.Hour)
		require.Equal(t, "new", stored(t, b, "appcache/k"))
	})
}

// slow is a backend of which each write takes a second.
type slow struct{ *cachetest.Memory }

func (b slow) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	time.Sleep(time.Second)
	return b.Memory.SetRaw(ctx, key, value, ttl)
}

// Nor does it when it was given up while it was being stored: the next caller gets its value.
func TestGivenUpWhileItIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](slow{cachetest.NewMemory()}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		_, err := cache.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) { return []byte("v"), nil })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		got, err := cache.GetVia(t.Context(), viaKey, 0, neverGet(t))
		require.NoError(t, err)
		require.Equal(t, "v", string(got))
		time.Sleep(time.Hour)
	})
}

// The last caller leaves while a new one joins: that one gets a value, and neither an error of the other's.
func TestLastLeavesAsOneJoins(t *testing.T) {
	t.Parallel()
	b := cachetest.NewMemory()
	cache := appcache.New[[]byte](b, nil)
	for i := range 2000 {
		key := appcache.StringKey[[]byte](fmt.Sprint(i))
		getter := func(ctx context.Context) ([]byte, error) {
			for range 3 {
				runtime.Gosched()
			}
			return []byte("v"), ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := cache.GetVia(ctx, key, 0, getter); err != nil {
				require.ErrorIs(t, err, context.Canceled)
				require.Error(t, ctx.Err(), "it wasn't this one that left")
			}
		})
		wg.Go(cancel)
		wg.Go(func() {
			got, err := cache.GetVia(t.Context(), key, 0, getter)
			require.NoError(t, err)
			require.Equal(t, "v", string(got))
		})
		wg.Wait()
	}
	require.Eventually(t, func() bool { return flight.Count(b) == 0 }, 10*time.Second, time.Millisecond)
}

// A context that ends while the store is asked is the caller's error, and no getter is called.
func TestContextEndsInTheRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](hanging{cachetest.NewMemory()}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := cache.GetVia(ctx, viaKey, 0, neverGet(t))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		_, err = cache.GetVia(ctx, viaKey, 0, neverGet(t))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, cache.SetVia(ctx, viaKey, nil, 0, neverSet(t)), context.DeadlineExceeded)
	})
}

// Also when the setter's context has ended the entry, which may be old by now, is removed.
func TestSetterRunsOutOfTime(t *testing.T) {
	for name, result := range map[string]error{"and says so": context.DeadlineExceeded, "and gets through": nil} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
				require.NoError(t, cache.Set(t.Context(), viaKey, []byte("old"), 0))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := cache.SetVia(ctx, viaKey, []byte("new"), 0, func(ctx context.Context, _ []byte) error {
					<-ctx.Done()
					return result
				})
				require.Equal(t, result, err)
				_, found, err := cache.Get(t.Context(), viaKey)
				require.NoError(t, err)
				require.False(t, found, "what is old was left there")
			})
		})
	}
}

// Not that it tries for ever where the store hangs.
func TestSetViaDoesNotHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](hanging{cachetest.NewMemory()}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		require.Error(t, cache.SetVia(ctx, viaKey, []byte("v"), 0, func(context.Context, []byte) error { return nil }))
		require.Equal(t, time.Minute+time.Second, time.Since(start))
	})
}

// Panics, and what is like them.

// badKey panics in ShouldCompress.
type badKey struct{ appcache.BaseKey[[]byte] }

func (badKey) CacheKeySegments() []string             { return []string{"k"} }
func (badKey) ShouldCompress(_ []byte, _ []byte) bool { panic(errOrigin) }

func TestPanicReachesEveryCaller(t *testing.T) {
	marshal := appcache.SerialiserOf(func([]byte) ([]byte, error) { panic(errOrigin) }, func(b []byte) ([]byte, error) { return b, nil })
	for _, c := range []struct {
		name   string
		key    appcache.Key[[]byte]
		opts   *appcache.Options
		getter func()
		goexit bool
	}{
		{"getter", viaKey, nil, func() { panic(errOrigin) }, false},
		{"Marshal", viaKey, &appcache.Options{Serialiser: marshal}, func() {}, false},
		{"ShouldCompress", badKey{}, nil, func() {}, false},
		{"Goexit", viaKey, nil, runtime.Goexit, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, c.opts, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				start := time.Now()
				calls := 0
				getter := func(context.Context) ([]byte, error) {
					calls++
					time.Sleep(time.Second)
					c.getter()
					return []byte("v"), nil
				}
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						var err error
						p := raised(func() { _, err = cache.GetVia(t.Context(), c.key, 0, getter) })
						require.Equal(t, time.Second, time.Since(start))
						if c.goexit {
							require.Nil(t, p)
							require.ErrorIs(t, err, flight.ErrGoexit)
							return
						}
						require.Error(t, p.(error))
						require.ErrorIs(t, p.(error), errOrigin)
						require.Contains(t, p.(error).Error(), errOrigin.Error())
						require.Contains(t, p.(error).Error(), "via_flight_test.go", "no stack of where it happened")
					})
				}
				wg.Wait()
				require.Equal(t, 1, calls)
				_, found, err := b.GetRaw(t.Context(), "appcache/k")
				require.NoError(t, err)
				require.False(t, found)
				require.Zero(t, flight.Count(b))

				if c.opts == nil { // the next call starts afresh
					got, err := cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return []byte("v"), nil })
					require.NoError(t, err)
					require.Equal(t, "v", string(got))
				}
			})
		})
	}
}

func TestErrorReachesEveryCaller(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) {
					time.Sleep(time.Second)
					return nil, errOrigin
				})
				require.Equal(t, errOrigin, err)
			})
		}
		wg.Wait()
		got, err := cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return []byte("v"), nil })
		require.NoError(t, err)
		require.Equal(t, "v", string(got))
	})
}

// Where nobody waits the process lives, and there is an event.
func TestPanicOfALoadThatWasLeft(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic(errOrigin) }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			bubble(t, &appcache.Options{Observe: r.observe}, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := cache.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) {
					time.Sleep(time.Minute)
					end()
					return nil, nil
				})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, r.one(t).Err, context.DeadlineExceeded)
				time.Sleep(time.Hour)
				e := r.one(t)
				require.Equal(t, appcache.OpGetVia, e.Op)
				require.Equal(t, appcache.Failed, e.Outcome)
				require.Equal(t, "appcache/k", e.Key)
				if name == "panic" {
					require.ErrorIs(t, e.Err, errOrigin)
				} else {
					require.ErrorIs(t, e.Err, flight.ErrGoexit)
				}
			})
		})
	}
}

// In a refresh, too: and it isn't tried again for a second.
func TestPanicOfARefresh(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic(errOrigin) }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			bubble(t, &appcache.Options{Observe: r.observe, StaleFor: time.Hour}, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
				require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), time.Second))
				time.Sleep(2 * time.Second)
				r.events = nil
				calls := 0
				for range 100 {
					got, err := cache.GetVia(t.Context(), viaKey, time.Second, func(context.Context) ([]byte, error) { calls++; end(); return nil, nil })
					require.NoError(t, err)
					require.Equal(t, "v", string(got))
					synctest.Wait()
				}
				require.Equal(t, 1, calls, "a refresh that failed was tried again at once")
				var refreshes []appcache.Event
				for _, e := range r.events {
					if e.Op == appcache.OpRefresh {
						refreshes = append(refreshes, e)
					}
				}
				require.Len(t, refreshes, 1)
				require.Equal(t, appcache.Failed, refreshes[0].Outcome)
			})
		})
	}
}

// Observe may panic as well. In the background nobody is there to be told.
func TestObservePanics(t *testing.T) {
	opts := &appcache.Options{StaleFor: time.Hour, Observe: func(_ context.Context, e appcache.Event) {
		if e.Op == appcache.OpRefresh {
			panic(errOrigin)
		}
	}}
	bubble(t, opts, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		require.NoError(t, cache.Set(t.Context(), viaKey, []byte("v"), time.Second))
		time.Sleep(2 * time.Second)
		_, err := cache.GetVia(t.Context(), viaKey, time.Hour, func(context.Context) ([]byte, error) { return []byte("new"), nil })
		require.NoError(t, err)
		synctest.Wait()
		got, _, err := cache.Get(t.Context(), viaKey)
		require.NoError(t, err)
		require.Equal(t, "new", string(got))
	})
}

// What a setter panicked with is the caller's, and the entry, which may be old, is removed.
func TestSetterPanics(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic(errOrigin) }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				require.NoError(t, cache.Set(t.Context(), viaKey, []byte("old"), 0))
				var p any
				var wg sync.WaitGroup
				wg.Go(func() {
					defer func() { p = recover() }()
					_ = cache.SetVia(t.Context(), viaKey, []byte("new"), 0, func(context.Context, []byte) error { end(); return nil })
				})
				wg.Wait()
				if name == "panic" {
					require.Equal(t, errOrigin, p)
				}
				require.Zero(t, flight.Count(b))
				_, found, err := cache.Get(t.Context(), viaKey)
				require.NoError(t, err)
				require.False(t, found)
			})
		})
	}
}

// Re-entrancy.

func ringKey(i int) appcache.StringKey[[]byte] {
	return appcache.StringKey[[]byte](fmt.Sprint("ring", i))
}

// A getter that asks for a key whose load waits for it gets an error.
func TestRings(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		for _, apart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, apart %v", n, apart), func(t *testing.T) {
				bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
					var rings atomic.Int64
					var ask func(ctx context.Context, i int) ([]byte, error)
					ask = func(ctx context.Context, i int) ([]byte, error) {
						got, err := cache.GetVia(ctx, ringKey(i), 0, func(ctx context.Context) ([]byte, error) {
							time.Sleep(time.Second) // so that the loads which were started apart meet
							if got, err := ask(ctx, (i+1)%n); err == nil {
								return got, nil
							} else if !errors.Is(err, flight.ErrRing) {
								t.Error(err)
							}
							return fmt.Append(nil, i), nil
						})
						if errors.Is(err, flight.ErrRing) {
							rings.Add(1)
						}
						return got, err
					}
					var wg sync.WaitGroup
					for i := range n {
						if i == 0 || apart {
							wg.Go(func() {
								_, err := ask(t.Context(), i)
								require.NoError(t, err)
							})
						}
					}
					wg.Wait()
					require.EqualValues(t, 1, rings.Load())
				})
			})
		}
	}
}

// uncomparable is a backend that == can't tell from others.
type uncomparable struct {
	*cachetest.Memory
	_ []int
}

// Also where loads can't be joined: otherwise there would be ever more of them.
func TestRingsWithoutJoining(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](uncomparable{Memory: cachetest.NewMemory()}, nil)
		depth := 0
		var getter func(ctx context.Context) ([]byte, error)
		getter = func(ctx context.Context) ([]byte, error) {
			if depth++; depth > 10 {
				return nil, errOrigin
			}
			return cache.GetVia(ctx, viaKey, 0, getter)
		}
		_, err := cache.GetVia(t.Context(), viaKey, 0, getter)
		require.ErrorIs(t, err, flight.ErrRing)
		require.Equal(t, 1, depth)

		// But one cache over another, of which each has the key.
		inner := appcache.New[[]byte](uncomparable{Memory: cachetest.NewMemory()}, nil)
		got, err := cache.GetVia(t.Context(), viaKey, 0, func(ctx context.Context) ([]byte, error) {
			return inner.GetVia(ctx, viaKey, 0, func(context.Context) ([]byte, error) { return []byte("v"), nil })
		})
		require.NoError(t, err)
		require.Equal(t, "v", string(got))
	})
}

// A getter that invalidates its own key, and asks for it then, asks for what waits for it all the same.
func TestRingOfAMarkedLoad(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		depth := 0
		var getter func(ctx context.Context) ([]byte, error)
		getter = func(ctx context.Context) ([]byte, error) {
			if depth++; depth > 10 {
				return nil, errOrigin
			}
			require.NoError(t, cache.Invalidate(ctx, viaKey))
			return cache.GetVia(ctx, viaKey, 0, getter)
		}
		_, err := cache.GetVia(t.Context(), viaKey, 0, getter)
		require.ErrorIs(t, err, flight.ErrRing)
	})
}

func TestGetterAsksForOthers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		got, err := cache.GetVia(t.Context(), viaKey, 0, func(ctx context.Context) ([]byte, error) {
			parts := make([][]byte, 3)
			var wg sync.WaitGroup
			for i := range parts {
				wg.Go(func() {
					var err error
					parts[i], err = cache.GetVia(ctx, ringKey(i%2), 0, func(context.Context) ([]byte, error) {
						time.Sleep(time.Second)
						return fmt.Append(nil, i%2), nil
					})
					require.NoError(t, err)
				})
			}
			wg.Wait()
			return []byte(fmt.Sprintf("%s", parts)), nil
		})
		require.NoError(t, err)
		require.Equal(t, "[0 1 0]", string(got))
	})
}

func TestSetterUsesItsOwnKey(t *testing.T) {
	one := func(context.Context) ([]byte, error) { return []byte("loaded"), nil }
	set := func(context.Context, []byte) error { return nil }
	for name, use := range map[string]func(context.Context, *appcache.Cache[[]byte]) error{
		"GetVia": func(ctx context.Context, c *appcache.Cache[[]byte]) error {
			_, err := c.GetVia(ctx, viaKey, 0, one)
			return err
		},
		"Set": func(ctx context.Context, c *appcache.Cache[[]byte]) error {
			return c.Set(ctx, viaKey, []byte("set"), 0)
		},
		"Invalidate": func(ctx context.Context, c *appcache.Cache[[]byte]) error { return c.Invalidate(ctx, viaKey) },
		"SetVia": func(ctx context.Context, c *appcache.Cache[[]byte]) error {
			return c.SetVia(ctx, viaKey, []byte("set"), 0, set)
		},
		"Clear": func(ctx context.Context, c *appcache.Cache[[]byte]) error { return c.Clear(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
				require.NoError(t, cache.SetVia(t.Context(), viaKey, []byte("v"), 0, func(ctx context.Context, _ []byte) error { return use(ctx, cache) }))
				require.Zero(t, flight.Count(b))
				got, found, err := cache.Get(t.Context(), viaKey)
				require.NoError(t, err)
				if name == "GetVia" {
					require.Equal(t, "v", string(got))
				} else { // two writers at work: nobody knows which was the last
					require.False(t, found)
				}
			})
		})
	}
}

// A getter that writes its own key: what it returns is given to those who wait for it, and not stored.
func TestGetterWritesItsOwnKey(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		got, err := cache.GetVia(t.Context(), viaKey, 0, func(ctx context.Context) ([]byte, error) {
			return []byte("returned"), cache.Set(ctx, viaKey, []byte("set"), 0)
		})
		require.NoError(t, err)
		require.Equal(t, "returned", string(got))
		require.Equal(t, "set", stored(t, b, "appcache/k"))
	})
}

// Coalescing.

// Not in parallel, for it is all that the machine can do.
func TestOneCallForAll(t *testing.T) {
	for _, c := range []struct {
		name   string
		rounds int
		keys   int
		key    func(round, i int) appcache.Key[[]byte]
	}{
		{"one key", 100, 1, func(round, _ int) appcache.Key[[]byte] { return appcache.StringKey[[]byte](fmt.Sprint(round)) }},
		{"a hundred keys", 10, 100, func(round, i int) appcache.Key[[]byte] {
			return appcache.StringKey[[]byte](fmt.Sprint(round, "/", i%100))
		}},
		{"a namespace without a token", 10, 1, func(round, _ int) appcache.Key[[]byte] {
			return likes(appcache.Generation(fmt.Sprint(round)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpy()
			cache := appcache.New[[]byte](b, nil)
			before := runtime.NumGoroutine()
			for round, start := 0, time.Now(); round < c.rounds; round++ {
				if raceDetector() && round >= 3 && time.Since(start) > 5*time.Second {
					break
				}
				var calls atomic.Int64
				begin := make(chan struct{})
				var ready, wg sync.WaitGroup
				for i := range 10_000 {
					ready.Add(1)
					wg.Go(func() {
						ready.Done()
						<-begin
						got, err := cache.GetVia(t.Context(), c.key(round, i), 0, func(context.Context) ([]byte, error) {
							calls.Add(1)
							return []byte("v"), nil
						})
						if err != nil || string(got) != "v" {
							t.Error(string(got), err)
						}
					})
				}
				ready.Wait()
				close(begin)
				wg.Wait()
				require.EqualValues(t, c.keys, calls.Load(), "round %d", round)
				sets := 0
				for _, call := range b.seen() {
					if strings.HasPrefix(call, "set ") {
						sets++
					}
				}
				if c.name == "a namespace without a token" {
					sets-- // the token
				}
				require.Equal(t, c.keys, sets, "round %d", round)
			}
			require.Zero(t, flight.Count(b))
			goroutinesReturnTo(t, before)
		})
	}
}

// raceDetector reports whether the test was built with -race, and takes its time.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func TestOneCallForEachKey(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		var calls atomic.Int64
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				_, err := cache.GetVia(t.Context(), ringKey(i%100), 0, sleepy("v", time.Second, &calls))
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.EqualValues(t, 100, calls.Load())
	})
}

// All callers get one token, and one of them calls the getter.
func TestOneTokenForAll(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		var calls atomic.Int64
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				_, err := cache.GetVia(t.Context(), likes(likesOf), 0, sleepy("v", time.Second, &calls))
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, calls.Load())
		tokens := 0
		for _, call := range b.seen() {
			if call == "set "+tokenKey {
				tokens++
			}
		}
		require.Equal(t, 1, tokens)
	})
}

// One call also while there is no token to be had; but not for who comes after an Invalidate.
func TestOneCallWithoutAToken(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		for _, ns := range []appcache.NamespaceKey{likesOf, appcache.NamespaceOf(changed)} {
			for what, drop := range map[string]func(context.Context, *appcache.Cache[[]byte]) error{
				"the key":       func(ctx context.Context, c *appcache.Cache[[]byte]) error { return c.Invalidate(ctx, likes(ns)) },
				"the namespace": func(ctx context.Context, c *appcache.Cache[[]byte]) error { return c.InvalidateNamespace(ctx, ns) },
				"everything":    func(ctx context.Context, c *appcache.Cache[[]byte]) error { return c.Clear(ctx) },
			} {
				require.NoError(t, cache.Set(t.Context(), changed, []byte("token"), 0))
				require.NoError(t, cache.Set(t.Context(), likes(ns), []byte("v"), 0))
				var calls atomic.Int64
				var wg sync.WaitGroup
				load := func() {
					_, err := cache.GetVia(t.Context(), likes(ns), 0, sleepy("v", time.Minute, &calls))
					require.NoError(t, err)
				}
				b.fail(errDown, nil, nil)
				for range 100 {
					wg.Go(load)
				}
				synctest.Wait()
				require.EqualValues(t, 1, calls.Load())
				b.fail(nil, nil, nil)
				require.NoError(t, drop(t.Context(), cache))
				b.fail(errDown, nil, nil)
				wg.Go(load)
				synctest.Wait()
				require.EqualValues(t, 2, calls.Load(), "who came after %s was dropped joined a load from before", what)
				wg.Wait()
				b.fail(nil, nil, nil)
			}
		}
	})
}

// Invalidate of one key leaves the token alone that is being made for another.
func TestTokenIsNotLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](slowReads{cachetest.NewMemory()}, nil)
		var wg sync.WaitGroup
		other := bytesKey{segments: []string{"other"}, namespace: likesOf}
		for i := range 100 {
			wg.Go(func() { require.NoError(t, cache.Invalidate(t.Context(), other)) })
			if i == 30 {
				wg.Go(func() { require.NoError(t, cache.Set(t.Context(), likes(likesOf), []byte("v"), 0)) })
			}
			time.Sleep(20 * time.Millisecond)
		}
		wg.Wait()
		_, found, err := cache.Get(t.Context(), likes(likesOf))
		require.NoError(t, err)
		require.True(t, found)
	})
}

// slowReads is a backend of which each read takes a second, and then sees what was there at first.
type slowReads struct{ *cachetest.Memory }

func (b slowReads) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	value, found, err := b.Memory.GetRaw(ctx, key)
	time.Sleep(time.Second)
	return value, found, err
}

// If the namespace is dropped while the setter runs, what was loaded into the next one meanwhile is removed.
func TestSetViaWhileTheNamespaceIsDropped(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], b *spy) {
		key := likes(likesOf)
		require.NoError(t, cache.SetVia(t.Context(), key, []byte("new"), 0, func(ctx context.Context, _ []byte) error {
			if err := cache.InvalidateNamespace(ctx, likesOf); err != nil {
				return err
			}
			_, err := cache.GetVia(ctx, key, 0, func(context.Context) ([]byte, error) { return []byte("old"), nil })
			return err
		}))
		got, err := cache.GetVia(t.Context(), key, 0, func(context.Context) ([]byte, error) { return []byte("new"), nil })
		require.NoError(t, err)
		require.Equal(t, "new", string(got))
	})
}

// Who looks again finds what a finished Set stored, also in place of an entry that couldn't be read.
func TestSetWhileAnUnreadableEntryIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := slowReads{cachetest.NewMemory()}
		put(t, b, "appcache/k", "\x00ac\x01\x80of a later version")
		cache := appcache.New[[]byte](b, nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			got, err := cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return []byte("loaded"), nil })
			require.NoError(t, err)
			require.Equal(t, "set", string(got))
		})
		time.Sleep(time.Second / 2)
		require.NoError(t, cache.Set(t.Context(), viaKey, []byte("set"), 0))
		wg.Wait()
		require.Equal(t, "set", stored(t, b, "appcache/k"), "what a finished Set stored was overwritten")
	})
}

// Own copies.

func TestCallersShareNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := cachetest.NewMemory()
		raw, maps := appcache.New[[]byte](b, nil), appcache.New[map[string][]int](b, nil)
		own := []byte("value")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				got, err := raw.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) {
					time.Sleep(time.Second)
					return own, nil
				})
				require.NoError(t, err)
				require.Equal(t, "value", string(got))
				got[0] = 'X'
				m, err := maps.GetVia(t.Context(), appcache.StringKey[map[string][]int]("m"), 0, func(context.Context) (map[string][]int, error) {
					time.Sleep(time.Second)
					return map[string][]int{"a": {1, 2}}, nil
				})
				require.NoError(t, err)
				require.Equal(t, map[string][]int{"a": {1, 2}}, m)
				m["a"][0], m["b"] = 3, nil
			})
		}
		wg.Wait()
		own[0] = 'Y'
		require.Equal(t, "value", stored(t, b, "appcache/k"))
		got, err := raw.GetVia(t.Context(), viaKey, 0, neverGet(t))
		require.NoError(t, err)
		require.Equal(t, "value", string(got))
	})
}

// The stack that a panic brings along names the line where it happened.
func TestPanicStack(t *testing.T) {
	bubble(t, nil, func(t *testing.T, cache *appcache.Cache[[]byte], _ *spy) {
		p := raised(func() {
			_, _ = cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return whereItHappens() })
		})
		require.ErrorContains(t, p.(error), "whereItHappens")
	})
}

func whereItHappens() ([]byte, error) { panic("here") }

// hanging is a backend that doesn't answer until the context ends.
type hanging struct{ *cachetest.Memory }

func (hanging) GetRaw(ctx context.Context, _ string) ([]byte, bool, error) {
	<-ctx.Done()
	return nil, false, ctx.Err()
}

func (hanging) SetRaw(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hanging) InvalidateRaw(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}
