package sqlitelru_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

func TestClose(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, nil)
	require.NoError(t, err)
	set(t, b, "key", "value")
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	requireAllFail(t, b, func(err error) { require.ErrorContains(t, err, "closed") })
	require.NoFileExists(t, path+"-wal")

	db := openPool(t, path+".callers")
	b, err = sqlitelru.New(db, nil)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	requireAllFail(t, b, func(err error) { require.ErrorContains(t, err, "closed") })
	require.NoError(t, db.PingContext(t.Context()))
}

// Close waits for whoever uses the file, however long that is, and closes it.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cache.db")
		b, err := sqlitelru.Open(path, nil)
		require.NoError(t, err)
		set(t, b, "key", "value")
		time.AfterFunc(time.Minute, sqlitelru.HoldTurn(b))
		require.NoError(t, b.Close())
		require.NoFileExists(t, path+"-wal")
	})
}

// Close waits ten seconds for a lock, or for the turn of a caller's database, and no longer, and says when it couldn't
// write.
func TestCloseEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callers.db")
		pooled, err := sqlitelru.New(openPool(t, path), nil)
		require.NoError(t, err)
		set(t, pooled, "key", "value")
		requireHit(t, pooled, "key", "value")
		release := sqlitelru.HoldTurn(pooled)
		begin := time.Now()
		require.ErrorIs(t, pooled.Close(), context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(begin))
		release()

		path = filepath.Join(t.TempDir(), "cache.db")
		b, err := sqlitelru.Open(path, nil)
		require.NoError(t, err)
		set(t, b, "key", "value")
		requireHit(t, b, "key", "value")
		conn := beginOn(t, openPool(t, path), "IMMEDIATE")
		require.ErrorIs(t, b.Close(), context.DeadlineExceeded)
		rollback(t, conn)
	})
}

// An operation that waits while another goroutine closes the backend doesn't open the file again.
func TestCloseWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cache.db")
		b, err := sqlitelru.Open(path, nil)
		require.NoError(t, err)
		conn := beginOn(t, openPool(t, path), "IMMEDIATE")
		done := make(chan error)
		go func() { done <- b.SetRaw(t.Context(), "key", nil, 0) }()
		time.Sleep(time.Second)
		require.NoError(t, b.Close())
		rollback(t, conn)
		require.ErrorContains(t, <-done, "closed")
	})
}

func TestDatabaseClosedByItsOwner(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "callers.db"))
	require.NoError(t, err)
	b, err := sqlitelru.New(db, nil)
	require.NoError(t, err)
	set(t, b, "key", "value")
	require.NoError(t, db.Close())
	requireAllFail(t, b, func(err error) { require.ErrorContains(t, err, "closed") })
	_, err = sqlitelru.New(db, nil)
	require.ErrorContains(t, err, "closed")
	require.NoError(t, b.Close(), "there is nothing to write")
}

// requireAllFail wants all four methods to return an error.
func requireAllFail(t *testing.T, b *sqlitelru.Backend, check func(err error)) {
	t.Helper()
	value, found, err := b.GetRaw(t.Context(), "key")
	require.False(t, found)
	require.Nil(t, value)
	for _, err := range []error{err, b.SetRaw(t.Context(), "key", []byte("new"), 0), b.InvalidateRaw(t.Context(), "key"), b.Clear(t.Context())} {
		require.Error(t, err)
		check(err)
	}
}
