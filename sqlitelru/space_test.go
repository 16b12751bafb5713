package sqlitelru_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/goappcache/appcache/sqlitelru"
)

// fillWith is fill with values of a size.
func fillWith(t testing.TB, b *sqlitelru.Backend, n, size int) {
	t.Helper()
	fill(t, b, n)
	require.NoError(t, sqlitelru.Exec(b, fmt.Sprintf(`UPDATE appcache_entries SET value = zeroblob(%d);
		UPDATE appcache_meta SET bytes = (SELECT sum(length(key) + length(value)) FROM appcache_entries)`, size)))
}

// pages returns how many pages a file has, and how many of them are free.
func pages(t testing.TB, b *sqlitelru.Backend) (all, free int64) {
	t.Helper()
	n, err := sqlitelru.Query(b, "PRAGMA page_count")
	require.NoError(t, err)
	m, err := sqlitelru.Query(b, "PRAGMA freelist_count")
	require.NoError(t, err)
	return n.(int64), m.(int64)
}

// A file that was large and needn't be any more gets smaller with the writes to come.
func TestFileGetsSmaller(t *testing.T) {
	t.Parallel()
	clearAll := func(t *testing.T, b *sqlitelru.Backend) { require.NoError(t, b.Clear(t.Context())) }
	nothing := func(*testing.T, *sqlitelru.Backend) {}
	tests := []struct {
		name    string
		n, size int
		opts    sqlitelru.Options // with which it is opened again
		then    func(t *testing.T, b *sqlitelru.Backend)
		want    int64 // bytes of what stays
	}{
		{"Clear", 2500, 1000, sqlitelru.Options{}, clearAll, 0},
		{"Clear of long values", 150, 20_000, sqlitelru.Options{}, clearAll, 0},
		{"a lower MaxSize", 3000, 1000, sqlitelru.Options{MaxSize: 100}, nothing, 100 * 1000},
		{"a lower MaxSize of short values", 10_000, 250, sqlitelru.Options{MaxSize: 1000}, nothing, 1000 * 250},
		{"a lower MaxSize of long values", 700, 5000, sqlitelru.Options{MaxSize: 10}, nothing, 10 * 5000},
		{"a lower MaxBytes", 3000, 1000, sqlitelru.Options{MaxBytes: 300_000}, nothing, 300_000},
		{"InvalidateRaw", 150, 20_000, sqlitelru.Options{}, func(t *testing.T, b *sqlitelru.Backend) {
			for n := range 145 {
				require.NoError(t, b.InvalidateRaw(t.Context(), strconv.Itoa(1+n)))
			}
		}, 5 * 20_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "cache.db")
			b, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: tt.n})
			require.NoError(t, err)
			fillWith(t, b, tt.n, tt.size)
			require.NoError(t, b.Close())
			size := func() int64 {
				info, err := os.Stat(path)
				require.NoError(t, err)
				return info.Size()
			}
			before := size()
			require.Greater(t, before, int64(2_500_000))

			b = openFile(t, path, &tt.opts)
			tt.then(t, b)
			// A file that gets smaller by 64 pages, and a cache by 64 entries, with each write.
			for range before/4096/64 + int64(tt.n)/64 + 2*64 {
				had, _ := pages(t, b)
				set(t, b, "new", "value")
				has, _ := pages(t, b)
				require.LessOrEqual(t, had-has, int64(64+1), "at a time, one of them a pointer map")
			}
			require.NoError(t, sqlitelru.Check(b))
			all, free := pages(t, b)
			require.LessOrEqual(t, free, max(256, all/4))
			require.Less(t, size(), tt.want*2+1<<20+100_000)
			wal, err := os.Stat(path + "-wal")
			require.NoError(t, err)
			require.Less(t, wal.Size(), int64(2<<20))
			requireHit(t, b, "new", "value")
			if tt.want > 0 {
				_, found, err := b.GetRaw(t.Context(), strconv.Itoa(tt.n))
				require.NoError(t, err)
				require.True(t, found, "the latest is gone")
			}
		})
	}
}

// What a steady cache frees it needs again, and so its file isn't made smaller.
func TestSteadyFileKeepsItsPages(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 300, MaxBytes: 3_000_000})
	most, value := int64(0), make([]byte, 30_000)
	for n := range 800 {
		require.NoError(t, b.SetRaw(t.Context(), strconv.Itoa(n), value[:n*7919%len(value)], 0))
		if n%5 == 0 {
			require.NoError(t, b.InvalidateRaw(t.Context(), strconv.Itoa(n-n%40)))
		}
		all, _ := pages(t, b)
		require.GreaterOrEqual(t, all, most, n)
		most = all
	}
	require.Greater(t, most, int64(700))
	require.NoError(t, sqlitelru.Check(b))
}

// More than 1 MiB that is free stays, too, when it is less than a quarter.
func TestLargeFileKeepsSomePages(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	fillWith(t, b, 500, 20_000)
	before, _ := pages(t, b)
	for n := range 70 {
		require.NoError(t, b.InvalidateRaw(t.Context(), strconv.Itoa(1+n)))
	}
	for range 2 * 64 {
		set(t, b, "new", "value")
	}
	all, free := pages(t, b)
	require.Equal(t, before, all)
	require.Greater(t, free, int64(256))
}

// The slots of entries that are gone are used again, also those that another process has freed.
func TestSlotsAreUsedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	writer, remover := openFile(t, path, nil), openFile(t, path, nil)
	for n := range 600 {
		key := strconv.Itoa(n)
		set(t, writer, key, "value")
		if n >= 100 {
			require.NoError(t, remover.InvalidateRaw(t.Context(), strconv.Itoa(n-n%100)))
			require.NoError(t, remover.InvalidateRaw(t.Context(), strconv.Itoa(n-100)))
		}
	}
	require.NoError(t, sqlitelru.Check(writer))
	slots, err := sqlitelru.Query(writer, "SELECT slots FROM appcache_meta")
	require.NoError(t, err)
	require.Less(t, slots, int64(200))
	for range 200 {
		set(t, writer, "its own", "value")
		require.NoError(t, writer.InvalidateRaw(t.Context(), "its own"))
	}
	again, err := sqlitelru.Query(writer, "SELECT slots FROM appcache_meta")
	require.NoError(t, err)
	require.LessOrEqual(t, again, slots.(int64)+1)
}

// What one process remembers as free may be in use by another, or gone.
func TestSlotsThatAnotherProcessTook(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	one, two := openFile(t, path, nil), openFile(t, path, nil)
	setAll := func(b *sqlitelru.Backend, name string) {
		for n := range 100 {
			set(t, b, name+strconv.Itoa(n), name)
		}
	}
	setAll(one, "a")
	setAll(one, "b")
	for n := range 100 {
		require.NoError(t, one.InvalidateRaw(t.Context(), "a"+strconv.Itoa(n)))
	}
	setAll(two, "c") // in the slots that the first has freed
	slots, err := sqlitelru.Query(two, "SELECT slots FROM appcache_meta")
	require.NoError(t, err)
	require.EqualValues(t, 200, slots)
	setAll(one, "d")
	require.NoError(t, sqlitelru.Check(one))
	requireHit(t, one, "c7", "c")

	for n := range 100 {
		require.NoError(t, one.InvalidateRaw(t.Context(), "d"+strconv.Itoa(n)))
	}
	require.NoError(t, two.Clear(t.Context()))
	setAll(one, "e")
	require.NoError(t, sqlitelru.Check(one))
}

// lookedAt returns how many pages the connection of b has looked at.
func lookedAt(t testing.TB, b *sqlitelru.Backend) int {
	t.Helper()
	hit, err := sqlitelru.Status(b, sqlite.DBStatusCacheHit)
	require.NoError(t, err)
	missed, err := sqlitelru.Status(b, sqlite.DBStatusCacheMiss)
	require.NoError(t, err)
	return hit + missed
}

// After a Set that failed an eviction needs no more than before it: all entries aren't looked through again.
func TestCostAfterAFailure(t *testing.T) {
	t.Parallel()
	const n = 25_000
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: n})
	fill(t, b, n)
	cost := func(key string) int {
		before := lookedAt(t, b)
		set(t, b, key, "value")
		return lookedAt(t, b) - before
	}
	set(t, b, "a", "value")
	usual := cost("b")
	require.NoError(t, sqlitelru.Exec(b, "PRAGMA max_page_count = 1"))
	requireCode(t, 13, b.SetRaw(t.Context(), "c", make([]byte, 100_000), 0))
	require.NoError(t, sqlitelru.Exec(b, "PRAGMA max_page_count = 100000"))
	require.LessOrEqual(t, cost("d"), usual+5)
	requireMiss(t, b, "3")
	requireHit(t, b, "4", "value")
	require.NoError(t, sqlitelru.Check(b))
}

// With sixteen times the entries an operation looks at no more than twice the pages: nothing is counted or
// looked through for each, and to open a file isn't to read it.
func TestCostIsFlat(t *testing.T) {
	t.Parallel()
	cost := func(t *testing.T, entries int) map[string]int {
		t.Helper()
		opts := &sqlitelru.Options{MaxSize: entries}
		path := filepath.Join(t.TempDir(), "cache.db")
		b, err := sqlitelru.Open(path, opts)
		require.NoError(t, err)
		fill(t, b, entries)
		require.NoError(t, sqlitelru.Exec(b, "UPDATE appcache_entries SET due = 9000000000000000000, expires = 9000000000000000000"))
		require.NoError(t, b.Close())

		b = openFile(t, path, opts)
		pages := map[string]int{"Open": lookedAt(t, b)}
		for _, op := range []struct {
			name string
			do   func(n string)
		}{
			{"a hit", func(n string) { requireHit(t, b, n, "value") }},
			{"a miss", func(n string) { requireMiss(t, b, "x"+n) }},
			{"an overwrite", func(n string) { set(t, b, n, "longer value") }},
			{"an overwrite of the same length", func(n string) { set(t, b, n, "LONGER VALUE") }},
			{"a new key", func(n string) { set(t, b, "new "+n, "value") }},
			{"Invalidate", func(n string) { require.NoError(t, b.InvalidateRaw(t.Context(), "new "+n)) }},
		} {
			before := lookedAt(t, b)
			for n := range entries / 16 { // so many that all of them are looked through for new keys, once
				op.do(strconv.Itoa(entries - n))
			}
			pages[op.name] = (lookedAt(t, b) - before) / (entries / 16)
		}
		require.NoError(t, sqlitelru.Check(b))
		return pages
	}
	synctest.Test(t, func(t *testing.T) { // in which no second passes, after which notes would be written
		few := 1250
		if raceEnabled {
			few = 160
		}
		small, large := cost(t, few), cost(t, 16*few)
		for name, pages := range large {
			require.LessOrEqual(t, pages, 2*small[name], "%s: %v, %v", name, large, small)
		}
	})
}

// Neither a small file gets smaller, nor the caller's database.
func TestWhatKeepsItsPages(t *testing.T) {
	t.Parallel()
	small := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	callers := newBackend(t, openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=auto_vacuum(2)"), nil)
	for b, size := range map[*sqlitelru.Backend]int{small: 900_000, callers: 3_000_000} {
		require.NoError(t, b.SetRaw(t.Context(), "key", make([]byte, size), 0))
		before, _ := pages(t, b)
		require.NoError(t, b.InvalidateRaw(t.Context(), "key"))
		for range 2 * 64 {
			set(t, b, "key", "value")
		}
		after, free := pages(t, b)
		require.Equal(t, before, after)
		require.Greater(t, free, before/4)
	}
}

// The first write after a file was opened makes it smaller, for there may not be many.
func TestFirstWriteGivesBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, nil)
	require.NoError(t, err)
	fillWith(t, b, 3000, 1000)
	require.NoError(t, sqlitelru.Exec(b, "DELETE FROM appcache_entries WHERE id > 10; DELETE FROM appcache_recency"))
	require.NoError(t, b.Close())
	b = openFile(t, path, nil)
	before, _ := pages(t, b)
	require.NoError(t, b.InvalidateRaw(t.Context(), "absent"))
	after, _ := pages(t, b)
	require.Less(t, after, before)
	require.NoError(t, b.Clear(t.Context()))
}

// Where another process frees the slots one by one, they aren't looked for each time.
func TestSlotsAreNotLookedForEachTime(t *testing.T) {
	t.Parallel()
	const entries = 20_000 // in 41 pages of recency
	path := filepath.Join(t.TempDir(), "cache.db")
	b, other := openFile(t, path, &sqlitelru.Options{MaxSize: entries}), openFile(t, path, &sqlitelru.Options{MaxSize: entries})
	fill(t, b, entries)
	before := lookedAt(t, b)
	for n := range 100 {
		require.NoError(t, other.InvalidateRaw(t.Context(), fmt.Sprint(1+n)))
		set(t, b, fmt.Sprint("new ", n), "value")
	}
	require.Less(t, (lookedAt(t, b)-before)/100, 20)
	require.NoError(t, sqlitelru.Check(b))
}
