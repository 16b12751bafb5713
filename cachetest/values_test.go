package cachetest_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
)

var brokenValues = []broken{
	{
		name: "misses with an empty value",
		wrap: withAnswers(func(_ context.Context, value []byte, found bool, err error) ([]byte, bool, error) {
			if !found && err == nil {
				value = []byte{}
			}
			return value, found, err
		}),
		fails: []string{"miss"}, others: true,
	},
	{
		name: "removes what it returns",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, get: func(ctx context.Context, key string) ([]byte, bool, error) {
				value, found, err := good.GetRaw(ctx, key)
				if found {
					_ = good.InvalidateRaw(ctx, key)
				}
				return value, found, err
			}}
		},
		fails: []string{"hit"}, others: true,
	},
	{
		name: "loses empty values",
		wrap: withAnswers(func(_ context.Context, value []byte, found bool, err error) ([]byte, bool, error) {
			return value, found && len(value) > 0, err
		}),
		fails: []string{"empty value"},
	},
	{
		name: "takes nil for nothing to store",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if value == nil {
					return good.InvalidateRaw(ctx, key)
				}
				return good.SetRaw(ctx, key, value, ttl)
			}}
		},
		fails: []string{"empty value"},
	},
	{
		name: "ends values at a NUL",
		wrap: withStored(func(value []byte) []byte {
			before, _, _ := bytes.Cut(value, []byte{0})
			return before
		}),
		fails: []string{"any bytes", "big value", "largest value", "value too large"},
	},
	{
		name: "takes values for numbers",
		wrap: withStored(func(value []byte) []byte {
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				return strconv.AppendInt(nil, n, 10)
			}
			return value
		}),
		fails: []string{"any bytes"},
	},
	{
		name:  "cuts values at 64 KiB",
		wrap:  withStored(func(value []byte) []byte { return value[:min(len(value), 65535)] }),
		fails: []string{"big value", "largest value", "value too large"},
	},
	{
		name: "only adds",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if _, found, _ := good.GetRaw(ctx, key); found {
					return nil
				}
				return good.SetRaw(ctx, key, value, ttl)
			}}
		},
		fails: []string{"overwriting replaces the value"}, others: true,
	},
	{
		name:   "keeps the slice that it is given",
		wrap:   func(appcache.RawBackend) appcache.RawBackend { return &careless{keepsGiven: true} },
		fails:  []string{"given slice is not kept"},
		shares: true, others: true,
	},
	{
		name:   "returns its own slice",
		wrap:   func(appcache.RawBackend) appcache.RawBackend { return &careless{returnsOwn: true} },
		fails:  []string{"returned slice is the caller's"},
		shares: true, others: true,
	},
	{
		name:   "returns the same buffer again",
		wrap:   func(appcache.RawBackend) appcache.RawBackend { return &careless{buffers: map[string][]byte{}} },
		fails:  []string{"returned slice is the caller's", "returned slice stays"},
		shares: true, others: true,
	},
	{
		name: "appends to the slice that it is given",
		wrap: withStored(func(value []byte) []byte {
			withSum := append(value, "checksum"...) // the very mistake
			return withSum[:len(value)]
		}),
		fails: []string{"given slice is not changed"},
	},
	{
		name: "changes the slice that it is given",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				err := good.SetRaw(ctx, key, value, ttl)
				for i := range value {
					value[i] ^= 1
				}
				return err
			}}
		},
		fails: []string{"given slice is not changed"}, shares: true, others: true,
	},
	{
		name: "removes the entry when the value is too large",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				err := good.SetRaw(ctx, key, value, ttl)
				if errors.Is(err, appcache.ErrTooLarge) {
					_ = good.InvalidateRaw(ctx, key)
				}
				return err
			}}
		},
		fails: []string{"value too large"},
	},
	{
		name: "has an error of its own for a value too large",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				err := good.SetRaw(ctx, key, value, ttl)
				if errors.Is(err, appcache.ErrTooLarge) {
					return errors.New("SERVER_ERROR object too large for cache")
				}
				return err
			}}
		},
		fails: []string{"value too large"},
	},
	{
		name:  "cuts a value too large",
		wrap:  withStored(func(value []byte) []byte { return value[:min(len(value), maxValue)] }),
		fails: []string{"value too large"},
	},
	{
		name: "takes one byte less than it says",
		wrap: func(good appcache.RawBackend) appcache.RawBackend {
			return &wrapper{RawBackend: good, set: func(ctx context.Context, key string, value []byte, ttl time.Duration) error {
				if len(value) >= maxValue {
					return appcache.ErrTooLarge
				}
				return good.SetRaw(ctx, key, value, ttl)
			}}
		},
		fails: []string{"largest value"},
	},
}

// careless is a map with a lock that doesn't copy where it should.
type careless struct {
	mu                     sync.Mutex
	good                   cachetest.Memory // for what it doesn't do wrong: expiry
	values                 map[string][]byte
	keepsGiven, returnsOwn bool
	buffers                map[string][]byte
}

func (b *careless) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	value, found, err := b.good.GetRaw(ctx, key)
	if !found {
		return value, found, err
	}
	own := b.values[key]
	if b.buffers != nil {
		b.buffers[key] = append(b.buffers[key][:0], own...)
		return b.buffers[key], true, nil
	}
	if b.returnsOwn {
		return own, true, nil
	}
	return append(value[:0], own...), true, nil
}

func (b *careless) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.good.SetRaw(ctx, key, value, ttl); err != nil {
		return err
	}
	if !b.keepsGiven {
		value = bytes.Clone(value)
	}
	if b.values == nil {
		b.values = map[string][]byte{}
	}
	b.values[key] = value
	return nil
}

func (b *careless) InvalidateRaw(ctx context.Context, key string) error {
	return b.good.InvalidateRaw(ctx, key)
}

func (b *careless) Clear(ctx context.Context) error { return b.good.Clear(ctx) }
