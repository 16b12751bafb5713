package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"modernc.org/sqlite"
)

// twoTables is the simpler design that the library's was chosen over: an LRU whose entries are in one table, by
// key, and their recency in another, a row for each. As in the library, uses are noted in memory and written
// together, an eviction takes the first of a queue of those that were used longest ago, what has expired goes
// first, and the driver is called directly, with as large a page cache. It is good for one process alone and
// for measuring: how many entries there are is in memory, and it can't be opened again.
type twoTables struct {
	mu      sync.Mutex // of one connection, and of all below
	conn    driver.Conn
	stmts   map[string]driver.Stmt
	maxSize int
	entries int
	clock   int64
	touches map[int64]int64 // when an entry was used, by id, where that isn't written yet
	since   time.Time       // of the oldest of them
	queue   []use
}

// use is when an entry was used.
type use struct{ id, used int64 }

const (
	touchesMax = 8192
	touchesAge = time.Second
)

// NewTwoTables makes the simpler design's cache, of at most maxSize entries.
func NewTwoTables(ctx context.Context, place string, maxSize int) (Store, error) {
	connector, err := sqlite.NewConnector(address(place) + "&_pragma=cache_size(-16384)&_pragma=wal_autocheckpoint(8000)")
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	_, err = conn.(driver.ExecerContext).ExecContext(ctx, `
		CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, expires INTEGER NOT NULL);
		CREATE INDEX entries_expires ON entries (expires);
		CREATE TABLE recency (id INTEGER PRIMARY KEY, used INTEGER NOT NULL)`, nil)
	return &twoTables{conn: conn, stmts: map[string]driver.Stmt{}, maxSize: maxSize, touches: map[int64]int64{}}, err
}

func (t *twoTables) Get(_ context.Context, key string) (value []byte, found bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	row, err := t.row("SELECT id, value FROM entries WHERE key = ? AND expires > ?", []byte(key), now.UnixMicro())
	if err != nil || row == nil {
		return nil, false, err
	}
	value, _ = row[1].([]byte)
	return value, true, t.touch(row[0].(int64), now)
}

func (t *twoTables) Set(_ context.Context, key string, value []byte, ttl time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	expires := now.Add(ttl).UnixMicro()
	row, err := t.row("UPDATE entries SET value = ?, expires = ? WHERE key = ? RETURNING id", value, expires, []byte(key))
	if err != nil {
		return err
	}
	if row != nil {
		return t.touch(row[0].(int64), now)
	}
	return t.transaction(func() error {
		for t.entries >= t.maxSize {
			if err := t.evict(now); err != nil {
				return err
			}
		}
		row, err := t.row("INSERT INTO entries (key, value, expires) VALUES (?, ?, ?) RETURNING id", []byte(key), value, expires)
		if err != nil {
			return err
		}
		t.entries++
		return t.exec("INSERT INTO recency VALUES (?, ?)", row[0].(int64), t.tick(now))
	})
}

func (t *twoTables) Fill(ctx context.Context, n int, value []byte, ttl time.Duration) error {
	return fill(ctx, t, n, value, ttl)
}

func (t *twoTables) Close() error {
	for _, s := range t.stmts {
		_ = s.Close()
	}
	return t.conn.Close()
}

// tick returns a later time than ever before.
func (t *twoTables) tick(now time.Time) int64 {
	t.clock = max(t.clock+1, now.UnixMicro())
	return t.clock
}

// touch notes that an entry was used, and writes what is noted when it is time to.
func (t *twoTables) touch(id int64, now time.Time) error {
	if len(t.touches) == 0 {
		t.since = now
	}
	t.touches[id] = t.tick(now)
	if len(t.touches) < touchesMax && now.Sub(t.since) < touchesAge {
		return nil
	}
	return t.transaction(t.flush)
}

func (t *twoTables) flush() error {
	for id, used := range t.touches {
		if err := t.exec("UPDATE recency SET used = ? WHERE id = ?", used, id); err != nil {
			return err
		}
	}
	clear(t.touches)
	return nil
}

// evict removes what has expired, or else what was used longest ago.
func (t *twoTables) evict(now time.Time) error {
	row, err := t.row("SELECT id FROM entries WHERE expires <= ? ORDER BY expires LIMIT 1", now.UnixMicro())
	if err != nil {
		return err
	}
	for row == nil {
		if len(t.queue) == 0 {
			if err := t.lookThrough(); err != nil {
				return err
			}
		}
		first := t.queue[0]
		t.queue = t.queue[1:]
		if t.touches[first.id] != 0 {
			continue
		}
		if row, err = t.row("SELECT id FROM recency WHERE id = ? AND used = ?", first.id, first.used); err != nil {
			return err
		}
	}
	t.entries--
	delete(t.touches, row[0].(int64))
	if err := t.exec("DELETE FROM entries WHERE id = ?", row[0]); err != nil {
		return err
	}
	return t.exec("DELETE FROM recency WHERE id = ?", row[0])
}

// lookThrough fills the queue with the sixteenth that was used longest ago.
func (t *twoTables) lookThrough() error {
	if err := t.flush(); err != nil {
		return err
	}
	t.queue = nil
	err := t.each(func(row []driver.Value) { t.queue = append(t.queue, use{row[0].(int64), row[1].(int64)}) }, "SELECT id, used FROM recency")
	if err != nil {
		return err
	}
	slices.SortFunc(t.queue, func(a, b use) int { return cmp.Compare(a.used, b.used) })
	t.queue = slices.Clone(t.queue[:(len(t.queue)+15)/16])
	return nil
}

func (t *twoTables) transaction(f func() error) error {
	if err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := f(); err != nil {
		return errors.Join(err, t.exec("ROLLBACK"))
	}
	return t.exec("COMMIT")
}

func (t *twoTables) exec(query string, args ...any) error {
	s, named, err := t.prepare(query, args)
	if err != nil {
		return err
	}
	_, err = s.(driver.StmtExecContext).ExecContext(context.Background(), named)
	return err
}

// row returns the last row of a query, of which there is one, or nil.
func (t *twoTables) row(query string, args ...any) (last []driver.Value, err error) {
	err = t.each(func(row []driver.Value) { last = row }, query, args...)
	return last, err
}

func (t *twoTables) each(f func(row []driver.Value), query string, args ...any) error {
	s, named, err := t.prepare(query, args)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), named)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		f(row)
	}
}

func (t *twoTables) prepare(query string, args []any) (s driver.Stmt, named []driver.NamedValue, err error) {
	if s = t.stmts[query]; s == nil {
		if s, err = t.conn.(driver.ConnPrepareContext).PrepareContext(context.Background(), query); err != nil {
			return nil, nil, err
		}
		t.stmts[query] = s
	}
	for i, arg := range args {
		named = append(named, driver.NamedValue{Ordinal: i + 1, Value: arg})
	}
	return s, named, nil
}
