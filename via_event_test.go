package appcache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/flight"
	"github.com/stretchr/testify/require"
)

// told is what an Event is to say, and nothing else.
type told struct {
	outcome appcache.Outcome
	sized   bool          // bytes were read or written
	took    time.Duration // in a bubble
	errs    []error       // all that Err is to be; none: nil
}

func (w told) require(t *testing.T, op appcache.Op, key string, e appcache.Event) {
	t.Helper()
	require.Equal(t, op, e.Op)
	require.Equal(t, w.outcome, e.Outcome, "%v", e.Err)
	require.Equal(t, key, e.Key)
	require.Equal(t, w.sized, e.Size > 0, "size %d", e.Size)
	require.Equal(t, w.took, e.Duration)
	if len(w.errs) == 0 {
		require.NoError(t, e.Err)
	}
	for _, err := range w.errs {
		require.ErrorIs(t, e.Err, err)
	}
}

var (
	errCodec    = errors.New("the codec fails")
	errNoSuch   = fmt.Errorf("no such user: %w", appcache.ErrNotFound)
	asItIs      = func(b []byte) ([]byte, error) { return b, nil }
	failsCodec  = func([]byte) ([]byte, error) { return nil, errCodec }
	panicsCodec = func([]byte) ([]byte, error) { panic(errCodec) }
	exitsCodec  = func([]byte) ([]byte, error) { runtime.Goexit(); return nil, nil }
)

// squeezeKey asks for compression.
type squeezeKey struct{ appcache.StringKey[[]byte] }

func (squeezeKey) ShouldCompress(_ []byte, _ []byte) bool { return true }

// gone is the context of a caller who has left.
func gone(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

const unreadable = "\x00ac\x01\x80of a later version"

// loads are the ways that a load can go, and what the events say of each: of a caller who found nothing,
// and of a refresh.
var loads = []struct {
	name    string
	opts    appcache.Options
	key     appcache.Key[[]byte] // nil: viaKey
	end     func() ([]byte, error)
	fails   error // the writes of the store
	caller  told
	refresh told
}{
	{"value", appcache.Options{}, nil, nil, nil,
		told{appcache.Miss, true, time.Second, nil}, told{appcache.Done, true, time.Second, nil}},
	{"error", appcache.Options{}, nil, func() ([]byte, error) { return nil, errOrigin }, nil,
		told{appcache.Miss, false, time.Second, []error{errOrigin}}, told{appcache.Failed, false, time.Second, []error{errOrigin}}},
	{"not found", appcache.Options{}, nil, func() ([]byte, error) { return nil, errNoSuch }, nil,
		told{appcache.Miss, false, time.Second, []error{errNoSuch}}, told{appcache.Done, false, time.Second, []error{errNoSuch}}},
	{"not found, remembered", appcache.Options{NotFoundTTL: time.Minute}, nil, func() ([]byte, error) { return nil, errNoSuch }, nil,
		told{appcache.Miss, true, time.Second, []error{errNoSuch}}, told{appcache.Done, true, time.Second, []error{errNoSuch}}},
	{"not found, not to be remembered", appcache.Options{NotFoundTTL: time.Minute}, nil, func() ([]byte, error) { return nil, errNoSuch }, errDown,
		told{appcache.Miss, true, time.Second, []error{errNoSuch, errDown}}, told{appcache.Done, true, time.Second, []error{errNoSuch, errDown}}},
	{"panic", appcache.Options{}, nil, func() ([]byte, error) { panic(errOrigin) }, nil,
		told{appcache.Failed, false, time.Second, []error{errOrigin}}, told{appcache.Failed, false, time.Second, []error{errOrigin}}},
	{"Goexit", appcache.Options{}, nil, func() ([]byte, error) { runtime.Goexit(); return nil, nil }, nil,
		told{appcache.Failed, false, time.Second, []error{flight.ErrGoexit}}, told{appcache.Failed, false, time.Second, []error{flight.ErrGoexit}}},
	{"not stored", appcache.Options{}, nil, nil, errDown,
		told{appcache.Miss, true, time.Second, []error{errDown}}, told{appcache.Done, true, time.Second, []error{errDown}}},
	{"too large", appcache.Options{}, nil, nil, appcache.ErrTooLarge,
		told{appcache.Miss, true, time.Second, []error{appcache.ErrTooLarge}}, told{appcache.Done, true, time.Second, []error{appcache.ErrTooLarge}}},
	{"too large to compress", appcache.Options{Compressor: appcache.Gzip{MaxSize: 1}}, squeezeKey{viaKey}, nil, nil,
		told{appcache.Miss, false, time.Second, []error{appcache.ErrTooLarge}}, told{appcache.Done, false, time.Second, []error{appcache.ErrTooLarge}}},
	{"Compress fails", appcache.Options{Compressor: failingCompressor{errCodec}}, squeezeKey{viaKey}, nil, nil,
		told{appcache.Miss, false, time.Second, []error{errCodec}}, told{appcache.Done, false, time.Second, []error{errCodec}}},
	{"Marshal fails", appcache.Options{Serialiser: appcache.SerialiserOf(failsCodec, asItIs)}, nil, nil, nil,
		told{appcache.Failed, false, time.Second, []error{errCodec}}, told{appcache.Failed, false, time.Second, []error{errCodec}}},
	{"Marshal panics", appcache.Options{Serialiser: appcache.SerialiserOf(panicsCodec, asItIs)}, nil, nil, nil,
		told{appcache.Failed, false, time.Second, []error{errCodec}}, told{appcache.Failed, false, time.Second, []error{errCodec}}},
	{"Marshal calls Goexit", appcache.Options{Serialiser: appcache.SerialiserOf(exitsCodec, asItIs)}, nil, nil, nil,
		told{appcache.Failed, false, time.Second, []error{flight.ErrGoexit}}, told{appcache.Failed, false, time.Second, []error{flight.ErrGoexit}}},
	{"ShouldCompress panics", appcache.Options{}, badKey{}, nil, nil,
		told{appcache.Failed, false, time.Second, []error{errOrigin}}, told{appcache.Failed, false, time.Second, []error{errOrigin}}},
}

// play is a cache of which the loads end in a way, after a second, and who watches it.
type play struct {
	*spy
	recorder
	opts  appcache.Options
	cache *appcache.Cache[[]byte]
	key   appcache.Key[[]byte]
	end   func() ([]byte, error)
	calls atomic.Int64
}

func newPlay(opts appcache.Options, key appcache.Key[[]byte], end func() ([]byte, error)) *play {
	p := &play{spy: newSpy(), opts: opts, key: key, end: end}
	if key == nil {
		p.key = viaKey
	}
	if end == nil {
		p.end = func() ([]byte, error) { return []byte("value"), nil }
	}
	p.opts.Observe = p.observe
	p.cache = appcache.New[[]byte](p, &p.opts)
	return p
}

// observe yields, so that a call that doesn't wait for it is found out.
func (p *play) observe(ctx context.Context, e appcache.Event) {
	runtime.Gosched()
	p.recorder.observe(ctx, e)
}

func (p *play) getter(context.Context) ([]byte, error) {
	p.calls.Add(1)
	time.Sleep(time.Second)
	return p.end()
}

// all returns the events until now.
func (p *play) all() []appcache.Event {
	p.recorder.mu.Lock()
	defer p.recorder.mu.Unlock()
	return slices.Clone(p.events)
}

// via calls GetVia, or GetViaTTL, and returns what came of it, a panic included.
func (p *play) via(ctx context.Context, cache *appcache.Cache[[]byte], ttl time.Duration, byTTL bool) (err error) {
	raisedAs := raised(func() {
		if byTTL {
			_, err = cache.GetViaTTL(ctx, p.key, func(ctx context.Context) ([]byte, time.Duration, error) {
				value, err := p.getter(ctx)
				return value, ttl, err
			})
			return
		}
		_, err = cache.GetVia(ctx, p.key, ttl, p.getter)
	})
	if raisedAs != nil {
		err = raisedAs.(error)
	}
	return err
}

// Each caller of GetVia and GetViaTTL is told of once, however the load went that it waited for.
func TestEventsOfLoads(t *testing.T) {
	t.Parallel()
	for _, c := range loads {
		for _, callers := range []int{1, 3} {
			for _, byTTL := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/callers %d, by TTL %v", c.name, callers, byTTL), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						p := newPlay(c.opts, c.key, c.end)
						p.fail(nil, c.fails, c.fails)
						together(callers, func(int) { _ = p.via(t.Context(), p.cache, time.Hour, byTTL) })
						time.Sleep(time.Hour)
						require.EqualValues(t, 1, p.calls.Load())
						require.Len(t, p.all(), callers)
						for _, e := range p.all() {
							c.caller.require(t, appcache.OpGetVia, "appcache/k", e)
						}
						require.Zero(t, flight.Count(p))
					})
				})
			}
		}
	}
}

// Each refresh is told of once, whether or not somebody has joined it, and so is each of those.
func TestEventsOfRefreshes(t *testing.T) {
	t.Parallel()
	for _, c := range loads {
		for _, joined := range []int{0, 3} {
			for _, early := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/joined %d, early %v", c.name, joined, early), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						opts, served, age := c.opts, appcache.Stale, time.Minute
						opts.StaleFor = time.Hour
						cost := uint32(0)
						if early {
							opts.EarlyRefresh, served, age, cost = 1e9, appcache.Hit, time.Minute-time.Second, 1e6
						}
						p := newPlay(opts, c.key, c.end)
						put(t, p.Memory, "appcache/k", fresh(time.Now().Add(time.Minute), cost, "old"))
						time.Sleep(age)
						p.fail(nil, c.fails, c.fails)
						require.NoError(t, p.via(t.Context(), p.cache, time.Hour, false))
						told{served, true, 0, nil}.require(t, appcache.OpGetVia, "appcache/k", p.one(t))

						// Who joins has found nothing to be served, in place of the entry.
						var wg sync.WaitGroup
						p.fail(nil, nil, nil)
						put(t, p.Memory, "appcache/k", "")
						require.NoError(t, p.InvalidateRaw(t.Context(), "appcache/k"))
						p.fail(nil, c.fails, c.fails)
						for range joined {
							wg.Go(func() { _ = p.via(t.Context(), p.cache, time.Hour, false) })
						}
						wg.Wait()
						time.Sleep(10 * time.Second)
						require.EqualValues(t, 1, p.calls.Load())
						refreshes := 0
						for _, e := range p.all() {
							if e.Op == appcache.OpRefresh {
								refreshes++
								c.refresh.require(t, appcache.OpRefresh, "appcache/k", e)
							} else {
								c.caller.require(t, appcache.OpGetVia, "appcache/k", e)
							}
						}
						require.Equal(t, 1, refreshes)
						require.Len(t, p.all(), 1+joined)
						require.Zero(t, flight.Count(p))
						time.Sleep(2 * time.Hour)
					})
				})
			}
		}
	}
}

// The events of a GetVia according to what it finds in the store, or can't.
func TestEventsOfWhatIsFound(t *testing.T) {
	t.Parallel()
	value := func(p *play, t *testing.T) { put(t, p.Memory, "appcache/k", "value") }
	over := func(p *play, t *testing.T) {
		put(t, p.Memory, "appcache/k", fresh(time.Now().Add(-time.Minute), 0, "value"))
	}
	bad := func(p *play, t *testing.T) { put(t, p.Memory, "appcache/k", unreadable) }
	failsRead := func(p *play, _ *testing.T) { p.fail(errDown, nil, nil) }
	failsErr := func() ([]byte, error) { return nil, errOrigin }
	notFound := func() ([]byte, error) { return nil, errNoSuch }
	for _, c := range []struct {
		name   string
		opts   appcache.Options
		before func(p *play, t *testing.T)
		end    func() ([]byte, error)
		want   told
	}{
		{"hit", appcache.Options{}, value, nil, told{appcache.Hit, true, 0, nil}},
		{"hit, to a cache with policies", appcache.Options{StaleFor: time.Hour, EarlyRefresh: 1}, value, nil, told{appcache.Hit, true, 0, nil}},
		{"hit of nothing", appcache.Options{}, func(p *play, t *testing.T) { put(t, p.Memory, "appcache/k", "") }, nil, told{appcache.Hit, false, 0, nil}},
		{"stale", appcache.Options{StaleFor: time.Hour}, over, nil, told{appcache.Stale, true, 0, nil}},
		{"stale for too long", appcache.Options{StaleFor: time.Second}, over, nil, told{appcache.Miss, true, time.Second, nil}},
		{"over", appcache.Options{}, over, nil, told{appcache.Miss, true, time.Second, nil}},
		{"over, and the load fails", appcache.Options{}, over, failsErr, told{appcache.Miss, true, time.Second, []error{errOrigin}}},
		{"absent", appcache.Options{}, func(p *play, t *testing.T) { put(t, p.Memory, "appcache/k", "\x00ac\x01\x08") }, nil,
			told{appcache.Hit, true, 0, []error{appcache.ErrNotFound}}},
		{"unreadable", appcache.Options{}, bad, nil, told{appcache.Unreadable, true, time.Second, []error{appcache.ErrEnvelope}}},
		{"unreadable, and the load fails", appcache.Options{}, bad, failsErr,
			told{appcache.Unreadable, true, time.Second, []error{errOrigin, appcache.ErrEnvelope}}},
		{"unreadable, and not found", appcache.Options{}, bad, notFound,
			told{appcache.Unreadable, true, time.Second, []error{errNoSuch, appcache.ErrEnvelope}}},
		{"unreadable, not found, and that can't be told", appcache.Options{}, func(p *play, t *testing.T) { bad(p, t); p.fail(nil, nil, errDown) },
			notFound, told{appcache.Unreadable, true, time.Second, []error{errNoSuch, errDown}}},
		{"not to be decoded", appcache.Options{Serialiser: appcache.SerialiserOf(asItIs, failsCodec)}, value, nil,
			told{appcache.Failed, true, time.Second, []error{errCodec}}},
		{"the store can't be read", appcache.Options{}, failsRead, nil, told{appcache.Failed, true, time.Second, []error{errDown}}},
		{"nor the origin", appcache.Options{}, failsRead, failsErr, told{appcache.Failed, false, time.Second, []error{errOrigin, errDown}}},
		{"and there is no such value", appcache.Options{}, failsRead, notFound, told{appcache.Failed, false, time.Second, []error{errNoSuch, errDown}}},
		{"nor written", appcache.Options{}, func(p *play, _ *testing.T) { p.fail(errDown, errDown, errDown) }, nil,
			told{appcache.Failed, true, time.Second, []error{errDown}}},
		{"invalidated meanwhile", appcache.Options{}, func(p *play, t *testing.T) {
			time.AfterFunc(time.Second/2, func() { require.NoError(t, appcache.New[int](p, nil).InvalidateByStr(t.Context(), "k")) })
		}, nil, told{appcache.Miss, false, time.Second, nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPlay(c.opts, nil, c.end)
				c.before(p, t)
				_ = p.via(t.Context(), p.cache, time.Hour, false)
				c.want.require(t, appcache.OpGetVia, "appcache/k", p.one(t))
				time.Sleep(2 * time.Hour)
				require.Zero(t, flight.Count(p))
			})
		})
	}
}

// And where it doesn't get as far, or the key has no place.
func TestEventsOfCallsThatFail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		key   appcache.Key[[]byte]
		byTTL bool
		ttl   time.Duration
		ctx   func(context.Context) context.Context
		path  string
		want  told
	}{
		{"negative TTL", viaKey, false, -1, nil, "appcache/k", told{appcache.Failed, false, 0, []error{appcache.ErrNegativeTTL}}},
		{"negative TTL of the getter's", viaKey, true, -1, nil, "appcache/k", told{appcache.Failed, false, time.Second, []error{appcache.ErrNegativeTTL}}},
		{"empty key", appcache.StringKey[[]byte](""), false, 0, nil, "appcache/", told{appcache.Failed, false, 0, []error{appcache.ErrEmptyKey}}},
		{"left before", viaKey, false, 0, gone, "appcache/k", told{appcache.Failed, false, 0, []error{context.Canceled}}},
		{"left meanwhile", viaKey, false, 0, func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second/4, cancel)
			return ctx
		}, "appcache/k", told{appcache.Failed, false, time.Second / 4, []error{context.Canceled}}},
		{"no namespace", likes(appcache.NamespaceOf(changed)), false, 0, nil, "appcache/changed/54/@…/likes",
			told{appcache.Miss, false, time.Second, []error{appcache.ErrNoNamespace}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPlay(appcache.Options{}, c.key, nil)
				ctx := t.Context()
				if c.ctx != nil {
					ctx = c.ctx(ctx)
				}
				_ = p.via(ctx, p.cache, c.ttl, c.byTTL)
				c.want.require(t, appcache.OpGetVia, c.path, p.one(t))
				time.Sleep(time.Hour)
				require.Empty(t, p.all())
			})
		})
	}
}

// Who asks in a ring is told so, and the one whose getter that is gets its value.
func TestEventsOfARing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(appcache.Options{}, nil, nil)
		_, err := p.cache.GetVia(t.Context(), viaKey, 0, func(ctx context.Context) ([]byte, error) {
			require.ErrorIs(t, p.via(ctx, p.cache, 0, false), flight.ErrRing)
			told{appcache.Failed, false, 0, []error{flight.ErrRing}}.require(t, appcache.OpGetVia, "appcache/k", p.one(t))
			return []byte("v"), nil
		})
		require.NoError(t, err)
		told{appcache.Miss, true, 0, nil}.require(t, appcache.OpGetVia, "appcache/k", p.one(t))
	})
}

// All ways that SetVia can go.
func TestEventsOfSetVia(t *testing.T) {
	t.Parallel()
	fail := func(get, set, inv error) func(*play) { return func(p *play) { p.fail(get, set, inv) } }
	for _, c := range []struct {
		name   string
		opts   appcache.Options
		key    appcache.Key[[]byte]
		ttl    time.Duration
		ctx    func(context.Context) context.Context
		fails  func(*play)
		setter func(context.Context, *play) error
		want   told
	}{
		{"set", appcache.Options{}, viaKey, 0, nil, nil, nil, told{appcache.Done, true, time.Second, nil}},
		{"with policies", appcache.Options{StaleFor: time.Hour}, viaKey, time.Hour, nil, nil, nil, told{appcache.Done, true, time.Second, nil}},
		{"the setter fails", appcache.Options{}, viaKey, 0, nil, nil, func(context.Context, *play) error { return errOrigin },
			told{appcache.Failed, false, time.Second, []error{errOrigin}}},
		{"and the store", appcache.Options{}, viaKey, 0, nil, fail(nil, nil, errDown), func(context.Context, *play) error { return errOrigin },
			told{appcache.Failed, false, time.Second, []error{errOrigin, errDown}}},
		{"the setter panics", appcache.Options{}, viaKey, 0, nil, nil, func(context.Context, *play) error { panic(errOrigin) },
			told{appcache.Failed, false, time.Second, []error{errOrigin}}},
		{"and the store fails", appcache.Options{}, viaKey, 0, nil, fail(nil, nil, errDown), func(context.Context, *play) error { panic(errOrigin) },
			told{appcache.Failed, false, time.Second, []error{errOrigin}}},
		{"the setter calls Goexit", appcache.Options{}, viaKey, 0, nil, nil, func(context.Context, *play) error { runtime.Goexit(); return nil },
			told{appcache.Failed, false, time.Second, []error{flight.ErrGoexit}}},
		{"Marshal panics", appcache.Options{Serialiser: appcache.SerialiserOf(panicsCodec, asItIs)}, viaKey, 0, nil, nil, nil,
			told{appcache.Failed, false, time.Second, []error{errCodec}}},
		{"ShouldCompress panics", appcache.Options{}, badKey{}, 0, nil, nil, nil, told{appcache.Failed, false, time.Second, []error{errOrigin}}},
		{"not stored", appcache.Options{}, viaKey, 0, nil, fail(nil, errDown, nil), nil, told{appcache.Done, true, time.Second, []error{errDown}}},
		{"nor removed", appcache.Options{}, viaKey, 0, nil, fail(nil, errDown, errDown), nil, told{appcache.Failed, true, time.Second, []error{errDown}}},
		{"too large", appcache.Options{}, viaKey, 0, nil, fail(nil, appcache.ErrTooLarge, nil), nil, told{appcache.Done, true, time.Second, []error{appcache.ErrTooLarge}}},
		{"Marshal fails", appcache.Options{Serialiser: appcache.SerialiserOf(failsCodec, asItIs)}, viaKey, 0, nil, nil, nil,
			told{appcache.Done, false, time.Second, []error{errCodec}}},
		{"Compress fails", appcache.Options{Compressor: failingCompressor{errCodec}}, squeezeKey{viaKey}, 0, nil, nil, nil,
			told{appcache.Done, false, time.Second, []error{errCodec}}},
		{"another change overlaps", appcache.Options{}, viaKey, 0, nil, nil, func(ctx context.Context, p *play) error {
			return appcache.New[int](p, nil).InvalidateByStr(ctx, "k")
		}, told{appcache.Done, false, time.Second, nil}},
		{"negative TTL", appcache.Options{}, viaKey, -1, nil, nil, nil, told{appcache.Failed, false, 0, []error{appcache.ErrNegativeTTL}}},
		{"left before", appcache.Options{}, viaKey, 0, gone, nil, nil, told{appcache.Failed, false, 0, []error{context.Canceled}}},
		{"left in the setter", appcache.Options{}, viaKey, 0, func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second/2, cancel)
			return ctx
		}, nil, func(ctx context.Context, _ *play) error { return ctx.Err() }, told{appcache.Failed, false, time.Second, []error{context.Canceled}}},
		{"no token to be read", appcache.Options{}, likes(likesOf), 0, nil, fail(errDown, nil, nil), nil, told{appcache.Failed, false, time.Second, []error{errDown}}},
		{"no namespace", appcache.Options{}, likes(appcache.NamespaceOf(changed)), 0, nil, nil, nil,
			told{appcache.Done, false, time.Second, []error{appcache.ErrNoNamespace}}},
		{"the namespace is dropped meanwhile", appcache.Options{}, likes(likesOf), 0, nil, nil, func(ctx context.Context, p *play) error {
			return appcache.New[int](p, nil).InvalidateNamespace(ctx, likesOf)
		}, told{appcache.Done, false, time.Second, []error{appcache.ErrNoNamespace}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPlay(c.opts, nil, nil)
				ctx := t.Context()
				if c.ctx != nil {
					ctx = c.ctx(ctx)
				}
				if c.fails != nil {
					c.fails(p)
				}
				var wg sync.WaitGroup
				wg.Go(func() { // Goexit ends it
					defer func() { _ = recover() }()
					_ = p.cache.SetVia(ctx, c.key, []byte("v"), c.ttl, func(ctx context.Context, _ []byte) error {
						time.Sleep(time.Second)
						if c.setter != nil {
							return c.setter(ctx, p)
						}
						return nil
					})
				})
				wg.Wait()
				e := p.one(t)
				require.True(t, strings.HasPrefix(e.Key, "appcache/"), e.Key)
				c.want.require(t, appcache.OpSetVia, e.Key, e)
				time.Sleep(time.Hour)
				require.Empty(t, p.all())
				require.Zero(t, flight.Count(p))
			})
		})
	}
}

// A panic of Observe's own is no second event.
func TestObservePanicsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events := 0
		cache := appcache.New[[]byte](newSpy(), &appcache.Options{Observe: func(context.Context, appcache.Event) {
			events++
			panic(errDown)
		}})
		var own error
		require.Equal(t, errDown, raised(func() {
			_, own = cache.GetVia(t.Context(), viaKey, 0, func(context.Context) ([]byte, error) { return nil, nil })
		}))
		require.NoError(t, own)
		require.Equal(t, 1, events)
		p := raised(func() {
			_, _ = cache.GetVia(t.Context(), ringKey(1), 0, func(context.Context) ([]byte, error) { panic(errOrigin) })
		})
		require.ErrorIs(t, p.(error), errDown)
		require.Equal(t, 2, events)
		require.Equal(t, errDown, raised(func() {
			_ = cache.SetVia(t.Context(), viaKey, nil, 0, func(context.Context, []byte) error { panic(errOrigin) })
		}))
		require.Equal(t, 3, events)
	})
}
