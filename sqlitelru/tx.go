package sqlitelru

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

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
//   - appcache_meta: one row with the highest slot in use since the last Clear, the numbers of entries and
//     of bytes of keys and values, and the latest stamp. They are kept up to date in the transaction that
//     changes them, for count(*) would read the whole table.
//
// Time is measured in stamps: microseconds of the wall clock, but each one more than the last, also
// when the clock is put back.

// never is the microsecond in which an entry without a TTL expires. Its due is NULL, which the index leaves out.
const (
	never     = math.MaxInt64
	neverText = "9223372036854775807"
)

// An entry is what is to be stored.
type entry struct {
	key, value   []byte
	now, expires int64 // microseconds of the wall clock
}

// firstDue is the due of an entry that isn't due sooner than it expires.
func (e entry) firstDue() any {
	if e.expires == never {
		return nil
	}
	return e.expires
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
	someDue  bool  // some entry is due, in whatever slot

	spare  int64 // a slot that was evicted here and may be overwritten; 0: none
	blocks map[int64]*block
	taken  map[int64]int64 // touches to put back if this fails
	since  int64           // the time of the oldest of them

	overwrites bool // an entry that was there, so that its use is to be noted
}

// meta is what appcache_meta holds.
type meta struct{ slots, entries, bytes, clock int64 }

// write runs f in a transaction, when the lock can be had.
func (s *store) write(ctx context.Context, key []byte, f func(*tx) error) error {
	return s.do(ctx, true, func(c conn) error {
		err := s.transaction(ctx, c, key, time.Now().UnixMicro(), f)
		if err == nil {
			s.tidy(c)
		}
		return err
	})
}

// transaction runs f in a transaction. The caller has the turn.
func (s *store) transaction(ctx context.Context, c conn, key []byte, now int64, f func(*tx) error) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	t, queue := &tx{s: s, c: c, key: key, now: now}, s.queue
	err := t.run(f)
	if err == nil {
		err = c.commit()
	}
	if err == nil {
		if t.overwrites {
			s.touch(t.id, t.stamp, now)
		}
		return nil
	}
	c.rollback()
	s.queue = queue
	for id, used := range t.taken {
		s.touch(id, used, t.since)
	}
	if code(err) == codeTooBig { // the caller has set a limit that is below SQLite's
		err = fmt.Errorf("%w: %w", appcache.ErrTooLarge, err)
	}
	return err
}

func (t *tx) run(f func(*tx) error) error {
	t.stamp = t.s.tick(t.now)
	if err := f(t); err != nil {
		return err
	}
	if t.s.due(t.now) {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if err := t.removeSpare(); err != nil {
		return err
	}
	if err := t.writeBlocks(); err != nil {
		return err
	}
	if t.meta == t.oldMeta {
		return nil
	}
	return exec(quick, t.c, "UPDATE appcache_meta SET slots = ?, entries = ?, bytes = ?, clock = ?", t.slots, t.entries, t.bytes, t.clock)
}

// load looks up what is in appcache_meta and where the key is, which must be known before anything is done.
func (t *tx) load() error {
	if t.loaded {
		return nil
	}
	row, err := ints(t.c, `SELECT slots, entries, bytes, clock,
		ifnull(id, 0), ifnull(length(key) + length(value), 0), ifnull(due, `+neverText+`),
		ifnull(+key = ?1, NOT EXISTS (SELECT 1 FROM appcache_entries WHERE key = ?1)), EXISTS (SELECT 1 FROM appcache_entries WHERE due <= ?2)
		FROM appcache_meta LEFT JOIN appcache_entries ON id = (SELECT id FROM appcache_entries WHERE key = ?1)`, t.key, t.now)
	if err != nil {
		return err
	}
	if row == nil || row[7] != 1 { // as in store.find
		return errTables
	}
	t.meta = meta{row[0], row[1], row[2], row[3]}
	t.id, t.size, t.due, t.someDue = row[4], row[5], row[6], row[8] != 0
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
			return exec(quick, t.c, "UPDATE appcache_entries SET expires = ?, value = ifnull(?, x'') WHERE id = ?", e.expires, e.value, t.id)
		}
		return exec(quick, t.c, "UPDATE appcache_entries SET expires = ?, due = ?, value = ifnull(?, x'') WHERE id = ?", e.expires, e.firstDue(), e.value, t.id)
	}

	t.entries++
	var err error
	if t.spare != 0 {
		t.id, t.spare = t.spare, 0
		err = exec(quick, t.c, "UPDATE appcache_entries SET key = ?, expires = ?, due = ?, value = ifnull(?, x'') WHERE id = ?", e.key, e.expires, e.firstDue(), e.value, t.id)
	} else if t.id, err = t.freeSlot(); err == nil {
		err = exec(quick, t.c, "INSERT INTO appcache_entries (id, key, expires, due, value) VALUES (?, ?, ?, ?, ifnull(?, x''))", t.id, e.key, e.expires, e.firstDue(), e.value)
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

// removeSpare frees the slot that was evicted and not overwritten, if there is one.
func (t *tx) removeSpare() error {
	if t.spare == 0 {
		return nil
	}
	id := t.spare
	t.spare = 0
	return t.remove(id)
}

// remove frees a slot. Its entry isn't counted any more.
func (t *tx) remove(id int64) error {
	if err := exec(quick, t.c, "DELETE FROM appcache_entries WHERE id = ?", id); err != nil {
		return err
	}
	if len(t.s.free) < queueMax {
		t.s.free = append(t.s.free, id)
	}
	return t.setUsed(id, 0)
}

// clear removes everything, and repairs what contradicted itself.
func (t *tx) clear() error {
	if err := t.load(); err != nil && !errors.Is(err, errTables) {
		return err
	}
	for _, table := range []string{"appcache_entries", "appcache_recency", "appcache_meta"} {
		if err := exec(quick, t.c, "DELETE FROM "+table); err != nil {
			return err
		}
	}
	t.meta = meta{clock: t.stamp}
	t.oldMeta = t.meta
	t.takeTouches()
	t.s.queue, t.s.free = nil, nil
	return exec(quick, t.c, "INSERT INTO appcache_meta VALUES (?, 0, 0, 0, ?)", int64(version), t.clock)
}
