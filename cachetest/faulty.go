package cachetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/goappcache/appcache"
)

var _ appcache.RawBackend = (*Faulty)(nil)

// Fault is what goes wrong with one call of a [Faulty].
type Fault int

// The faults. Those of writes have no effect on GetRaw unless something else is said.
const (
	None      Fault = iota // the call is passed on
	Refuse                 // nothing is done, and the error is Err
	DropReply              // the call is passed on, and the error is Err whatever came of it
	Slow                   // the call is passed on after Delay, unless the context ends before
	Hang                   // nothing is done until the context ends, whose error is returned
	DropWrite              // nothing is done, and there is no error; GetRaw is a miss
	LateWrite              // the error is Err at once, and the call is passed on after Delay
	Truncate               // the second half of the value is lost, of the one stored or the one returned
)

// ErrFault is the error of a [Faulty] that was given none.
var ErrFault = errors.New("cachetest: injected fault")

// Faulty is a backend around another one, that does what stores and networks do at their worst: for tests
// of what a program makes of that, and of what this library promises.
//
// DropWrite, LateWrite and Truncate break the contract of [appcache.RawBackend] on purpose, as stores do
// that lose data, or carry a write out after its client has given up. The other faults keep to it.
//
// The fields must not be changed once it is in use. It is safe for concurrent use if Backend and Choose are.
type Faulty struct {
	Backend appcache.RawBackend

	// Choose says what happens to a call. The method is "GetRaw", "SetRaw", "InvalidateRaw" or "Clear",
	// which has no key. nil: nothing goes wrong. See AtRandom and InTurn.
	Choose func(method, key string) Fault

	Err   error         // of Refuse, DropReply and LateWrite; nil: ErrFault
	Delay time.Duration // of Slow and LateWrite

	late sync.WaitGroup
}

// AtRandom returns a Choose that draws each fault with the probability that it has in rates, and None with
// what is left of 1. The same seed gives the same faults in the same order of calls.
func AtRandom(seed uint64, rates map[Fault]float64) func(method, key string) Fault {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not for secrets
	return func(string, string) Fault {
		mu.Lock()
		x := dice.Float64()
		mu.Unlock()
		for fault := Refuse; fault <= Truncate; fault++ {
			if x -= rates[fault]; x < 0 {
				return fault
			}
		}
		return None
	}
}

// InTurn returns a Choose that gives the first call the first fault, the second the second, and None to those
// after the last. A call of whatever method counts.
func InTurn(faults ...Fault) func(method, key string) Fault {
	var mu sync.Mutex
	return func(string, string) Fault {
		mu.Lock()
		defer mu.Unlock()
		if len(faults) == 0 {
			return None
		}
		next := faults[0]
		faults = faults[1:]
		return next
	}
}

// GetRaw is the wrapped backend's, unless something goes wrong.
func (f *Faulty) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	fault := f.choose("GetRaw", key)
	if fault == DropWrite {
		return nil, false, ctx.Err()
	}
	err = f.call(ctx, fault, false, func(ctx context.Context) (err error) {
		value, found, err = f.Backend.GetRaw(ctx, key)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	if fault == Truncate && found {
		value = value[:len(value)/2]
	}
	return value, found, nil
}

// SetRaw is the wrapped backend's, unless something goes wrong.
func (f *Faulty) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	fault := f.choose("SetRaw", key)
	switch fault {
	case Truncate:
		value = value[:len(value)/2]
	case LateWrite:
		value = append([]byte{}, value...) // it is the caller's again before it is written
	}
	return f.call(ctx, fault, true, func(ctx context.Context) error { return f.Backend.SetRaw(ctx, key, value, ttl) })
}

// InvalidateRaw is the wrapped backend's, unless something goes wrong.
func (f *Faulty) InvalidateRaw(ctx context.Context, key string) error {
	return f.call(ctx, f.choose("InvalidateRaw", key), true, func(ctx context.Context) error { return f.Backend.InvalidateRaw(ctx, key) })
}

// Clear is the wrapped backend's, unless something goes wrong: it destroys what that one destroys.
func (f *Faulty) Clear(ctx context.Context) error {
	return f.call(ctx, f.choose("Clear", ""), true, f.Backend.Clear)
}

// Wait returns when no LateWrite is to come any more.
func (f *Faulty) Wait() { f.late.Wait() }

func (f *Faulty) choose(method, key string) Fault {
	if f.Choose == nil {
		return None
	}
	return f.Choose(method, key)
}

// call passes a call on, or does what the fault is.
func (f *Faulty) call(ctx context.Context, fault Fault, write bool, pass func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	failed := f.Err
	if failed == nil {
		failed = ErrFault
	}
	switch fault {
	case Refuse:
		return failed
	case DropReply:
		_ = pass(ctx)
		return failed
	case Slow:
		select {
		case <-time.After(f.Delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	case Hang:
		<-ctx.Done()
		return ctx.Err()
	case DropWrite:
		return nil
	case LateWrite:
		if write {
			f.late.Add(1)
			time.AfterFunc(f.Delay, func() {
				defer f.late.Done()
				_ = pass(context.WithoutCancel(ctx))
			})
			return failed
		}
	}
	return pass(ctx)
}
