package sqlitelru_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
	t.Run("a relative one", func(t *testing.T) {
		t.Parallel()
		wd, err := os.Getwd()
		require.NoError(t, err)
		path, err := filepath.Rel(wd, filepath.Join(t.TempDir(), "cache.db"))
		require.NoError(t, err)
		openFile(t, path, nil)
		require.FileExists(t, path)
	})
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
		require.Error(t, err)
		var tables, n int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM sqlite_schema), (SELECT count(*) FROM "+table+")").Scan(&tables, &n))
		require.Equal(t, 1, tables)
		require.Equal(t, 1, n)
	}
}

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

// A damaged file is an error that says what to do, never a miss; and when that is done the cache works.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, nil)
	require.NoError(t, err)
	for n := range 200 {
		set(t, b, fmt.Sprint("key ", n), strings.Repeat("x", 500))
	}
	require.NoError(t, b.Close())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 8 * 4096; i < len(content); i++ { // all but the pages with the roots of the tables
		content[i] = 0xa5
	}
	require.NoError(t, os.WriteFile(path, content, 0o600))

	b = openFile(t, path, nil)
	errs, setErrs := 0, 0
	for n := range 200 {
		_, found, err := b.GetRaw(t.Context(), fmt.Sprint("key ", n))
		if err != nil {
			errs++
			requireCode(t, 11, err)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, "may be deleted")
		} else {
			require.True(t, found, "an entry on a damaged page was a miss")
		}
		if err := b.SetRaw(t.Context(), fmt.Sprint("key ", n), nil, 0); err != nil {
			setErrs++
			require.ErrorContains(t, err, "may be deleted")
		}
	}
	require.Greater(t, errs, 100)
	require.Greater(t, setErrs, 100)

	require.NoError(t, os.Remove(path))
	requireMiss(t, b, "key 0")
	set(t, b, "key 0", "value")
	require.FileExists(t, path)
	require.NoError(t, sqlitelru.Check(b))
}

// An index that is damaged may lead to the row of another key. That is an error, and never its value.
func TestDamagedIndex(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, nil)
	require.NoError(t, err)
	for _, key := range []string{"key4", "key5", "key6"} {
		set(t, b, key, "value of "+key)
	}
	require.NoError(t, b.Close())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	at := bytes.Index(content, []byte("\x03\x14\x01key5")) // in the index, and after it the number of the row, 2
	require.Equal(t, byte(2), content[at+7])
	content[at+7] = 3
	require.NoError(t, os.WriteFile(path, content, 0o600))

	b = openFile(t, path, nil)
	for range 2 {
		_, _, err = b.GetRaw(t.Context(), "key5")
		require.ErrorContains(t, err, "contradict each other")
		for _, value := range []string{"VALUE OF KEY5", "longer"} {
			require.ErrorContains(t, b.SetRaw(t.Context(), "key5", []byte(value), 0), "contradict each other")
		}
		require.ErrorContains(t, b.InvalidateRaw(t.Context(), "key5"), "contradict each other")
	}
	requireHit(t, b, "key6", "value of key6")
	require.NoError(t, b.Clear(t.Context()))
	set(t, b, "key5", "value")
	requireHit(t, b, "key5", "value")
}

// A file that is cut off, overwritten or removed while it is open gives hits with what was stored, misses,
// or errors. When what is left of it is removed a backend works again, whether it is made again or not.
func TestFileChangedWhileOpen(t *testing.T) {
	t.Parallel()
	write := func(content string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) }
	}
	truncate := func(size int64) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, size)) }
	}
	remove := func(suffixes ...string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			for _, suffix := range suffixes {
				if err := os.Remove(path + suffix); err != nil {
					require.ErrorIs(t, err, os.ErrNotExist)
				}
			}
		}
	}
	removeAll := remove("", "-wal", "-shm")
	tests := []struct {
		name   string
		change func(t *testing.T, path string)
		fails  bool
	}{
		{"cut off to nothing", truncate(0), true},
		{"cut off in the header", truncate(50), true},
		{"cut off after the header", truncate(4096), true},
		{"cut off in the middle", truncate(50*4096 + 7), true},
		{"overwritten with text", write(strings.Repeat("Dear diary\n", 5000)), true},
		{"overwritten with zeros", write(strings.Repeat("\x00", 100_000)), true},
		{"the file removed", remove(""), false},
		{"all removed", removeAll, false},
		{"another file in its place", func(t *testing.T, path string) {
			remove("")(t, path)
			b, err := sqlitelru.Open(path, nil)
			require.NoError(t, err)
			set(t, b, "5", "another value")
			require.NoError(t, b.Close())
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "cache.db")
			b, err := sqlitelru.Open(path, nil)
			require.NoError(t, err)
			fillWith(t, b, 1200, 2500)
			forgetPages(t, b)
			if tt.name != "another file in its place" {
				_, err = sqlitelru.Query(b, "PRAGMA wal_checkpoint(TRUNCATE)")
				require.NoError(t, err)
			}
			for n := 601; n <= 1200; n += 30 { // a part of it is in memory
				_, found, err := b.GetRaw(t.Context(), strconv.Itoa(n))
				require.NoError(t, err)
				require.True(t, found)
			}
			tt.change(t, path)
			errs := 0
			for n := 1; n <= 1200; n += 10 {
				value, found, err := b.GetRaw(t.Context(), strconv.Itoa(n))
				if err != nil {
					require.False(t, found)
					errs++
				}
				if found && len(value) != 2500 {
					require.Contains(t, []string{"new", "another value"}, string(value))
				}
				if n%3 == 0 {
					err := b.SetRaw(t.Context(), strconv.Itoa(1201-n), []byte("new"), 0)
					if err != nil {
						errs++
					}
				}
			}
			require.Equal(t, tt.fails, errs > 0, errs)
			removeAll(t, path)
			if errs > 0 {
				for n := range 3 {
					if err := b.SetRaw(t.Context(), "key", []byte("value"), 0); err == nil {
						break
					}
					require.Less(t, n, 2, "it doesn't recover")
				}
				requireHit(t, b, "key", "value")
				require.NoError(t, sqlitelru.Check(b))
			}
			require.NoError(t, b.Close())
			removeAll(t, path)
			b = openFile(t, path, nil)
			requireMiss(t, b, "1")
			set(t, b, "1", "value")
			require.NoError(t, sqlitelru.Check(b))
		})
	}
}

// What can't be read is an error, and the next operation makes a new connection, which sees what there is.
func TestWALCutOff(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b := openFile(t, path, nil)
	fillWith(t, b, 1200, 2500)
	forgetPages(t, b)
	require.NoError(t, os.Truncate(path+"-wal", 0))
	_, found, err := b.GetRaw(t.Context(), "600")
	requireCode(t, 10, err) // SQLITE_IOERR
	require.False(t, found)
	set(t, b, "key", "value")
	requireHit(t, b, "key", "value")
	require.NoError(t, sqlitelru.Check(b))
}

func TestDamagedSchema(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, nil)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 100; i < 4096; i++ { // after the header
		content[i] = 0xa5
	}
	require.NoError(t, os.WriteFile(path, content, 0o600))
	_, err = sqlitelru.Open(path, nil)
	requireCode(t, 11, err)
	require.ErrorContains(t, err, "may be deleted")
}

// Tables that something else has written to are an error and no panic, and Clear repairs them.
func TestTablesThatContradictEachOther(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{
		"DELETE FROM appcache_entries",
		"DELETE FROM appcache_recency",
		"UPDATE appcache_recency SET used = x'00'",
		"UPDATE appcache_recency SET used = 'text'",
		"UPDATE appcache_recency SET used = zeroblob(4000)",
		"UPDATE appcache_recency SET block = -block - 1",
		"UPDATE appcache_entries SET id = -id",
		"UPDATE appcache_entries SET value = 7",
		"UPDATE appcache_entries SET key = id",
		"UPDATE appcache_meta SET entries = 'many'",
		"UPDATE appcache_meta SET entries = -5, slots = 0",
		"UPDATE appcache_meta SET entries = 1, slots = 3",
		"UPDATE appcache_meta SET bytes = 1000000",
	} {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 3, MaxBytes: 100})
		for _, key := range []string{"a", "b", "c"} {
			set(t, b, key, "value")
		}
		require.NoError(t, sqlitelru.Exec(b, damage))
		for _, key := range []string{"a", "d", "e"} {
			_, _, _ = b.GetRaw(t.Context(), key)
			_ = b.SetRaw(t.Context(), key, []byte("longer value"), 0)
			_ = b.InvalidateRaw(t.Context(), "b")
		}
		require.NoError(t, b.Clear(t.Context()), damage)
		require.NoError(t, sqlitelru.Check(b), damage)
		for _, key := range []string{"a", "b", "c", "d"} {
			set(t, b, key, "value")
		}
		require.NoError(t, sqlitelru.Check(b), damage)
	}
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
