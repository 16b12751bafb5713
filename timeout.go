package appcache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// timed is a backend of which each operation is bounded.
type timed struct {
	backend RawBackend
	timeout time.Duration
}

func (t timed) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	ctx, b := bounded(ctx, t.timeout)
	defer b.release()
	return t.backend.GetRaw(ctx, key)
}

func (t timed) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ctx, b := bounded(ctx, t.timeout)
	defer b.release()
	return t.backend.SetRaw(ctx, key, value, ttl)
}

func (t timed) InvalidateRaw(ctx context.Context, key string) error {
	ctx, b := bounded(ctx, t.timeout)
	defer b.release()
	return t.backend.InvalidateRaw(ctx, key)
}

func (t timed) Clear(ctx context.Context) error {
	ctx, b := bounded(ctx, t.timeout)
	defer b.release()
	return t.backend.Clear(ctx)
}

// bounded returns a context for one operation of the backend, which ends after the timeout, and what
// must be released when the operation is over: nil where the context ends sooner anyway.
func bounded(ctx context.Context, timeout time.Duration) (context.Context, *boundedContext) {
	deadline := time.Now().Add(timeout)
	if own, ok := ctx.Deadline(); ok && own.Before(deadline) {
		return ctx, nil
	}
	b := &boundedContext{Context: ctx, deadline: deadline}
	return b, b
}

// boundedContext is a context with a deadline whose timer is made when somebody first waits for it. Most
// clients only read the deadline, and a timer for each operation is what 64 goroutines would meet at.
type boundedContext struct {
	context.Context //nolint:containedctx // the parent: this is a context itself
	deadline        time.Time
	released        atomic.Bool

	mu    sync.Mutex // whoever sets timed holds it
	timed atomic.Pointer[timedContext]
}

// timedContext is what a boundedContext becomes when it is waited for or ends.
type timedContext struct {
	context.Context //nolint:containedctx // the one with the timer
	cancel          context.CancelFunc
}

func (b *boundedContext) Deadline() (time.Time, bool) { return b.deadline, true }

func (b *boundedContext) Done() <-chan struct{} { return b.become().Done() }

func (b *boundedContext) Err() error {
	if b.timed.Load() == nil && !b.released.Load() && time.Until(b.deadline) > 0 {
		return b.Context.Err()
	}
	return b.become().Err() // which stays as it is, whatever becomes of the parent
}

// Value asks the context with the timer, once there is one, so that those derived from this one find it and
// need no goroutine to follow it.
func (b *boundedContext) Value(key any) any {
	if t := b.timed.Load(); t != nil {
		return t.Value(key)
	}
	return b.Context.Value(key)
}

// become returns the context with the timer.
func (b *boundedContext) become() context.Context {
	if t := b.timed.Load(); t != nil {
		return t
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.timed.Load()
	if t == nil {
		t = new(timedContext)
		t.Context, t.cancel = context.WithDeadline(b.Context, b.deadline)
		b.timed.Store(t)
		if b.released.Load() { // and release may have come too early to see it
			t.cancel()
		}
	}
	return t
}

func (b *boundedContext) release() {
	if b == nil {
		return
	}
	b.released.Store(true)
	if t := b.timed.Load(); t != nil {
		t.cancel()
	}
}
