package appcache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/flight"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
	"github.com/goappcache/appcache/sqlitelru"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A history is what several goroutines did at random with two caches over one backend, and what came of it.
// Two checkers look at histories, each of a kind of its own:
//
//   - R: each key is a register (see registerModel), and the history is linearisable.
//   - F: an origin hands out versions, and nobody reads one that is older than what a write that had
//     returned before the read began has told the cache of.
//
// R leaves namespaces out, of which a call that is under way may yet read or write the one that was
// dropped, and reads that fail, for then GetVia overlooks what there is. And it can't see that a reader
// joined a load that began before a write, for what a load returns may be anything. F can't see that a
// load overwrote what Set stored.

// dice is a source of random numbers for all goroutines of a history.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{r: rand.New(rand.NewPCG(seed, 0))} }

func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

func (d *dice) percent(p int) bool { return d.n(100) < p }

// world is where a history takes place.
type world struct {
	dice    *dice
	unit    time.Duration // pauses take up to ten of them
	faults  int           // of a hundred writes of the backend
	blind   int           // of a hundred reads
	cancels int           // of a hundred calls
	clock   atomic.Int64
	values  atomic.Int64
}

// pause takes a random time, or less if the context ends.
func (w *world) pause(ctx context.Context) error {
	switch n := w.dice.n(20); {
	case n < 4:
	case n < 8:
		runtime.Gosched()
	default:
		timer := time.NewTimer(w.unit*time.Duration(n-8) + time.Duration(w.dice.n(1000)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// context returns that of a call, which may end before the call does.
func (w *world) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.dice.percent(w.cancels) {
		return context.WithTimeout(ctx, w.unit*time.Duration(w.dice.n(30)))
	}
	return context.WithCancel(ctx)
}

// settle waits until nothing goes on with the backend any more.
func (w *world) settle(backend appcache.RawBackend) {
	for flight.Count(backend) > 0 {
		time.Sleep(w.unit)
	}
}

// together runs clients and waits for them.
func together(n int, client func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { client(i) })
	}
	wg.Wait()
}

// shaky is a backend that takes its time and sometimes fails, whether or not it did what it was asked.
// Whatever it does it has done when it returns.
type shaky struct {
	appcache.RawBackend
	*world
}

func (s *shaky) around(ctx context.Context, faults int, act func(context.Context) error) error {
	if err := s.pause(ctx); err != nil {
		return err
	}
	fails := s.dice.percent(faults)
	if fails && s.dice.percent(50) {
		return errDown
	}
	err := act(context.WithoutCancel(ctx))
	if ended := s.pause(ctx); ended != nil {
		return ended
	}
	if fails {
		return errDown
	}
	return err
}

func (s *shaky) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = s.around(ctx, s.blind, func(ctx context.Context) error {
		var err error
		value, found, err = s.RawBackend.GetRaw(ctx, key)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return value, found, nil
}

func (s *shaky) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.around(ctx, s.faults, func(ctx context.Context) error { return s.RawBackend.SetRaw(ctx, key, value, ttl) })
}

func (s *shaky) InvalidateRaw(ctx context.Context, key string) error {
	return s.around(ctx, s.faults, func(ctx context.Context) error { return s.RawBackend.InvalidateRaw(ctx, key) })
}

func (s *shaky) Clear(ctx context.Context) error { return s.around(ctx, s.faults, s.RawBackend.Clear) }

// spaced is a key in a namespace.
type spaced struct {
	appcache.BaseKey[int]
	name      string
	namespace appcache.NamespaceKey
}

func (k spaced) CacheKeySegments() []string          { return []string{k.name} }
func (k spaced) NamespaceKey() appcache.NamespaceKey { return k.namespace }

const (
	generation = appcache.Generation("g")
	clients    = 8
)

var (
	plainKey      = appcache.StringKey[int]("a")
	generationKey = spaced{name: "b", namespace: generation}
	tokenOfNested = spaced{name: "t", namespace: generation}
	nestedKey     = spaced{name: "c", namespace: appcache.NamespaceOf(tokenOfNested)}
)

// Checker R.

// registerCall is an operation on a register.
type registerCall struct {
	op     string
	key    int // all: of every key
	value  int // what it stores if positive, or its getter returns if negative
	faulty bool
}

// registerResult is what came of it.
type registerResult struct {
	value int // 0: a miss
	err   error
}

const all = -1

// registerModel is a register that holds a value or nothing. GetVia of nothing returns what a getter
// returned, and leaves it stored or not. After an error an operation was done or wasn't.
var registerModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{0} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(int), input.(registerCall), output.(registerResult)
		failed := out.err != nil
		switch in.op {
		case "get":
			if failed || out.value == s {
				return []any{s}
			}
		case "get via":
			next := []any{}
			if failed && s == 0 {
				next = append(next, in.value)
			}
			if failed || out.value == s {
				return append(next, s)
			}
			if out.value < 0 && s == 0 {
				return append(next, 0, out.value)
			}
		case "set":
			if failed {
				return []any{s, in.value}
			}
			return []any{in.value}
		case "set via":
			switch {
			case errors.Is(out.err, errOrigin) && !in.faulty:
				return []any{0}
			case failed:
				return []any{s, 0, in.value}
			}
			return []any{0, in.value}
		case "set via, again":
			if in.faulty {
				return []any{s, 0}
			}
			return []any{s}
		case "remove":
			if failed {
				return []any{s, 0}
			}
			return []any{0}
		}
		return nil
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
}).ToModel()

// registerHistory plays a history for R, and returns what is wrong with it.
func registerHistory(ctx context.Context, backend appcache.RawBackend, w *world) string {
	w.blind = 0
	shaken := &shaky{backend, w}
	caches := [2]*appcache.Cache[int]{appcache.New[int](shaken, nil), appcache.New[int](shaken, nil)}
	keys := []appcache.Key[int]{plainKey, appcache.StringKey[int]("b")}
	var mu sync.Mutex
	var history []porcupine.Operation
	together(clients, func(client int) {
		for range 6 {
			in := registerCall{key: w.dice.n(len(keys)), value: int(w.values.Add(1)), faulty: w.faults > 0 || w.cancels > 0}
			cache, key := caches[w.dice.n(2)], keys[in.key]
			var out registerResult
			ctx, cancel := w.context(ctx)
			start := w.clock.Add(1)
			switch n := w.dice.n(100); {
			case n < 25:
				in.op = "get"
				out.value, _, out.err = cache.Get(ctx, key)
			case n < 60:
				in.op, in.value = "get via", -in.value
				out.value, out.err = cache.GetVia(ctx, key, 0, func(ctx context.Context) (int, error) {
					return in.value, w.pause(ctx)
				})
			case n < 73:
				in.op = "set"
				out.err = cache.Set(ctx, key, in.value, 0)
			case n < 82:
				in.op = "set via"
				out.err = cache.SetVia(ctx, key, in.value, 0, func(ctx context.Context, _ int) error {
					if err := w.pause(ctx); err != nil || w.dice.percent(80) {
						return err
					}
					return errOrigin
				})
			case n < 96:
				in.op = "remove"
				out.err = cache.Invalidate(ctx, key)
			default:
				in.op, in.key = "remove", all
				out.err = cache.Clear(ctx)
			}
			end := w.clock.Add(1)
			cancel()
			if out.err != nil && !errors.Is(out.err, errOrigin) {
				end = 1 << 40 // who knows when it has its effect
			}
			mu.Lock()
			history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: start, Output: out, Return: end})
			if in.op == "set via" { // may store, find that it failed, and remove what it stored
				in.op = "set via, again"
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: start, Output: out, Return: end})
			}
			mu.Unlock()
		}
	})
	w.settle(shaken)
	for key := range keys {
		var of []porcupine.Operation
		for _, op := range history {
			if in := op.Input.(registerCall); in.key == key || in.key == all {
				of = append(of, op)
			}
		}
		if porcupine.CheckOperationsTimeout(registerModel, of, 5*time.Second) == porcupine.Illegal {
			var b strings.Builder
			fmt.Fprintf(&b, "R: no order of these explains what key %d held:\n", key)
			for _, op := range of {
				fmt.Fprintf(&b, "%3d to %13d, client %d: %+v: %+v\n", op.Call, op.Return, op.ClientId, op.Input, op.Output)
			}
			return b.String()
		}
	}
	return ""
}

// Checker F.

// origin is where the truth about a key is. Its versions are numbered as they came to be.
type origin struct {
	mu      sync.Mutex
	version int
	now     int         // the value, 0 where there is none
	of      map[int]int // the version in which a value came to be
	deleted map[int]bool
	told    int // the newest version that the cache has been told of
}

// change makes a new version, without a value where that is 0.
func (o *origin) change(value int) (version int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.version++
	o.now = value
	if o.of[value] = o.version; value == 0 {
		o.deleted[o.version] = true
	}
	return o.version
}

func (o *origin) tell(version int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = max(o.told, version)
}

func (o *origin) toldNow() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.told
}

func (o *origin) read() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

// check returns what is wrong with a read, which began when the cache had been told of a version.
func (o *origin) check(told, value int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if value != 0 && o.of[value] < told {
		return fmt.Sprintf("F: version %d was read, and version %d had been told of before", o.of[value], told)
	}
	if value == 0 {
		for v := told; v <= o.version; v++ {
			if o.deleted[v] {
				return ""
			}
		}
		return fmt.Sprintf("F: it was read that there is no value, which hasn't been so since version %d", told)
	}
	return ""
}

// originHistory plays a history for F, and returns what is wrong with it.
func originHistory(ctx context.Context, backend appcache.RawBackend, w *world) string {
	shaken := &shaky{backend, w}
	opts := &appcache.Options{NotFoundTTL: time.Duration(w.dice.n(2)) * 5 * w.unit}
	ttls := 1
	if w.dice.percent(30) { // then what is served in the meantime and loaded in the background
		ttls = 4
		opts.StaleFor = time.Duration(w.dice.n(20)) * w.unit
		opts.EarlyRefresh = float64(w.dice.n(4))
	}
	caches := [2]*appcache.Cache[int]{appcache.New[int](shaken, opts), appcache.New[int](shaken, opts)}
	keys := []appcache.Key[int]{plainKey, generationKey, nestedKey}
	origins := make([]*origin, len(keys))
	for i := range origins {
		origins[i] = &origin{of: map[int]int{}, deleted: map[int]bool{}}
		origins[i].change(int(w.values.Add(1)))
	}
	_ = caches[0].Set(ctx, tokenOfNested, int(w.values.Add(1)), 0)
	var wrong atomic.Value
	together(clients, func(int) {
		for range 8 {
			i := w.dice.n(len(keys))
			cache, key, o := caches[w.dice.n(2)], keys[i], origins[i]
			ttl := time.Duration(w.dice.n(ttls)) * 5 * w.unit
			ctx, cancel := w.context(ctx)
			value := int(w.values.Add(1))
			read := func(told, value int, err error) {
				if notFound := errors.Is(err, appcache.ErrNotFound); err == nil || notFound {
					if s := o.check(told, value); s != "" {
						wrong.Store(fmt.Sprintf("%s (key %d, faults %v %v, cancels %v, %+v)", s, i, w.faults, w.blind, w.cancels, opts))
					}
				}
			}
			// tellAll changes what is at the keys and tells the cache by act.
			tellAll := func(act func() error, keys ...int) {
				var versions [3]int
				for _, k := range keys {
					v := int(w.values.Add(1))
					if w.dice.percent(20) {
						v = 0
					}
					versions[k] = origins[k].change(v)
				}
				if act() == nil {
					for _, k := range keys {
						origins[k].tell(versions[k])
					}
				}
			}
			switch n := w.dice.n(100); {
			case n < 15:
				told := o.toldNow()
				if value, found, err := cache.Get(ctx, key); found {
					read(told, value, err)
				}
			case n < 60:
				told := o.toldNow()
				value, err := cache.GetVia(ctx, key, ttl, func(ctx context.Context) (int, error) {
					if err := w.pause(ctx); err != nil {
						return 0, err
					}
					value := o.read()
					err := w.pause(ctx)
					if err == nil && w.dice.percent(5) {
						err = errOrigin
					}
					if err == nil && value == 0 {
						err = appcache.ErrNotFound
					}
					return value, err
				})
				read(told, value, err)
			case n < 80:
				tellAll(func() error { return cache.Invalidate(ctx, key) }, i)
			case n < 90:
				version := 0
				err := cache.SetVia(ctx, key, value, ttl, func(ctx context.Context, _ int) error {
					if err := w.pause(ctx); err != nil {
						return err
					}
					version = o.change(value)
					if err := w.pause(ctx); err != nil || w.dice.percent(80) {
						return err
					}
					return errOrigin
				})
				// The setter that fails after all leaves no old value in the cache.
				if err == nil || errors.Is(err, errOrigin) && w.faults == 0 && w.blind == 0 {
					o.tell(version)
				}
			case n < 94:
				tellAll(func() error { return cache.InvalidateNamespace(ctx, generation) }, 1, 2)
			case n < 98:
				tellAll(func() error { return cache.Set(ctx, tokenOfNested, value, 0) }, 2)
			default:
				tellAll(func() error { return cache.Clear(ctx) }, 0, 1, 2)
			}
			cancel()
		}
	})
	w.settle(shaken)
	s, _ := wrong.Load().(string)
	return s
}

// The runs.

type historyKind struct {
	name string
	play func(context.Context, appcache.RawBackend, *world) string
}

var historyKinds = []historyKind{{"register", registerHistory}, {"origin", originHistory}}

// newWorld returns a world as the seed says: some have faults, some calls that are given up, some both or none.
func newWorld(seed uint64, unit time.Duration) *world {
	w := &world{dice: newDice(seed), unit: unit}
	w.faults, w.blind, w.cancels = w.dice.n(2)*10, w.dice.n(2)*10, w.dice.n(2)*15
	return w
}

// inMemory plays a history in a bubble, where pauses take no time.
func inMemory(t *testing.T, play func(context.Context, appcache.RawBackend, *world) string, seed uint64) (wrong string) {
	synctest.Test(t, func(t *testing.T) {
		wrong = play(t.Context(), cachetest.NewMemory(), newWorld(seed, 100*time.Microsecond))
	})
	return wrong
}

func TestHistories(t *testing.T) {
	t.Parallel()
	for _, kind := range historyKinds {
		for part := range uint64(2) {
			t.Run(fmt.Sprint(kind.name, part), func(t *testing.T) {
				t.Parallel()
				start := rand.Uint64()
				for i := range uint64(500) {
					seed := start + i
					if s := inMemory(t, kind.play, seed); s != "" {
						t.Errorf("%s\nseed %d", s, seed)
					}
				}
			})
		}
	}
}

// The same on Redis, in real time.
func TestHistoriesOnRedis(t *testing.T) {
	t.Parallel()
	addr := testserver.Redis(t).Addr
	for db, kind := range historyKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			client := goredis.NewClient(&goredis.Options{Addr: addr, DB: db})
			t.Cleanup(func() { require.NoError(t, client.Close()) })
			backend := redis.New(client)
			onStore(t, kind.play, backend)
		})
	}
}

func TestHistoriesOnSQLite(t *testing.T) {
	t.Parallel()
	for _, kind := range historyKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			backend, err := sqlitelru.Open(filepath.Join(t.TempDir(), "cache.db"), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, backend.Close()) })
			onStore(t, kind.play, backend)
		})
	}
}

// onStore plays histories on a store that is nobody else's.
func onStore(t *testing.T, play func(context.Context, appcache.RawBackend, *world) string, backend appcache.RawBackend) {
	start := rand.Uint64()
	for i := range uint64(100) {
		seed := start + i
		require.NoError(t, backend.Clear(t.Context()))
		if s := play(t.Context(), backend, newWorld(seed, 20*time.Microsecond)); s != "" {
			t.Errorf("%s\nseed %d", s, seed)
		}
	}
}
