package sqlitelru

import (
	"cmp"
	"database/sql/driver"
	"encoding/binary"
	"math"
	"slices"
)

// At most so many slots are remembered as the ones to evict or to use next.
const queueMax = 1 << 16

// At most so many entries that are due before they expire are seen to in one eviction.
const dueMax = 1000

// At most so many times all slots are looked through for one eviction.
const looksMax = 3

// A slot is one that is in use, with its stamp.
type slot struct{ id, used int64 }

// evict takes the entry out that is to go first. Its slot is the spare one then.
func (t *tx) evict() error {
	id, size, err := t.victim()
	if err != nil {
		return err
	}
	if err := t.removeSpare(); err != nil {
		return err
	}
	t.spare = id
	t.entries--
	t.bytes -= size
	return nil
}

// victim finds the entry to evict, with the bytes of its key and value: one that has expired, or the one that was
// used least recently.
//
// To find the latter there is a queue of candidates, the least recently used ones when all the slots were
// last looked through. What wasn't among them was used later than each of them, and whatever is used
// gets a later stamp still. So the first in the queue that has kept its stamp is the one. That holds
// across processes, for a stamp in the database never gets less.
func (t *tx) victim() (id, size int64, err error) {
	if t.someDue {
		if id, size, err = t.expired(); err != nil || id != 0 {
			return id, size, err
		}
	}
	var last slot // of those in the queue that have been read since; with a pool others go on reading
	for looks := 0; ; {
		v := last
		switch {
		case len(t.s.queue) > 0:
			v, t.s.queue = t.s.queue[0], t.s.queue[1:]
		case looks < looksMax:
			looks++
			last = slot{}
			if err := t.lookThrough(); err != nil {
				return 0, 0, err
			}
			continue
		case last.id == 0:
			return 0, 0, errTables
		}
		if v.id == t.id || v.id == t.spare {
			continue
		}
		if v != last && t.s.touched(v.id) > v.used {
			last = v
			continue
		}
		last = slot{}
		if used, err := t.used(v.id); err != nil {
			return 0, 0, err
		} else if used != v.used {
			continue
		}
		row, err := ints(t.c, "SELECT length(key) + length(value) FROM appcache_entries WHERE id = ?", v.id)
		if err != nil {
			return 0, 0, err
		}
		if row == nil {
			return 0, 0, errTables
		}
		return v.id, row[0], nil
	}
}

// expired finds the entry that expired first, or none.
//
// No entry expires before it is due. So if the first that is due expired when it was, none has expired
// before it. Else that one, and others after it, are made due when they expire, and it looks again: once for
// each TTL of an entry at most. All of them at once could take long, so it is dueMax in one eviction;
// what has expired behind so many is found by the next ones.
func (t *tx) expired() (id, size int64, err error) {
	for again := false; ; again = true {
		row, err := ints(t.c, `SELECT id, length(key) + length(value), due, expires FROM appcache_entries
			WHERE due <= ? AND id <> ? AND id <> ? ORDER BY due LIMIT 1`, t.now, t.id, t.spare)
		if err != nil || row == nil {
			return 0, 0, err
		}
		if due, expires := row[2], row[3]; due == expires {
			return row[0], row[1], nil
		}
		if again {
			return 0, 0, nil
		}
		if err := exec(quick, t.c, `UPDATE appcache_entries SET due = nullif(expires, `+neverText+`) WHERE due < expires AND id IN (SELECT id
			FROM appcache_entries WHERE due <= ? ORDER BY due LIMIT ?)`, t.now, int64(dueMax)); err != nil {
			return 0, 0, err
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
	err := t.c.each(func(row []driver.Value) {
		n, _ := row[0].(int64)
		used, _ := row[1].([]byte)
		for i := range int64(len(used) / 8) {
			id, u := n*perBlock+i, int64(binary.BigEndian.Uint64(used[8*i:]))
			switch {
			case u == 0 && 1 <= id && id <= t.slots && len(t.s.free) < queueMax:
				t.s.free = append(t.s.free, id)
			case u != 0 && u < limit:
				oldest = append(oldest, slot{id, u})
				if len(oldest) == cap(oldest) {
					keep()
				}
			}
		}
	}, "SELECT block, used FROM appcache_recency")
	keep()
	t.s.queue = oldest
	return err
}
