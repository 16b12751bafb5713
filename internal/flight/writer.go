package flight

import (
	"context"
	"slices"
)

// Writer is a change to a key, or to all keys of a backend, from before its first effect until after its
// last. Whoever has ended it must let go of it: it is used again.
type Writer struct {
	// These never change.
	shard   *shard
	slot    *slot // nil: it is at work on every key of the backend
	backend any

	// The shard's mutex guards these, of a writer that isn't at work on all.
	overlapped bool // another writer was at work on the key meanwhile
	writing    chan struct{}
}

// Write begins a change of k: loads of k that are under way won't be stored. It waits for those that
// are being stored, but no longer than ctx. When the change is over the writer must be ended.
func Write(ctx context.Context, k Key) (*Writer, error) {
	s := k.shard()
	s.mu.Lock()
	sl := s.slot(k)
	var w *Writer
	if w, s.idle = s.idle, nil; w == nil {
		w = &Writer{}
	}
	*w = Writer{shard: s, slot: sl, overlapped: s.busy(sl)}
	for _, other := range sl.writers {
		other.overlapped = true
	}
	sl.mark()
	writing := sl.underWay(nil)
	sl.writers = append(sl.writers, w)
	s.mu.Unlock()
	return w, w.wait(ctx, writing)
}

// Mark keeps the loads of k that are under way from being stored, and callers from joining them. It is for
// changes after which there is nothing to write.
func Mark(k Key) {
	s := k.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl := s.find(k); sl != nil {
		sl.mark()
	}
}

// WriteAll begins a change of all keys of the backend.
func WriteAll(ctx context.Context, backend any) (*Writer, error) {
	w := &Writer{backend: backend}
	var writing []<-chan struct{}
	for i := range table {
		s := &table[i]
		s.mu.Lock()
		if s.clearing == nil {
			s.clearing = map[any]int{}
		}
		s.clearing[backend]++
		for _, sl := range s.slots {
			if sl.key.Backend == backend {
				sl.mark()
				writing = sl.underWay(writing)
				for _, other := range sl.writers {
					other.overlapped = true
				}
			}
		}
		s.mu.Unlock()
	}
	return w, w.wait(ctx, writing)
}

// wait waits for write-backs that are under way. Nobody begins one while the writer is there. If ctx is
// done first the writer is ended.
func (w *Writer) wait(ctx context.Context, writing []<-chan struct{}) error {
	for _, over := range writing {
		select {
		case <-over:
		case <-ctx.Done():
			w.End()
			return ctx.Err()
		}
	}
	return nil
}

// Store calls act, which stores what was written to the origin, unless another writer was at work on the
// key since this one began: nobody knows then which of their values the origin ended with. It reports
// whether it did.
func (w *Writer) Store(act func()) bool {
	s := w.shard
	s.mu.Lock()
	if w.overlapped && on(OverlapDetection) {
		s.mu.Unlock()
		return false
	}
	writing := make(chan struct{})
	w.writing = writing
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		w.writing = nil
		s.mu.Unlock()
		close(writing)
	}()
	act()
	return true
}

// End marks what began to load meanwhile, which may have seen the origin as it was, and takes the writer
// out of the table.
func (w *Writer) End() {
	if w.slot == nil {
		w.endAll()
		return
	}
	s, sl := w.shard, w.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	if on(SecondMarking) {
		sl.mark()
	}
	sl.writers = slices.DeleteFunc(sl.writers, func(other *Writer) bool { return other == w })
	s.idle = w
	s.release(sl)
}

func (w *Writer) endAll() {
	for i := range table {
		s := &table[i]
		s.mu.Lock()
		for _, sl := range s.slots {
			if sl.key.Backend == w.backend && on(SecondMarking) {
				sl.mark()
			}
		}
		if s.clearing[w.backend]--; s.clearing[w.backend] == 0 {
			delete(s.clearing, w.backend)
		}
		s.finished.Add(1)
		s.mu.Unlock()
	}
}
