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
	return newBackend(storeOf(db), opts)
}

// Open returns a backend over the file at path, which it makes when it isn't there, in a folder that
// is. Several processes may have it open. It must be a plain path, neither a URI nor ":memory:". Call
// Close when done. opts may be nil.
func Open(path string, opts *Options) (*Backend, error) {
	s, err := fileStore(path)
	if err != nil {
		return nil, err
	}
	return newBackend(s, opts)
}

func newBackend(s *store, opts *Options) (*Backend, error) {
	b := &Backend{store: s, maxSize: defaultMaxSize, maxBytes: math.MaxInt64}
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
	s := b.store
	err = s.do(ctx, false, func(c conn) error {
		now := time.Now().UnixMicro() // and not before the wait for a turn or a lock
		stamp := s.tick(now)          // before the read: an entry that takes the slot after it is newer
		id, v, err := s.find(c, []byte(key), now)
		if err != nil {
			return err
		}
		if id != 0 {
			s.touch(id, stamp, now)
			value, found = v, true
		}
		s.flushIfDue(ctx, c, now)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return value, found, nil
}

// SetRaw stores value under key for ttl, to the microsecond; 0 is for ever. It evicts what has to go.
func (b *Backend) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := b.check(ctx); err != nil {
		return err
	}
	if key == "" {
		return appcache.ErrEmptyKey // the driver binds an empty slice as NULL
	}
	size := int64(len(key)) + int64(len(value))
	if limit := min(b.maxBytes, maxRow); size > limit {
		return fmt.Errorf("sqlitelru: key and value have %d bytes of %d: %w", size, limit, appcache.ErrTooLarge)
	}
	return b.store.do(ctx, true, func(c conn) error {
		now := time.Now() // and not before the wait for a turn or a lock
		e := entry{key: []byte(key), value: value, now: now.UnixMicro(), expires: deadline(now, ttl)}
		err := b.set(ctx, c, e, size)
		if err == nil {
			b.store.tidy(c)
		}
		return err
	})
}

// set stores an entry of so many bytes.
func (b *Backend) set(ctx context.Context, c conn, e entry, size int64) error {
	if b.within.Load() { // and an overwrite with as many bytes doesn't change that
		if done, err := b.store.overwrite(c, e); done || err != nil {
			return err
		}
	}
	return b.store.transaction(ctx, c, e.key, e.now, func(t *tx) error {
		if err := t.load(); err != nil {
			return err
		}
		if t.id == 0 || size != t.size || !b.within.Load() {
			if err := b.makeRoom(ctx, t, size); err != nil {
				return err
			}
		}
		return t.put(e)
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
	return b.store.write(ctx, []byte(key), func(t *tx) error {
		if err := t.load(); err != nil || t.id == 0 {
			return err
		}
		t.entries--
		t.bytes -= t.size
		return t.remove(t.id)
	})
}

// Clear removes every entry in the database, whichever backend or process has stored it. A file of
// Open holds nothing else; the caller's own tables in the database of New stay as they are. It looks at every
// page, which takes longer for a large cache, and doesn't stop when ctx ends meanwhile.
func (b *Backend) Clear(ctx context.Context) error {
	if err := b.check(ctx); err != nil {
		return err
	}
	return b.store.write(ctx, nil, (*tx).clear)
}

// Close writes out what was used when, and closes the file when [Open] has opened it, once the operations that
// use it are done. A database that the caller gave stays open, and so does the one in memory. Every later
// operation is an error, but Close itself may be called again.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), busyLimit)
	defer cancel()
	err := b.store.flush(ctx)
	if b.store.ofOpen() {
		err = errors.Join(err, b.store.close())
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
// but never leaves more than there was. There may be many to evict for a large one, and so it watches ctx.
func (b *Backend) makeRoom(ctx context.Context, t *tx, size int64) error {
	bytes := t.bytes
	for n := 0; ; n++ {
		newEntries, newBytes := t.entries, t.bytes-t.size+size
		if t.id == 0 {
			newEntries++
		}
		within := b.fits(newEntries, newBytes)
		if within || n >= trimAtSet && newBytes <= bytes {
			b.within.Store(within)
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
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
