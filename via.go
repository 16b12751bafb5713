package appcache

import (
	"context"
	"errors"
	"time"
)

// GetVia returns the value stored under key or, where there is none, calls getter, stores what it
// returns for ttl, and returns that.
//
// The getter's own error comes back as it is, and nothing is stored. The store is never in the way:
// where it can't be read the getter is called, and where the value can't be stored it is returned all
// the same; [Options.Observe] is told. What GetVia itself fails for is a negative TTL, an empty key, a
// context that is done, and a value that can't be serialised, for that could never be stored.
func (c *Cache[V]) GetVia(ctx context.Context, key Key[V], ttl time.Duration, getter func(context.Context) (V, error)) (V, error) {
	return c.getVia(ctx, key, ttl, func(ctx context.Context) (V, time.Duration, error) {
		v, err := getter(ctx)
		return v, ttl, err
	})
}

// GetViaTTL is GetVia with a getter that says for how long its value is to be stored.
func (c *Cache[V]) GetViaTTL(ctx context.Context, key Key[V], getter func(context.Context) (V, time.Duration, error)) (V, error) {
	return c.getVia(ctx, key, 0, getter)
}

// SetVia calls setter with value and, when that succeeded, stores value under key for ttl.
//
// If it can't be stored the entry is invalidated instead, and only when that fails too does SetVia
// return an error of the cache: an old entry may then go on being served. The setter's own error comes back
// as it is, and the entry is invalidated, for nobody knows what the origin holds then. A negative TTL,
// an empty key and a context that is done are errors before the setter is called.
func (c *Cache[V]) SetVia(ctx context.Context, key Key[V], value V, ttl time.Duration, setter func(context.Context, V) error) error {
	call := c.begin(OpSetVia)
	a, err := c.viaAddress(ctx, key, ttl)
	call.key = c.join(a)
	if err != nil {
		return c.end(ctx, &call, Failed, err)
	}
	// The token is read before the setter runs: if the namespace is dropped meanwhile, what is
	// stored is in the one that was dropped.
	err = c.find(ctx, &call, a, true)
	if setterErr := setter(ctx, value); setterErr != nil {
		_ = c.remove(ctx, &call, a)
		call.err = setterErr
		_ = c.end(ctx, &call, Failed, nil)
		return setterErr
	}
	if err == nil {
		err = c.serialiseAndStore(ctx, &call, key, value, ttl)
	}
	if err != nil {
		call.err = err
		err = ignoreNoNamespace(c.remove(ctx, &call, a))
	}
	return c.end(ctx, &call, Done, err)
}

func (c *Cache[V]) getVia(ctx context.Context, key Key[V], ttl time.Duration, getter func(context.Context) (V, time.Duration, error)) (V, error) {
	call := c.begin(OpGetVia)
	var none V
	a, err := c.viaAddress(ctx, key, ttl)
	if err != nil {
		call.key = c.join(a)
		return none, c.end(ctx, &call, Failed, err)
	}
	findErr := c.find(ctx, &call, a, true)
	outcome, err := Miss, findErr
	if err == nil {
		var v *V
		if v, outcome, err = c.lookUp(ctx, &call); v != nil {
			return *v, c.end(ctx, &call, outcome, nil)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return none, c.end(ctx, &call, Failed, err)
		}
		call.err = err
		if !errors.Is(err, ErrNoNamespace) {
			outcome = Failed
		}
	}

	value, ttl, err := getter(ctx)
	if err != nil {
		call.err = err
		_ = c.end(ctx, &call, Failed, nil)
		return none, err
	}
	if ttl < 0 {
		return none, c.end(ctx, &call, Failed, ErrNegativeTTL)
	}
	data, err := c.marshal(&value)
	if err != nil {
		return none, c.end(ctx, &call, Failed, err)
	}
	if findErr == nil {
		if err := c.store(ctx, &call, key, value, data, ttl); err != nil {
			call.err = err
		}
	}
	return value, c.end(ctx, &call, outcome, nil)
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

func (c *Cache[V]) serialiseAndStore(ctx context.Context, call *call, key Key[V], value V, ttl time.Duration) error {
	data, err := c.marshal(&value)
	if err != nil {
		return err
	}
	return c.store(ctx, call, key, value, data, ttl)
}

// store puts a serialised value at the call's key.
func (c *Cache[V]) store(ctx context.Context, call *call, key Key[V], value V, data []byte, ttl time.Duration) error {
	data, err := c.pack(key, value, data, false)
	if err != nil {
		return err
	}
	call.size = len(data)
	return c.backend.SetRaw(ctx, call.key, data, ttl)
}

// remove invalidates the key at a.
func (c *Cache[V]) remove(ctx context.Context, call *call, a address) error {
	if err := c.find(ctx, call, a, false); err != nil {
		return err
	}
	return c.backend.InvalidateRaw(ctx, call.key)
}
