package sqlitelru_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

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

// inMemory returns a backend over the database in memory, emptied. Tests that use it must take turns.
func inMemory(t testing.TB, opts *sqlitelru.Options) *sqlitelru.Backend {
	t.Helper()
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

// lockFile begins a transaction of that kind, trying for long, and returns its connection.
func lockFile(t testing.TB, db *sql.DB, kind string) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000")
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), fmt.Sprintf("BEGIN %s", kind))
	require.NoError(t, err)
	return conn
}
