package appcache

import (
	"context"
	"sync"
	"time"
)

// timed is a backend of which each operation is bounded.
type timed struct {
	backend RawBackend
	timeout time.Duration
}

func (t timed) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	ctx, release := bounded(ctx, t.timeout)
	defer release()
	return t.backend.GetRaw(ctx, key)
}

func (t timed) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ctx, release := bounded(ctx, t.timeout)
	defer release()
	return t.backend.SetRaw(ctx, key, value, ttl)
}

func (t timed) InvalidateRaw(ctx context.Context, key string) error {
	ctx, release := bounded(ctx, t.timeout)
	defer release()
	return t.backend.InvalidateRaw(ctx, key)
}

func (t timed) Clear(ctx context.Context) error {
	ctx, release := bounded(ctx, t.timeout)
	defer release()
	return t.backend.Clear(ctx)
}

// bounded returns a context for one operation of the backend, which ends after the timeout, and what
// must be called when the operation is over.
func bounded(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	deadline := time.Now().Add(timeout)
	if own, ok := ctx.Deadline(); ok && own.Before(deadline) {
		return ctx, func() {}
	}
	b := &boundedContext{Context: ctx, deadline: deadline}
	return b, b.release
}

// boundedContext is a context with a deadline whose timer is made when somebody first waits for it. Most
// clients only read the deadline, and a timer for each operation is what 64 goroutines would meet at.
type boundedContext struct {
	context.Context //nolint:containedctx // the parent: this is a context itself
	deadline        time.Time

	mu       sync.Mutex
	timed    context.Context //nolint:containedctx // what this one becomes when it is waited for or ends
	cancel   context.CancelFunc
	released bool
}

func (b *boundedContext) Deadline() (time.Time, bool) { return b.deadline, true }

func (b *boundedContext) Done() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.become().Done()
}

func (b *boundedContext) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timed == nil && !b.released && time.Now().Before(b.deadline) {
		return b.Context.Err()
	}
	return b.become().Err() // which stays as it is, whatever becomes of the parent
}

// Value asks the context with the timer, once there is one, so that those derived from this one find it and
// need no goroutine to follow it.
func (b *boundedContext) Value(key any) any {
	b.mu.Lock()
	inner := b.timed
	b.mu.Unlock()
	if inner == nil {
		inner = b.Context
	}
	return inner.Value(key)
}

// become returns the context with the timer. The caller holds mu.
func (b *boundedContext) become() context.Context {
	if b.timed == nil {
		b.timed, b.cancel = context.WithDeadline(b.Context, b.deadline)
		if b.released {
			b.cancel()
		}
	}
	return b.timed
}

func (b *boundedContext) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released = true
	if b.cancel != nil {
		b.cancel()
	}
}
