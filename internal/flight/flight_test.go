package flight_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache/internal/flight"
	"github.com/stretchr/testify/require"
)

type backend struct{ _ int } // not of size 0, so that two aren't one

func never(t *testing.T) flight.Run {
	return func(context.Context, *flight.Load, bool) any {
		t.Error("a second load")
		return nil
	}
}

func ignore(error) {}

// returns is a load that takes a second, and tells whether it could be stored.
func returns(value string, stored *bool) flight.Run {
	return func(_ context.Context, l *flight.Load, _ bool) any {
		time.Sleep(time.Second)
		*stored = l.Store(func() {})
		return value
	}
}

// Who joins a load, and what is stored, according to what a writer does meanwhile.
func TestWriters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		write  func(t *testing.T, k flight.Key) // at half a second of the load, which takes one
		stored bool
		joined bool // by one who comes after the writer
	}{
		{"none", func(*testing.T, flight.Key) {}, true, true},
		{"of the key", func(t *testing.T, k flight.Key) {
			w, err := flight.Write(t.Context(), k)
			require.NoError(t, err)
			w.End()
		}, false, false},
		{"of the key, until after the load", func(t *testing.T, k flight.Key) {
			w, err := flight.Write(t.Context(), k)
			require.NoError(t, err)
			time.AfterFunc(time.Minute, w.End)
		}, false, false},
		{"of all keys", func(t *testing.T, k flight.Key) {
			w, err := flight.WriteAll(t.Context(), k.Backend)
			require.NoError(t, err)
			w.End()
		}, false, false},
		{"of all keys of another backend", func(t *testing.T, _ flight.Key) {
			w, err := flight.WriteAll(t.Context(), &backend{})
			require.NoError(t, err)
			w.End()
		}, true, true},
		{"of another key", func(t *testing.T, k flight.Key) {
			w, err := flight.Write(t.Context(), flight.Key{Backend: k.Backend, Path: "other"})
			require.NoError(t, err)
			w.End()
		}, true, true},
		{"that only marks", func(_ *testing.T, k flight.Key) { flight.Mark(k) }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := flight.Key{Backend: &backend{}, Path: "k"}
				var stored, second bool
				var wg sync.WaitGroup
				wg.Go(func() {
					got, err := flight.Call(t.Context(), k, nil, flight.Seen(k), returns("first", &stored), ignore)
					require.NoError(t, err)
					require.Equal(t, "first", got)
				})
				time.Sleep(time.Second / 2)
				c.write(t, k)
				got, err := flight.Call(t.Context(), k, nil, flight.Seen(k), returns("second", &second), ignore)
				require.NoError(t, err)
				if c.joined {
					require.Equal(t, "first", got)
				} else {
					require.Equal(t, "second", got)
				}
				wg.Wait()
				require.Equal(t, c.stored, stored)
				time.Sleep(time.Hour)
				require.Zero(t, flight.Count(k.Backend))
			})
		})
	}
}

// A writer waits for what is being stored, but not for longer than its context.
func TestWriterWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := flight.Key{Backend: &backend{}, Path: "k"}
		start := time.Now()
		go func() {
			_, _ = flight.Call(t.Context(), k, nil, 0, func(_ context.Context, l *flight.Load, _ bool) any {
				l.Store(func() { time.Sleep(time.Minute) })
				return nil
			}, ignore)
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := flight.Write(ctx, k)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = flight.WriteAll(ctx, k.Backend)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))

		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				w, err := flight.Write(t.Context(), k)
				require.NoError(t, err)
				require.Equal(t, time.Minute, time.Since(start))
				w.End()
			})
			wg.Go(func() {
				w, err := flight.WriteAll(t.Context(), k.Backend)
				require.NoError(t, err)
				require.Equal(t, time.Minute, time.Since(start))
				w.End()
			})
		}
		wg.Wait()
		require.Zero(t, flight.Count(k.Backend))
	})
}

// A writer that another overlapped, from either side, doesn't store.
func TestOverlappingWriters(t *testing.T) {
	t.Parallel()
	k := flight.Key{Backend: &backend{}, Path: "k"}
	one := func() *flight.Writer {
		w, err := flight.Write(t.Context(), k)
		require.NoError(t, err)
		return w
	}
	all := func() *flight.Writer {
		w, err := flight.WriteAll(t.Context(), k.Backend)
		require.NoError(t, err)
		return w
	}
	for _, other := range []func() *flight.Writer{one, all} {
		w := one()
		require.True(t, w.Store(func() {}))
		other().End()
		require.False(t, w.Store(func() { t.Error("stored") }))
		w.End()

		before := other()
		w = one()
		before.End()
		require.False(t, w.Store(func() { t.Error("stored") }))
		w.End()
	}
	require.Zero(t, flight.Count(k.Backend))
}

func TestKinds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		run := func(context.Context, *flight.Load, bool) any {
			calls.Add(1)
			time.Sleep(time.Second)
			return nil
		}
		var wg sync.WaitGroup
		for _, b := range []any{&backend{}, nil} {
			for range 3 {
				for kind := range 2 {
					k := flight.Key{Backend: b, Path: "kinds"}
					wg.Go(func() { _, _ = flight.Call(t.Context(), k, kind, 0, run, ignore) })
				}
			}
		}
		wg.Wait()
		require.EqualValues(t, 2+6, calls.Load(), "one of each kind, but all where backends can't be told apart")
	})
}

// Again is told to the run if anything of the key ended since Seen.
func TestSeen(t *testing.T) {
	t.Parallel()
	b := &backend{}
	for i := range 100 {
		k := flight.Key{Backend: b, Path: fmt.Sprint(i)}
		seen := flight.Seen(k)
		w, err := flight.Write(t.Context(), k)
		require.NoError(t, err)
		w.End()
		_, err = flight.Call(t.Context(), k, nil, seen, func(_ context.Context, _ *flight.Load, again bool) any {
			require.True(t, again)
			return nil
		}, ignore)
		require.NoError(t, err)
	}
}

// A refresh whose window is over as it panics is told of as well.
func TestRefreshPanicsAtTheEndOfItsWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := flight.Key{Backend: &backend{}, Path: "k"}
		var told atomic.Int64
		for range 100 {
			flight.Refresh(t.Context(), k, nil, flight.Seen(k), time.Second, func(context.Context, *flight.Load, bool) any {
				time.Sleep(time.Second)
				panic("in a refresh")
			}, func(err error) {
				var p *flight.PanicError
				require.ErrorAs(t, err, &p)
				require.Equal(t, "in a refresh", p.Value)
				told.Add(1)
			})
			time.Sleep(time.Minute)
		}
		require.EqualValues(t, 100, told.Load())
		require.Zero(t, flight.Count(k.Backend))
	})
}

// A refresh isn't begun where one, or a load, is under way, nor for a second after CoolDown.
func TestRefreshOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := flight.Key{Backend: &backend{}, Path: "k"}
		var calls atomic.Int64
		run := func(_ context.Context, l *flight.Load, _ bool) any {
			calls.Add(1)
			time.Sleep(time.Second)
			l.CoolDown()
			return "v"
		}
		for range 5 {
			flight.Refresh(t.Context(), k, nil, 0, time.Hour, run, ignore)
		}
		got, err := flight.Call(t.Context(), k, nil, 0, never(t), ignore)
		require.NoError(t, err)
		require.Equal(t, "v", got)
		flight.Refresh(t.Context(), k, nil, 0, time.Hour, never(t), ignore)
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 1, calls.Load())
		flight.Refresh(t.Context(), k, nil, 0, time.Hour, run, ignore)
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, calls.Load())
	})
}
