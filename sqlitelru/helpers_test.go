package sqlitelru_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/goappcache/appcache/sqlitelru"
)

// openFile opens a backend over a file, and closes it when the test is over.
func openFile(t testing.TB, path string, opts *sqlitelru.Options) *sqlitelru.Backend {
	t.Helper()
	b, err := sqlitelru.Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// memoryTurn is held by the test that uses the database in memory, of which there is one.
var memoryTurn sync.Mutex

// inMemory returns a backend over the database in memory, emptied, which nobody else uses until the
// test is over.
func inMemory(t testing.TB, opts *sqlitelru.Options) *sqlitelru.Backend {
	t.Helper()
	memoryTurn.Lock()
	t.Cleanup(memoryTurn.Unlock)
	b := newBackend(t, nil, opts)
	require.NoError(t, b.Clear(t.Context()))
	return b
}

func newBackend(t testing.TB, db *sql.DB, opts *sqlitelru.Options) *sqlitelru.Backend {
	t.Helper()
	b, err := sqlitelru.New(db, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// openPool opens a database as a caller does.
func openPool(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.PingContext(t.Context()))
	return db
}

// beginOn begins a transaction of that kind, trying for long, and returns its connection.
func beginOn(t testing.TB, db *sql.DB, kind string) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000")
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), fmt.Sprintf("BEGIN %s", kind))
	require.NoError(t, err)
	return conn
}

// forgetPages empties the page cache, so that b reads from its files again.
func forgetPages(t testing.TB, b *sqlitelru.Backend) {
	t.Helper()
	_, err := sqlitelru.Query(b, "PRAGMA shrink_memory")
	require.NoError(t, err)
}

func set(t testing.TB, b *sqlitelru.Backend, key, value string) {
	t.Helper()
	require.NoError(t, b.SetRaw(t.Context(), key, []byte(value), 0))
}

func requireHit(t testing.TB, b *sqlitelru.Backend, key, want string) {
	t.Helper()
	value, found, err := b.GetRaw(t.Context(), key)
	require.NoError(t, err)
	require.True(t, found, "%q is a miss", key)
	require.Equal(t, want, string(value))
}

func requireMiss(t testing.TB, b *sqlitelru.Backend, key string) {
	t.Helper()
	_, found, err := b.GetRaw(t.Context(), key)
	require.NoError(t, err)
	require.False(t, found, "%q is a hit", key)
}

// stored returns which of the keys are in the database, without touching them.
func stored(t testing.TB, b *sqlitelru.Backend) (keys []string) {
	t.Helper()
	all, err := sqlitelru.Query(b, "SELECT coalesce(group_concat(CAST(key AS TEXT), ' ' ORDER BY CAST(key AS TEXT)), '') FROM appcache_entries")
	require.NoError(t, err)
	return strings.Fields(all.(string))
}

// requireCode wants an error of SQLite with that primary result code.
func requireCode(t testing.TB, code int, err error) {
	t.Helper()
	var e *sqlite.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code()&0xff, "%v", err)
}

// fill stores entries under the keys "1" to n, each used later than the one before, in no time.
func fill(t testing.TB, b *sqlitelru.Backend, n int) {
	t.Helper()
	var script strings.Builder
	fmt.Fprintf(&script, `DELETE FROM appcache_entries; DELETE FROM appcache_recency;
		WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < %d)
		INSERT INTO appcache_entries SELECT id, CAST(id AS BLOB), 9223372036854775807, NULL, CAST('value' AS BLOB) FROM n;
		UPDATE appcache_meta SET slots = %[1]d, entries = %[1]d, clock = max(clock, %[1]d),
			bytes = (SELECT sum(length(key) + length(value)) FROM appcache_entries);`, n)
	for first := 0; first <= n; first += 500 {
		fmt.Fprintf(&script, "INSERT INTO appcache_recency VALUES (%d, x'", first/500)
		for id := first; id < first+500; id++ {
			stamp := id
			if id > n {
				stamp = 0
			}
			fmt.Fprintf(&script, "%016x", stamp)
		}
		script.WriteString("');")
	}
	require.NoError(t, sqlitelru.Exec(b, script.String()))
	require.NoError(t, sqlitelru.Check(b))
}
