package sqlitelru_test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

// model is an LRU cache as simple as can be, to compare with.
type model struct {
	maxSize, maxBytes int
	entries           map[string]*modelEntry
	clock             int
}

type modelEntry struct {
	value   string
	expires time.Time // zero: never
	used    int
}

func (e *modelEntry) expired() bool { return !e.expires.IsZero() && !time.Now().Before(e.expires) }

func (m *model) get(key string) (string, bool) {
	e := m.entries[key]
	if e == nil || e.expired() {
		return "", false
	}
	m.clock++
	e.used = m.clock
	return e.value, true
}

func (m *model) set(key, value string, ttl time.Duration) (ok bool) {
	if m.maxBytes > 0 && len(key)+len(value) > m.maxBytes {
		return false
	}
	delete(m.entries, key)
	for len(m.entries)+1 > m.maxSize || m.maxBytes > 0 && m.bytes()+len(key)+len(value) > m.maxBytes {
		m.evict()
	}
	m.clock++
	e := &modelEntry{value: value, used: m.clock}
	if ttl > 0 {
		e.expires = time.Now().Add(ttl)
	}
	m.entries[key] = e
	return true
}

func (m *model) bytes() (n int) {
	for key, e := range m.entries {
		n += len(key) + len(e.value)
	}
	return n
}

func (m *model) evict() {
	victim := ""
	for key, e := range m.entries {
		v := m.entries[victim]
		if v == nil || goesBefore(e, v) {
			victim = key
		}
	}
	delete(m.entries, victim)
}

func goesBefore(a, b *modelEntry) bool {
	switch {
	case a.expired() && b.expired():
		return a.expires.Before(b.expires)
	case a.expired() != b.expired():
		return a.expired()
	default:
		return a.used < b.used
	}
}

// In a caller's database reads go on while all slots are looked through for an eviction. What they read then isn't
// evicted.
func TestReadsDuringAnEviction(t *testing.T) {
	t.Parallel()
	n := 200_000
	if raceEnabled {
		n = 20_000
	}
	path := filepath.Join(t.TempDir(), "callers.db") + "?_pragma=journal_mode(wal)&_pragma=synchronous(off)"
	opts := &sqlitelru.Options{MaxSize: n}
	fill(t, newBackend(t, openPool(t, path), opts), n)
	try := func(oldest string) (survived bool) {
		b := newBackend(t, openPool(t, path), opts)
		requireHit(t, b, strconv.Itoa(n), "value")
		done := make(chan error, 1)
		go func() { done <- b.SetRaw(t.Context(), "new "+oldest, []byte("value"), 0) }()
		for len(done) == 0 && sqlitelru.Touches(b) > 0 { // until that is written, which begins it
			runtime.Gosched()
		}
		_, found, err := b.GetRaw(t.Context(), oldest)
		require.NoError(t, err)
		require.NoError(t, <-done)
		_, stays, err := b.GetRaw(t.Context(), oldest)
		require.NoError(t, err)
		return found && stays
	}
	survived := false
	for oldest := 1; oldest <= 20 && !survived; oldest++ {
		survived = try(strconv.Itoa(oldest)) // which it doesn't if it was read too late
	}
	require.True(t, survived)
}

// uniqueTTL returns a TTL whose end is no other entry's, so that the order of eviction is defined.
func (m *model) uniqueTTL(r *rand.Rand) time.Duration {
	ttl := time.Duration(r.Int64N(int64(2 * time.Second))).Truncate(time.Microsecond)
	taken := func(end time.Time) bool {
		for _, e := range m.entries {
			if e.expires.Equal(end) {
				return true
			}
		}
		return false
	}
	for ttl == 0 || taken(time.Now().Add(ttl)) {
		ttl += time.Microsecond
	}
	return ttl
}

// TestAgainstModel compares a million random operations with the model, one by one, in bubbles whose
// clocks stand still but for the sleeps between them. Now and then the backends are closed and made
// again.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, opts *sqlitelru.Options) (open func() []*sqlitelru.Backend)
		opts sqlitelru.Options
		keys int
		ops  int
	}{
		{"a file", onFile, sqlitelru.Options{MaxSize: 20}, 40, 300_000},
		{"a file, by bytes", onFile, sqlitelru.Options{MaxBytes: 3000}, 60, 200_000},
		{"a file, both limits", onFile, sqlitelru.Options{MaxSize: 12, MaxBytes: 2000}, 60, 100_000},
		{"one entry", onFile, sqlitelru.Options{MaxSize: 1}, 3, 30_000},
		{"more than the queue holds", onFile, sqlitelru.Options{MaxSize: 700}, 2600, 200_000},
		{"a caller's memory", onPool(1, ":memory:"), sqlitelru.Options{MaxSize: 20, MaxBytes: 5000}, 40, 70_000},
		{"two on one pool", onPool(2, ""), sqlitelru.Options{MaxSize: 20}, 40, 100_000},
	}
	for seed, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				open := tt.make(t, &tt.opts)
				backends := open()
				m := &model{maxSize: cmp.Or(tt.opts.MaxSize, 10_000), maxBytes: int(tt.opts.MaxBytes), entries: map[string]*modelEntry{}}
				r := rand.New(rand.NewPCG(uint64(seed), 2026))
				if raceEnabled || testing.Short() {
					tt.ops /= 100
				}
				for n := range tt.ops {
					if r.IntN(tt.ops/50) == 0 {
						for _, b := range backends {
							require.NoError(t, sqlitelru.Check(b))
							require.NoError(t, b.Close())
						}
						backends = open()
					}
					compareOne(t, n, r, backends[r.IntN(len(backends))], m, tt.keys)
				}
				for i := range tt.keys {
					key := fmt.Sprint("key ", i)
					value, found, err := backends[0].GetRaw(t.Context(), key)
					require.NoError(t, err)
					want, wantFound := m.get(key)
					require.Equal(t, wantFound, found, key)
					require.Equal(t, want, string(value), key)
				}
				for _, b := range backends {
					require.NoError(t, sqlitelru.Check(b))
					require.NoError(t, b.Close())
				}
			})
		})
	}
}

// onFile opens a file.
func onFile(t *testing.T, opts *sqlitelru.Options) func() []*sqlitelru.Backend {
	path := filepath.Join(t.TempDir(), "cache.db")
	return func() []*sqlitelru.Backend {
		b, err := sqlitelru.Open(path, opts)
		require.NoError(t, err)
		return []*sqlitelru.Backend{b}
	}
}

// onPool makes n backends over one pool.
func onPool(n int, dsn string) func(t *testing.T, opts *sqlitelru.Options) func() []*sqlitelru.Backend {
	return func(t *testing.T, opts *sqlitelru.Options) func() []*sqlitelru.Backend {
		if dsn == "" {
			dsn = filepath.Join(t.TempDir(), "cache.db") + "?_pragma=journal_mode(wal)&_pragma=synchronous(off)"
		}
		db, err := sql.Open("sqlite", dsn)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		if dsn == ":memory:" {
			db.SetMaxOpenConns(1)
		}
		return func() (all []*sqlitelru.Backend) {
			for range n {
				b, err := sqlitelru.New(db, opts)
				require.NoError(t, err)
				all = append(all, b)
			}
			return all
		}
	}
}

// compareOne makes one random operation on both.
func compareOne(t *testing.T, n int, r *rand.Rand, b *sqlitelru.Backend, m *model, keys int) {
	t.Helper()
	key := fmt.Sprint("key ", r.IntN(1+r.IntN(keys))) // some oftener than others
	switch p := r.IntN(1000); {
	case p < 500:
		value, found, err := b.GetRaw(t.Context(), key)
		require.NoError(t, err)
		want, wantFound := m.get(key)
		require.Equal(t, wantFound, found, "op %d: %s", n, key)
		require.Equal(t, want, string(value), "op %d: %s", n, key)
	case p < 900:
		value := bytes.Repeat([]byte{byte(n)}, 80*r.IntN(5)) // of the length of the one before, or not
		if p < 510 {
			value = make([]byte, 2500+r.IntN(2)*7000) // more than a page
		}
		var ttl time.Duration
		if p%3 == 0 {
			ttl = m.uniqueTTL(r)
		}
		ok := m.set(key, string(value), ttl)
		err := b.SetRaw(t.Context(), key, value, ttl)
		require.Equal(t, ok, err == nil, "op %d: %v", n, err)
	case p < 940:
		delete(m.entries, key)
		require.NoError(t, b.InvalidateRaw(t.Context(), key))
	case p < 941 && n%(keys/2) == 0:
		clear(m.entries)
		require.NoError(t, b.Clear(t.Context()))
	default:
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
	}
}

// An entry is evicted though all are read all the time, and the one to be stored is among them.
func TestEvictionOfWhatIsRead(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(off)")
	b := newBackend(t, db, &sqlitelru.Options{MaxBytes: 100})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range cap(done) {
		go func() {
			for {
				_, _, errA := b.GetRaw(t.Context(), "a")
				_, _, errB := b.GetRaw(t.Context(), "b")
				if err := errors.Join(errA, errB); err != nil || ctx.Err() != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range 100 {
		set(t, b, "a", "1")
		set(t, b, "b", "1")
		time.Sleep(time.Millisecond) // in which they are read
		set(t, b, "a", strings.Repeat("x", 99))
	}
	cancel()
	for range cap(done) {
		require.NoError(t, <-done)
	}
}

// The only entry is evicted though it is read all the time.
func TestEvictionBesideReads(t *testing.T) {
	t.Parallel()
	db := openPool(t, filepath.Join(t.TempDir(), "callers.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(off)")
	b := newBackend(t, db, &sqlitelru.Options{MaxSize: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sqlitelru.Touch(b, 1)
		}
	}()
	rounds := 2000
	if raceEnabled {
		rounds = 200
	}
	for n := range rounds {
		set(t, b, fmt.Sprint(n), "value")
	}
	cancel()
	<-done
}

// Of a very large cache 65,536 slots are remembered, as free or as the next to go.
func TestRememberedSlotsAreBounded(t *testing.T) {
	t.Parallel()
	for blob, want := range map[string][2]int{"zeroblob(4000)": {2, 65_536}, "randomblob(4000)": {65_536, 0}} {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
		set(t, b, "a", "1")
		set(t, b, "b", "1")
		require.NoError(t, sqlitelru.Exec(b, `UPDATE appcache_meta SET slots = 1199999;
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2399)
			INSERT INTO appcache_recency SELECT i, `+blob+" FROM n"))
		require.NoError(t, sqlitelru.LookThrough(b))
		queue, free := sqlitelru.Remembered(b)
		require.Equal(t, want[0], queue)
		require.LessOrEqual(t, free, 65_536)
		require.NoError(t, b.InvalidateRaw(t.Context(), "a"))
		_, free = sqlitelru.Remembered(b)
		require.LessOrEqual(t, free, 65_536)
	}
}
