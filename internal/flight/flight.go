// Package flight knows, for the whole process, which keys are being loaded and written at this moment.
// It makes loads of one key one load, and keeps a load from storing what a writer made old.
//
// # What state exists
//
// A table of slots, one for each key that is loaded or written now; at rest it is empty. A slot holds
// the loads of its key that haven't ended, in the order in which they began, and the writers that
// are at work on it. A key is a backend and a path, so that all caches over one backend meet here.
//
// Beside the slots there are the backends that are being cleared, which are writers of all their keys;
// the keys of which a refresh failed less than a second ago; the number of refreshes under way; and for
// each shard of the table the number of loads and writers that have ended.
//
// # Loads
//
// A load is joined by callers who want the same, until a writer marks it or the last of them leaves.
// What is marked goes on for those who wait for it, but nobody joins it any more, and it isn't stored. A
// load that was left is cancelled; if it gets a value all the same, it may store it, unless another load
// of the key has begun.
//
// A load that isn't marked when its value is there stores it: it is writing until the backend has answered, and
// only then are its callers woken.
//
// # Writers
//
// A writer marks the loads that it finds, waits until none of them, and no other writer that stores, is
// writing, does its work, and marks again those that began meanwhile. While it is at work no load of its
// key stores. So whatever a load stores began to be loaded after every writer that has returned had done
// its work.
//
// A writer that gave up waiting has marked, too, and returns an error.
//
// # Who owns it, and which lock guards it
//
// The table is split into shards by the path, and belongs to the functions of this package. A shard's
// mutex guards its slots and all fields of the loads and writers in them, except for those that never
// change, and for a load's result, which its goroutine writes before it closes done and others read
// after that. The number of what has ended is read without the mutex. A writer of all keys takes one
// shard's mutex after the other, never two.
//
// The edges along which loads wait for loads, from which rings are told, are guarded by rings, one mutex
// for all. It is taken where a getter makes a call of its own, and within a shard's mutex; never the
// other way round. While one of these is held nothing of the user's is called, and nothing is waited
// for.
package flight

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Key names what is loaded and written.
type Key struct {
	// Backend is the backend, which must be comparable. nil stands for all that aren't: their keys
	// share marks, and their loads aren't joined.
	Backend any
	Path    string
}

const (
	shardCount    = 256
	maxBackground = 64          // loads that nobody waits for, in the process
	coolDown      = time.Second // how long no refresh of a key is tried after one that failed
)

var (
	// ErrRing is what a caller gets that would wait, directly or by way of other loads, for the
	// load that it runs in.
	ErrRing = errors.New("the getter asks for a key whose load waits for it")

	// ErrGoexit is what callers get when the load's goroutine has ended before its run returned.
	ErrGoexit = errors.New("runtime.Goexit was called")
)

// PanicError is what a load panicked with, and is raised again in each caller. It is an error so that
// whoever recovers can look through it.
type PanicError struct {
	Value any
	Stack []byte
}

func (p *PanicError) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap returns the value if that is an error.
func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// table is the process's. It is split so that keys seldom wait for each other.
var (
	table      [shardCount]shard
	seed       = maphash.MakeSeed()
	background atomic.Int64 // loads by Refresh that haven't ended
)

type shard struct {
	mu       sync.Mutex
	slots    []*slot          // so few that looking through them takes less than a map would
	spare    *slot            // an empty one with some room, for the next key
	idle     *Writer          // one that has ended, for the next
	clearing map[any]int      // backends that are being cleared, and how many times at once
	cooling  map[Key]struct{} // keys of which a refresh failed less than coolDown ago
	finished atomic.Uint64    // loads and writers that have ended; written under mu
}

// slot is what is going on with one key.
type slot struct {
	key     Key
	loads   []*Load
	writers []*Writer
}

func (k Key) shard() *shard {
	return &table[maphash.String(seed, k.Path)%shardCount]
}

// find returns the slot of k, or nil. The caller holds mu.
func (s *shard) find(k Key) *slot {
	for _, sl := range s.slots {
		if sl.key == k {
			return sl
		}
	}
	return nil
}

// slot returns the slot of k, which it makes if it isn't there. The caller holds mu.
func (s *shard) slot(k Key) *slot {
	sl := s.find(k)
	if sl == nil {
		if sl, s.spare = s.spare, nil; sl == nil {
			sl = &slot{}
		}
		sl.key = k
		s.slots = append(s.slots, sl)
	}
	return sl
}

// release takes a slot out of the table if nothing goes on with its key. The caller holds mu.
func (s *shard) release(sl *slot) {
	if len(sl.loads) == 0 && len(sl.writers) == 0 {
		last := len(s.slots) - 1
		s.slots[slices.Index(s.slots, sl)] = s.slots[last]
		s.slots[last] = nil
		s.slots = s.slots[:last]
		sl.key = Key{}
		s.spare = sl
	}
	s.finished.Add(1)
}

// busy reports whether a writer is at work on the key of a slot. The caller holds mu.
func (s *shard) busy(sl *slot) bool {
	return len(sl.writers) > 0 || len(s.clearing) > 0 && s.clearing[sl.key.Backend] > 0
}

// mark keeps the loads of a slot from being joined and stored. The caller holds mu.
func (sl *slot) mark() {
	if !on(Marking) {
		return
	}
	for _, l := range sl.loads {
		l.marked = true
	}
}

// underWay adds the write-backs that are under way. The caller holds mu.
func (sl *slot) underWay(writing []<-chan struct{}) []<-chan struct{} {
	if !on(Waiting) {
		return nil
	}
	for _, l := range sl.loads {
		if l.writing != nil {
			writing = append(writing, l.writing)
		}
	}
	for _, w := range sl.writers {
		if w.writing != nil {
			writing = append(writing, w.writing)
		}
	}
	return writing
}

// Seen returns a number that changes when a load or a writer of k ends. Whoever looks into the store and
// may then load asks for it before.
func Seen(k Key) uint64 { return k.shard().finished.Load() }

// Count returns how many keys of the backend are in the table: none at rest, which is for tests to see. Where OneTable
// is off it isn't known whose they are, and all are counted.
func Count(backend any) int {
	n := 0
	for i := range table {
		s := &table[i]
		s.mu.Lock()
		for _, sl := range s.slots {
			if sl.key.Backend == backend || !on(OneTable) {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}
