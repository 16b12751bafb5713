package sqlitelru

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/goappcache/appcache"
)

// What is in the database:
//
//   - appcache_entries: an entry a row, numbered from 1 by its slot. A row stays where it is and is
//     overwritten in place when another entry takes its slot. What expires is found by the index on due. An
//     entry that is overwritten to live longer would take thrice as long if the index had to be changed. So it
//     stays due when it was, before it expires, and is seen to when that time has come: see tx.expired.
//   - appcache_recency: when each slot was last used, 8 bytes a slot and perBlock slots a row, so that
//     many notes are written with few statements, and all can be looked through quickly. 0: it is free.
//   - appcache_meta: one row with the highest slot ever in use, the numbers of entries and of bytes of
//     keys and values, and the latest stamp. They are kept up to date in the transaction that changes
//     them, for count(*) would read the whole table.
//
// Time is measured in stamps: microseconds of the wall clock, but each one more than the last, also
// when the clock is put back.

// never is the microsecond in which an entry without a TTL expires.
const never = math.MaxInt64

// perBlock is the number of slots in a row of appcache_recency: 4,000 bytes fit a page of 4 KiB.
const perBlock = 500

const (
	flushAge   = 1_000_000 // microseconds after which touches are written out
	touchesMin = 8192      // so many are written out at once, or for larger caches a sixteenth of the slots,
	touchesMax = 1 << 16   // up to so many: the cost is that of the blocks that they are in
	touchesEnd = 1 << 17   // more than that, when they can't be written out, are lost
)

// At most so many slots are remembered as the ones to evict or to use next, and so many blocks are held.
const (
	queueMax  = 1 << 16
	blocksMax = 64
)

// At most so many entries that are due before they expire are seen to in one eviction.
const dueMax = 1000

// An entry is what is to be stored.
type entry struct {
	key, value   []byte
	now, expires int64 // microseconds of the wall clock
}

// A slot is one that is in use, with its stamp or with its size, the bytes of its key and value.
type slot struct{ id, used, size int64 }

// tick returns a stamp for now, microseconds of the wall clock.
func (s *store) tick(now int64) int64 {
	for {
		last := s.clock.Load()
		stamp := max(now, last+1)
		if s.clock.CompareAndSwap(last, stamp) {
			return stamp
		}
	}
}

// catchUp makes the stamps to come later than one that was found in the database.
func (s *store) catchUp(stamp int64) {
	for last := s.clock.Load(); last < stamp && !s.clock.CompareAndSwap(last, stamp); last = s.clock.Load() {
	}
}

// touch notes that a slot was used.
func (s *store) touch(id, stamp int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, noted := s.touches[id]
	switch {
	case noted:
		s.touches[id] = max(old, stamp)
	case len(s.touches) < touchesEnd:
		if len(s.touches) == 0 {
			s.since = stamp
		}
		s.touches[id] = stamp
	}
}

// touched returns the stamp that is noted for a slot, or 0.
func (s *store) touched(id int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.touches[id]
}

// due reports whether it is time to write the touches out.
func (s *store) due(stamp int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(len(s.touches))
	return n > 0 && stamp >= s.retryAt && (n >= max(touchesMin, min(s.slots/16, touchesMax)) || stamp-s.since >= flushAge)
}

// flushIfDue writes the touches out after a read that has its answer already. So it doesn't wait, and
// when it can't write the touches stay for the next time.
func (s *store) flushIfDue(ctx context.Context, c conn, stamp int64) {
	if !s.due(stamp) {
		return
	}
	if s.pool != nil {
		if !s.turn.try() {
			return // to somebody who writes, and will see that they are due
		}
		defer s.turn.leave()
	}
	if s.transaction(ctx, c, nil, 0, (*tx).flush) != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.retryAt = stamp + flushAge
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
	return s.write(ctx, nil, 0, (*tx).flush)
}

// A tx is a transaction that writes, begun for a key or for none.
type tx struct {
	s     *store
	c     conn
	key   []byte
	now   int64 // microseconds of the wall clock
	stamp int64 // of what is done here

	id, size int64 // the slot in which the key is, and the bytes of key and value; 0 when it isn't there
	due      int64 // of what is in it
	meta           // as changed here
	oldMeta  meta  // as it was
	loaded   bool  // both are known; see load

	spare  int64 // a slot that was evicted here and may be overwritten; 0: none
	blocks map[int64]*block
	taken  map[int64]int64 // touches to put back if this fails

	overwrites bool // an entry that was there, so that its use is to be noted
}

// meta is what appcache_meta holds.
type meta struct{ slots, entries, bytes, clock int64 }

type block struct {
	used    []byte
	changed bool
}

// write runs f in a transaction, when the lock can be had.
func (s *store) write(ctx context.Context, key []byte, now int64, f func(*tx) error) error {
	return s.do(ctx, true, func(c conn) error { return s.transaction(ctx, c, key, now, f) })
}

// transaction runs f in a transaction. The caller has the turn.
func (s *store) transaction(ctx context.Context, c conn, key []byte, now int64, f func(*tx) error) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	t := &tx{s: s, c: c, key: key, now: now}
	err := t.run(f)
	if err == nil {
		err = c.commit()
	}
	if err == nil {
		if t.overwrites {
			s.touch(t.id, t.stamp)
		}
		s.giveBack(c)
		return nil
	}
	c.rollback()
	s.queue = nil
	for id, used := range t.taken {
		s.touch(id, used)
	}
	if code(err) == codeTooBig { // the caller has set a limit that is below SQLite's
		err = fmt.Errorf("%w: %w", appcache.ErrTooLarge, err)
	}
	return err
}

func (t *tx) run(f func(*tx) error) error {
	t.stamp = t.s.tick(t.now)
	if t.key != nil {
		row, err := ints(t.c, "SELECT id, length(key) + length(value), ifnull(due, 9223372036854775807) FROM appcache_entries WHERE key = ?", t.key)
		if err != nil {
			return err
		}
		if row != nil {
			t.id, t.size, t.due = row[0], row[1], row[2]
		}
	}
	if err := f(t); err != nil {
		return err
	}
	if t.s.due(t.stamp) {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if t.spare != 0 {
		if err := t.remove(t.spare); err != nil {
			return err
		}
	}
	if err := t.writeBlocks(); err != nil {
		return err
	}
	if t.meta == t.oldMeta {
		return nil
	}
	return t.c.exec(quick, "UPDATE appcache_meta SET slots = ?, entries = ?, bytes = ?, clock = ?", t.slots, t.entries, t.bytes, t.clock)
}

// load reads appcache_meta, which whoever changes something of it must do first.
func (t *tx) load() error {
	if t.loaded {
		return nil
	}
	row, err := ints(t.c, "SELECT slots, entries, bytes, clock FROM appcache_meta")
	if err != nil {
		return err
	}
	if row == nil {
		return errTables
	}
	t.meta = meta{row[0], row[1], row[2], row[3]}
	t.oldMeta, t.loaded = t.meta, true
	t.s.mu.Lock()
	t.s.slots = t.slots
	t.s.mu.Unlock()
	t.s.catchUp(t.clock)
	t.stamp = t.s.tick(t.now)
	return nil
}

// put stores the entry of t.key, with which the limits have been seen to.
func (t *tx) put(e entry) error {
	t.bytes += int64(len(e.key)) + int64(len(e.value)) - t.size
	// A nil or empty slice binds NULL in the driver, hence ifnull.
	if t.overwrites = t.id != 0; t.overwrites {
		t.s.learn(e.key, t.id)
		if e.now < t.due && t.due <= e.expires {
			return t.c.exec(quick, "UPDATE appcache_entries SET expires = ?, value = ifnull(?, x'') WHERE id = ?", e.expires, e.value, t.id)
		}
		return t.c.exec(quick, "UPDATE appcache_entries SET expires = ?, due = nullif(?, 9223372036854775807), value = ifnull(?, x'') WHERE id = ?", e.expires, e.expires, e.value, t.id)
	}

	t.entries++
	var err error
	if t.spare != 0 {
		t.id, t.spare = t.spare, 0
		err = t.c.exec(quick, "UPDATE appcache_entries SET key = ?, expires = ?, due = nullif(?, 9223372036854775807), value = ifnull(?, x'') WHERE id = ?", e.key, e.expires, e.expires, e.value, t.id)
	} else if t.id, err = t.freeSlot(); err == nil {
		err = t.c.exec(quick, "INSERT INTO appcache_entries (id, key, expires, due, value) VALUES (?, ?, ?, nullif(?, 9223372036854775807), ifnull(?, x''))", t.id, e.key, e.expires, e.expires, e.value)
	}
	if err != nil {
		return err
	}
	t.s.learn(e.key, t.id)
	// Noting it wouldn't do: to other processes it would look as old as what was in the slot before.
	return t.setUsed(t.id, t.stamp)
}

// freeSlot returns a slot for another entry. The free ones that aren't remembered, since another process
// has freed them say, are looked for when there are many.
func (t *tx) freeSlot() (int64, error) {
	for looked := false; ; looked = true {
		for n := len(t.s.free) - 1; n >= 0; n-- {
			id := t.s.free[n]
			t.s.free = t.s.free[:n]
			if id > t.slots {
				continue
			}
			if used, err := t.used(id); err != nil || used == 0 {
				return id, err
			}
		}
		if t.slots-t.entries < max(64, t.slots/16) {
			t.slots++
			return t.slots, nil
		}
		if looked {
			return 0, errTables
		}
		if err := t.lookThrough(); err != nil {
			return 0, err
		}
	}
}

// evict takes the entry out that is to go first. Its slot is the spare one then.
func (t *tx) evict() error {
	v, err := t.victim()
	if err != nil {
		return err
	}
	if t.spare != 0 {
		if err := t.remove(t.spare); err != nil {
			return err
		}
	}
	t.spare = v.id
	t.entries--
	t.bytes -= v.size
	return nil
}

// remove frees a slot. Its entry isn't counted any more.
func (t *tx) remove(id int64) error {
	if err := t.c.exec(quick, "DELETE FROM appcache_entries WHERE id = ?", id); err != nil {
		return err
	}
	if len(t.s.free) < queueMax {
		t.s.free = append(t.s.free, id)
	}
	return t.setUsed(id, 0)
}

// victim finds the entry to evict: one that has expired, or the one that was used least recently.
//
// To find the latter there is a queue of candidates, the least recently used ones when all the slots were
// last looked through. What wasn't among them was used later than each of them, and whatever is used
// gets a later stamp still. So the first in the queue that has kept its stamp is the one. That holds
// across processes, for a stamp in the database never gets less.
func (t *tx) victim() (slot, error) {
	if v, err := t.expired(); err != nil || v.id != 0 {
		return v, err
	}
	for fresh := false; ; {
		if len(t.s.queue) == 0 {
			if fresh {
				return slot{}, errTables
			}
			fresh = true
			if err := t.lookThrough(); err != nil {
				return slot{}, err
			}
			continue
		}
		v := t.s.queue[0]
		t.s.queue = t.s.queue[1:]
		if v.id == t.id || v.id == t.spare || !fresh && t.s.touched(v.id) > v.used {
			continue // of a fresh queue, only reads that are still running can have touched it
		}
		if used, err := t.used(v.id); err != nil {
			return slot{}, err
		} else if used != v.used {
			continue
		}
		row, err := ints(t.c, "SELECT length(key) + length(value) FROM appcache_entries WHERE id = ?", v.id)
		if err != nil {
			return slot{}, err
		}
		if row == nil {
			return slot{}, errTables
		}
		v.size = row[0]
		return v, nil
	}
}

// expired finds the entry that expired first, or none.
//
// No entry expires before it is due. So if the first that is due expired when it was, none has expired
// before it. Else that one, and others after it, are made due when they expire, and it looks again: once for
// each TTL of an entry at most. All of them at once could take long, so it is dueMax in one eviction;
// what has expired behind so many is found by the next ones.
func (t *tx) expired() (slot, error) {
	for again := false; ; again = true {
		row, err := ints(t.c, `SELECT id, length(key) + length(value), due, expires FROM appcache_entries
			WHERE due <= ? AND id <> ? AND id <> ? ORDER BY due LIMIT 1`, t.now, t.id, t.spare)
		if err != nil || row == nil {
			return slot{}, err
		}
		if due, expires := row[2], row[3]; due == expires {
			return slot{id: row[0], size: row[1]}, nil
		}
		if again {
			return slot{}, nil
		}
		if err := t.c.exec(quick, `UPDATE appcache_entries SET due = nullif(expires, 9223372036854775807) WHERE due < expires AND id IN (SELECT id
			FROM appcache_entries WHERE due <= ? ORDER BY due LIMIT ?)`, t.now, int64(dueMax)); err != nil {
			return slot{}, err
		}
	}
}

// lookThrough looks through all the slots for the sixteenth that was used longest ago, and for free ones.
func (t *tx) lookThrough() error {
	if err := t.flush(); err != nil {
		return err
	}
	if err := t.writeBlocks(); err != nil {
		return err
	}
	want := int(min(max(64, t.slots/16), queueMax))
	t.s.free = nil
	limit := int64(math.MaxInt64)
	oldest := make([]slot, 0, 2*want)
	keep := func() {
		slices.SortFunc(oldest, func(a, b slot) int { return cmp.Compare(a.used, b.used) })
		if len(oldest) > want {
			oldest = oldest[:want]
			limit = oldest[want-1].used
		}
	}
	err := t.c.each(quick, func(row []driver.Value) bool {
		n, _ := row[0].(int64)
		used, _ := row[1].([]byte)
		for i := range int64(len(used) / 8) {
			id, u := n*perBlock+i, int64(binary.BigEndian.Uint64(used[8*i:]))
			switch {
			case u == 0 && 1 <= id && id <= t.slots && len(t.s.free) < queueMax:
				t.s.free = append(t.s.free, id)
			case u != 0 && u < limit:
				oldest = append(oldest, slot{id: id, used: u})
				if len(oldest) == cap(oldest) {
					keep()
				}
			}
		}
		return true
	}, "SELECT block, used FROM appcache_recency")
	keep()
	t.s.queue = oldest
	return err
}

// takeTouches takes the touches out, to be written.
func (t *tx) takeTouches() map[int64]int64 {
	t.s.mu.Lock()
	touches := t.s.touches
	t.s.touches = make(map[int64]int64, len(touches))
	t.s.mu.Unlock()
	if t.taken == nil {
		t.taken = touches
	} else {
		maps.Copy(t.taken, touches)
	}
	return touches
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

// clear removes everything, and repairs what contradicted itself. It may take long, and so it watches ctx.
func (t *tx) clear(ctx context.Context) error {
	if err := t.load(); err != nil && !errors.Is(err, errTables) {
		return err
	}
	for _, table := range []string{"appcache_entries", "appcache_recency", "appcache_meta"} {
		if err := t.c.exec(ctx, "DELETE FROM "+table); err != nil {
			return err
		}
	}
	t.meta = meta{clock: max(t.clock, t.stamp)}
	t.oldMeta = t.meta
	t.takeTouches()
	t.s.queue, t.s.free = nil, nil
	return t.c.exec(quick, "INSERT INTO appcache_meta VALUES (?, 0, 0, 0, ?)", int64(version), t.clock)
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
	if stamp > t.clock {
		t.clock = stamp
	}
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
	row, err := row(quick, t.c, "SELECT used FROM appcache_recency WHERE block = ?", n)
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
		if err := t.c.exec(quick, `INSERT INTO appcache_recency (block, used) VALUES (?, ?)
			ON CONFLICT (block) DO UPDATE SET used = excluded.used`, n, b.used); err != nil {
			return err
		}
		b.changed = false
	}
	return nil
}
