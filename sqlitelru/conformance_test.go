package sqlitelru_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/sqlitelru"
)

func TestConformanceFile(t *testing.T) {
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
	cachetest.TestBackend(t, cachetest.Harness{New: func(t testing.TB) appcache.RawBackend { return inMemory(t, nil) }})
}

func TestConformanceOneConnection(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{New: func(t testing.TB) appcache.RawBackend {
		db := openPool(t, ":memory:")
		db.SetMaxOpenConns(1)
		return newBackend(t, db, nil)
	}})
}

// wrapper is what a user may write around a backend: four methods, and nothing else shows.
type wrapper struct{ appcache.RawBackend }

// With a rollback journal, which a caller's database has unless it asks for another, an exclusive lock
// keeps readers out too, so that no call is answered.
func TestConformanceWrappedPool(t *testing.T) {
	t.Parallel()
	lockable := func(t testing.TB) (appcache.RawBackend, func(), func()) {
		path := filepath.Join(t.TempDir(), "callers.db")
		other := openPool(t, path)
		var conn *sql.Conn
		lock := func() {
			conn = beginOn(t, other, "EXCLUSIVE")
		}
		unlock := func() {
			_, err := conn.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK")
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		}
		return wrapper{newBackend(t, openPool(t, path+"?_pragma=synchronous(off)"), nil)}, lock, unlock
	}
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend {
			b, _, _ := lockable(t)
			return b
		},
		Outage: lockable,
		Hang:   lockable,
	})
}
