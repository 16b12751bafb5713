package appcache_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

func TestBoundedContext(t *testing.T) {
	t.Parallel()
	ended := func(ctx context.Context) bool {
		select {
		case <-ctx.Done():
			return true
		default:
			return false
		}
	}
	for _, c := range []struct {
		name string
		test func(t *testing.T, parent context.Context, cancel context.CancelFunc)
	}{
		{"ends in time, waited for", func(t *testing.T, parent context.Context, _ context.CancelFunc) {
			ctx, release := appcache.Bounded(parent, time.Second)
			defer release()
			start := time.Now()
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, start.Add(time.Second), deadline)
			require.NoError(t, ctx.Err())
			require.False(t, ended(ctx))
			<-ctx.Done()
			require.Equal(t, time.Second, time.Since(start))
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
			require.NoError(t, parent.Err())
		}},
		{"ends in time, only looked at", func(t *testing.T, parent context.Context, cancel context.CancelFunc) {
			ctx, release := appcache.Bounded(parent, time.Second)
			defer release()
			time.Sleep(time.Second)
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
			cancel() // doesn't change why it ended
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
			require.True(t, ended(ctx))
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
			require.Equal(t, context.DeadlineExceeded, context.Cause(ctx))
		}},
		{"ends with its parent", func(t *testing.T, parent context.Context, cancel context.CancelFunc) {
			for _, wait := range []bool{true, false} {
				ctx, release := appcache.Bounded(parent, time.Second)
				defer release()
				if wait {
					require.False(t, ended(ctx))
				}
				defer func() {
					time.Sleep(2 * time.Second)
					require.Equal(t, context.Canceled, ctx.Err())
				}()
			}
			cancel()
		}},
		{"the parent's deadline is earlier", func(t *testing.T, parent context.Context, _ context.CancelFunc) {
			parent, cancel := context.WithTimeout(parent, time.Second)
			defer cancel()
			ctx, release := appcache.Bounded(parent, time.Minute)
			release()
			require.Equal(t, parent, ctx)
		}},
		{"derived contexts end with it", func(t *testing.T, parent context.Context, _ context.CancelFunc) {
			ctx, release := appcache.Bounded(parent, time.Second)
			defer release()
			value := context.WithValue(ctx, ctxKey{}, "v")
			child, cancel := context.WithCancel(value)
			defer cancel()
			timed, cancelTimed := context.WithTimeout(ctx, time.Minute)
			defer cancelTimed()
			after := make(chan time.Time, 1)
			context.AfterFunc(child, func() { after <- time.Now() })
			start := time.Now()
			<-child.Done()
			<-timed.Done()
			require.Equal(t, start.Add(time.Second), <-after)
			require.Equal(t, context.DeadlineExceeded, child.Err())
			require.Equal(t, context.DeadlineExceeded, timed.Err())
			require.Equal(t, "v", child.Value(ctxKey{}))
		}},
		{"derived contexts need no goroutine", func(t *testing.T, parent context.Context, _ context.CancelFunc) {
			ctx, release := appcache.Bounded(context.WithValue(parent, ctxKey{}, "v"), time.Second)
			defer release()
			require.Equal(t, "v", ctx.Value(ctxKey{}))
			before := runtime.NumGoroutine()
			for range 100 {
				_, cancel := context.WithCancel(ctx)
				defer cancel()
			}
			require.Less(t, runtime.NumGoroutine(), before+50)
			require.Equal(t, "v", ctx.Value(ctxKey{}))
		}},
		{"released", func(t *testing.T, parent context.Context, _ context.CancelFunc) {
			for _, wait := range []bool{true, false} {
				ctx, release := appcache.Bounded(parent, time.Second)
				if wait {
					require.False(t, ended(ctx))
				}
				release()
				require.Equal(t, context.Canceled, ctx.Err())
				require.True(t, ended(ctx), "whoever kept it waits in vain")
				require.NoError(t, parent.Err())
			}
		}},
		{"used by many", func(t *testing.T, parent context.Context, _ context.CancelFunc) {
			ctx, release := appcache.Bounded(parent, time.Second)
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					_ = ctx.Err()
					<-ctx.Done()
					require.Error(t, ctx.Err())
				})
				wg.Go(func() { _, _ = ctx.Deadline() })
				wg.Go(func() { _ = ctx.Value(ctxKey{}) })
			}
			wg.Wait()
			release()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(t.Context())
				defer cancel()
				c.test(t, parent, cancel)
			})
		})
	}
}

// A backend that hangs until its context ends holds each call up for no longer than Timeout an operation.
func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		cache := appcache.New[[]byte](hanging{cachetest.NewMemory()}, &appcache.Options{Timeout: time.Second})
		set := func(context.Context, []byte) error { return nil }
		calls := 0
		for _, c := range []struct {
			name string
			call func() error
			want time.Duration
			err  error
		}{
			{"Get", func() error { _, _, err := cache.Get(ctx, viaKey); return err }, time.Second, context.DeadlineExceeded},
			{"Set", func() error { return cache.Set(ctx, viaKey, nil, 0) }, time.Second, context.DeadlineExceeded},
			{"Invalidate", func() error { return cache.Invalidate(ctx, viaKey) }, time.Second, context.DeadlineExceeded},
			{"SetVia", func() error { return cache.SetVia(ctx, viaKey, nil, 0, set) }, 2 * time.Second, context.DeadlineExceeded},
			{"GetVia", func() error { _, err := cache.GetVia(ctx, viaKey, 0, get("v", &calls)); return err }, 2 * time.Second, nil},
			{"GetVia in a namespace", func() error { _, err := cache.GetVia(ctx, likes(likesOf), 0, get("v", &calls)); return err }, time.Second, nil},
		} {
			start := time.Now()
			err := c.call()
			require.ErrorIs(t, err, c.err, c.name)
			// A load looks again where something else ended in the meantime, be it in another test.
			if took := time.Since(start); c.name != "GetVia" || took != c.want+time.Second {
				require.Equal(t, c.want, took, c.name)
			}
		}
		require.Equal(t, 2, calls)

		// A context of the caller's that ends earlier ends it earlier.
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		start := time.Now()
		_, _, err := cache.Get(short, viaKey)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Millisecond, time.Since(start))
	})
}
