package appcache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/goappcache/appcache/internal/flight"
)

// origin is where values come from: either getter, whose values are stored for ttl, or getterTTL.
type origin[V any] struct {
	getter    func(context.Context) (V, error)
	ttl       time.Duration
	getterTTL func(context.Context) (V, time.Duration, error)
}

func (o *origin[V]) get(ctx context.Context) (V, time.Duration, error) {
	if o.getterTTL != nil {
		return o.getterTTL(ctx)
	}
	v, err := o.getter(ctx)
	return v, o.ttl, err
}

// loadKind tells which callers want the same of what is at one place in the table: those that want the
// same type and, where the path of the key isn't known, the same key. Where the backends can't be told
// apart, the caches are.
type loadKind struct {
	t     reflect.Type
	name  string
	cache *core
}

func (c *Cache[V]) loadKind(name string) loadKind {
	kind := loadKind{t: reflect.TypeFor[V](), name: name}
	if c.identity == nil {
		kind.cache = &c.core
	}
	return kind
}

// load is a load of one key: what its goroutine needs, and what it leaves for those who wait for it.
type load[V any] struct {
	c       *Cache[V]
	key     Key[V]
	origin  origin[V]
	path    string
	nowhere bool // the namespace has no token, so path is as unplaced says and the value isn't to be stored

	// There is an entry, as far as is known, but it isn't, or won't be for long, to be used; if it has a
	// time until which it is fresh, it is this.
	found      bool
	freshUntil int64

	// The result. Those who wait read it once the load has ended.
	data   []byte // the value, serialised
	absent bool   // the store says meanwhile that there is none
	err    error  // the getter's, as it is
	own    error  // GetVia's
	note   error  // why the value isn't stored
	size   int    // of what was read or stored
}

// run is the load's goroutine.
func (l *load[V]) run(ctx context.Context, f *flight.Load, again bool) any {
	if again && !l.nowhere && l.lookAgain(ctx, f) {
		return l
	}
	var start time.Time
	if l.c.policy.earlyRefresh > 0 {
		start = time.Now()
	}
	value, ttl, err := l.origin.get(ctx)
	var cost time.Duration
	if l.c.policy.earlyRefresh > 0 {
		cost = time.Since(start)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		l.err = err
		l.storeAbsence(ctx, f)
	case err != nil:
		l.err = err
	case ttl < 0:
		l.own = ErrNegativeTTL
	default:
		l.own = l.store(ctx, f, value, ttl, cost)
	}
	return l
}

// lookAgain looks into the store again, and reports whether there is now what makes the load needless.
func (l *load[V]) lookAgain(ctx context.Context, f *flight.Load) bool {
	data, found, err := l.c.backend.GetRaw(ctx, l.path)
	if err != nil || !found {
		return false
	}
	var e entry
	outcome, _ := l.c.decode(bytes.Clone(data), new(V), 0, &e)
	if outcome != Hit && outcome != absent || l.found && e.fresh && e.freshUntil == l.freshUntil || !f.Undisturbed() {
		return false
	}
	l.size, l.absent = len(data), outcome == absent
	_, err = l.c.unseal(data, 0, &e) // what was decoded was Unmarshal's to keep
	l.data = e.body
	return err == nil
}

// store serialises the value and stores it, and returns why there can be no bytes of it.
func (l *load[V]) store(ctx context.Context, f *flight.Load, value V, ttl, cost time.Duration) error {
	data, err := l.c.marshal(&value)
	if err != nil {
		return err
	}
	l.data = bytes.Clone(data) // the getter may go on changing what Raw doesn't copy
	if l.nowhere {
		return nil
	}
	data, ttl, l.note = l.c.pack(l.key, value, l.data, false, ttl, cost)
	if l.note != nil {
		return nil // the value is there, and only isn't stored
	}
	if flight.Off == flight.TokenFirst {
		a, _ := addressOf(l.key)
		l.path, _ = l.c.locate(ctx, &a, true)
	}
	f.Store(func() {
		l.size = len(data)
		l.note = l.c.backend.SetRaw(context.WithoutCancel(ctx), l.path, data, ttl)
	})
	return nil
}

// storeAbsence makes it known that the origin has no such value.
func (l *load[V]) storeAbsence(ctx context.Context, f *flight.Load) {
	ctx = context.WithoutCancel(ctx)
	switch p := l.c.policy; {
	case l.nowhere:
	case p.notFoundTTL > 0:
		f.Store(func() {
			data := (&entry{absent: true}).seal(l.c.compressor)
			l.size = len(data)
			l.note = l.c.backend.SetRaw(ctx, l.path, data, p.jittered(p.notFoundTTL))
		})
	case l.found:
		f.Store(func() { l.note = l.c.backend.InvalidateRaw(ctx, l.path) })
	}
}

// result ends a call with the result of a load, its own or one that it joined. The value is the caller's own.
func (l *load[V]) result(ctx context.Context, c *Cache[V], call *call, outcome Outcome) (V, error) {
	call.size = cmp.Or(l.size, call.size)
	if l.note != nil {
		call.err = l.note
	}
	switch {
	case l.absent:
		return *new(V), c.noSuchValue(ctx, call)
	case l.err != nil:
		call.err = both(l.err, call.err)
		_ = c.end(ctx, call, outcome, nil)
		return *new(V), l.err
	case l.own != nil:
		return *new(V), c.end(ctx, call, Failed, l.own)
	}
	v := new(V)
	if err := l.c.unmarshal(bytes.Clone(l.data), v); err != nil {
		return *new(V), c.end(ctx, call, Failed, fmt.Errorf("deserialising the value just loaded: %w", err))
	}
	return *v, c.end(ctx, call, outcome, nil)
}
