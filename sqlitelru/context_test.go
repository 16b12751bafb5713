package sqlitelru_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/sqlitelru"
)

// Whatever an operation waits for, it stops when its context ends, and not before.
func TestWaiting(t *testing.T) {
	t.Parallel()
	lock := func(kind string) func(t *testing.T, path string, _ *sql.DB, _ *sqlitelru.Backend) func() {
		return func(t *testing.T, path string, _ *sql.DB, _ *sqlitelru.Backend) func() {
			conn := beginOn(t, openPool(t, path), kind)
			return func() { rollback(t, conn) }
		}
	}
	const memory = "in memory"
	turn := func(_ *testing.T, _ string, _ *sql.DB, b *sqlitelru.Backend) func() { return sqlitelru.HoldTurn(b) }
	tests := []struct {
		name   string
		params string // of the caller's database, or memory; none: a file of Open
		block  func(t *testing.T, path string, db *sql.DB, b *sqlitelru.Backend) (unblock func())
		reads  bool // may go on
	}{
		{"for another process that writes", "", lock("IMMEDIATE"), true},
		{"for another process that writes to the caller's database", "?_pragma=journal_mode(wal)", lock("IMMEDIATE"), true},
		{"for another process that lets nobody read", "?_pragma=journal_mode(delete)", lock("EXCLUSIVE"), false},
		{"for another goroutine's operation", "", turn, false},
		{"for another goroutine that writes to the caller's database", "?_pragma=journal_mode(wal)", turn, true},
		// With cache=shared the wait would be inside SQLite, and no context end it.
		{"for the caller's transaction in memory", memory, func(t *testing.T, _ string, _ *sql.DB, _ *sqlitelru.Backend) func() {
			conn := beginOn(t, sqlitelru.InMemoryDB(), "IMMEDIATE")
			return func() { rollback(t, conn) }
		}, false},
		{"for the only connection", "?_pragma=journal_mode(wal)", func(t *testing.T, _ string, db *sql.DB, _ *sqlitelru.Backend) func() {
			db.SetMaxOpenConns(1)
			conn := beginOn(t, db, "DEFERRED")
			return func() { rollback(t, conn) }
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "cache.db")
			var db *sql.DB
			var b *sqlitelru.Backend
			switch tt.params {
			case "":
				b = openFile(t, path, nil)
			case memory:
				b = inMemory(t, nil)
			default:
				db = openPool(t, path+tt.params)
				b = newBackend(t, db, nil)
			}
			set(t, b, "key", "old")
			requireHit(t, b, "key", "old")
			calls := map[string]func(ctx context.Context) error{
				"SetRaw":        func(ctx context.Context) error { return b.SetRaw(ctx, "key", []byte("new"), 0) },
				"InvalidateRaw": func(ctx context.Context) error { return b.InvalidateRaw(ctx, "key") },
				"Clear":         b.Clear,
				"GetRaw":        func(ctx context.Context) error { _, _, err := b.GetRaw(ctx, "key"); return err },
			}

			unblock := tt.block(t, path, db, b)
			for name, call := range calls {
				if name == "GetRaw" && tt.reads {
					requireHit(t, b, "key", "old")
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				require.ErrorIs(t, call(ctx), context.DeadlineExceeded, name)
				cancel()
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				require.ErrorIs(t, call(ctx), context.Canceled, name)
			}
			time.AfterFunc(100*time.Millisecond, unblock)
			set(t, b, "another", "value")
			requireHit(t, b, "key", "old")
			require.NoError(t, sqlitelru.Check(b))
		})
	}
}

func rollback(t *testing.T, conn *sql.Conn) {
	_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// A lock that nobody lets go of is an error after ten seconds, and never a miss.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callers.db")
		b := newBackend(t, openPool(t, path), nil)
		set(t, b, "key", "value")
		conn := beginOn(t, openPool(t, path), "EXCLUSIVE")
		begin := time.Now()
		requireAllFail(t, b, func(err error) { requireCode(t, 5, err) })
		require.InDelta(t, 40, time.Since(begin).Seconds(), 1)
		rollback(t, conn)
		requireHit(t, b, "key", "value")
	})
}

// The caller's settings stay as they are, and a transaction of the caller's isn't disturbed.
func TestCallersDatabase(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(persist)&_pragma=synchronous(extra)&_pragma=foreign_keys(1)&_pragma=busy_timeout(123)&_txlock=exclusive")
	settings := func() (all []string) {
		for _, pragma := range []string{"journal_mode", "synchronous", "foreign_keys", "busy_timeout", "auto_vacuum", "application_id", "user_version", "wal_autocheckpoint", "cache_size", "locking_mode"} {
			var value string
			require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&value))
			all = append(all, pragma+" "+value)
		}
		return all
	}
	before := settings()
	_, err := db.ExecContext(t.Context(), "CREATE TABLE callers (x); INSERT INTO callers VALUES (1)")
	require.NoError(t, err)

	b := newBackend(t, db, &sqlitelru.Options{MaxSize: 2})
	for _, key := range []string{"a", "b", "c"} {
		set(t, b, key, key)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO callers VALUES (2)")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.SetRaw(ctx, "d", nil, 0), context.DeadlineExceeded)
	require.NoError(t, tx.Commit())
	set(t, b, "d", "d")
	require.NoError(t, b.Clear(t.Context()))
	require.NoError(t, b.Close())

	require.Equal(t, before, settings())
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM callers").Scan(&n))
	require.Equal(t, 2, n)
	require.Zero(t, db.Stats().InUse)
}

// A cache that can't answer doesn't keep GetVia from answering.
func TestGetViaLivesThroughErrors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callers.db")
	db := openPool(t, path)
	locked := newBackend(t, db, nil)
	conn := beginOn(t, openPool(t, path), "EXCLUSIVE")
	defer rollback(t, conn)

	closed := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	require.NoError(t, closed.Close())

	for name, b := range map[string]*sqlitelru.Backend{"locked": locked, "closed": closed, "full": fullFile(t)} {
		cache := appcache.New[string](b, &appcache.Options{Timeout: 50 * time.Millisecond})
		value, err := cache.GetVia(t.Context(), appcache.StringKey[string]("absent"), 0, func(context.Context) (string, error) { return "loaded", nil })
		require.NoError(t, err, name)
		require.Equal(t, "loaded", value, name)
	}
}

// Whether an entry has expired, and when one is to, goes by the time after the wait and not before it.
func TestTTLAfterAWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
		require.NoError(t, b.SetRaw(t.Context(), "a", []byte("1"), time.Second))
		time.AfterFunc(5*time.Second, sqlitelru.HoldTurn(b))
		requireMiss(t, b, "a")
		time.AfterFunc(5*time.Second, sqlitelru.HoldTurn(b))
		require.NoError(t, b.SetRaw(t.Context(), "b", []byte("1"), time.Second))
		requireHit(t, b, "b", "1")
	})
}

// Where there is no WAL a write gets its turn among reads that never pause.
func TestWritesAmongReads(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(delete)&_pragma=synchronous(off)")
	db.SetMaxIdleConns(20)
	b := newBackend(t, db, nil)
	set(t, b, "key", "value")
	var stop atomic.Bool
	readers, rounds := 16, 30
	if raceEnabled {
		readers, rounds = 8, 10
	}
	errs := make(chan error, readers)
	for range cap(errs) {
		go func() {
			for {
				if _, _, err := b.GetRaw(t.Context(), "key"); err != nil || stop.Load() {
					errs <- err
					return
				}
			}
		}()
	}
	for n := range rounds {
		set(t, b, strconv.Itoa(n), "value")
		set(t, b, "key", "VALUE")
	}
	stop.Store(true)
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
}

// endsAfter is a context that ends when it was asked so many times whether it has.
type endsAfter struct {
	context.Context
	asked *atomic.Int64
}

func (c endsAfter) Err() error {
	if c.asked.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// A Set that has to evict many looks at its context now and then, and leaves all as it was when that has ended.
func TestEvictingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxBytes: 1000})
	for n := range 50 {
		set(t, b, strconv.Itoa(n), "value")
	}
	before := stored(t, b)
	ctx := endsAfter{t.Context(), new(atomic.Int64)}
	ctx.asked.Store(10)
	require.ErrorIs(t, b.SetRaw(ctx, "big", make([]byte, 995), 0), context.Canceled)
	require.Equal(t, before, stored(t, b))
	require.NoError(t, sqlitelru.Check(b))
	require.NoError(t, b.SetRaw(t.Context(), "big", make([]byte, 995), 0))
	require.Equal(t, []string{"big"}, stored(t, b))
}
