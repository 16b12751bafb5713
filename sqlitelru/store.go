package sqlitelru

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"modernc.org/sqlite"
)

// This file is about connections: whose turn it is to use one, how long to wait for a locked database,
// and the calls of the driver. What is in the database is the matter of lru.go.

const (
	// busyLimit bounds how long a locked database holds up an operation whose context doesn't end.
	busyLimit = 10 * time.Second

	// Between tries to get a lock an operation sleeps for so long, doubling from the first to the last.
	firstSleep, lastSleep = time.Millisecond, 25 * time.Millisecond

	// sqliteSleep is the busy_timeout of our own connections, which bounds the sleep inside SQLite that
	// a context can't end.
	sqliteSleep = 5 * time.Millisecond
)

// The primary result codes (https://sqlite.org/rescode.html) that matter here.
const (
	codeError   = 1
	codeBusy    = 5
	codeLocked  = 6
	codeIOErr   = 10
	codeCorrupt = 11
	codeTooBig  = 18
	codeNotADB  = 26
)

// quick is the context of statements that take microseconds. Watching one that can end costs the
// driver a goroutine for each statement, more than many of them take.
var quick = context.Background()

// A store is one database, shared by all the backends over it. It has a connection of its own, when it
// is a file of Open or the database in memory, or borrows one of the caller's pool for each operation.
type store struct {
	db       *sql.DB                              // the caller's pool; nil with a connection of our own
	connect  func(context.Context) (*conn, error) // makes a connection of our own
	prepare  func(context.Context) error          // sees to it that the tables are there
	path     string                               // of the file of Open, or empty
	inMemory *sql.DB                              // the pool that InMemoryDB returns, or nil

	// turn has room for one token, held by whoever writes, and with a connection of our own by whoever
	// uses it. A mutex would do if one could stop waiting for it.
	turn   chan struct{}
	own    *conn  // guarded by turn; nil when there is none yet, or the last one broke
	closed bool   // guarded by turn
	queue  []slot // guarded by turn; see tx.evict

	clock atomic.Int64 // the last stamp given; see tick

	mu      sync.Mutex
	touches map[int64]int64 // guarded by mu: the stamps, by slot, that aren't in the database yet
	since   int64           // guarded by mu: the stamp of the oldest of them
	retryAt int64           // guarded by mu: after a flush that failed, the stamp to try again at
}

// stores has the store of each *sql.DB that backends were made over, so that two backends over one
// know of each other's reads; without that LRU wouldn't be exact. It keeps no store alive.
var stores = struct {
	sync.Mutex
	byDB map[*sql.DB]weak.Pointer[store]
}{byDB: map[*sql.DB]weak.Pointer[store]{}}

// storeOf returns the store of a caller's database, the same one for as long as a backend uses it.
func storeOf(db *sql.DB) *store {
	stores.Lock()
	defer stores.Unlock()
	if s := stores.byDB[db].Value(); s != nil {
		return s
	}
	s := newStore()
	s.db = db
	s.prepare = func(ctx context.Context) error {
		return s.do(ctx, true, func(c *conn) error { return s.makeTables(ctx, c, "") })
	}
	stores.byDB[db] = weak.Make(s)
	runtime.AddCleanup(s, forget, db)
	return s
}

func forget(db *sql.DB) {
	stores.Lock()
	defer stores.Unlock()
	if stores.byDB[db].Value() == nil {
		delete(stores.byDB, db)
	}
}

func newStore() *store {
	return &store{turn: make(chan struct{}, 1), touches: map[int64]int64{}}
}

// do runs f with a connection, and again for as long as the database is locked. It leaves the
// connection to others between its tries, and stops when ctx ends.
func (s *store) do(ctx context.Context, write bool, f func(*conn) error) error {
	err := s.try(ctx, write, f)
	if !isBusy(err) {
		return err
	}
	begin := time.Now()
	for sleep := firstSleep; isBusy(err) && time.Since(begin) < busyLimit; sleep = min(2*sleep, lastSleep) {
		select {
		case <-time.After(sleep):
		case <-ctx.Done():
			return ctx.Err()
		}
		err = s.try(ctx, write, f)
	}
	return err
}

func (s *store) try(ctx context.Context, write bool, f func(*conn) error) error {
	if write || s.db == nil {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.db != nil {
		return s.borrow(ctx, f)
	}
	if s.closed {
		return errClosed
	}
	if s.own == nil {
		c, err := s.connect(ctx)
		if err != nil {
			return err
		}
		s.own = c
	}
	err := f(s.own)
	if s.path == "" {
		return err // what is in memory is gone with its last connection
	}
	switch code(err) {
	case codeCorrupt, codeNotADB:
		err = damaged(s.path, err)
		fallthrough
	case codeIOErr:
		s.own.broken = true
	}
	if s.own.broken {
		_ = s.own.close()
		s.own = nil
	}
	return err
}

// borrow runs f with a connection of the caller's pool. The statements are closed again: the pool
// may close the connection at any time without telling us, and one that has open statements stays open
// inside SQLite for ever.
func (s *store) borrow(ctx context.Context, f func(*conn) error) error {
	pooled, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer pooled.Close()
	return pooled.Raw(func(driverConn any) error {
		c, err := newConn(driverConn)
		if err != nil {
			return err
		}
		defer c.closeStatements()
		err = f(c)
		if c.broken {
			err = errors.Join(err, driver.ErrBadConn) // so that the pool drops it
		}
		return err
	})
}

// close closes a connection of our own, for good.
func (s *store) close(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.closed = true
	if s.own == nil {
		return nil
	}
	err := s.own.close()
	s.own = nil
	return err
}

// A conn is a connection of the driver with its prepared statements. database/sql isn't used for these,
// because it costs a Get a quarter of its time. One goroutine uses it at a time.
type conn struct {
	driver driverConn
	stmts  map[string]*stmt
	broken bool // it mustn't be used again
}

// driverConn is what connections of the driver can do.
type driverConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ExecerContext
}

func newConn(c any) (*conn, error) {
	d, ok := c.(driverConn)
	if !ok {
		return nil, notOurs(c)
	}
	return &conn{driver: d, stmts: map[string]*stmt{}}, nil
}

func notOurs(v any) error {
	return fmt.Errorf("sqlitelru: open the database with modernc.org/sqlite: a %T can't do what is needed", v)
}

type stmt struct {
	statement
	args []driver.NamedValue
	row  []driver.Value
}

// statement is what statements of the driver can do.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func (c *conn) prepare(query string, args []driver.Value) (*stmt, error) {
	s := c.stmts[query]
	if s == nil {
		prepared, err := c.driver.PrepareContext(quick, query)
		if err != nil {
			return nil, err
		}
		s = &stmt{args: make([]driver.NamedValue, len(args))}
		if s.statement, _ = prepared.(statement); s.statement == nil {
			return nil, errors.Join(notOurs(prepared), prepared.Close())
		}
		c.stmts[query] = s
	}
	for i, arg := range args {
		s.args[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return s, nil
}

// exec runs a statement that returns no rows.
func (c *conn) exec(ctx context.Context, query string, args ...driver.Value) error {
	s, err := c.prepare(query, args)
	if err != nil {
		return err
	}
	defer clear(s.args) // values aren't ours to keep
	_, err = s.ExecContext(ctx, s.args)
	return err
}

// each calls f with the rows that a query returns, until f returns false. A row is good until f returns,
// but for the bytes in it.
func (c *conn) each(ctx context.Context, f func(row []driver.Value) bool, query string, args ...driver.Value) error {
	s, err := c.prepare(query, args)
	if err != nil {
		return err
	}
	defer clear(s.args)
	rows, err := s.QueryContext(ctx, s.args)
	if err != nil {
		return err
	}
	// A statement that isn't reset keeps its snapshot, and the WAL would grow without end.
	defer rows.Close()
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	for {
		if err := rows.Next(s.row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if !f(s.row) {
			return nil
		}
	}
}

// row returns the first row that a query returns, or nil. It is good until the query is run again.
func (c *conn) row(ctx context.Context, query string, args ...driver.Value) (first []driver.Value, err error) {
	err = c.each(ctx, func(row []driver.Value) bool {
		first = row
		return false
	}, query, args...)
	return first, err
}

// ints returns the first row of a query for integers, or nil.
func (c *conn) ints(query string, args ...driver.Value) ([]int64, error) {
	row, err := c.row(quick, query, args...)
	if err != nil || row == nil {
		return nil, err
	}
	ints := make([]int64, len(row))
	for i, v := range row {
		var ok bool
		if ints[i], ok = v.(int64); !ok {
			return nil, errTables
		}
	}
	return ints, nil
}

// script runs statements, separated by semicolons.
func (c *conn) script(ctx context.Context, statements string) error {
	_, err := c.driver.ExecContext(ctx, statements, nil)
	return err
}

func (c *conn) closeStatements() {
	for _, s := range c.stmts {
		_ = s.Close()
	}
	clear(c.stmts)
}

func (c *conn) close() error {
	c.closeStatements()
	return c.driver.Close()
}

// code returns the primary result code of an error of SQLite, or 0.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// isBusy reports whether a lock is in the way. codeLocked is what the connections of one cache=shared
// get from each other.
func isBusy(err error) bool {
	c := code(err)
	return c == codeBusy || c == codeLocked
}
