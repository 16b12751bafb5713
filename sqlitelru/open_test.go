package sqlitelru_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

func TestImpossiblePaths(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", ":memory:", "file:cache.db", "file:cache.db?mode=memory", "cache\x00.db"} {
		_, err := sqlitelru.Open(path, nil)
		require.ErrorContains(t, err, "write the path of a file", path)
	}
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "no such folder", "cache.db")} {
		_, err := sqlitelru.Open(path, nil)
		requireCode(t, 14, err) // SQLITE_CANTOPEN
		require.ErrorContains(t, err, path)
		require.NotContains(t, err.Error(), "out of memory")
	}
}

func TestUnusualPaths(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b", "a?b=c&mode=memory", "a%20b", "a#b", "ä", "a;b'c\"d", "%00", "?", "a\nb"} {
		path := filepath.Join(t.TempDir(), name)
		b := openFile(t, path, nil)
		set(t, b, "key", "value")
		require.FileExists(t, path)
		requireHit(t, openFile(t, path, nil), "key", "value")
	}
}

// A relative path is one from the working directory.
func TestRelativePath(t *testing.T) {
	t.Parallel()
	cmd := child(t, "share", "cache.db", "1")
	cmd.Dir = t.TempDir()
	require.NoError(t, cmd.Run())
	require.FileExists(t, filepath.Join(cmd.Dir, "cache.db"))
}

// Open leaves alone whatever it hasn't made.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	script := func(statements string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			require.NoError(t, err)
			_, err = db.ExecContext(t.Context(), statements)
			require.NoError(t, err)
			require.NoError(t, db.Close())
		}
	}
	bytesOf := func(content string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) }
	}
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"one byte", bytesOf("D"), "isn't a file of SQLite, and was left alone"},
		{"a short text", bytesOf("Dear diary"), "isn't a file of SQLite, and was left alone"},
		{"a long text", bytesOf(strings.Repeat("Dear diary\n", 1000)), "isn't a file of SQLite, and was left alone"},
		{"tables", script("CREATE TABLE mine (x)"), "another program's, and was left alone"},
		{"a WAL", script("PRAGMA journal_mode = WAL; CREATE TABLE mine (x)"), "another program's, and was left alone"},
		{"tables of New", func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			require.NoError(t, err)
			_, err = sqlitelru.New(db, nil)
			require.NoError(t, err)
			require.NoError(t, db.Close())
		}, "another program's, and was left alone"},
		{"only an application_id", script("PRAGMA application_id = 7"), "another program's, and was left alone"},
		{"only a user_version", script("PRAGMA user_version = 7"), "another program's, and was left alone"},
		{"a cache of the future", func(t *testing.T, path string) {
			b, err := sqlitelru.Open(path, nil)
			require.NoError(t, err)
			require.NoError(t, sqlitelru.Exec(b, "UPDATE appcache_meta SET version = 2"))
			require.NoError(t, b.Close())
		}, "version 2, and this program knows version 1"},
		{"a cache without its tables", func(t *testing.T, path string) {
			b, err := sqlitelru.Open(path, nil)
			require.NoError(t, err)
			require.NoError(t, sqlitelru.Exec(b, "DELETE FROM appcache_meta"))
			require.NoError(t, b.Close())
		}, "aren't as they were made"},
		{"a cache with a table less", func(t *testing.T, path string) {
			b, err := sqlitelru.Open(path, nil)
			require.NoError(t, err)
			require.NoError(t, sqlitelru.Exec(b, "DROP TABLE appcache_entries"))
			require.NoError(t, b.Close())
		}, "aren't as they were made"},
		{"a cache with a column less", func(t *testing.T, path string) {
			b, err := sqlitelru.Open(path, nil)
			require.NoError(t, err)
			require.NoError(t, sqlitelru.Exec(b, "ALTER TABLE appcache_meta DROP COLUMN version"))
			require.NoError(t, b.Close())
		}, "aren't as they were made"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			tt.make(t, path)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = sqlitelru.Open(path, nil)
			require.ErrorContains(t, err, tt.want)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(before, after), "the file was changed")
			files, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			require.Len(t, files, 1)
		})
	}
	t.Run("an empty file", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		set(t, openFile(t, path, nil), "key", "value")
	})
}

// New leaves tables alone that have the names of ours and aren't.
func TestForeignTables(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"appcache_meta", "appcache_entries", "appcache_recency"} {
		db := openPool(t, filepath.Join(t.TempDir(), "callers.db"))
		_, err := db.ExecContext(t.Context(), fmt.Sprintf("CREATE TABLE %s (x); INSERT INTO %[1]s VALUES (1)", table))
		require.NoError(t, err)
		_, err = sqlitelru.New(db, nil)
		require.ErrorContains(t, err, "aren't as they were made")
		var tables, n int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM sqlite_schema), (SELECT count(*) FROM "+table+")").Scan(&tables, &n))
		require.Equal(t, 1, tables)
		require.Equal(t, 1, n)
	}
}

// Those that make the tables in one file at the same time all get them.
func TestMadeAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for n := range 50 {
			path := filepath.Join(t.TempDir(), fmt.Sprint(n))
			db := openPool(t, path)
			db.SetMaxOpenConns(1)
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			done := make(chan error)
			go func() {
				_, err := sqlitelru.New(db, nil)
				done <- err
			}()
			for range 1 + n%5 { // it needs the connection several times
				synctest.Wait()
				require.NoError(t, conn.Close())
				conn, err = db.Conn(t.Context())
				require.NoError(t, err)
			}
			newBackend(t, openPool(t, path), nil)
			require.NoError(t, conn.Close())
			require.NoError(t, <-done)
		}
	})
}

// Those that open a new file at the same time all get it.
func TestOpenedAtTheSameTime(t *testing.T) {
	t.Parallel()
	for range 30 {
		path := filepath.Join(t.TempDir(), "cache.db")
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() {
				b, err := sqlitelru.Open(path, nil)
				if err == nil {
					err = b.Close()
				}
				errs <- err
			}()
		}
		for range cap(errs) {
			require.NoError(t, <-errs)
		}
	}
}

// Open doesn't wait for another process that writes, although there is too much in the file.
func TestOpenDoesntWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cache.db")
		fill(t, openFile(t, path, nil), 100)
		conn := beginOn(t, openPool(t, path), "IMMEDIATE")
		begin := time.Now()
		b := openFile(t, path, &sqlitelru.Options{MaxSize: 10})
		require.Equal(t, begin, time.Now(), "it slept")
		rollback(t, conn)
		require.Len(t, stored(t, b), 100)
	})
}
