package sqlitelru_test

import (
	"context"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

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

// Where there is no WAL a write gets its turn among reads that never pause.
func TestWritesAmongReads(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(delete)&_pragma=synchronous(off)")
	db.SetMaxIdleConns(20)
	b := newBackend(t, db, nil)
	set(t, b, "key", "value")
	var stop atomic.Bool
	errs := make(chan error, 16)
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
	for n := range 30 {
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
	for n := range 5 {
		key := strconv.Itoa(n)
		holdWhen(func() bool { return sqlitelru.Hint(b, key) != 0 }, func() error { return b.SetRaw(t.Context(), key, []byte("value"), 0) })
	}
}
