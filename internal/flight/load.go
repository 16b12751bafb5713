package flight

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Load is one load of a key, with a goroutine of its own.
type Load struct {
	// These never change.
	key    Key
	shard  *shard
	slot   *slot // until it ends
	kind   any
	cancel context.CancelFunc // ends the context of run
	done   chan struct{}      // closed when the load has ended

	// The shard's mutex guards these.
	callers int           // who waits, the window of a refresh among them
	window  *time.Timer   // of a refresh; nil: this is none, or its window is over
	refresh bool          // it counts in background
	marked  bool          // neither joined nor stored
	left    bool          // cancelled, because the last caller has left: not joined
	writing chan struct{} // closed when the write-back that is under way is over; nil: there is none
	ended   bool

	// These are written by the load's goroutine, and read once done is closed.
	value any
	err   error

	waits []*Load // what its getter waits for; rings.mu guards it
}

// Run is what a load does. Its context has the values of the first caller's, and is cancelled when the
// last caller has left. Again says that something happened to the key since the caller looked into the store,
// so that it is to be looked into again.
type Run func(ctx context.Context, l *Load, again bool) any

// Call joins the load of k by a caller of the same kind, or starts one, and returns what its run
// returned. It leaves when ctx is done. A panic of run is raised again, as a *PanicError, in each
// caller; if there is none left, orphan is called with that, or with ErrGoexit.
func Call(ctx context.Context, k Key, kind any, seen uint64, run Run, orphan func(error)) (any, error) {
	outer, _ := ctx.Value(loadKey{}).(*Load)
	s := k.shard()
	s.mu.Lock()
	if outer != nil && s.ring(k, kind, outer) {
		s.mu.Unlock()
		return nil, ErrRing
	}
	l := s.joinable(k, kind)
	started := l == nil
	if started {
		l = s.begin(k, kind)
	}
	l.callers++
	if outer != nil && !outer.waitFor(l) {
		l.callers--
		s.mu.Unlock()
		return nil, ErrRing
	}
	if started {
		l.start(ctx, s.finished.Load() != seen && on(LookingAgain), run, orphan)
	}
	s.mu.Unlock()

	if outer != nil {
		defer outer.stopWaiting(l)
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		if l.leave() {
			return nil, ctx.Err()
		}
		<-l.done // it ended at the same time, and counts on being heard
	}
	if p, ok := l.err.(*PanicError); ok { //nolint:errorlint // it is never wrapped
		panic(p)
	}
	return l.value, l.err
}

// Refresh starts a load that nobody waits for, unless there is one of k, or one failed a moment ago, or
// as many as may be are under way. Once window is over, and no caller has joined, it is cancelled. After
// a panic or Goexit orphan is called, also where callers have joined.
func Refresh(ctx context.Context, k Key, kind any, seen uint64, window time.Duration, run Run, orphan func(error)) {
	s := k.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, cooling := s.cooling[k]; cooling {
		return
	}
	if sl := s.find(k); sl != nil && slices.ContainsFunc(sl.loads, func(l *Load) bool { return l.open(kind) }) {
		return
	}
	if background.Add(1) > maxBackground {
		background.Add(-1)
		return
	}
	l := s.begin(k, kind)
	l.callers++
	l.refresh = true
	l.window = time.AfterFunc(window, l.closeWindow)
	l.start(ctx, s.finished.Load() != seen, run, orphan)
}

// joinable returns the load of k that callers of the kind join, or nil. The caller holds mu.
func (s *shard) joinable(k Key, kind any) *Load {
	sl := s.find(k)
	if sl == nil || k.Backend == nil {
		return nil
	}
	if i := slices.IndexFunc(sl.loads, func(l *Load) bool { return l.open(kind) }); i >= 0 {
		return sl.loads[i]
	}
	return nil
}

// open reports whether callers of the kind may join the load. One that is being stored has its value, so
// that it doesn't matter that it was given up. The caller holds mu.
func (l *Load) open(kind any) bool {
	return l.kind == kind && (!l.marked || !on(JoiningNoMarked)) && (!l.left || l.writing != nil)
}

// begin puts a load of k into the table. The caller holds mu.
func (s *shard) begin(k Key, kind any) *Load {
	sl := s.slot(k)
	for _, other := range sl.loads {
		if other.left {
			other.marked = true // it was given up, and mustn't overwrite what the new one stores
		}
	}
	l := &Load{key: k, shard: s, slot: sl, kind: kind, done: make(chan struct{})}
	sl.loads = append(sl.loads, l)
	return l
}

type loadKey struct{} // of a load in the context of its run

// start runs a load that is in the table. The caller holds mu.
func (l *Load) start(ctx context.Context, again bool, run Run, orphan func(error)) {
	ctx, l.cancel = context.WithCancel(context.WithValue(context.WithoutCancel(ctx), loadKey{}, l))
	go func() {
		returned := false
		defer func() {
			if p := recover(); p != nil {
				l.err = &PanicError{p, debug.Stack()}
			} else if !returned {
				l.err = ErrGoexit
			}
			l.end(orphan)
		}()
		l.value = run(ctx, l, again)
		returned = true
	}()
}

// end takes the load out of the table and wakes its callers.
func (l *Load) end(orphan func(error)) {
	s, sl := l.shard, l.slot
	s.mu.Lock()
	sl.loads = slices.DeleteFunc(sl.loads, func(other *Load) bool { return other == l })
	s.release(sl)
	l.ended = true
	heard := l.callers
	if l.refresh {
		background.Add(-1)
	}
	if l.window != nil {
		l.window.Stop()
		heard--
	}
	s.mu.Unlock()
	l.cancel()
	close(l.done)
	if l.err != nil && (heard == 0 || l.refresh) {
		defer func() { _ = recover() }() // there is nobody left to tell of what orphan panics with
		orphan(l.err)
	}
}

// leave is a caller's end of waiting. It returns false if the load has ended.
func (l *Load) leave() bool {
	s := l.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.ended {
		return false
	}
	l.drop()
	return true
}

// closeWindow is the end of a refresh's window.
func (l *Load) closeWindow() {
	s := l.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.ended {
		l.window = nil
		l.drop()
	}
}

// drop counts one caller less. The caller holds mu.
func (l *Load) drop() {
	l.callers--
	if l.callers == 0 {
		l.left = true
		l.cancel()
	}
}

// Undisturbed reports whether no writer has been at work on the key since the load began. What was found
// in the store before is then what those who have joined, or will yet, may be given.
func (l *Load) Undisturbed() bool {
	s := l.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	return !l.marked && !s.busy(l.slot)
}

// Store calls act, which writes the load's value back, unless the load was marked or a writer is at work. It
// reports whether it did.
func (l *Load) Store(act func()) bool {
	s := l.shard
	s.mu.Lock()
	if l.marked || s.busy(l.slot) && on(StoringNoneWith) {
		s.mu.Unlock()
		return false
	}
	writing := make(chan struct{})
	l.writing = writing
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		l.writing = nil
		s.mu.Unlock()
		close(writing)
	}()
	act()
	return true
}

// CoolDown keeps the load's key from being refreshed for a second.
func (l *Load) CoolDown() {
	s := l.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cooling == nil {
		s.cooling = map[Key]struct{}{}
	}
	s.cooling[l.key] = struct{}{}
	time.AfterFunc(coolDown, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cooling, l.key)
	})
}

// rings guards the edges along which loads wait for loads. It is taken only where a getter makes a call.
var rings sync.Mutex

// ring reports whether a load of k, be it marked or not, waits for the load in whose getter k is asked for. The
// caller holds mu.
func (s *shard) ring(k Key, kind any, outer *Load) bool {
	sl := s.find(k)
	if sl == nil {
		return false
	}
	rings.Lock()
	defer rings.Unlock()
	return slices.ContainsFunc(sl.loads, func(l *Load) bool { return l.kind == kind && l.reaches(outer) })
}

// waitFor notes that the getter of l waits for other, unless other waits for l.
func (l *Load) waitFor(other *Load) bool {
	rings.Lock()
	defer rings.Unlock()
	if other.reaches(l) {
		return false
	}
	l.waits = append(l.waits, other)
	return true
}

func (l *Load) reaches(other *Load) bool {
	return l == other || slices.ContainsFunc(l.waits, func(next *Load) bool { return next.reaches(other) })
}

func (l *Load) stopWaiting(other *Load) {
	rings.Lock()
	defer rings.Unlock()
	if i := slices.Index(l.waits, other); i >= 0 {
		l.waits = slices.Delete(l.waits, i, i+1)
	}
}
