package sqlitelru_test

import (
	"context"
	"database/sql"
	"path/filepath"
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

// A transaction has the lock from its beginning. One that reads first fails when another writes then.
func TestTransactionsBeginWithTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	all := map[string]*sqlitelru.Backend{"a file": openFile(t, path, nil), "a pool": newBackend(t, openPool(t, path), nil)}
	other := openPool(t, path)
	for name, b := range all {
		require.NoError(t, sqlitelru.InTransaction(b, func() error {
			_, err := other.ExecContext(t.Context(), "UPDATE appcache_meta SET clock = clock")
			requireCode(t, 5, err)
			return nil
		}), name)
		_, err := other.ExecContext(t.Context(), "UPDATE appcache_meta SET clock = clock")
		require.NoError(t, err, name)
	}
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

// A read doesn't wait to write down what was read, and doesn't try again for a second. That is one of the computer's
// clock, and not of the logical one, which may be ahead of it.
func TestReadsDontWaitToWrite(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cache.db")
			b := openFile(t, path, nil)
			sqlitelru.SetClock(b, time.Now().Add(ahead).UnixMicro())
			set(t, b, "key", "value")
			requireHit(t, b, "key", "value")
			require.Equal(t, 1, sqlitelru.Touches(b))
			conn := beginOn(t, openPool(t, path), "IMMEDIATE")
			time.Sleep(2 * time.Second)
			begin := time.Now()
			requireHit(t, b, "key", "value")
			require.Equal(t, begin, time.Now(), "it slept")
			require.Equal(t, 1, sqlitelru.Touches(b))
			rollback(t, conn)
			requireHit(t, b, "key", "value")
			require.Equal(t, 1, sqlitelru.Touches(b), "it is too early")
			time.Sleep(time.Second)
			requireHit(t, b, "key", "value")
			require.Zero(t, sqlitelru.Touches(b), ahead)
		})
	}
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
