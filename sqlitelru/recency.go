package sqlitelru

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// perBlock is the number of slots in a row of appcache_recency: 4,000 bytes fit a page of 4 KiB.
const perBlock = 500

const (
	// flushAge is after how many microseconds touches are to be written out, early enough for more tries before a
	// second is over, and flushAgain the least time between two tries after a read.
	flushAge   = 500_000
	flushAgain = 25 * time.Millisecond

	touchesMin = 8192    // so many are written out at once, or for larger caches a sixteenth of the slots,
	touchesMax = 1 << 16 // up to so many: the cost is that of the blocks that they are in
	touchesEnd = 1 << 17 // more than that, when they can't be written out, are lost
)

// At most so many blocks are held.
const blocksMax = 64

type block struct {
	used    []byte
	changed bool
}

// tick returns a stamp for now, microseconds of the wall clock.
func (s *store) tick(now int64) int64 {
	for {
		last := s.clock.Load()
		stamp := max(now+s.ahead.Load(), last+1)
		if s.clock.CompareAndSwap(last, stamp) {
			return stamp
		}
	}
}

// catchUp makes the stamps to come later than one that was found in the database. Where that is ahead of the wall
// clock, which was put back, they stay ahead by as much. Else they would only count the operations of this process,
// and fall behind those of others that do more. The caller has the turn.
func (s *store) catchUp(stamp int64) {
	s.ahead.Store(max(s.ahead.Load(), stamp-time.Now().UnixMicro()))
	for last := s.clock.Load(); last < stamp && !s.clock.CompareAndSwap(last, stamp); last = s.clock.Load() {
	}
}

// touch notes that a slot was used. now, as everywhere, is the wall clock's microsecond: stamps can be far from it.
func (s *store) touch(id, stamp, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.touches) == 0 || now < s.since {
		s.since = now
	}
	if old, noted := s.touches[id]; noted || len(s.touches) < touchesEnd {
		s.touches[id] = max(old, stamp)
	}
}

// touched returns the stamp that is noted for a slot, or 0.
func (s *store) touched(id int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.touches[id]
}

// due reports whether it is time to write the touches out.
func (s *store) due(now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(len(s.touches))
	return n > 0 && (n >= max(touchesMin, min(s.slots/16, touchesMax)) || now-s.since >= flushAge)
}

// flushIfDue writes the touches out after a read that has its answer already. So it doesn't wait, and
// when it can't write the touches stay for the next time.
func (s *store) flushIfDue(ctx context.Context, c conn, now int64) {
	if !s.due(now) {
		return
	}
	begin := time.Now()
	s.mu.Lock()
	tooSoon := begin.Before(s.retryAt)
	s.mu.Unlock()
	if tooSoon {
		return
	}
	if s.pool != nil {
		if !s.turn.try() {
			return // somebody writes, and will see that they are due, or this read has the turn for one that waits
		}
		defer s.turn.leave()
		limited, cancel := context.WithTimeout(ctx, lastSleep) // for a connection
		defer cancel()
		ctx = limited
	}
	if s.transaction(ctx, c, nil, now, (*tx).flush) != nil {
		end := time.Now()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.retryAt = end.Add(max(flushAgain, 5*end.Sub(begin)))
	}
}

// flush writes the touches out.
func (s *store) flush(ctx context.Context) error {
	s.mu.Lock()
	n := len(s.touches)
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	return s.write(ctx, nil, (*tx).flush)
}

// flush writes the touches out.
func (t *tx) flush() error {
	if err := t.load(); err != nil {
		return err
	}
	touches := t.takeTouches()
	ids := slices.Collect(maps.Keys(touches))
	if t.slots > blocksMax*perBlock {
		slices.Sort(ids) // or blocks would be read and written again and again
	}
	for _, id := range ids {
		stamp := touches[id]
		used, err := t.used(id)
		if err != nil {
			return err
		}
		if used == 0 || used >= stamp {
			continue // somebody else has removed it, or has used it later
		}
		if err := t.setUsed(id, stamp); err != nil {
			return err
		}
	}
	return nil
}

// takeTouches takes the touches out, to be written.
func (t *tx) takeTouches() map[int64]int64 {
	t.s.mu.Lock()
	touches, since := t.s.touches, t.s.since
	t.s.touches = make(map[int64]int64, len(touches))
	t.s.mu.Unlock()
	if len(t.taken) == 0 {
		t.taken, t.since = touches, since
	} else {
		maps.Copy(t.taken, touches)
	}
	return touches
}

// used returns the stamp of a slot as it is in the database; 0 when the slot isn't in use.
func (t *tx) used(id int64) (int64, error) {
	b, err := t.block(id)
	if err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b.used[id%perBlock*8:])), nil
}

func (t *tx) setUsed(id, stamp int64) error {
	b, err := t.block(id)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint64(b.used[id%perBlock*8:], uint64(stamp))
	b.changed = true
	t.clock = max(t.clock, stamp)
	return nil
}

// block returns the row of appcache_recency in which a slot is, to be written back by writeBlocks.
func (t *tx) block(id int64) (*block, error) {
	if id < 1 {
		return nil, errTables
	}
	n := id / perBlock
	if b := t.blocks[n]; b != nil {
		return b, nil
	}
	if len(t.blocks) == blocksMax {
		if err := t.writeBlocks(); err != nil {
			return nil, err
		}
		clear(t.blocks)
	}
	row, err := t.c.row("SELECT used FROM appcache_recency WHERE block = ?", n)
	if err != nil {
		return nil, err
	}
	b := &block{}
	if row == nil {
		b.used = make([]byte, 8*perBlock)
	} else if b.used, _ = row[0].([]byte); len(b.used) != 8*perBlock {
		return nil, errTables
	}
	if t.blocks == nil {
		t.blocks = map[int64]*block{}
	}
	t.blocks[n] = b
	return b, nil
}

func (t *tx) writeBlocks() error {
	for n, b := range t.blocks {
		if !b.changed {
			continue
		}
		if err := exec(quick, t.c, `INSERT INTO appcache_recency (block, used) VALUES (?, ?)
			ON CONFLICT (block) DO UPDATE SET used = excluded.used`, n, b.used); err != nil {
			return err
		}
		b.changed = false
	}
	return nil
}
