package sqlitelru_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

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

// An index that is damaged may lead to the row of another key, or to none. That is an error, and never its value or a
// miss.
func TestDamagedIndex(t *testing.T) {
	t.Parallel()
	for _, row := range []byte{3, 77} {
		damageIndex(t, row)
	}
}

// damageIndex has the index say that a key is in another row than it is.
func damageIndex(t *testing.T, row byte) {
	t.Helper()
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
	content[at+7] = row
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

// A file that something else has written over is an error, and never a miss.
func TestOverwrittenFile(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(b *sqlitelru.Backend) error{
		"GetRaw":        func(b *sqlitelru.Backend) error { _, _, err := b.GetRaw(t.Context(), "key"); return err },
		"SetRaw":        func(b *sqlitelru.Backend) error { return b.SetRaw(t.Context(), "key", nil, 0) },
		"InvalidateRaw": func(b *sqlitelru.Backend) error { return b.InvalidateRaw(t.Context(), "key") },
	} {
		path := filepath.Join(t.TempDir(), "cache.db")
		b := openFile(t, path, nil)
		set(t, b, "key", "value")
		_, err := sqlitelru.Query(b, "PRAGMA wal_checkpoint(TRUNCATE)")
		require.NoError(t, err)
		forgetPages(t, b)
		require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("Dear diary\n", 5000)), 0o600))
		err = call(b)
		requireCode(t, 26, err) // SQLITE_NOTADB
		require.ErrorContains(t, err, "may be deleted", name)
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

// What can't be an entry of ours is an error, and never a miss or a hit.
func TestImpossibleEntries(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{"value = 7", "value = 'text'", "id = -id"} {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
		set(t, b, "key", "value")
		require.NoError(t, sqlitelru.Exec(b, "UPDATE appcache_entries SET "+damage))
		_, _, err := b.GetRaw(t.Context(), "key")
		require.ErrorContains(t, err, "contradict each other", damage)
	}
}

// Numbers that can't be right are an error of the Set that comes across them.
func TestImpossibleNumbers(t *testing.T) {
	t.Parallel()
	for _, damage := range []string{
		"UPDATE appcache_meta SET entries = 'many'",
		"UPDATE appcache_meta SET slots = 499; UPDATE appcache_recency SET used = randomblob(4000)", // none of them is free
	} {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
		set(t, b, "a", "1")
		require.NoError(t, sqlitelru.Exec(b, damage))
		require.ErrorContains(t, b.SetRaw(t.Context(), "b", nil, 0), "contradict each other", damage)
	}
}

// An entry that is noted as used and isn't there is an error, and not one that was evicted.
func TestEntryToEvictIsMissing(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 1})
	set(t, b, "a", "1")
	require.NoError(t, sqlitelru.Exec(b, "DELETE FROM appcache_entries"))
	require.ErrorContains(t, b.SetRaw(t.Context(), "b", nil, 0), "contradict each other")
}
