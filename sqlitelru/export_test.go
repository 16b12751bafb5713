package sqlitelru

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
)

// Exec runs statements on the connection that b uses.
func Exec(b *Backend, statements string) error {
	return b.store.do(context.Background(), true, func(c conn) error { return c.script(context.Background(), statements) })
}

// Query returns the first column of the first row of a query on the connection that b uses.
func Query(b *Backend, query string) (v driver.Value, err error) {
	err = b.store.do(context.Background(), true, func(c conn) error {
		row, err := c.row(query)
		if err == nil && row != nil {
			v = row[0]
		}
		return err
	})
	return v, err
}

// Status returns a counter of the connection of b.
func Status(b *Backend, op sqlite.DBStatusOp) (n int, err error) {
	err = b.store.do(context.Background(), true, func(c conn) error {
		n, _, err = c.(*ownConn).driver.(sqlite.DBStatus).Status(op, false)
		return err
	})
	return n, err
}

// Touches returns how many touches aren't written yet.
func Touches(b *Backend) int {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	return len(b.store.touches)
}

// Touch notes that a slot was used.
func Touch(b *Backend, id int64) { b.store.touch(id, b.store.tick(0), time.Now().UnixMicro()) }

// Flush writes the notes of what was used out.
func Flush(b *Backend) error { return b.store.flush(quick) }

// SetClock makes the last stamp given a later one, as after a clock that was wrong.
func SetClock(b *Backend, stamp int64) { b.store.catchUp(stamp) }

// Check returns an error when the tables contradict each other or what is in them is over the limits of b.
func Check(b *Backend) error {
	return b.store.do(context.Background(), true, func(c conn) error {
		if err := c.begin(quick); err != nil { // one snapshot, for other processes may be writing
			return err
		}
		defer c.rollback()
		n, err := ints(c, `SELECT slots, entries, bytes, clock, (SELECT count(*) FROM appcache_entries),
			(SELECT coalesce(max(id), 0) FROM appcache_entries),
			(SELECT coalesce(sum(length(key) + length(value)), 0) FROM appcache_entries) FROM appcache_meta`)
		if err != nil {
			return err
		}
		slots, entries, bytes, clock := n[0], n[1], n[2], n[3]
		if entries != n[4] || slots < n[5] || bytes != n[6] {
			return fmt.Errorf("slots, entries, bytes are %d, %d, %d, and counted %d, %d, %d", slots, entries, bytes, n[5], n[4], n[6])
		}
		if entries > b.maxSize || bytes > b.maxBytes {
			return fmt.Errorf("%d entries of %d, %d bytes of %d", entries, b.maxSize, bytes, b.maxBytes)
		}
		early, err := ints(c, "SELECT count(*) FROM appcache_entries WHERE ifnull(due, 9223372036854775807) > expires")
		if err != nil {
			return err
		}
		if early[0] != 0 {
			return fmt.Errorf("%d entries expire before they are due", early[0])
		}
		used, wrong := map[int64]bool{}, error(nil)
		err = c.each(func(row []driver.Value) {
			for i := range int64(perBlock) {
				stamp := int64(binary.BigEndian.Uint64(row[1].([]byte)[8*i:]))
				if stamp > clock || stamp < 0 {
					wrong = fmt.Errorf("slot %d has the stamp %d, and the clock is %d", row[0].(int64)*perBlock+i, stamp, clock)
				}
				if stamp != 0 {
					used[row[0].(int64)*perBlock+i] = true
				}
			}
		}, "SELECT block, used FROM appcache_recency")
		if err := errors.Join(err, wrong); err != nil {
			return err
		}
		if int64(len(used)) != entries {
			return fmt.Errorf("%d slots have a stamp, and there are %d entries", len(used), entries)
		}
		unused := error(nil)
		err = c.each(func(row []driver.Value) {
			if !used[row[0].(int64)] {
				unused = fmt.Errorf("slot %v has an entry but no stamp", row[0])
			}
		}, "SELECT id FROM appcache_entries")
		return errors.Join(err, unused)
	})
}

// InTransaction runs f between the begin and the rollback of a transaction.
func InTransaction(b *Backend, f func() error) error {
	return b.store.do(context.Background(), true, func(c conn) error {
		if err := c.begin(context.Background()); err != nil {
			return err
		}
		defer c.rollback()
		return f()
	})
}

// HoldTurn takes the turn, as an operation that goes on for long does, until release is called.
func HoldTurn(b *Backend) (release func()) {
	_ = b.store.turn.take(context.Background())
	return b.store.turn.leave
}

// InTransactions returns whether b, which must have a connection of its own, has begun a transaction on it.
func InTransactions(b *Backend) bool { return b.store.own.stmts["BEGIN IMMEDIATE"] != nil }

// Within makes b believe that its limits are kept, as after a Set.
func Within(b *Backend) { b.within.Store(true) }

// HintBytes returns how much room the hints take.
func HintBytes(b *Backend) int { return len(b.store.hints.buckets) * perBucket * 8 }

// Learn makes b believe that a key is in a slot.
func Learn(b *Backend, key string, id int64) { b.store.learn([]byte(key), id) }

// Hint returns in which slot b believes that a key is, or 0.
func Hint(b *Backend, key string) int64 { return b.store.hint([]byte(key)) }

// TouchAt notes that a slot was used then.
func TouchAt(b *Backend, id, stamp int64) { b.store.touch(id, stamp, time.Now().UnixMicro()) }

// Known reports whether there is something left of the store of a caller's database.
func Known(db *sql.DB) bool {
	stores.Lock()
	defer stores.Unlock()
	_, known := stores.byDB[db]
	return known
}

// Forget is what happens, at some time, after the last backend over a database is gone.
func Forget(db *sql.DB) { forget(&pool{db: db}) }

// FailAfterFlushes runs a transaction that writes the touches out, twice, and then fails. Between is run in it.
func FailAfterFlushes(b *Backend, between func()) error {
	return b.store.write(context.Background(), nil, func(t *tx) error {
		if err := t.flush(); err != nil {
			return err
		}
		between()
		return errors.Join(t.flush(), errors.New("failed"))
	})
}

// FlushHolding writes the touches out, and returns how many blocks it held at the end.
func FlushHolding(b *Backend) (held int, err error) {
	err = b.store.write(context.Background(), nil, func(t *tx) error {
		defer func() { held = len(t.blocks) }()
		return t.flush()
	})
	return held, err
}

// LookThrough looks through the slots.
func LookThrough(b *Backend) error {
	return b.store.write(context.Background(), nil, func(t *tx) error { return errors.Join(t.load(), t.lookThrough()) })
}

// Remembered returns how many slots b remembers as the next to go, and as free.
func Remembered(b *Backend) (queue, free int) {
	defer HoldTurn(b)()
	return len(b.store.queue), len(b.store.free)
}

// Prepared returns how many statements are prepared for a caller's database.
func Prepared(b *Backend) int {
	b.store.pool.mu.Lock()
	defer b.store.pool.mu.Unlock()
	return len(b.store.pool.stmts)
}

// IsWithin reports whether b believes that its limits are kept.
func IsWithin(b *Backend) bool { return b.within.Load() }

// QueryAll goes through all the rows of a query on the connection that b uses.
func QueryAll(b *Backend, query string) error {
	return b.store.do(context.Background(), true, func(c conn) error {
		return c.each(func([]driver.Value) {}, query)
	})
}

// CutAgain makes b try to cut the WAL again, as after a while.
func CutAgain(b *Backend) {
	defer HoldTurn(b)()
	b.store.cutFailed = time.Time{}
}

// A Turn is a turn.
type Turn struct{ *turn }

func NewTurn() Turn                           { return Turn{newTurn()} }
func (t Turn) Try() bool                      { return t.try() }
func (t Turn) Take(ctx context.Context) error { return t.take(ctx) }
func (t Turn) Leave()                         { t.leave() }
