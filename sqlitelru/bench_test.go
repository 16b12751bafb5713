package sqlitelru_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/sqlitelru"
)

// The benchmarks compare three: this package ("ours"), the Python original's SQL in Go ("naive"), and
// what no cache on this driver can beat by much, a plain SELECT prepared with database/sql ("select").
// Compare them within one run, and take many runs, for which -count interleaves them:
//
//	go test -run xxx -bench . -benchtime 200ms -count 10 ./sqlitelru
const benchEntries = 10_000

var benchValue = bytes.Repeat([]byte("0123456789abcdef"), 64)

func benchKey(i int) string { return fmt.Sprintf("appcache/users/%d/likes", i) }

// contender is what is measured.
type contender interface {
	GetRaw(ctx context.Context, key string) ([]byte, bool, error)
	SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error
	fill(tb testing.TB)
}

type ours struct{ *sqlitelru.Backend }

func (o ours) fill(tb testing.TB) {
	for i := range benchEntries {
		require.NoError(tb, o.SetRaw(tb.Context(), benchKey(i), benchValue, 0))
	}
}

var benchPlaces = []struct {
	name string
	dsn  func(tb testing.TB, pragmas string) string
	ours func(tb testing.TB) *sqlitelru.Backend
}{
	{
		name: "memory",
		dsn:  func(testing.TB, string) string { return fmt.Sprintf("file:/bench%d?vfs=memdb", rand.Int64()) },
		ours: func(tb testing.TB) *sqlitelru.Backend {
			b, err := sqlitelru.New(nil, &sqlitelru.Options{MaxSize: benchEntries})
			require.NoError(tb, err)
			require.NoError(tb, b.Clear(tb.Context()))
			return b
		},
	},
	{
		name: "file",
		dsn: func(tb testing.TB, pragmas string) string {
			return "file:" + filepath.Join(tb.TempDir(), "cache.db") + "?_pragma=journal_mode(wal)&_pragma=synchronous(normal)"
		},
		ours: func(tb testing.TB) *sqlitelru.Backend {
			b, err := sqlitelru.Open(filepath.Join(tb.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: benchEntries})
			require.NoError(tb, err)
			tb.Cleanup(func() { _ = b.Close() })
			return b
		},
	},
}

func compare(b *testing.B, run func(b *testing.B, c contender), only ...string) {
	for _, place := range benchPlaces {
		for _, who := range only {
			b.Run(place.name+"/"+who, func(b *testing.B) {
				var c contender
				switch who {
				case "ours":
					c = ours{place.ours(b)}
				case "caller's":
					db := openDB(b, place.dsn(b, ""))
					backend, err := sqlitelru.New(db, nil)
					require.NoError(b, err)
					c = ours{backend}
				case "naive":
					c = newNaive(b, place.dsn(b, ""), benchEntries)
				case "select":
					c = newPlain(b, place.dsn(b, ""))
				}
				c.fill(b)
				b.ReportAllocs()
				b.ResetTimer()
				run(b, c)
			})
		}
	}
}

func BenchmarkGetHit(b *testing.B) {
	compare(b, func(b *testing.B, c contender) {
		for b.Loop() {
			value, found, err := c.GetRaw(b.Context(), benchKey(rand.IntN(benchEntries)))
			if err != nil || !found || len(value) != len(benchValue) {
				b.Fatal(len(value), found, err)
			}
		}
	}, "ours", "caller's", "naive", "select")
}

func BenchmarkOverwrite(b *testing.B) {
	compare(b, func(b *testing.B, c contender) {
		for b.Loop() {
			if err := c.SetRaw(b.Context(), benchKey(rand.IntN(benchEntries)), benchValue, 0); err != nil {
				b.Fatal(err)
			}
		}
	}, "ours", "caller's", "naive")
}

func BenchmarkNewKey(b *testing.B) {
	compare(b, func(b *testing.B, c contender) {
		i := benchEntries
		for b.Loop() {
			if err := c.SetRaw(b.Context(), benchKey(i), benchValue, 0); err != nil {
				b.Fatal(err)
			}
			i++
		}
	}, "ours", "caller's", "naive")
}

// BenchmarkSizes shows that nothing depends much on how many entries there are, of 100 bytes, in a file.
func BenchmarkSizes(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		path := filepath.Join(b.TempDir(), "cache.db")
		opts := &sqlitelru.Options{MaxSize: n}
		made, err := sqlitelru.Open(path, opts)
		require.NoError(b, err)
		fillWith(b, made, n, 100)
		require.NoError(b, made.Close())
		value := make([]byte, 100)
		run := func(what string, op func(b *testing.B, backend *sqlitelru.Backend)) {
			b.Run(fmt.Sprintf("%s of %d", what, n), func(b *testing.B) {
				b.ReportAllocs()
				backend := openFile(b, path, opts)
				for b.Loop() {
					op(b, backend)
				}
			})
		}
		run("open", func(b *testing.B, _ *sqlitelru.Backend) {
			backend, err := sqlitelru.Open(path, opts)
			require.NoError(b, err)
			require.NoError(b, backend.Close())
		})
		run("get", func(b *testing.B, backend *sqlitelru.Backend) {
			if _, found, err := backend.GetRaw(b.Context(), strconv.Itoa(1+rand.IntN(n))); err != nil || !found {
				b.Fatal(found, err)
			}
		})
		run("overwrite", func(b *testing.B, backend *sqlitelru.Backend) {
			if err := backend.SetRaw(b.Context(), strconv.Itoa(1+rand.IntN(n)), value, 0); err != nil {
				b.Fatal(err)
			}
		})
		next := n
		run("new key", func(b *testing.B, backend *sqlitelru.Backend) {
			next++
			if err := backend.SetRaw(b.Context(), strconv.Itoa(next), value, 0); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func openDB(tb testing.TB, dsn string) *sql.DB {
	db, err := sql.Open("sqlite", dsn)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// naive is the Python original's way: a column last_read that each read writes, and a look at the whole
// index for each write.
type naive struct {
	db   *sql.DB
	size int
}

func newNaive(tb testing.TB, dsn string, size int) naive {
	db := openDB(tb, dsn)
	_, err := db.ExecContext(tb.Context(), `CREATE TABLE cache (key TEXT PRIMARY KEY, value BLOB, expiry INTEGER, last_read INTEGER);
		CREATE INDEX expiry ON cache (expiry); CREATE INDEX last_read ON cache (last_read)`)
	require.NoError(tb, err)
	return naive{db, size}
}

func (n naive) fill(tb testing.TB) {
	// Not with SetRaw, which would take a minute.
	tx, err := n.db.BeginTx(tb.Context(), nil)
	require.NoError(tb, err)
	for i := range n.size {
		_, err := tx.ExecContext(tb.Context(), "INSERT INTO cache VALUES (?, ?, NULL, ?)", benchKey(i), benchValue, time.Now().UnixMicro())
		require.NoError(tb, err)
	}
	require.NoError(tb, tx.Commit())
}

func (n naive) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	now := time.Now().UnixMicro()
	if _, err := n.db.ExecContext(ctx, "UPDATE cache SET last_read = ? WHERE key = ?", now, key); err != nil {
		return nil, false, err
	}
	err = n.db.QueryRowContext(ctx, "SELECT value FROM cache WHERE key = ? AND (expiry IS NULL OR expiry > ?)", key, now).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (n naive) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	now := time.Now()
	var expiry any
	if ttl > 0 {
		expiry = now.Add(ttl).UnixMicro()
	}
	if _, err := n.db.ExecContext(ctx, "INSERT OR REPLACE INTO cache VALUES (?, ?, ?, ?)", key, value, expiry, now.UnixMicro()); err != nil {
		return err
	}
	_, err := n.db.ExecContext(ctx, `DELETE FROM cache WHERE key IN (
		SELECT key FROM cache ORDER BY last_read DESC LIMIT -1 OFFSET ?)`, n.size)
	return err
}

// plain only reads and writes.
type plain struct {
	get, set *sql.Stmt
}

func newPlain(tb testing.TB, dsn string) plain {
	db := openDB(tb, dsn)
	_, err := db.ExecContext(tb.Context(), "CREATE TABLE cache (key BLOB PRIMARY KEY, value BLOB)")
	require.NoError(tb, err)
	get, err := db.PrepareContext(tb.Context(), "SELECT value FROM cache WHERE key = ?")
	require.NoError(tb, err)
	set, err := db.PrepareContext(tb.Context(), "INSERT OR REPLACE INTO cache VALUES (?, ?)")
	require.NoError(tb, err)
	return plain{get, set}
}

func (p plain) fill(tb testing.TB) {
	for i := range benchEntries {
		require.NoError(tb, p.SetRaw(tb.Context(), benchKey(i), benchValue, 0))
	}
}

func (p plain) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = p.get.QueryRowContext(context.Background(), []byte(key)).Scan(&value)
	return value, err == nil, err
}

func (p plain) SetRaw(ctx context.Context, key string, value []byte, _ time.Duration) error {
	_, err := p.set.ExecContext(ctx, []byte(key), value)
	return err
}

var _ appcache.RawBackend = (*sqlitelru.Backend)(nil)
