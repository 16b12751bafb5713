package appcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goappcache/appcache/internal/flight"
)

// GetVia returns the value stored under key or, where there is none, loads it: it calls getter, stores what
// that returns for ttl, and returns it.
//
//	u, err := users.GetVia(ctx, userKey{id: id}, 10*time.Minute, func(ctx context.Context) (User, error) {
//		return db.User(ctx, id)
//	})
//
// What the getter returns is for all who ask for the key, so it should depend on the key alone, and not on
// who asks. The getter runs in a goroutine of its own and may go on when this caller has left, so it should
// use the context that it is given, and not write to variables of the caller's. If the origin has no such
// value it returns an error that wraps [ErrNotFound]. Whoever changes the origin calls Invalidate, or
// InvalidateNamespace, after that; or changes it by SetVia.
//
// # What is guaranteed
//
// Within one process, for caches over the same backend value: when Invalidate, Set, SetVia or Clear has
// returned nil, no GetVia or Get of its keys that starts later returns a value whose load began, or that was
// stored, before that call began. A GetVia that is under way may return such a value, which isn't stored
// then. So change the origin first and then invalidate: whoever starts after Invalidate has returned sees
// the change, or a newer one. While a change is under way, old and new may be seen in either order. After an
// error the effect is unknown, and not only for now: a write that was given up on, or that the client sent
// again, may arrive late. So give entries a TTL.
//
// Between processes, a load that runs in another may put an older value back after Invalidate, Set or Clear,
// for up to its TTL and StaleFor. Only dropping a namespace whose values never recur, a [Generation],
// prevents that. And nothing here is stronger than the store: a replica that lags, a failover and a changed
// list of servers bring old entries back.
//
// # Loads
//
// Of one key and type, one getter runs at a time in the process, and other callers that miss wait for it.
// Each returns when its own ctx is done. The getter's context carries the values of the first caller's, has
// no deadline, and is cancelled when the last caller has left. Each caller gets a value of its own, decoded
// from the serialised bytes. A second getter may run beside one that was cancelled and goes on, and beside
// one whose value is known to be out of date. Over a backend that can't be compared by ==, such as a struct
// by value with a slice in it, nobody waits for another's getter.
//
// The getter's error comes back as it is, to all who wait, and nothing is stored; see also
// [Options.NotFoundTTL]. A panic in it is raised in each of them, with its stack, and a Goexit is an error.
// A getter that asks, with its context, for a key whose load waits for it gets an error, and not a deadlock.
//
// With [Options.StaleFor] and [Options.EarlyRefresh] a value is also loaded in the background, while GetVia
// returns the one that is stored.
//
// # Faults
//
// The store is never in the way: where it can't be read the getter is called, and where the value can't be
// stored it is returned all the same. [Options.Observe] is told. A store that hangs holds GetVia up until
// ctx is done, or for [Options.Timeout]. What GetVia itself fails for is a negative TTL, an empty key, a
// context that is done, and a value that can't be serialised (see [CBOR]), or can't be deserialised after that,
// for that is of no use in a cache.
func (c *Cache[V]) GetVia(ctx context.Context, key Key[V], ttl time.Duration, getter func(context.Context) (V, error)) (V, error) {
	if getter == nil {
		panic("appcache.GetVia: the getter is nil")
	}
	return c.getVia(ctx, key, origin[V]{getter, ttl, nil})
}

// GetViaTTL is GetVia with a getter that says for how long its value is to be stored.
func (c *Cache[V]) GetViaTTL(ctx context.Context, key Key[V], getter func(context.Context) (V, time.Duration, error)) (V, error) {
	if getter == nil {
		panic("appcache.GetViaTTL: the getter is nil")
	}
	return c.getVia(ctx, key, origin[V]{getterTTL: getter})
}

// SetVia calls setter with value and, when that succeeded, stores value under key for ttl. What GetVia says
// of the guarantee holds for it.
//
// If the value can't be stored the entry is invalidated instead, and only when that fails too does SetVia
// return an error of the cache: an old entry may then go on being served. It is also invalidated where
// another change of the key overlapped this one, for nobody knows then which value the origin ended with,
// and where the setter failed or panicked. The setter's own error comes back as it is, even if that was in
// vain. A negative TTL, an empty key and a context that is done are errors before the setter is called.
func (c *Cache[V]) SetVia(ctx context.Context, key Key[V], value V, ttl time.Duration, setter func(context.Context, V) error) error {
	if setter == nil {
		panic("appcache.SetVia: the setter is nil")
	}
	call := c.begin(OpSetVia)
	defer c.unwound(ctx, &call)
	a, err := c.viaAddress(ctx, key, ttl)
	if err != nil {
		call.key = c.join(&a)
		return c.end(ctx, &call, Failed, err)
	}
	setterErr, err := c.setVia(ctx, &call, &a, key, value, ttl, setter)
	if setterErr != nil {
		call.err = both(setterErr, err)
		_ = c.end(ctx, &call, Failed, nil)
		return setterErr
	}
	return c.end(ctx, &call, Done, err)
}

// setVia returns the setter's error and the cache's own.
func (c *Cache[V]) setVia(ctx context.Context, call *call, a *address, key Key[V], value V, ttl time.Duration, setter func(context.Context, V) error) (setterErr, err error) {
	defer c.markUnplaced(a)
	// The token is read before the setter runs: if the namespace is dropped meanwhile, what is stored
	// is in the one that was dropped.
	path, placeErr := c.find(ctx, call, a, true)
	if placeErr != nil && ctx.Err() != nil {
		return nil, placeErr
	}
	var w *flight.Writer
	if placeErr == nil {
		if w, err = flight.Write(ctx, c.flightKey(path)); err != nil {
			return nil, err
		}
		defer w.End()
	}
	stored := false
	defer func() {
		if stored {
			return
		}
		// Nobody knows what the origin holds, or it isn't stored: also after a panic of the setter, and
		// when the context has ended.
		ctx, release := outlive(ctx)
		defer release()
		if removeErr := c.remove(ctx, call, a, nil); removeErr != nil {
			err = fmt.Errorf("an old entry may be served, for it couldn't be removed after the setter: %w", removeErr)
		}
	}()
	if setterErr = setter(ctx, value); setterErr != nil {
		return setterErr, nil
	}
	call.err = placeErr
	if placeErr == nil {
		stored, call.err = c.storeVia(ctx, call, w, a, path, key, value, ttl)
	}
	return nil, nil
}

// storeVia stores what the setter has set, and reports whether it did; otherwise the entry is to be removed.
func (c *Cache[V]) storeVia(ctx context.Context, call *call, w *flight.Writer, a *address, path string, key Key[V], value V, ttl time.Duration) (bool, error) {
	data, err := c.marshal(&value)
	if err == nil {
		data, ttl, err = c.pack(key, value, data, false, ttl, 0)
	}
	if err == nil && a.namespace != nil {
		// If the namespace was dropped while the setter ran, what it replaces may have been loaded into
		// the next one.
		var now string
		if now, err = c.locate(ctx, a, false); err == nil && now != path {
			return false, nil
		}
	}
	if err != nil {
		return false, err
	}
	stored := w.Store(func() {
		call.size = len(data)
		err = c.backend.SetRaw(ctx, path, data, ttl)
	})
	return stored && err == nil, err
}

// grace is for how long after its context's end SetVia goes on trying to remove what may be old.
const grace = time.Second

// outlive returns a context that ends some time after ctx does, and what must be called when it isn't
// needed any more. It has a deadline where there can be one, which is all that go-redis heeds while it reads.
func outlive(ctx context.Context) (longer context.Context, release func()) {
	unending := context.WithoutCancel(ctx)
	if ctx.Err() != nil {
		return context.WithTimeout(unending, grace)
	}
	var cancel context.CancelFunc
	if deadline, ok := ctx.Deadline(); ok {
		longer, cancel = context.WithDeadline(unending, deadline.Add(grace))
	} else {
		longer, cancel = context.WithCancel(unending)
	}
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}

// viaAddress returns the address of key, or what is wrong with the arguments.
func (c *Cache[V]) viaAddress(ctx context.Context, key Key[V], ttl time.Duration) (address, error) {
	a, err := addressOf(key)
	if err == nil && ttl < 0 {
		err = ErrNegativeTTL
	}
	if err == nil {
		err = ctx.Err()
	}
	return a, err
}

func (c *Cache[V]) getVia(ctx context.Context, key Key[V], from origin[V]) (V, error) {
	call := c.begin(OpGetVia)
	a, err := c.viaAddress(ctx, key, from.ttl)
	if err != nil {
		call.key = c.join(&a)
		return *new(V), c.end(ctx, &call, Failed, err)
	}
	path, err := c.find(ctx, &call, &a, true)
	if err != nil {
		return c.loadFor(ctx, &call, Miss, err, 0, &load[V]{c: c, key: key, origin: from, path: c.unplaced(&a), nowhere: true})
	}
	seen := flight.Seen(c.flightKey(path))
	var e entry
	value, outcome, err := c.lookUp(ctx, &call, c.policy.staleFor, &e)
	if outcome == Stale || outcome == Hit && c.policy.early(&e) {
		c.refresh(ctx, seen, saturated(e.left(), c.policy.staleFor), &load[V]{c: c, key: key, origin: from, path: path, found: true, freshUntil: e.freshUntil})
	}
	switch outcome {
	case Hit, Stale:
		return value, c.end(ctx, &call, outcome, nil)
	case absent:
		return value, c.noSuchValue(ctx, &call)
	}
	return c.loadFor(ctx, &call, outcome, err, seen, &load[V]{c: c, key: key, origin: from, path: path, found: call.size > 0 || err != nil, freshUntil: e.freshUntil})
}

// loadFor joins or starts a load for a call that found nothing to return, and ends the call. Err is why the
// store couldn't be asked.
func (c *Cache[V]) loadFor(ctx context.Context, call *call, outcome Outcome, err error, seen uint64, l *load[V]) (V, error) {
	if err != nil {
		if over := ctx.Err(); over != nil {
			if !errors.Is(err, over) {
				err = fmt.Errorf("%w: %w", over, err)
			}
			return *new(V), c.end(ctx, call, Failed, err)
		}
		call.err = err
		if !errors.Is(err, errNoToken) {
			outcome = Failed // though the call may go well: an outage is no low hit ratio
		}
	}
	name := ""
	if l.nowhere {
		name = call.key
	}
	start := call.start
	defer c.unwound(ctx, call)
	ended, err := flight.Call(ctx, c.flightKey(l.path), c.loadKind(name), seen, l.run, func(err error) { c.orphaned(ctx, OpGetVia, l.path, start, err) })
	if err != nil {
		return *new(V), c.end(ctx, call, Failed, err)
	}
	return ended.(*load[V]).result(ctx, c, call, outcome)
}

// refresh starts a load in the background.
func (c *Cache[V]) refresh(ctx context.Context, seen uint64, window time.Duration, l *load[V]) {
	var start time.Time
	run := func(ctx context.Context, f *flight.Load, again bool) any {
		call := c.begin(OpRefresh)
		call.key, start = l.path, call.start
		cool := true
		defer func() {
			if cool { // also after a panic
				f.CoolDown()
			}
		}()
		l.run(ctx, f, again)
		outcome := Done
		if call.err = cmp.Or(l.err, l.own); call.err != nil && !errors.Is(call.err, ErrNotFound) {
			outcome = Failed
		}
		cool = outcome == Failed || l.note != nil // what can't be stored would be loaded by the next caller again
		call.err, call.size = both(call.err, l.note), l.size
		_ = c.end(ctx, &call, outcome, nil)
		return l
	}
	flight.Refresh(ctx, c.flightKey(l.path), c.loadKind(""), seen, window, run,
		func(err error) { c.orphaned(ctx, OpRefresh, l.path, start, err) })
}

// orphaned tells of a panic or Goexit in a load that nobody waits for, or in a refresh.
func (c *core) orphaned(ctx context.Context, op Op, path string, start time.Time, err error) {
	call := call{op: op, key: path, start: start, err: err}
	_ = c.end(ctx, &call, Failed, nil)
}

// both returns the one that is not nil, or both errors joined.
func both(err, other error) error {
	if err == nil || other == nil {
		return cmp.Or(err, other)
	}
	return errors.Join(err, other)
}

// noSuchValue ends a call to which the answer is that the origin has no such value.
func (c *core) noSuchValue(ctx context.Context, call *call) error {
	call.err = ErrNotFound
	_ = c.end(ctx, call, Hit, nil)
	return call.wrap(ErrNotFound)
}
