package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var outageCases = []testCase{
	{
		name:       "store restarted between calls",
		rule:       "The backend must work as soon as the store does: a restart while no call was made must not make any later call fail.",
		ownBackend: true,
		run: func(c *checker) {
			var down, up func()
			c.b, down, up = c.h.Outage(c.TB)
			c.needBackend("Outage")
			burst(c, "before the outage") // so that connections are open, which will be dead
			down()
			up()
			burst(c, "after the restart")
			c.clear()
		},
	},
	{
		name:       "outage",
		rule:       "While the store can't answer, every method must return an error and GetRaw never a miss. After an error the backend must go on working as soon as the store does.",
		ownBackend: true,
		run:        outage,
	},
}

// hangCases are for backends that can leave a call that isn't answered.
var hangCases = []testCase{
	{
		name:       "store hangs",
		rule:       "A call that isn't answered must return context.DeadlineExceeded at the context's deadline, and the connection that it waited on must not serve later calls.",
		ownBackend: true,
		run:        hang,
	},
}

// calls are the four methods, each under a key of its own. Clear comes last.
var calls = []struct {
	name string
	call func(c *checker, ctx context.Context) error
}{
	{"GetRaw", func(c *checker, ctx context.Context) error {
		_, found, err := c.b.GetRaw(ctx, "read")
		if err != nil && found {
			c.Errorf("GetRaw returned found together with the error %q", err)
		}
		return err
	}},
	{"SetRaw", func(c *checker, ctx context.Context) error {
		return c.b.SetRaw(ctx, "written", []byte("new value"), 0)
	}},
	{"InvalidateRaw", func(c *checker, ctx context.Context) error { return c.b.InvalidateRaw(ctx, "removed") }},
	{"Clear", func(c *checker, ctx context.Context) error { return c.b.Clear(ctx) }},
}

func outage(c *checker) {
	var down, up func()
	c.b, down, up = c.h.Outage(c.TB)
	c.needBackend("Outage")
	burst(c, "before the outage")
	c.set("read", []byte("value"), 0)
	c.set("written", []byte("value"), 0)

	down()
	for round := range 2 {
		for _, m := range calls {
			// Bounded, because some clients try for long to reach a store that is gone.
			ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond)
			err := m.call(c, ctx)
			cancel()
			if err == nil {
				c.Errorf("%s returned no error in round %d of an outage", m.name, round+1)
			}
		}
	}
	up()

	burst(c, "after the outage")
	oldNewOrGone(c, "written")
	c.clear()
}

func hang(c *checker) {
	const (
		timeout = 200 * time.Millisecond
		grace   = 2 * time.Second // for a busy machine, and for clients with timeouts of their own
	)
	var halt, resume func()
	c.b, halt, resume = c.h.Hang(c.TB)
	c.needBackend("Hang")
	var left sync.WaitGroup // calls that didn't return in time, which may still report
	leave := func(m int) {
		c.Helper()
		ctx, cancel := context.WithTimeout(c.ctx, timeout)
		defer cancel()
		returned := make(chan error, 1)
		left.Go(func() { returned <- calls[m].call(c, ctx) })
		select {
		case err := <-returned:
			if !errors.Is(err, context.DeadlineExceeded) {
				c.Errorf("%s of a store that hangs returned the error %v, want context.DeadlineExceeded", calls[m].name, err)
			}
		case <-time.After(timeout + grace):
			c.Errorf("%s of a store that hangs hasn't returned %v after its context's deadline", calls[m].name, grace)
		}
	}
	goOn := func() {
		resume()
		left.Wait()
	}
	burst(c, "before the store hung")
	c.set("read", []byte("value"), 0)
	c.set("written", []byte("value"), 0)

	halt()
	for m := range len(calls) - 1 {
		leave(m)
	}
	goOn()
	burst(c, "after the store hung")
	c.hit("read", []byte("value"))
	oldNewOrGone(c, "written")

	// Clear by itself, and last: the store may still do it when it goes on.
	halt()
	leave(len(calls) - 1)
	goOn()
	_, _, err := c.tryGet("read")
	c.must(err)
}

// burst makes calls from many goroutines, so that a backend with a pool opens connections, or
// meets all the dead ones that it has.
func burst(c *checker, when string) {
	c.Helper()
	err := together(16, func(g int) error {
		for n := range 5 {
			key := fmt.Sprintf("burst-%d", g)
			if err := c.trySet(key, stamped(key, n), 0); err != nil {
				return err
			}
			if err := c.tryHit(key, stamped(key, n)); err != nil {
				return err
			}
			if err := c.tryInvalidate(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.Fatalf("%s: %v", when, err)
	}
}

// oldNewOrGone checks the entry of a SetRaw that failed.
func oldNewOrGone(c *checker, key string) {
	c.Helper()
	value, found, err := c.tryGet(key)
	c.must(err)
	if found && !bytes.Equal(value, []byte("value")) && !bytes.Equal(value, []byte("new value")) {
		c.Fatalf("after a failed SetRaw GetRaw(%s) returned %s, want the old value, the new one, or a miss", quote(key), quote(value))
	}
}
