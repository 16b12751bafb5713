package sqlitelru_test

import (
	"context"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/goappcache/appcache/sqlitelru"
)

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

// An error that comes after the first row is one, too, and so is that of tables that are gone.
func TestLateErrors(t *testing.T) {
	t.Parallel()
	for _, b := range []*sqlitelru.Backend{
		openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil),
		newBackend(t, openPool(t, filepath.Join(t.TempDir(), "callers.db")), nil),
	} {
		requireCode(t, 1, sqlitelru.QueryAll(b, "SELECT 1 UNION ALL SELECT abs(-9223372036854775807 - 1)"))
		require.NoError(t, sqlitelru.Exec(b, "DROP TABLE appcache_entries"))
		requireCode(t, 1, b.SetRaw(t.Context(), "key", nil, 0))
	}
}

// The backend doesn't keep what it has returned.
func TestValuesAreTheCallers(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*sqlitelru.Backend{
		"a file": openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil),
		"a pool": newBackend(t, openPool(t, filepath.Join(t.TempDir(), "callers.db")), nil),
	} {
		set(t, b, "key", "value")
		value, _, err := b.GetRaw(t.Context(), "key")
		require.NoError(t, err)
		kept := weak.Make(&value[0])
		value[0] = 'V'
		value = nil //nolint:wastedassign // so that it is garbage
		require.Eventually(t, func() bool {
			runtime.GC()
			return kept.Value() == nil
		}, 10*time.Second, time.Millisecond, name)
		requireHit(t, b, "key", "value")
	}
}

// Nothing keeps a value that was stored.
func TestValuesAreLetGo(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	value := make([]byte, 100_000)
	kept := weak.Make(&value[0])
	require.NoError(t, b.SetRaw(t.Context(), "key", value, 0))
	value = nil //nolint:wastedassign // so that it is garbage
	require.Eventually(t, func() bool {
		runtime.GC()
		return kept.Value() == nil
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, b.InvalidateRaw(t.Context(), "key"))
}

// What is prepared in a transaction is prepared once.
func TestPoolPreparesOnce(t *testing.T) {
	t.Parallel()
	db := openPool(t, ":memory:")
	db.SetMaxOpenConns(1)
	b := newBackend(t, db, nil)
	set(t, b, "a", "1")
	n := sqlitelru.Prepared(b)
	require.Greater(t, n, 3)
	set(t, b, "b", "1")
	require.Equal(t, n, sqlitelru.Prepared(b))
}

// What was made for a caller's database goes with the last backend over it, and not earlier.
func TestPoolIsForgotten(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db"))
	db.SetMaxOpenConns(1)
	statements := func() (bytes int) {
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.Raw(func(c any) error {
			bytes, _, err = c.(sqlite.DBStatus).Status(sqlite.DBStatusStmtUsed, false)
			return err
		}))
		return bytes
	}
	b, err := sqlitelru.New(db, nil)
	require.NoError(t, err)
	set(t, b, "key", "value")
	sqlitelru.Forget(db) // the one before
	require.True(t, sqlitelru.Known(db))
	require.Positive(t, statements())
	runtime.KeepAlive(b)
	for begin := time.Now(); sqlitelru.Known(db) || statements() > 0; time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(begin), 10*time.Second)
		runtime.GC()
	}
}

// A transaction that can't begin gives its connection back, and New doesn't wait for one for ever.
func TestConnectionsAreGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callers.db")
		db := openPool(t, path+"?_txlock=immediate")
		b := newBackend(t, db, nil)
		conn := beginOn(t, openPool(t, path), "IMMEDIATE")
		requireCode(t, 5, b.SetRaw(t.Context(), "key", nil, 0))
		require.Zero(t, db.Stats().InUse)
		rollback(t, conn)

		db.SetMaxOpenConns(1)
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		begin := time.Now()
		_, err = sqlitelru.New(db, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(begin))
		require.NoError(t, conn.Close())
	})
}

// What is done after an operation has its answer doesn't wait for the only connection of a pool.
func TestAnswersDontWaitForAConnection(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(wal)")
	db.SetMaxOpenConns(1)
	b := newBackend(t, db, nil)

	// holdWhen calls an operation, has the connection once there is an answer, and keeps it until the call returns.
	holdWhen := func(answered func() bool, call func() error) {
		first, err := db.Conn(t.Context())
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- call() }()
		time.AfterFunc(20*time.Millisecond, func() { _ = first.Close() })
		for {
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			if !answered() {
				require.NoError(t, conn.Close()) // so that it gets the connection
				select {
				case err := <-done:
					require.NoError(t, err)
					return
				default:
					continue
				}
			}
			select {
			case err = <-done:
			case <-time.After(10 * time.Second):
				require.Fail(t, "it waits")
			}
			require.NoError(t, conn.Close())
			require.NoError(t, err)
			return
		}
	}
	holdWhen(func() bool { return sqlitelru.Hint(b, "key") != 0 }, func() error { return b.SetRaw(t.Context(), "key", []byte("value"), 0) })
}

// Connections of one cache=shared get SQLITE_LOCKED where each would wait for the other.
func TestSharedCache(t *testing.T) {
	t.Parallel()
	db := openPool(t, "file:"+t.Name()+"?mode=memory&cache=shared")
	b := newBackend(t, db, &sqlitelru.Options{MaxSize: 30})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if tx, err := db.BeginTx(t.Context(), nil); err == nil {
				_, _ = tx.ExecContext(t.Context(), "SELECT count(*) FROM appcache_entries")
				_, _ = tx.ExecContext(t.Context(), "CREATE TABLE callers (x)")
				_ = tx.Rollback()
			}
		}
	}()
	hammer(t, b)
	cancel()
	<-done
}
