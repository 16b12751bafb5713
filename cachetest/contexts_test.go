package cachetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/goappcache/appcache"
)

var brokenCalls = []broken{
	{
		name: "ignores a context that is done",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return deaf(good, func(context.Context) error { return nil })
		},
		fails: []string{"context cancelled before the call", "context over before the call"}, others: true, // it can't leave a hung store
	},
	{
		name:  "looks at the context when all is done",
		wrap:  func(good appcache.RawBackend) appcache.RawBackend { return deaf(good, context.Context.Err) },
		fails: []string{"context cancelled before the call", "context over before the call"}, others: true,
	},
	{
		name: "has an error of its own for a context that is over",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return deaf(good, func(ctx context.Context) error {
				if errors.Is(ctx.Err(), context.DeadlineExceeded) {
					return errTimeout
				}
				return ctx.Err()
			})
		},
		fails: []string{"context over before the call"}, others: true,
	},
	{
		name: "finds something when it fails",
		wrap: withAnswers(func(_ context.Context, value []byte, found bool, err error) ([]byte, bool, error) {
			return value, found || err != nil, err
		}),
		fails: []string{"context cancelled before the call", "context over before the call", "outage", "store hangs"},
	},
	{
		name: "ties what it stores to the context",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				err := good.SetRaw(ctx, key, value, ttl)
				if err == nil {
					context.AfterFunc(ctx, func() { _ = good.InvalidateRaw(context.Background(), key) })
				}
				return err
			}}
		},
		fails: []string{"context cancelled after the call"},
	},
	{
		name:  "leaves an answer behind",
		wrap:  func(good appcache.RawBackend) appcache.RawBackend { return &oneConnection{RawBackend: good} },
		fails: []string{"context cancelled during the call"}, others: true,
	},
	{
		name: "doesn't say that it was cancelled",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, get: func(ctx context.Context, key string) ([]byte, bool, error) {
				if err := ctx.Err(); err != nil {
					return nil, false, err
				}
				time.Sleep(100 * time.Microsecond)
				value, found, err := good.GetRaw(ctx, key)
				if errors.Is(err, context.Canceled) {
					err = errTimeout
				}
				return value, found, err
			}}
		},
		fails: []string{"context cancelled during the call"},
	},
	{
		name: "stores a moment later",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				value = bytes.Clone(value)
				time.AfterFunc(time.Millisecond, func() { _ = good.SetRaw(context.Background(), key, value, ttl) })
				return ctx.Err()
			}}
		},
		fails: []string{"written is visible at once"}, others: true,
	},
	{
		name: "removes a moment later",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, invalidate: func(ctx context.Context, key string) error {
				time.AfterFunc(time.Millisecond, func() { _ = good.InvalidateRaw(context.Background(), key) })
				return ctx.Err()
			}}
		},
		fails: []string{"written is visible at once", "invalidate"}, others: true,
	},
	{
		name: "crosses answers",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var mu sync.Mutex
			var asked string
			return &wrapper{RawBackend: good, get: func(ctx context.Context, key string) ([]byte, bool, error) {
				mu.Lock()
				asked = key
				mu.Unlock()
				runtime.Gosched()
				mu.Lock()
				defer mu.Unlock()
				return good.GetRaw(ctx, asked)
			}}
		},
		fails: []string{"concurrent use"}, others: true,
	},
	{
		name: "calls an error a miss",
		wrap: withAnswers(func(ctx context.Context, value []byte, found bool, err error) ([]byte, bool, error) {
			if errors.Is(err, errDown) {
				return nil, false, nil
			}
			return value, found, err
		}),
		fails: []string{"outage"},
	},
	{
		name: "swallows errors when it writes",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				err := good.SetRaw(ctx, key, value, ttl)
				if errors.Is(err, errDown) {
					return nil
				}
				return err
			}}
		},
		fails: []string{"outage"},
	},
	{
		name: "fails once after an outage",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			var mu sync.Mutex
			failed := false
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				mu.Lock()
				defer mu.Unlock()
				err := good.SetRaw(ctx, key, value, ttl)
				if err == nil && failed {
					failed = false
					return errDown
				}
				failed = errors.Is(err, errDown)
				return err
			}}
		},
		fails: []string{"outage"},
	},
	{
		name:  "has dead connections after a restart",
		wrap:  func(good appcache.RawBackend) appcache.RawBackend { return &stale{RawBackend: good} },
		fails: []string{"store restarted between calls"}, others: true,
	},
	{
		name: "has an error of its own for a call that isn't answered",
		wrap: withAnswers(func(ctx context.Context, value []byte, found bool, err error) ([]byte, bool, error) {
			if deadline, ok := ctx.Deadline(); ok && time.Since(deadline) < time.Millisecond && errors.Is(err, context.DeadlineExceeded) {
				return nil, false, errTimeout
			}
			return value, found, err
		}),
		fails: []string{"store hangs"},
	},
	{
		name: "leaves a call that isn't answered too late",
		wrap: withAnswers(func(ctx context.Context, value []byte, found bool, err error) ([]byte, bool, error) {
			if deadline, ok := ctx.Deadline(); ok && time.Since(deadline) < time.Millisecond {
				time.Sleep(5 * time.Second)
			}
			return value, found, err
		}),
		fails: []string{"store hangs"},
	},
}

// deaf makes every call whatever its context says, and asks for an error after it.
func deaf(good appcache.RawBackend, after func(context.Context) error) appcache.RawBackend {
	return &wrapper{
		get: func(ctx context.Context, key string) ([]byte, bool, error) {
			value, found, err := good.GetRaw(context.WithoutCancel(ctx), key)
			if ctxErr := after(ctx); ctxErr != nil {
				return nil, false, ctxErr
			}
			return value, found, err
		},
		set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
			return errors.Join(good.SetRaw(context.WithoutCancel(ctx), key, value, ttl), after(ctx))
		},
		invalidate: func(ctx context.Context, key string) error {
			return errors.Join(good.InvalidateRaw(context.WithoutCancel(ctx), key), after(ctx))
		},
		clear: func(ctx context.Context) error {
			return errors.Join(good.Clear(context.WithoutCancel(ctx)), after(ctx))
		},
	}
}

// oneConnection leaves the answer of a GetRaw that was cancelled on the connection, where the next
// GetRaw finds it.
type oneConnection struct {
	appcache.RawBackend
	mu   sync.Mutex
	left []byte
}

func (b *oneConnection) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	value, found, err := b.RawBackend.GetRaw(ctx, key)
	if err != nil {
		return nil, false, err
	}
	time.Sleep(100 * time.Microsecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		b.left = value
		return nil, false, fmt.Errorf("waiting for the answer: %w", err)
	}
	if b.left != nil {
		value, found, b.left = b.left, true, value
	}
	return value, found, nil
}

// stale has connections that a restart of the store kills: SetRaw notices when it uses one.
type stale struct {
	appcache.RawBackend
	mu       sync.Mutex
	restarts int
}

func (b *stale) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.RawBackend.(*server).Restarts(); b.restarts != now {
		b.restarts = now
		return errors.New("EOF")
	}
	return b.RawBackend.SetRaw(ctx, key, value, ttl)
}
