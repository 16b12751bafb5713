package sqlitelru

import (
	"hash/maphash"
	"math"
)

const (
	perBucket  = 8       // 64 bytes, which processors fetch together
	bucketsMax = 1 << 17 // 8 MiB
)

// hints say in which slots keys were when they were last seen. To find an entry by its slot is quicker than by
// its key, for which the index must be searched first. A hint may be wrong, for the entry may have gone
// since, or another key may have the same hash: the statement that goes by it compares the key.
//
// A hint is a number: half of the key's hash, and the slot. It is in the bucket that its hash says. There is room
// for twice as many as there are slots at least, 16 to 32 bytes for each, so that few buckets are full.
type hints struct {
	seed    maphash.Seed
	buckets [][perBucket]uint64 // as many as a power of two
}

// find returns the slot and the value of an entry that hasn't expired, or 0.
func (s *store) find(c conn, key []byte, now int64) (id int64, value []byte, err error) {
	// The plus signs only say how to do it: by id, not by key, and without the driver's asking how the
	// columns were declared.
	if hint := s.hint(key); hint != 0 {
		row, err := c.row("SELECT +value FROM appcache_entries WHERE id = ? AND +key = ? AND expires > ?", hint, key, now)
		if err != nil {
			return 0, nil, err
		}
		if row != nil {
			value, err = blob(row[0])
			return hint, value, err
		}
		s.learn(key, 0)
	}
	// The key of the row is compared too: an index that is damaged may lead to the row of another one, or to none.
	row, err := c.row(`SELECT +e.id, +e.value, +e.key = ?1 FROM (SELECT id FROM appcache_entries WHERE key = ?1) AS i
		LEFT JOIN appcache_entries AS e ON e.id = i.id WHERE ifnull(e.expires, ?2 + 1) > ?2`, key, now)
	if err != nil || row == nil {
		return 0, nil, err
	}
	id, _ = row[0].(int64)
	if id < 1 || row[2] != int64(1) {
		return 0, nil, errTables
	}
	s.learn(key, id)
	value, err = blob(row[1])
	return id, value, err
}

// overwrite stores an entry, in one statement, if it only takes the place of one with as many bytes.
func (s *store) overwrite(c conn, e entry) (done bool, err error) {
	stamp := s.tick(e.now) // as in GetRaw
	id := s.hint(e.key)
	if id == 0 || s.due(e.now) {
		return false, nil
	}
	n, err := c.change(quick, `UPDATE appcache_entries SET expires = ?, value = ifnull(?, x'')
		WHERE id = ? AND +key = ? AND length(value) = ? AND ifnull(due, `+neverText+`) BETWEEN ? AND ?`,
		e.expires, e.value, id, e.key, int64(len(e.value)), e.now+1, e.expires)
	if err != nil || n == 0 {
		return false, err
	}
	s.touch(id, stamp, e.now)
	return true, nil
}

// hint returns the slot in which key may be, or 0.
func (s *store) hint(key []byte) int64 {
	hash := maphash.Bytes(s.hints.seed, key) >> 32
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hints.buckets) == 0 {
		return 0
	}
	for _, h := range s.hints.bucket(hash) {
		if h>>32 == hash {
			return int64(h & math.MaxUint32)
		}
	}
	return 0
}

// learn notes that key is in a slot, or with 0 that it is in none.
func (s *store) learn(key []byte, id int64) {
	hash := maphash.Bytes(s.hints.seed, key) >> 32
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < 0 || id > math.MaxUint32 {
		return
	}
	s.hints.grow(int(id))
	s.hints.put(hash<<32 | uint64(id))
}

func (h *hints) bucket(hash uint64) *[perBucket]uint64 {
	return &h.buckets[hash&uint64(len(h.buckets)-1)]
}

// put puts a hint into its bucket, in front of those that were learnt before. Where it is full the last one goes.
func (h *hints) put(hint uint64) {
	b := h.bucket(hint >> 32)
	for i, old := range b {
		b[i] = hint
		if hint = old; old == 0 || old>>32 == b[0]>>32 {
			return
		}
	}
}

// grow makes room for the hints of so many slots.
func (h *hints) grow(slots int) {
	n := max(1, len(h.buckets))
	for n*perBucket < 2*slots && n < bucketsMax {
		n *= 2
	}
	if n == len(h.buckets) {
		return
	}
	old := h.buckets
	h.buckets = make([][perBucket]uint64, n)
	for _, b := range old {
		for _, hint := range b {
			if hint != 0 {
				h.put(hint)
			}
		}
	}
}
