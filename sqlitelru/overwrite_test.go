package sqlitelru_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

// A value that takes the place of one with as many bytes needs no transaction.
func TestOverwriteIsOneStatement(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	other := openFile(t, path, nil)
	set(t, other, "for ever", "value")
	require.NoError(t, other.SetRaw(t.Context(), "for an hour", []byte("value"), time.Hour))

	b := openFile(t, path, &sqlitelru.Options{MaxSize: 2, MaxBytes: 100})
	sqlitelru.Within(b)
	requireHit(t, b, "for ever", "value")
	requireHit(t, b, "for an hour", "value")
	require.Equal(t, 2, sqlitelru.Touches(b))
	set(t, b, "for ever", "other")
	require.NoError(t, b.SetRaw(t.Context(), "for an hour", []byte("other"), 2*time.Hour))
	requireHit(t, b, "for ever", "other")
	requireHit(t, b, "for an hour", "other")
	require.False(t, sqlitelru.InTransactions(b))
	set(t, b, "for ever", "longer value")
	require.True(t, sqlitelru.InTransactions(b))
	require.NoError(t, sqlitelru.Check(b))
}

// To overwrite an entry is to use it, in one statement too.
func TestOverwritingIsUse(t *testing.T) {
	t.Parallel()
	opts := &sqlitelru.Options{MaxSize: 2}
	for name, b := range map[string]*sqlitelru.Backend{
		"a file": openFile(t, filepath.Join(t.TempDir(), "cache.db"), opts),
		"a pool": newBackend(t, openPool(t, filepath.Join(t.TempDir(), "callers.db")), opts),
		"memory": inMemory(t, opts),
	} {
		set(t, b, "a", "1")
		set(t, b, "b", "1")
		set(t, b, "a", "2")
		set(t, b, "c", "1")
		require.Equal(t, []string{"a", "c"}, stored(t, b), name)
		requireHit(t, b, "a", "2")
	}
}

// What is evicted goes by the TTL that was set last, which is overwritten like the value.
func TestOverwrittenTTL(t *testing.T) {
	t.Parallel()
	const forEver, short, long = 0, time.Second, time.Hour
	tests := []struct {
		name    string
		ttls    []time.Duration
		pause   time.Duration // between them
		evicted string        // after two more seconds: a, when it has expired, or else b, which was used before it
	}{
		{"longer", []time.Duration{short, long}, 0, "b"},
		{"longer twice", []time.Duration{short, short, long}, 600 * time.Millisecond, "b"},
		{"shorter", []time.Duration{long, short}, 0, "a"},
		{"shorter, but longer than at first", []time.Duration{100 * time.Millisecond, long, short}, 0, "a"},
		{"shorter than at first", []time.Duration{short, long, 100 * time.Millisecond}, 0, "a"},
		{"none", []time.Duration{short, forEver}, 0, "b"},
		{"one after none", []time.Duration{forEver, short}, 0, "a"},
		{"none and back", []time.Duration{short, forEver, short}, 0, "a"},
		{"none, and longer", []time.Duration{short, forEver, long}, 0, "b"},
		{"after it had expired", []time.Duration{short, long}, 3 * time.Second, "b"},
		{"after it had expired, again", []time.Duration{short, short}, 3 * time.Second, "a"},
	}
	for _, tt := range tests {
		for name, value := range map[string]func(n int) string{
			"of the same length":  func(n int) string { return strconv.Itoa(n) },
			"of different length": func(n int) string { return strconv.Itoa(1 << (7 * n)) },
		} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 2})
					set(t, b, "b", "1")
					for n, ttl := range tt.ttls {
						time.Sleep(tt.pause)
						require.NoError(t, b.SetRaw(t.Context(), "a", []byte(value(n)), ttl))
						require.NoError(t, sqlitelru.Check(b))
						requireHit(t, b, "a", value(n))
					}
					time.Sleep(2 * time.Second)
					set(t, b, "c", "1")
					require.NotContains(t, stored(t, b), tt.evicted)
					require.NoError(t, sqlitelru.Check(b))
				})
			})
		}
	}
}

// The index isn't changed each time that an entry is overwritten, but when it is due.
func TestDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 2})
		begin := time.Now()
		requireDue := func(want time.Duration) {
			t.Helper()
			due, err := sqlitelru.Query(b, "SELECT due FROM appcache_entries WHERE key = CAST('a' AS BLOB)")
			require.NoError(t, err)
			require.Equal(t, want.String(), time.UnixMicro(due.(int64)).Sub(begin).String())
		}
		set(t, b, "b", "1")
		for n, value := range []string{"1", "2", "longer"} {
			require.NoError(t, b.SetRaw(t.Context(), "a", []byte(value), time.Hour))
			requireDue(time.Hour)
			time.Sleep(time.Duration(n) * time.Minute)
		}
		time.Sleep(time.Hour - 3*time.Minute + time.Second)
		set(t, b, "c", "1") // evicts b, and finds that a is due
		requireDue(time.Hour + time.Minute)
		time.Sleep(time.Hour)
		require.NoError(t, b.SetRaw(t.Context(), "a", []byte("longer"), time.Hour))
		requireDue(2*time.Hour + time.Second + time.Hour)
	})
}

// Of two that have expired the one that did so first goes first, whenever it was due.
func TestFirstExpiredGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 2})
		require.NoError(t, b.SetRaw(t.Context(), "a", []byte("1"), 1*time.Second))
		require.NoError(t, b.SetRaw(t.Context(), "a", []byte("2"), 3*time.Second))
		require.NoError(t, b.SetRaw(t.Context(), "b", []byte("1"), 2*time.Second))
		time.Sleep(5 * time.Second)
		set(t, b, "c", "1")
		require.Equal(t, []string{"a", "c"}, stored(t, b))
	})
}

// Entries that are due and haven't expired hold an eviction up for 1000 of them and no more.
func TestManyAreDue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b := openFile(t, path, &sqlitelru.Options{MaxSize: 2500})
	fill(t, b, 2500)
	require.NoError(t, sqlitelru.Exec(b, `UPDATE appcache_entries SET due = id;
		UPDATE appcache_entries SET expires = 100000 WHERE id = 7;
		UPDATE appcache_entries SET expires = 100 WHERE id = 100;
		UPDATE appcache_entries SET expires = 99999 WHERE id = 1800;
		UPDATE appcache_entries SET due = 2400, expires = 2400 WHERE id = 2400;`))
	next := 0
	for n, want := range []string{"100", "1", "2400", "1800", "7", "2"} {
		next++
		set(t, b, "new "+strconv.Itoa(next), "value")
		requireMiss(t, b, want)
		requireHit(t, b, "4", "value")
		require.Len(t, stored(t, b), 2500+next, "one was evicted, and the new ones are of two words: %d", n)
	}
	require.NoError(t, sqlitelru.Check(b))
}

// An entry that lives for ever isn't in the index of those that are due.
func TestNeverDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 2})
		require.NoError(t, b.SetRaw(t.Context(), "a", nil, time.Second))
		set(t, b, "a", "1")
		set(t, b, "b", "1")
		time.Sleep(2 * time.Second)
		requireHit(t, b, "a", "1")
		set(t, b, "c", "1") // finds that a is due
		due, err := sqlitelru.Query(b, "SELECT count(due) FROM appcache_entries")
		require.NoError(t, err)
		require.Zero(t, due)
	})
}

// An entry that has expired isn't evicted to make room for itself.
func TestExpiredEntryIsOverwritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxBytes: 20})
		require.NoError(t, b.SetRaw(t.Context(), "a", []byte("1"), time.Second))
		set(t, b, "b", "1")
		time.Sleep(2 * time.Second)
		set(t, b, "a", strings.Repeat("x", 18))
		require.Equal(t, []string{"a"}, stored(t, b))
		require.NoError(t, sqlitelru.Check(b))
	})
}
