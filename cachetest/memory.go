package cachetest

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/goappcache/appcache"
)

var _ appcache.RawBackend = (*Memory)(nil)

// Memory is a backend that keeps its entries in the memory of the process, for unit tests of code
// that uses a cache. It does what the contract of [appcache.RawBackend] says and no more: it
// evicts nothing, and its entries share no memory with the slices it is given and returns.
//
// Time is that of [time.Now], so within testing/synctest its entries expire by the bubble's clock.
// An expired entry is a miss at once; its memory is given back within as many SetRaw calls as there
// are entries.
//
// The zero value is an empty store, ready for use. A Memory is safe for concurrent use, and must
// not be copied after the first use.
type Memory struct {
	mu      sync.RWMutex
	entries map[string]entry
	unswept int // how many SetRaw calls may come before the expired entries are removed
}

// entry is what is stored under a key. The bytes of value never change: GetRaw copies them after
// it has let go of the lock.
type entry struct {
	value  []byte
	stored time.Time
	ttl    time.Duration // 0: never expires
}

// expired compares durations, because stored plus a huge TTL would be a time that overflows.
func (e entry) expired() bool { return e.ttl > 0 && time.Since(e.stored) >= e.ttl }

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{} }

// GetRaw returns a copy of the value under key. It returns the context's error when that is done,
// and [appcache.ErrEmptyKey] for an empty key.
func (m *Memory) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	if err := check(ctx, key); err != nil {
		return nil, false, err
	}
	m.mu.RLock()
	e, found := m.entries[key]
	m.mu.RUnlock()
	if !found || e.expired() {
		return nil, false, nil
	}
	return bytes.Clone(e.value), true, nil
}

// SetRaw stores a copy of value under key for ttl, or for ever when ttl is 0. It returns the
// context's error when that is done, [appcache.ErrEmptyKey] for an empty key, and
// [appcache.ErrNegativeTTL] for a negative ttl.
func (m *Memory) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	if ttl < 0 {
		return appcache.ErrNegativeTTL
	}
	e := entry{value: bytes.Clone(value), ttl: ttl}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ttl > 0 {
		e.stored = time.Now() // within the lock, so that of two writers the later one's TTL ends later
	}
	if m.entries == nil {
		m.entries = make(map[string]entry)
	}
	m.entries[key] = e
	m.sweep()
	return nil
}

// sweep removes the expired entries, once in as many calls as entries were left the last time, so
// that its cost per call doesn't grow with the store.
func (m *Memory) sweep() {
	if m.unswept--; m.unswept > 0 {
		return
	}
	for key, e := range m.entries {
		if e.expired() {
			delete(m.entries, key)
		}
	}
	m.unswept = len(m.entries)
}

// InvalidateRaw removes the entry under key, if there is one. It returns the context's error when
// that is done, and [appcache.ErrEmptyKey] for an empty key.
func (m *Memory) InvalidateRaw(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

// Clear removes every entry of this Memory and of no other. It returns the context's error when
// that is done.
func (m *Memory) Clear(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries, m.unswept = nil, 0
	return nil
}

// check returns the error of a call that must not be made.
func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if key == "" {
		return appcache.ErrEmptyKey
	}
	return nil
}
