package appcache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// user is a value as services cache them.
type user struct {
	ID   int
	Name string
	Tags []string
}

// userKey is a key as services write them.
type userKey struct {
	appcache.BaseKey[user]
	id string
}

func (k userKey) CacheKeySegments() []string { return []string{"users", k.id} }

// bytesKey is a key with everything to choose.
type bytesKey struct {
	segments  []string
	namespace appcache.NamespaceKey
	compress  bool
}

func (k bytesKey) CacheKeySegments() []string             { return k.segments }
func (k bytesKey) NamespaceKey() appcache.NamespaceKey    { return k.namespace }
func (k bytesKey) ShouldCompress(_ []byte, _ []byte) bool { return k.compress }

var errDown = errors.New("the store is down")

// spy is a backend that counts what reaches it, and fails where it is told to.
type spy struct {
	*cachetest.Memory
	mu      sync.Mutex
	calls   []string
	failGet error
	failSet error
	failInv error
}

func newSpy() *spy { return &spy{Memory: cachetest.NewMemory()} }

func (s *spy) note(call string, fail *error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	return *fail
}

// seen returns the calls since it was asked last.
func (s *spy) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

func (s *spy) fail(get, set, inv error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failGet, s.failSet, s.failInv = get, set, inv
}

func (s *spy) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.note("get "+key, &s.failGet); err != nil {
		return nil, false, err
	}
	return s.Memory.GetRaw(ctx, key)
}

func (s *spy) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.note("set "+key, &s.failSet); err != nil {
		return err
	}
	return s.Memory.SetRaw(ctx, key, value, ttl)
}

func (s *spy) InvalidateRaw(ctx context.Context, key string) error {
	if err := s.note("invalidate "+key, &s.failInv); err != nil {
		return err
	}
	return s.Memory.InvalidateRaw(ctx, key)
}

func (s *spy) Clear(ctx context.Context) error {
	none := error(nil)
	_ = s.note("clear", &none)
	return s.Memory.Clear(ctx)
}

// recorder keeps the events of a cache.
type recorder struct {
	mu     sync.Mutex
	events []appcache.Event
}

func (r *recorder) observe(_ context.Context, e appcache.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// one returns the only event since it was asked last.
func (r *recorder) one(t *testing.T) appcache.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Len(t, r.events, 1)
	e := r.events[0]
	r.events = nil
	return e
}

// put stores bytes as some other program might have.
func put(t *testing.T, b appcache.RawBackend, path, data string) {
	t.Helper()
	require.NoError(t, b.SetRaw(t.Context(), path, []byte(data), 0))
}

// stored returns what the backend holds at path.
func stored(t *testing.T, b appcache.RawBackend, path string) string {
	t.Helper()
	data, found, err := b.GetRaw(t.Context(), path)
	require.NoError(t, err)
	require.True(t, found, "nothing is stored at %q", path)
	return string(data)
}

func neverGet(t *testing.T) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		t.Error("the getter was called")
		return nil, nil
	}
}

func neverSet(t *testing.T) func(context.Context, []byte) error {
	return func(context.Context, []byte) error {
		t.Error("the setter was called")
		return nil
	}
}

// get returns a getter that counts its calls.
func get(value string, calls *int) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		*calls++
		return []byte(value), nil
	}
}
