package sqlitelru_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/sqlitelru"
)

func TestConformanceFile(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{New: func(t testing.TB) appcache.RawBackend {
		return openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	}})
}

func TestConformanceMaxBytes(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend {
			return openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxBytes: 6 << 20})
		},
		MaxValue: 6<<20 - 1,
	})
}

func TestConformanceMemory(t *testing.T) {
	t.Parallel()
	// The cases run in parallel and all backends share one database, so they take turns.
	var turn sync.Mutex
	cachetest.TestBackend(t, cachetest.Harness{New: func(t testing.TB) appcache.RawBackend {
		turn.Lock()
		t.Cleanup(turn.Unlock)
		return inMemory(t, nil)
	}})
}

func TestConformanceOneConnection(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{New: func(t testing.TB) appcache.RawBackend {
		db := openPool(t, ":memory:")
		db.SetMaxOpenConns(1)
		return newBackend(t, db, nil)
	}})
}

func TestConformancePool(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend {
			return newBackend(t, openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(wal)"), nil)
		},
	})
}

// In a rollback journal's mode an exclusive lock keeps readers out too, so that no call is answered.
func TestConformanceRollbackJournal(t *testing.T) {
	t.Parallel()
	locked := func(t testing.TB) (appcache.RawBackend, func(), func()) {
		path := filepath.Join(t.TempDir(), "callers.db")
		other := openPool(t, path)
		var conn *sql.Conn
		lock := func() {
			conn = lockFile(t, other, "EXCLUSIVE")
		}
		unlock := func() {
			_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK")
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		}
		return newBackend(t, openPool(t, path+"?_pragma=synchronous(off)"), nil), lock, unlock
	}
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend {
			return newBackend(t, openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=synchronous(off)"), nil)
		},
		Outage: locked,
		Hang:   locked,
	})
}

// wrapper is what a user may write around a backend: four methods, and nothing else shows.
type wrapper struct{ b appcache.RawBackend }

func (w wrapper) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	return w.b.GetRaw(ctx, key)
}

func (w wrapper) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return w.b.SetRaw(ctx, key, value, ttl)
}

func (w wrapper) InvalidateRaw(ctx context.Context, key string) error {
	return w.b.InvalidateRaw(ctx, key)
}

func (w wrapper) Clear(ctx context.Context) error { return w.b.Clear(ctx) }

func TestConformanceWrapped(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{New: func(t testing.TB) appcache.RawBackend {
		// A database in memory that a pool of many connections shares.
		dsn := fmt.Sprintf("file:/%s%d?vfs=memdb", t.Name(), rand.Int64())
		return wrapper{newBackend(t, openPool(t, dsn), nil)}
	}})
}
