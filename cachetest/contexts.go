package cachetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

var contextCases = []testCase{
	{
		name: "context cancelled before the call",
		rule: "A call whose context is already done must return the context's error, which is context.Canceled, and must send nothing.",
		run: func(c *checker) {
			ctx, cancel := context.WithCancel(c.ctx)
			cancel()
			refused(c, ctx)
		},
	},
	{
		name: "context over before the call",
		rule: "A call whose context is already done must return the context's error, which after a deadline is context.DeadlineExceeded, and must send nothing.",
		run: func(c *checker) {
			ctx, cancel := context.WithDeadline(c.ctx, time.Now().Add(-time.Second))
			defer cancel()
			refused(c, ctx)
		},
	},
	{
		name: "context cancelled after the call",
		rule: "A context that ends after the return must change nothing: what was stored stays, what was returned stays, and the backend goes on working.",
		run: func(c *checker) {
			ctx, cancel := context.WithCancel(c.ctx)
			after := *c
			c.ctx = ctx
			c.set("removed", []byte("value"), 0)
			c.set("key", []byte("value"), 0)
			value, _, err := c.tryGet("key")
			c.must(err)
			c.invalidate("removed")
			cancel()
			time.Sleep(time.Millisecond) // for goroutines that wait for the context's end
			after.hit("key", value)
			after.hit("key", []byte("value"))
			after.miss("removed")
			after.set("key", []byte("new value"), 0)
			after.hit("key", []byte("new value"))
		},
	},
	{
		name: "context cancelled during the call",
		rule: "A call whose context ends while it runs must succeed or return context.Canceled, and must leave nothing behind that a later call gets as its answer. After a failed SetRaw the entry is the old one, the new one, or gone.",
		run: func(c *checker) {
			c.must(together(8, func(g int) error { return cancelled(c, g) }))
		},
	},
}

// refused makes each call with a context that is done, and wants nothing to have happened.
func refused(c *checker, done context.Context) {
	c.Helper()
	c.set("key", []byte("value"), 0)
	wantContextError := func(method string, err error) {
		c.Helper()
		if !errors.Is(err, done.Err()) {
			c.Errorf("%s returned the error %v, want %v", method, err, done.Err())
		}
	}
	for _, key := range []string{"key", "absent"} {
		_, found, err := c.b.GetRaw(done, key)
		wantContextError("GetRaw", err)
		if err != nil && found {
			c.Errorf("GetRaw returned found together with the error %v", err)
		}
		wantContextError("SetRaw", c.b.SetRaw(done, key, []byte("new value"), 0))
		wantContextError("InvalidateRaw", c.b.InvalidateRaw(done, key))
	}
	wantContextError("Clear", c.b.Clear(done))
	c.hit("key", []byte("value"))
	c.miss("absent")
}

// cancelled makes calls that are given up on at any moment, and between them some that aren't, on
// keys of its own. A connection on which an answer is still to come must not serve the next call.
func cancelled(c *checker, g int) error {
	key, other := fmt.Sprintf("cancelled-%d", g), fmt.Sprintf("kept-%d", g)
	if err := c.trySet(other, stamped(other, g), 0); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(uint64(g), 1))
	for n := range 40 {
		ctx, cancel := context.WithCancel(c.ctx)
		timer := time.AfterFunc(time.Duration(random.IntN(400))*time.Microsecond, cancel)
		var value []byte
		var found bool
		var err error
		switch n % 4 {
		case 0:
			err = c.b.SetRaw(ctx, key, stamped(key, n), 0)
		case 3:
			err = c.b.InvalidateRaw(ctx, key)
		default:
			value, found, err = c.b.GetRaw(ctx, key)
		}
		timer.Stop()
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("a call whose context was cancelled returned the error %q, want context.Canceled", err)
		}
		if err == nil && found {
			if err := unstamp(key, value); err != nil {
				return err
			}
		}
		if err := c.tryHit(other, stamped(other, g)); err != nil {
			return err
		}
		if value, found, err := c.tryGet(key); err != nil {
			return err
		} else if found {
			if err := unstamp(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}
