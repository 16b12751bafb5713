package sqlitelru_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

// fullFile returns a backend over a file that can't grow any more.
func fullFile(t *testing.T) *sqlitelru.Backend {
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	set(t, b, "key", "value")
	require.NoError(t, sqlitelru.Exec(b, "PRAGMA max_page_count = 1")) // as many as there are
	return b
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := fullFile(t)
	requireHit(t, b, "key", "value")
	for range 3 {
		requireCode(t, 13, b.SetRaw(t.Context(), "big", make([]byte, 100_000), 0))
		requireCode(t, 13, b.SetRaw(t.Context(), "key", make([]byte, 100_000), 0))
		requireMiss(t, b, "big")
		requireHit(t, b, "key", "value")
		require.NoError(t, sqlitelru.Check(b))
	}
	require.Equal(t, 1, sqlitelru.Touches(b), "what was to be written isn't lost")
	require.NoError(t, sqlitelru.Exec(b, "PRAGMA max_page_count = 100000"))
	set(t, b, "big", strings.Repeat("x", 100_000))
	require.NoError(t, sqlitelru.Check(b))
}

// An eviction that fails is undone, and what had been used is known as before.
func TestFullDiskWhileEvicting(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 3})
	for _, key := range []string{"a", "b", "c"} {
		set(t, b, key, "value")
	}
	requireHit(t, b, "a", "value")
	require.NoError(t, sqlitelru.Exec(b, "PRAGMA max_page_count = 1"))
	requireCode(t, 13, b.SetRaw(t.Context(), "d", make([]byte, 100_000), 0))
	require.Equal(t, []string{"a", "b", "c"}, stored(t, b))
	require.NoError(t, sqlitelru.Exec(b, "PRAGMA max_page_count = 100000"))
	set(t, b, "d", "value")
	require.Equal(t, []string{"a", "c", "d"}, stored(t, b))
}

func TestReadOnlyPool(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callers.db")
	set(t, newBackend(t, openPool(t, path), nil), "key", "value")
	b, err := sqlitelru.New(openPool(t, "file:"+path+"?mode=ro"), &sqlitelru.Options{MaxSize: 10})
	require.NoError(t, err)
	requireHit(t, b, "key", "value")
	requireMiss(t, b, "absent")
	requireCode(t, 8, b.SetRaw(t.Context(), "key", nil, 0))
	requireCode(t, 8, b.InvalidateRaw(t.Context(), "key"))
	requireCode(t, 8, b.Clear(t.Context()))
	requireHit(t, b, "key", "value")
	requireCode(t, 8, b.Close()) // it couldn't write what was used

	_, err = sqlitelru.New(openPool(t, "file:"+filepath.Join(t.TempDir(), "none.db")+"?mode=rwc&_pragma=query_only(1)"), nil)
	requireCode(t, 8, err)
}
