package appcache

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/goappcache/appcache/internal/flight"
)

// Event says how one call of a cache's method went, or one load in the background. It is given to
// [Options.Observe] when that is over, in its goroutine. A call that panics, because a getter did, is
// told of before that. So is a load that panics when all its callers have left, which is one event more. Path
// isn't told of, nor a panic of a key's own methods.
type Event struct {
	Op       Op
	Outcome  Outcome
	Key      string        // the path that was used, as [Cache.Path] returns it; "" for Clear
	Size     int           // bytes read from the store, or given to it to be written; 0 where there were none
	Duration time.Duration // of the whole call, with its getter or setter
	Err      error         // what went wrong, also where the call got over it and returned no error
}

// Op is the method that was called. The ...ByStr methods and GetViaTTL count as those whose variants
// they are.
type Op string

// What an [Event] can be about.
const (
	OpGet                 Op = "get"
	OpGetVia              Op = "get via"
	OpSet                 Op = "set"
	OpSetVia              Op = "set via"
	OpInvalidate          Op = "invalidate"
	OpInvalidateNamespace Op = "invalidate namespace"
	OpClear               Op = "clear"
	OpRefresh             Op = "refresh" // a load in the background, of an entry that GetVia served
)

// Outcome is how a call ended. The first four tell what Get and GetVia found in the store, also where
// the getter failed after that: Err is then its error.
type Outcome string

// How an [Event]'s call can have ended.
const (
	Hit        Outcome = "hit"   // that the origin has no such value is one too; Err is then ErrNotFound
	Stale      Outcome = "stale" // served by GetVia, and refreshed: see Options.StaleFor
	Miss       Outcome = "miss"
	Unreadable Outcome = "unreadable" // a miss: there is an entry that can't be decompressed or decoded; Err says why
	Done       Outcome = "done"       // set, invalidated or cleared
	Failed     Outcome = "failed"     // the store couldn't answer, the arguments are wrong, a setter failed, or something panicked
)

// absent is what the cache says to itself of an entry that says that the origin has no such value.
const absent Outcome = "absent"

// call is a call of a cache's method under way: what its Event and its error need.
type call struct {
	op    Op
	key   string
	size  int
	start time.Time
	err   error // what the call got over
	told  bool  // whoever observes has been told, or is being told
}

func (c *core) begin(op Op) call {
	if c.observe == nil {
		return call{op: op}
	}
	return call{op: op, start: time.Now()}
}

// end tells whoever observes how the call went, and returns its error as the caller is to see it.
func (c *core) end(ctx context.Context, call *call, outcome Outcome, err error) error {
	if c.observe != nil {
		if err != nil {
			outcome, call.err = Failed, err
		}
		call.told = true
		c.observe(ctx, Event{call.op, outcome, call.key, call.size, time.Since(call.start), call.err})
	}
	if err != nil {
		return call.wrap(err)
	}
	return nil
}

// unwound tells whoever observes of a call that ends by a panic, or a Goexit, of what it has called. It
// is to be deferred.
func (c *core) unwound(ctx context.Context, call *call) {
	if c.observe == nil || call.told {
		return
	}
	p := recover()
	switch err := p.(type) {
	case nil:
		call.err = flight.ErrGoexit
	case *flight.PanicError:
		call.err = err
	default:
		call.err = &flight.PanicError{Value: p, Stack: debug.Stack()}
	}
	_ = c.end(ctx, call, Failed, nil)
	if p != nil {
		panic(p)
	}
}

// wrap is the one place in which errors get the operation and the key.
func (c *call) wrap(err error) error {
	if err == errNoToken { //nolint:errorlint // as it is: to a cache over a backend over this one it says nothing
		err = ErrNoNamespace
	}
	if c.key == "" {
		return fmt.Errorf("appcache: %s: %w", c.op, err)
	}
	return fmt.Errorf("appcache: %s %q: %w", c.op, c.key, err)
}
