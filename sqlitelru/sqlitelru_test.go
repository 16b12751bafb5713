package sqlitelru_test

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/sqlitelru"
)

func TestImpossibleOptions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	for field, opts := range map[string]*sqlitelru.Options{"MaxSize": {MaxSize: -1}, "MaxBytes": {MaxBytes: -1}} {
		_, err := sqlitelru.Open(path, opts)
		require.ErrorContains(t, err, field+" is -1: write ")
		_, err = sqlitelru.New(nil, opts)
		require.ErrorContains(t, err, field+" is -1: write ")
	}
	require.NoFileExists(t, path)
}

// The default is 10,000 entries. Reading 8192 of them writes down which were read, without waiting.
func TestDefaults(t *testing.T) {
	t.Parallel()
	b := inMemory(t, nil)
	fill(t, b, 10_000)
	synctest.Test(t, func(t *testing.T) { // in which no second passes
		set(t, b, "one more", "value")
		requireMiss(t, b, "1")
		for n := range 8191 {
			requireHit(t, b, strconv.Itoa(2+n), "value")
		}
		require.Equal(t, 8191, sqlitelru.Touches(b))
		requireHit(t, b, "8193", "value")
		require.Zero(t, sqlitelru.Touches(b))
		set(t, b, "and another", "value")
		requireMiss(t, b, "8194")
		requireHit(t, b, "2", "value")
	})
	require.NoError(t, sqlitelru.Check(b))
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxBytes: 100})
	set(t, b, "other", "value")
	set(t, b, "key", "old")
	require.ErrorIs(t, b.SetRaw(t.Context(), "key", make([]byte, 98), 0), appcache.ErrTooLarge)
	require.ErrorIs(t, b.SetRaw(t.Context(), strings.Repeat("k", 101), nil, 0), appcache.ErrTooLarge)
	requireHit(t, b, "key", "old")
	requireHit(t, b, "other", "value")
	set(t, b, "key", strings.Repeat("x", 97))
	require.Equal(t, []string{"key"}, stored(t, b))

	b = openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	set(t, b, "key", "old")
	err := b.SetRaw(t.Context(), "key", make([]byte, 1_000_000_000), 0)
	require.ErrorIs(t, err, appcache.ErrTooLarge)
	var asked *sqlite.Error
	require.NotErrorAs(t, err, &asked, "SQLite got to see it")
	requireHit(t, b, "key", "old")

	// The caller's connection takes less than SQLite.
	db := openPool(t, ":memory:")
	db.SetMaxOpenConns(1)
	b = newBackend(t, db, nil)
	set(t, b, "key", "old")
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	const limitLength = 0 // SQLITE_LIMIT_LENGTH
	_, err = sqlite.Limit(conn, limitLength, 5000)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	err = b.SetRaw(t.Context(), "key", make([]byte, 5000), 0)
	require.ErrorIs(t, err, appcache.ErrTooLarge)
	requireCode(t, 18, err)
	requireHit(t, b, "key", "old")
	set(t, b, "key", "new")
}

func TestEmptyKey(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	require.ErrorIs(t, b.SetRaw(t.Context(), "", []byte("value"), 0), appcache.ErrEmptyKey)
	requireMiss(t, b, "")
	require.NoError(t, b.InvalidateRaw(t.Context(), ""))
	require.NoError(t, sqlitelru.Check(b))
}

// An empty value, nil or not, is a hit, and comes back as one that isn't nil, however it was stored.
func TestEmptyValue(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 1})
	for _, value := range [][]byte{nil, {}} {
		for name, before := range map[string]func(){
			"a new key":                       func() { require.NoError(t, b.InvalidateRaw(t.Context(), "key")) },
			"in the place of another":         func() { set(t, b, "another", "value") },
			"an overwrite":                    func() { set(t, b, "key", "value") },
			"an overwrite of the same length": func() { set(t, b, "key", "") },
		} {
			for _, ttl := range []time.Duration{0, time.Hour} {
				before()
				require.NoError(t, b.SetRaw(t.Context(), "key", value, ttl), name)
				got, found, err := b.GetRaw(t.Context(), "key")
				require.NoError(t, err, name)
				require.True(t, found, name)
				require.Equal(t, []byte{}, got, name)
			}
		}
	}
}

// A TTL is kept to the microsecond, and goes by the clock of Go.
func TestTTL(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{1, time.Microsecond, time.Microsecond + 1, 1500 * time.Microsecond, time.Second, 300 * 24 * time.Hour, math.MaxInt64} {
		for _, late := range []time.Duration{0, 1, 999} {
			t.Run(fmt.Sprint(ttl, " stored ", late, " after"), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
					time.Sleep(late)
					require.NoError(t, b.SetRaw(t.Context(), "key", nil, ttl))
					if ttl == math.MaxInt64 {
						time.Sleep(200 * 365 * 24 * time.Hour)
						requireHit(t, b, "key", "")
						return
					}
					time.Sleep(ttl - 1)
					requireHit(t, b, "key", "")
					time.Sleep(time.Microsecond)
					requireMiss(t, b, "key")
				})
			})
		}
	}
}

func TestExpiredGoFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 4})
		set(t, b, "a", "1")
		require.NoError(t, b.SetRaw(t.Context(), "long", []byte("1"), time.Hour))
		require.NoError(t, b.SetRaw(t.Context(), "short", []byte("1"), time.Second))
		set(t, b, "b", "1")
		set(t, b, "c", "1") // now there is a queue, and a is out
		requireHit(t, b, "short", "1")
		time.Sleep(time.Second)
		set(t, b, "d", "1")
		require.Equal(t, []string{"b", "c", "d", "long"}, stored(t, b))
		set(t, b, "e", "1")
		require.Equal(t, []string{"b", "c", "d", "e"}, stored(t, b))
	})
}

func TestNilSharesTheDatabaseInMemory(t *testing.T) {
	t.Parallel()
	wide := inMemory(t, &sqlitelru.Options{MaxSize: 4})
	narrow := newBackend(t, nil, &sqlitelru.Options{MaxSize: 2})
	again := newBackend(t, sqlitelru.InMemoryDB(), nil)
	for _, key := range []string{"a", "b", "c", "d"} {
		set(t, wide, key, key)
	}
	for _, b := range []*sqlitelru.Backend{narrow, again} {
		requireHit(t, b, "a", "a") // LRU is exact over all of them
	}
	set(t, narrow, "e", "e")
	require.Equal(t, []string{"a", "e"}, stored(t, again))

	require.NoError(t, narrow.Close())
	_, _, err := narrow.GetRaw(t.Context(), "a")
	require.ErrorContains(t, err, "closed")
	requireHit(t, wide, "a", "a")
	var n int
	require.NoError(t, sqlitelru.InMemoryDB().QueryRowContext(t.Context(), "SELECT entries FROM appcache_meta").Scan(&n))
	require.Equal(t, 2, n)
	byName := openPool(t, "file:/appcache_memory?vfs=memdb")
	require.NoError(t, byName.QueryRowContext(t.Context(), "SELECT entries FROM appcache_meta").Scan(&n))
	require.Equal(t, 2, n)
}

// Nothing that can be set on the pool loses the database in memory.
func TestMemoryOutlivesItsPool(t *testing.T) {
	t.Parallel()
	b := inMemory(t, nil)
	set(t, b, "key", "value")
	db := sqlitelru.InMemoryDB()
	_, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS callers (x); DELETE FROM callers; INSERT INTO callers VALUES (1)")
	require.NoError(t, err)
	defer func() {
		db.SetMaxIdleConns(2)
		db.SetConnMaxLifetime(0)
	}()
	db.SetMaxIdleConns(-1)
	db.SetConnMaxLifetime(time.Nanosecond)
	require.Eventually(t, func() bool { return db.Stats().OpenConnections == 0 }, 10*time.Second, time.Millisecond)
	requireHit(t, b, "key", "value")
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM callers").Scan(&n))
	require.Equal(t, 1, n)
}

// The caller may use the database in memory from many connections at the same time as the cache does.
func TestMemoryWithManyConnections(t *testing.T) {
	t.Parallel()
	b := inMemory(t, &sqlitelru.Options{MaxSize: 30})
	db := sqlitelru.InMemoryDB()
	_, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS counters (n); DELETE FROM counters; INSERT INTO counters VALUES (0)")
	require.NoError(t, err)
	const goroutines, each = 4, 25
	errs := make(chan error, goroutines)
	for range goroutines {
		go func() {
			for range each {
				if err := increment(t.Context(), db); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	hammer(t, b)
	for range goroutines {
		require.NoError(t, <-errs)
	}
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT n FROM counters").Scan(&n))
	require.Equal(t, goroutines*each, n)
}

// Of two transactions of the caller's that read before they write, neither fails.
func TestMemoryTransactionsQueueUp(t *testing.T) {
	t.Parallel()
	b := inMemory(t, nil)
	set(t, b, "key", "value")
	db := sqlitelru.InMemoryDB()
	_, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS queue (n); DELETE FROM queue; INSERT INTO queue VALUES (0)")
	require.NoError(t, err)
	var n int
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT n FROM queue").Scan(&n))
	done := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(t.Context(), "UPDATE queue SET n = n + 1")
		done <- err
	}()
	time.Sleep(100 * time.Millisecond) // in which it gets as far as it can
	_, err = tx.ExecContext(t.Context(), "UPDATE queue SET n = n + 1")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.NoError(t, <-done)
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT n FROM queue").Scan(&n))
	require.Equal(t, 2, n)
}

// increment reads and then writes in a transaction, the order that a deferred one doesn't forgive.
func increment(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT n FROM counters").Scan(&n); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE counters SET n = ?", n+1); err != nil {
		return err
	}
	return tx.Commit()
}

// Two backends over a pool know of each other's reads, and of those of one that is no more.
func TestTwoOnOnePool(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db"))
	one := newBackend(t, db, &sqlitelru.Options{MaxSize: 2})
	set(t, one, "a", "1")
	set(t, one, "b", "1")
	two, err := sqlitelru.New(db, &sqlitelru.Options{MaxSize: 2})
	require.NoError(t, err)
	requireHit(t, two, "a", "1")
	require.Equal(t, 1, sqlitelru.Touches(one))
	require.NoError(t, two.Close())
	require.Zero(t, sqlitelru.Touches(one), "Close writes them")
	set(t, one, "c", "1")
	require.Equal(t, []string{"a", "c"}, stored(t, one))
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	t.Run("a file", func(t *testing.T) {
		t.Parallel()
		hammer(t, openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 30}))
	})
	t.Run("a pool", func(t *testing.T) {
		t.Parallel()
		db := openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(off)")
		opts := &sqlitelru.Options{MaxSize: 30}
		hammer(t, newBackend(t, db, opts), newBackend(t, db, opts))
	})
	// They take turns by the locks of SQLite alone, as processes do.
	t.Run("two pools", func(t *testing.T) {
		t.Parallel()
		dsn := filepath.Join(t.TempDir(), "callers.db") + "?_pragma=journal_mode(wal)&_pragma=synchronous(off)"
		opts := &sqlitelru.Options{MaxSize: 30, MaxBytes: 5000}
		hammer(t, newBackend(t, openPool(t, dsn), opts), newBackend(t, openPool(t, dsn), opts))
	})
}

// hammerOne uses a backend on keys that other goroutines use too.
func hammerOne(ctx context.Context, b *sqlitelru.Backend, g, ops int) error {
	r := rand.New(rand.NewPCG(uint64(g), 3))
	for n := range ops {
		key := fmt.Sprint("key ", r.IntN(60))
		switch p := r.IntN(100); {
		case p < 50:
			value, found, err := b.GetRaw(ctx, key)
			if err != nil {
				return fmt.Errorf("GetRaw: %w", err)
			}
			if found && !strings.HasPrefix(string(value), key+".") {
				return fmt.Errorf("GetRaw(%q) returned %q", key, value)
			}
		case p < 90:
			if err := b.SetRaw(ctx, key, []byte(key+strings.Repeat(".", 1+n)), time.Duration(p%3)*time.Millisecond); err != nil {
				return fmt.Errorf("SetRaw: %w", err)
			}
		case p < 99:
			if err := b.InvalidateRaw(ctx, key); err != nil {
				return fmt.Errorf("InvalidateRaw: %w", err)
			}
		default:
			if err := b.Clear(ctx); err != nil {
				return fmt.Errorf("Clear: %w", err)
			}
		}
	}
	return nil
}

// An error, whatever it is, doesn't lose the database in memory.
func TestMemoryOutlivesErrors(t *testing.T) {
	t.Parallel()
	b := inMemory(t, nil)
	set(t, b, "key", "value")
	db := sqlitelru.InMemoryDB()
	defer db.SetMaxIdleConns(2)
	db.SetMaxIdleConns(-1)
	_, err := sqlitelru.Query(b, "SELECT nonsense")
	requireCode(t, 1, err)
	requireHit(t, b, "key", "value")
	requireCode(t, 1, sqlitelru.Exec(b, "nonsense"))
	set(t, b, "key", "after it was rolled back")
}
