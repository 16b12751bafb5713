// Package sqlitelru keeps cache entries in SQLite: in a file that several processes may share, in a
// database of the caller's, or in memory. It is a strict LRU cache.
//
// [Open] makes a [Backend] over a file, [New] one over a [sql.DB] or over the in-memory database of
// the process. Give it to appcache.New. The driver is modernc.org/sqlite, which needs no cgo.
//
// # LRU
//
// When there is no room for a new entry, an entry whose TTL is over goes first, and else the one
// that was least recently read or written. Within a process that is exact, for all backends over one
// *sql.DB or over the in-memory database together: an entry is never evicted while one that was used
// longer ago stays. Only where more than 1000 entries were overwritten to live longer, and would be over by now if they
// hadn't been, it may take some evictions more until one whose TTL is over is found.
//
// A read that had to write would be slow, so what was used when is noted in memory, and written
// together for many reads: before the eviction that needs it, when some thousands of entries are
// noted, and by the first operation that finds a note of a second ago. So between processes that
// share a file, and between two calls of [Open] for one file, recency lags by at most a second of
// use. No goroutine does that: an idle process keeps its notes until its next operation or
// [Backend.Close]. A process that dies loses notes, and never an entry.
//
// # Limits
//
// [Options].MaxSize bounds the entries and [Options].MaxBytes the bytes of all keys and values. No Set
// of a new entry, or of another length, leaves more than that behind. Where backends with different
// limits share a database each enforces its own, so the smallest wins. A database that holds more
// than the limit when it is opened is brought down in steps, 1000 entries with [New] or [Open] and 64
// with every Set, so that none takes long. A value that can't fit even alone, or is longer than the 1,000,000,000 bytes that SQLite
// takes for one row, is an error that wraps appcache.ErrTooLarge, and what was stored stays.
//
// The cost of an operation doesn't grow with the number of entries, but for one: once in as many
// evictions as a sixteenth of the entries, or 65,536, the use of all of them is looked through, 8 bytes
// for each.
//
// The memory that is held beside SQLite's, whose page cache takes 2 MiB for each connection, is bounded
// too: the notes of at most 131,072 reads, a queue of 65,536 entries that go next, as many slots that
// are free, some copies while notes are written, and up to 8 MiB, 16 to 32 bytes an entry, that say where
// keys are. All that is less than 24 MiB for a database of any size, and about 1 MiB with the default MaxSize.
//
// # Files and processes
//
// A file is in WAL mode with synchronous=NORMAL: whatever kills a process, the file stays whole and
// every Set that returned is in it; when the machine itself dies the last ones may be missing. Two
// more files, with -wal and -shm at the end of their names, belong to it while it is open, and the
// WAL may grow to 32 MiB and more. Open touches nothing but an empty file and one that it has made: for any
// other it returns an error. A file that is deleted stays that of the processes that have it open; delete
// all three, when no process has.
//
// When a quarter of a file and more than 1 MiB are free, as after Clear or under a lower limit, it gets
// smaller by up to 64 pages of 4 KiB, which takes some milliseconds, with each of the next Sets. Less
// than that it keeps for entries to come, and so do a caller's database and the one in memory always.
//
// [New] puts four tables and an index, all named appcache_…, beside what is in the caller's database.
// It changes no setting of it, borrows one connection for each operation, and never closes it. So it
// must not be used by a goroutine that holds the only connection of the pool, as an open transaction or
// open rows do with SetMaxOpenConns(1); until its context ends it would wait for itself. The database
// ":memory:" is private to its connection and works with SetMaxOpenConns(1) only.
//
// # In memory
//
// All backends that New(nil, …) makes share one in-memory database, [InMemoryDB], and their entries.
// SQLite lets it grow to 1 GiB; where that could be too little, set MaxBytes well below. First use it
// outside of testing/synctest: a *sql.DB has a goroutine of its own, and a bubble can't end before that.
//
// # Concurrency
//
// Everything here is safe for concurrent use. The operations on a file, and those in memory, follow
// one another on one connection; in a caller's database reads run side by side. When another process
// or transaction holds a lock an operation tries again until its context ends, and for ten seconds at
// most. It can watch the context only between its tries, so leave the busy_timeout of a caller's
// database at 0 or short: SQLite itself waits that long, and can't be interrupted in it.
//
// # Errors
//
// Errors of SQLite come back as they are, so errors.As finds the *sqlite.Error. A locked, full,
// read-only or damaged database is an error and never a miss. An error about a damaged file says that
// it may be deleted; the next operation then makes it anew.
package sqlitelru

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/goappcache/appcache"
)

// defaultMaxSize is the number of entries that a zero MaxSize stands for.
const defaultMaxSize = 10_000

// maxRow is the longest row that SQLite takes, SQLITE_MAX_LENGTH (https://sqlite.org/limits.html), less
// what a row needs beside its key and value.
const maxRow = 1_000_000_000 - 64

// Steps in which a limit that was lowered is reached, so that nothing takes long.
const (
	trimAtOpen = 1000
	trimAtSet  = 64
)

var errClosed = errors.New("sqlitelru: the backend is closed")

// Options are the limits of a [Backend]. The zero value and a nil pointer are the defaults.
type Options struct {
	// MaxSize is the most entries that are kept. 0 stands for 10,000.
	MaxSize int

	// MaxBytes is the most bytes of keys and values that are kept; what SQLite needs around them
	// isn't counted. 0 sets no such limit.
	MaxBytes int64
}

// A Backend is an appcache.RawBackend over SQLite. Use [New] or [Open]; the zero value isn't ready. It is
// safe for concurrent use.
type Backend struct {
	store    *store
	maxSize  int64
	maxBytes int64
	owns     bool // Close closes the store
	closed   atomic.Bool
	within   atomic.Bool // the limits, when that was last looked up
}

var _ appcache.RawBackend = (*Backend)(nil)

// New returns a backend over db, which stays the caller's: Close doesn't close it. It makes its tables,
// named appcache_…, when they aren't there. nil stands for [InMemoryDB]. opts may be nil.
func New(db *sql.DB, opts *Options) (*Backend, error) {
	if db == nil {
		db = InMemoryDB()
	}
	return newBackend(storeOf(db), opts, false)
}

// Open returns a backend over the file at path, which it makes when it isn't there, in a folder that
// is. Several processes may have it open. It must be a plain path, neither a URI nor ":memory:". Call
// Close when done. opts may be nil.
func Open(path string, opts *Options) (*Backend, error) {
	s, err := fileStore(path)
	if err != nil {
		return nil, err
	}
	return newBackend(s, opts, true)
}

func newBackend(s *store, opts *Options, owns bool) (*Backend, error) {
	b := &Backend{store: s, maxSize: defaultMaxSize, maxBytes: math.MaxInt64, owns: owns}
	if opts != nil {
		if opts.MaxSize < 0 {
			return nil, fmt.Errorf("sqlitelru: MaxSize is %d: write the most entries to keep, or 0 for %d", opts.MaxSize, defaultMaxSize)
		}
		if opts.MaxBytes < 0 {
			return nil, fmt.Errorf("sqlitelru: MaxBytes is %d: write the most bytes to keep, or 0 for no such limit", opts.MaxBytes)
		}
		if opts.MaxSize > 0 {
			b.maxSize = int64(opts.MaxSize)
		}
		if opts.MaxBytes > 0 {
			b.maxBytes = opts.MaxBytes
		}
	}
	ctx := context.Background()
	if s.pool != nil { // whose only connection somebody else may hold
		limited, cancel := context.WithTimeout(ctx, busyLimit)
		defer cancel()
		ctx = limited
	}
	if err := s.prepare(ctx); err != nil {
		if owns {
			_ = s.close(ctx)
		}
		return nil, err
	}
	b.trim(ctx)
	return b, nil
}

// GetRaw returns the value that is stored under key, and notes its use.
func (b *Backend) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	if err := b.check(ctx); err != nil {
		return nil, false, err
	}
	s, now := b.store, time.Now().UnixMicro()
	stamp := s.tick(now) // before the read, so that it is older than whatever takes the slot after it
	err = s.do(ctx, false, func(c conn) error {
		id, v, err := s.find(c, []byte(key), now)
		if err != nil {
			return err
		}
		if id != nil {
			id, ok := id.(int64)
			if value, found = v.([]byte); !ok || id < 1 || !found {
				return errTables
			}
			s.touch(id, stamp)
		}
		s.flushIfDue(ctx, c, stamp)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	if found && value == nil {
		value = []byte{} // an empty blob reads back as nil
	}
	return value, found, nil
}

// SetRaw stores value under key for ttl, to the microsecond; 0 is for ever. It evicts what has to go.
func (b *Backend) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := b.check(ctx); err != nil {
		return err
	}
	if key == "" {
		return appcache.ErrEmptyKey // an empty slice would be NULL, the key of a slot that isn't in use
	}
	size := int64(len(key)) + int64(len(value))
	if limit := min(b.maxBytes, maxRow); size > limit {
		return fmt.Errorf("sqlitelru: key and value have %d bytes of %d: %w", size, limit, appcache.ErrTooLarge)
	}
	now := time.Now()
	e := entry{key: []byte(key), value: value, now: now.UnixMicro(), expires: deadline(now, ttl)}
	return b.store.do(ctx, true, func(c conn) error {
		if b.within.Load() { // and an overwrite with as many bytes doesn't change that
			if done, err := b.store.overwrite(c, e); done || err != nil {
				return err
			}
		}
		return b.store.transaction(ctx, c, e.key, e.now, func(t *tx) error {
			if t.id == 0 || size != t.size || !b.within.Load() {
				if err := b.makeRoom(t, size); err != nil {
					return err
				}
			}
			return t.put(e)
		})
	})
}

// deadline is the microsecond in which an entry stops being a hit. It rounds up, and can't overflow: the
// largest Duration is 292 years.
func deadline(now time.Time, ttl time.Duration) int64 {
	if ttl <= 0 {
		return never
	}
	part := time.Duration(now.Nanosecond())%time.Microsecond + ttl%time.Microsecond
	return now.UnixMicro() + int64(ttl/time.Microsecond) + int64((part+time.Microsecond-1)/time.Microsecond)
}

// InvalidateRaw removes the entry under key.
func (b *Backend) InvalidateRaw(ctx context.Context, key string) error {
	if err := b.check(ctx); err != nil {
		return err
	}
	return b.store.write(ctx, []byte(key), time.Now().UnixMicro(), func(t *tx) error {
		if t.id == 0 {
			return nil
		}
		if err := t.load(); err != nil {
			return err
		}
		t.entries--
		t.bytes -= t.size
		return t.remove(t.id)
	})
}

// Clear removes every entry in the database, whichever backend or process has stored it. A file of
// Open holds nothing else; the caller's own tables in the database of New stay as they are.
func (b *Backend) Clear(ctx context.Context) error {
	if err := b.check(ctx); err != nil {
		return err
	}
	return b.store.write(ctx, nil, time.Now().UnixMicro(), func(t *tx) error { return t.clear(ctx) })
}

// Close writes out what was used when, and closes the file when [Open] has opened it. A database that
// the caller gave stays open, and so does the one in memory. Every later operation is an error, but
// Close itself may be called again.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), busyLimit)
	defer cancel()
	err := b.store.flush(ctx)
	if b.owns {
		err = errors.Join(err, b.store.close(ctx))
	}
	return err
}

func (b *Backend) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.closed.Load() {
		return errClosed
	}
	return nil
}

// fits reports whether the limits allow so many entries and bytes.
func (b *Backend) fits(entries, bytes int64) bool {
	return entries <= b.maxSize && bytes <= b.maxBytes
}

// makeRoom evicts until the entry that t is about gets in with size bytes. Where there was more than
// the limits allow to begin with, which is so after they were lowered, it stops at trimAtSet evictions,
// but never leaves more than there was.
func (b *Backend) makeRoom(t *tx, size int64) error {
	if err := t.load(); err != nil {
		return err
	}
	entries, bytes := t.entries, t.bytes
	for n := 0; ; n++ {
		newEntries, newBytes := t.entries, t.bytes-t.size+size
		if t.id == 0 {
			newEntries++
		}
		within := b.fits(newEntries, newBytes)
		if within || n >= trimAtSet && newEntries <= entries && newBytes <= bytes {
			b.within.Store(within)
			return nil
		}
		if err := t.evict(); err != nil {
			return err
		}
	}
}

// trim evicts, when the database is over the limits, as much as opening may take. It doesn't wait for a
// lock, nor is an error one of opening: the Sets to come try again, and report it.
func (b *Backend) trim(ctx context.Context) {
	_ = b.store.try(ctx, true, func(c conn) error {
		row, err := ints(c, "SELECT entries, bytes FROM appcache_meta")
		if err != nil || row == nil || b.fits(row[0], row[1]) {
			return err
		}
		return b.store.transaction(ctx, c, nil, time.Now().UnixMicro(), func(t *tx) error {
			if err := t.load(); err != nil {
				return err
			}
			for n := 0; n < trimAtOpen && !b.fits(t.entries, t.bytes); n++ {
				if err := t.evict(); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
