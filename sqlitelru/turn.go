package sqlitelru

import (
	"context"
	"sync"
	"time"
)

// tooLong is how long others may be let in before somebody who waits.
const tooLong = 10 * time.Millisecond

// A turn is a mutex that one can stop waiting for. As with sync.Mutex, a goroutine that comes along may take it
// before those that wait, because to wake one of them takes as long as to read an entry. When one has
// waited for too long they all get it in the order in which they wait, until that one has had it.
//
// No channel is made for each that waits: one of a synctest bubble mustn't be used from outside.
type turn struct {
	mu      sync.Mutex
	held    bool
	waiting int           // so many wait
	late    int           // so many of them for too long
	wake    chan struct{} // has room for one token, which wakes one of them
	woken   bool          // the token is there, or with one who hasn't come back here yet
	given   bool          // whoever gets the token has the turn, too
}

func newTurn() *turn { return &turn{wake: make(chan struct{}, 1)} }

// try takes the turn if nobody has it.
func (t *turn) try() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := !t.held
	t.held = true
	return free
}

// take waits for the turn until ctx ends.
func (t *turn) take(ctx context.Context) error {
	if t.try() {
		return nil
	}
	begin, late := time.Now(), 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting++
	defer func() {
		t.waiting--
		t.late -= late
	}()
	for t.held {
		if late == 0 && time.Since(begin) > tooLong {
			late = 1
			t.late++
		}
		t.mu.Unlock()
		select {
		case <-t.wake:
			t.mu.Lock()
			t.woken = false
			if t.given {
				return nil
			}
		case <-ctx.Done():
			t.mu.Lock()
			if t.waiting == 1 {
				t.takeBack()
			}
			return ctx.Err()
		}
	}
	t.held = true
	return nil
}

// takeBack takes the token back that nobody waits for any more.
func (t *turn) takeBack() {
	if len(t.wake) > 0 {
		<-t.wake
		t.woken = false
		t.held = t.held && !t.given
	}
}

// leave lets somebody else take the turn.
func (t *turn) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = false
	if t.waiting > 0 && !t.woken {
		t.given = t.late > 0
		t.held = t.given
		t.woken = true
		t.wake <- struct{}{}
	}
}
