package cachetest_test

import (
	"context"
	"errors"
	"time"

	"github.com/goappcache/appcache"
)

// wrapper is a backend of which some methods are replaced, those that aren't nil.
type wrapper struct {
	appcache.RawBackend
	get        func(ctx context.Context, key string) ([]byte, bool, error)
	set        func(ctx context.Context, key string, value []byte, ttl time.Duration) error
	invalidate func(ctx context.Context, key string) error
	clear      func(ctx context.Context) error
}

func (w *wrapper) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	if w.get != nil {
		return w.get(ctx, key)
	}
	return w.RawBackend.GetRaw(ctx, key)
}

func (w *wrapper) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if w.set != nil {
		return w.set(ctx, key, value, ttl)
	}
	return w.RawBackend.SetRaw(ctx, key, value, ttl)
}

func (w *wrapper) InvalidateRaw(ctx context.Context, key string) error {
	if w.invalidate != nil {
		return w.invalidate(ctx, key)
	}
	return w.RawBackend.InvalidateRaw(ctx, key)
}

func (w *wrapper) Clear(ctx context.Context) error {
	if w.clear != nil {
		return w.clear(ctx)
	}
	return w.RawBackend.Clear(ctx)
}

// broken is a backend that breaks a rule, and the cases that must see it.
type broken struct {
	name  string
	wrap  func(good appcache.RawBackend) appcache.RawBackend
	fails []string
	// others says that further cases may fail, because they can't do without what is broken.
	others bool
	// shares says that goroutines share memory, so that -race would fail the test and not the case:
	// the cases with many goroutines on one key are left out.
	shares bool
}

const maxValue = 310_000 // bytes, of the good backend

var (
	errDown    = errors.New("connection refused")
	errTimeout = errors.New("i/o timeout")
)

func withKeys(mapped func(string) string) func(appcache.RawBackend) appcache.RawBackend {
	return func(good appcache.RawBackend) appcache.RawBackend {
		return &wrapper{
			get: func(ctx context.Context, key string) ([]byte, bool, error) { return good.GetRaw(ctx, mapped(key)) },
			set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				return good.SetRaw(ctx, mapped(key), value, ttl)
			},
			invalidate: func(ctx context.Context, key string) error { return good.InvalidateRaw(ctx, mapped(key)) },
			clear:      good.Clear,
		}
	}
}

func withTTLs(mapped func(time.Duration) time.Duration) func(appcache.RawBackend) appcache.RawBackend {
	return func(good appcache.RawBackend) appcache.RawBackend {
		return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
			ttl = mapped(ttl)
			if ttl < 0 { // expired at once
				return good.InvalidateRaw(ctx, key)
			}
			return good.SetRaw(ctx, key, value, ttl)
		}}
	}
}

func withStored(mapped func([]byte) []byte) func(appcache.RawBackend) appcache.RawBackend {
	return func(good appcache.RawBackend) appcache.RawBackend {
		return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
			return good.SetRaw(ctx, key, mapped(value), ttl)
		}}
	}
}

func withAnswers(mapped func(ctx context.Context, value []byte, found bool, err error) ([]byte, bool, error)) func(appcache.RawBackend) appcache.RawBackend {
	return func(good appcache.RawBackend) appcache.RawBackend {
		return &wrapper{RawBackend: good, get: func(ctx context.Context, key string) ([]byte, bool, error) {
			value, found, err := good.GetRaw(ctx, key)
			return mapped(ctx, value, found, err)
		}}
	}
}
