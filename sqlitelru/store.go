package sqlitelru

import (
	"context"
	"database/sql"
	"errors"
	"hash/maphash"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"modernc.org/sqlite"
)

// This file is about connections: whose turn it is to use one, how long to wait for a locked database,
// and the calls of the driver. What is in the database is the matter of tx.go.

const (
	// busyLimit bounds how long a locked database holds up an operation whose context doesn't end.
	busyLimit = 10 * time.Second

	// Between tries to get a lock an operation sleeps for so long, doubling from the first to the last.
	firstSleep, lastSleep = time.Millisecond, 25 * time.Millisecond

	// sqliteSleep is the busy_timeout of our connections to files, which bounds the sleep inside SQLite
	// that a context can't end.
	sqliteSleep = 5 * time.Millisecond
)

const (
	// freeMin is the number of free pages, 1 MiB, that a file may keep however small it is.
	freeMin = 256

	// walMax is how many bytes a WAL may have, twice what it takes until it is copied into the file, cutLimit how
	// long it may take to see to that, where others are in the way, and cutAgain how long until the next try.
	walMax   = 64 << 20
	cutLimit = 250 * time.Millisecond
	cutAgain = 10 * time.Second
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
	pool    *pool                                   // the caller's; nil with a connection of our own
	connect func(context.Context) (*ownConn, error) // makes a connection of our own, and the tables
	path    string                                  // of the file of Open, or empty

	turn      *turn     // held by whoever writes, and with a connection of our own by whoever uses it
	own       *ownConn  // guarded by turn; nil when there is none yet, or the last one broke
	closed    bool      // guarded by turn
	queue     []slot    // guarded by turn; see tx.victim
	free      []int64   // guarded by turn; see tx.freeSlot
	writes    int       // guarded by turn; see tidy
	shrinking bool      // guarded by turn; see giveBack
	cutFailed time.Time // guarded by turn: when cutWAL last failed

	clock   atomic.Int64 // the last stamp given; see tick
	ahead   atomic.Int64 // by so much the stamps are ahead of the wall clock; see catchUp
	blocked atomic.Int64 // how many writers wait for those who read; see try

	mu      sync.Mutex
	hints   hints           // guarded by mu
	touches map[int64]int64 // guarded by mu: the stamps, by slot, that aren't in the database yet
	since   int64           // guarded by mu: the time of the oldest of them
	retryAt time.Time       // guarded by mu: when to flush after a read again, after one that failed
	slots   int64           // guarded by mu: the number of slots, when it was last looked up
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
	s.pool = &pool{db: db, stmts: map[string]*sql.Stmt{}}
	stores.byDB[db] = weak.Make(s)
	runtime.AddCleanup(s, forget, s.pool)
	return s
}

// forget removes what is left of the store of a pool.
func forget(p *pool) {
	p.close()
	stores.Lock()
	defer stores.Unlock()
	if stores.byDB[p.db].Value() == nil {
		delete(stores.byDB, p.db)
	}
}

func newStore() *store {
	return &store{turn: newTurn(), hints: hints{seed: maphash.MakeSeed()}, touches: map[int64]int64{}}
}

// ofOpen reports whether the store is a file that Open has opened.
func (s *store) ofOpen() bool { return s.path != "" }

// prepare sees to it that the tables are there. A connection of our own has done that when it is made.
func (s *store) prepare(ctx context.Context) error {
	return s.do(ctx, true, func(c conn) error {
		if s.pool == nil {
			return nil
		}
		return s.makeTables(ctx, c, "")
	})
}

// do runs f with a connection, and again for as long as the database is locked. It leaves the
// connection to others between its tries, and stops when ctx ends.
func (s *store) do(ctx context.Context, write bool, f func(conn) error) error {
	err := s.try(ctx, write, f)
	if !isBusy(err) {
		return err
	}
	if write && s.pool != nil && !inWAL(&poolConn{pool: s.pool, ctx: ctx}) {
		s.blocked.Add(1)
		defer s.blocked.Add(-1)
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

// try runs f with a connection, once. The reads of a pool run side by side. But where there is no WAL a write needs
// a moment without any, and among many it would never get one. So when it has met a lock they take turns with it.
func (s *store) try(ctx context.Context, write bool, f func(conn) error) error {
	if write || s.pool == nil || s.blocked.Load() > 0 {
		if err := s.turn.take(ctx); err != nil {
			return err
		}
		defer s.turn.leave()
	}
	if s.pool != nil {
		return f(&poolConn{pool: s.pool, ctx: ctx})
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
	if !s.ofOpen() {
		return err // what is in memory is gone with its last connection
	}
	switch code(err) {
	case codeCorrupt, codeNotADB:
		err = damaged(s.path, err)
		fallthrough
	case codeIOErr, codeError: // codeError: the tables aren't there, for another file is in its place
		s.own.broken = true
	}
	if s.own.broken {
		_ = s.own.close()
		s.own = nil
	}
	return err
}

// inWAL reports whether reads don't hold up a write.
func inWAL(c conn) bool {
	row, err := c.row("PRAGMA journal_mode")
	return err == nil && row != nil && row[0] == "wal"
}

// tidy sees to it after a write that a file and its WAL don't stay large. It looks whether they are at the first
// write and every 64th. What it can't do it leaves for later.
func (s *store) tidy(c conn) {
	if !s.ofOpen() {
		return
	}
	s.writes++
	if s.writes%64 == 1 {
		s.cutWAL(c)
	}
	if s.writes%64 == 1 || s.shrinking {
		s.giveBack(c)
	}
}

// cutWAL empties a WAL that has become too large. SQLite writes it from its beginning again when all of it is in the
// file and nobody reads from it or copies it, and with several processes that never pause there may be no such moment.
// So it tries again and again, but not for long; and where that fails, since somebody reads an old state say, it leaves
// it alone for a while.
func (s *store) cutWAL(c conn) {
	large := func() bool {
		info, err := os.Stat(s.path + "-wal")
		return err == nil && info.Size() > walMax
	}
	if !large() || time.Since(s.cutFailed) < cutAgain {
		return
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		_ = exec(quick, c, "PRAGMA wal_checkpoint(TRUNCATE)")
		if !large() {
			return
		}
		if time.Since(begin) > cutLimit {
			s.cutFailed = time.Now()
			return
		}
	}
}

// giveBack lets the file get smaller by some pages, when many are free.
func (s *store) giveBack(c conn) {
	row, err := ints(c, "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count")
	if err != nil || row == nil {
		return
	}
	free, pages := row[0], row[1]
	switch {
	case free > freeMin && free > pages/4:
		s.shrinking = exec(quick, c, "PRAGMA incremental_vacuum(64)") == nil
	case s.shrinking:
		s.shrinking = false
		_ = exec(quick, c, "PRAGMA wal_checkpoint(TRUNCATE)") // until then the file has its size
	}
}

// close closes a connection of our own, for good, when whoever uses it is done.
func (s *store) close() error {
	if err := s.turn.take(context.Background()); err != nil {
		return err
	}
	defer s.turn.leave()
	s.closed = true
	if s.own == nil {
		return nil
	}
	err := s.own.close()
	s.own = nil
	return err
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
