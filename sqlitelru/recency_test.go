package sqlitelru_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

// The notes take no more room than that of 131,072, when they can't be written.
func TestNotesAreBounded(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	for id := range int64(150_000) {
		sqlitelru.Touch(b, 1+id)
	}
	require.Equal(t, 131_072, sqlitelru.Touches(b))
	require.NoError(t, b.Clear(t.Context())) // or Close would write them
}

// A note never goes down.
func TestNotesDontGoBack(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: 2})
	set(t, b, "a", "1")
	set(t, b, "b", "1")
	requireHit(t, b, "a", "1")
	sqlitelru.TouchAt(b, sqlitelru.Hint(b, "a"), 1) // by a read that began earlier and took longer
	set(t, b, "c", "1")
	require.Equal(t, []string{"a", "c"}, stored(t, b))
}

// A transaction that fails gives back all that it has taken.
func TestNotesComeBack(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	sqlitelru.Touch(b, 1)
	require.ErrorContains(t, sqlitelru.FailAfterFlushes(b, func() { sqlitelru.Touch(b, 2) }), "failed")
	require.Equal(t, 2, sqlitelru.Touches(b))
}

// The notes are written when the first of them is half a second old, however many others there are.
func TestSteadyReadsAreWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
		set(t, b, "a", "1")
		set(t, b, "b", "1")
		requireHit(t, b, "a", "1")
		time.Sleep(300 * time.Millisecond)
		requireHit(t, b, "b", "1")
		require.Equal(t, 2, sqlitelru.Touches(b))
		time.Sleep(300 * time.Millisecond)
		requireMiss(t, b, "x")
		require.Zero(t, sqlitelru.Touches(b))
	})
}

// However large a cache is, the notes of 65,536 reads are written down.
func TestNotesOfALargeCache(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	synctest.Test(t, func(t *testing.T) { // in which no time passes
		for slots, notes := range map[int64]int64{1 << 10: 8192, 320_000: 20_000, 1 << 22: 65_536} {
			set(t, b, "key", "value")
			require.NoError(t, sqlitelru.Exec(b, fmt.Sprint("UPDATE appcache_meta SET slots = ", slots)))
			require.NoError(t, b.InvalidateRaw(t.Context(), "key"))
			for id := range notes - 1 {
				sqlitelru.Touch(b, 1+id)
			}
			requireMiss(t, b, "key")
			require.EqualValues(t, notes-1, sqlitelru.Touches(b))
			sqlitelru.Touch(b, notes)
			requireMiss(t, b, "key")
			require.Zero(t, sqlitelru.Touches(b))
			require.NoError(t, b.Clear(t.Context()))
		}
	})
}

// However many notes there are, and of however many blocks, each block is written once, those without news aren't, and
// 64 are held at most.
func TestBlocksAreWrittenOnce(t *testing.T) {
	t.Parallel()
	const slots, blocks = 40_000, 80
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxSize: slots})
	fill(t, b, slots)
	flush := func() int64 {
		before, err := sqlitelru.Query(b, "SELECT total_changes()")
		require.NoError(t, err)
		held, err := sqlitelru.FlushHolding(b)
		require.NoError(t, err)
		require.LessOrEqual(t, held, 64)
		after, err := sqlitelru.Query(b, "SELECT total_changes()")
		require.NoError(t, err)
		return after.(int64) - before.(int64)
	}
	for id := int64(1); id <= slots; id += 20 {
		sqlitelru.TouchAt(b, id, slots+id)
	}
	require.EqualValues(t, blocks+1, flush(), "one is for the clock")
	for id := int64(1); id <= slots; id += 20 {
		sqlitelru.TouchAt(b, id, 1)
	}
	require.Zero(t, flush())
	require.NoError(t, sqlitelru.Check(b))
}

// Notes about more blocks than are held at once, in no order, are written all the same.
func TestManyBlocks(t *testing.T) {
	t.Parallel()
	const slots = 33_000
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: slots})
	require.NoError(t, err)
	fill(t, b, slots)
	for n := 1; n <= slots; n += 22 {
		requireHit(t, b, strconv.Itoa(n), "value")
	}
	require.NoError(t, b.Close())
	b = openFile(t, path, &sqlitelru.Options{MaxSize: slots})
	require.NoError(t, sqlitelru.Check(b))
	set(t, b, "new", "value") // the queue is of those that weren't read
	requireMiss(t, b, "2")
	requireHit(t, b, "1", "value")
	requireHit(t, b, "3", "value")
}

// A read doesn't wait to write down what was read, and doesn't try again for 25 ms. That is by the computer's clock, and
// not by the logical one, which may be ahead of it.
func TestReadsDontWaitToWrite(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cache.db")
			b := openFile(t, path, nil)
			sqlitelru.SetClock(b, time.Now().Add(ahead).UnixMicro())
			set(t, b, "key", "value")
			requireHit(t, b, "key", "value")
			require.Equal(t, 1, sqlitelru.Touches(b))
			conn := beginOn(t, openPool(t, path), "IMMEDIATE")
			time.Sleep(2 * time.Second)
			begin := time.Now()
			requireHit(t, b, "key", "value")
			require.Equal(t, begin, time.Now(), "it slept")
			require.Equal(t, 1, sqlitelru.Touches(b))
			rollback(t, conn)
			requireHit(t, b, "key", "value")
			require.Equal(t, 1, sqlitelru.Touches(b), "it is too early")
			time.Sleep(25 * time.Millisecond)
			requireHit(t, b, "key", "value")
			require.Zero(t, sqlitelru.Touches(b), ahead)
		})
	}
}

// A read in a caller's database doesn't wait for a writer, even when the notes are due.
func TestReadsDontWaitForWriters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, openPool(t, filepath.Join(t.TempDir(), "callers.db")), nil)
		set(t, b, "key", "value")
		requireHit(t, b, "key", "value")
		defer sqlitelru.HoldTurn(b)()
		time.Sleep(2 * time.Second)
		requireHit(t, b, "key", "value")
		require.Equal(t, 1, sqlitelru.Touches(b))
	})
}

// Recency that another process has noted is written by its next operation a second later, or by Close.
func TestRecencyBetweenOpens(t *testing.T) {
	t.Parallel()
	const aSecond = time.Second + time.Millisecond
	tests := []struct {
		name     string
		then     func(t *testing.T, reader *sqlitelru.Backend)
		survivor string
	}{
		{"an idle reader keeps its notes", func(*testing.T, *sqlitelru.Backend) { time.Sleep(time.Hour) }, "b"},
		{"too soon", func(t *testing.T, r *sqlitelru.Backend) { time.Sleep(time.Second / 4); requireMiss(t, r, "x") }, "b"},
		{"the next hit", func(t *testing.T, r *sqlitelru.Backend) { time.Sleep(aSecond); requireHit(t, r, "a", "1") }, "a"},
		{"the next miss", func(t *testing.T, r *sqlitelru.Backend) { time.Sleep(aSecond); requireMiss(t, r, "x") }, "a"},
		{"the next Set", func(t *testing.T, r *sqlitelru.Backend) { time.Sleep(aSecond); set(t, r, "a", "2") }, "a"},
		{"Invalidate", func(t *testing.T, r *sqlitelru.Backend) {
			time.Sleep(aSecond)
			require.NoError(t, r.InvalidateRaw(t.Context(), "x"))
		}, "a"},
		{"Close", func(t *testing.T, r *sqlitelru.Backend) { require.NoError(t, r.Close()) }, "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "cache.db")
				writer := openFile(t, path, &sqlitelru.Options{MaxSize: 2})
				set(t, writer, "a", "1")
				set(t, writer, "b", "1")
				reader := openFile(t, path, &sqlitelru.Options{MaxSize: 2})
				sqlitelru.Within(reader)
				requireHit(t, reader, "a", "1")
				tt.then(t, reader)
				set(t, writer, "c", "1")
				require.ElementsMatch(t, []string{tt.survivor, "c"}, stored(t, writer))
			})
		})
	}
}

// Others who write all the time leave moments in between, and in one of them recency is written before a second is over.
func TestRecencyAmongOtherWriters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cache.db")
		b, others := openFile(t, path, nil), openPool(t, path)
		set(t, b, "a", "1")
		requireHit(t, b, "a", "1")
		written := false
		for n := range 73 {
			var conn *sql.Conn
			if n < 70 {
				conn = beginOn(t, others, "IMMEDIATE")
			}
			requireHit(t, b, "a", "1")
			if conn != nil {
				rollback(t, conn)
			}
			written = written || sqlitelru.Touches(b) == 0
			time.Sleep(10 * time.Millisecond)
		}
		require.True(t, written)
	})
}

// The clock of the computer may be put back, also while no process runs.
func TestClockPutBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, path, &sqlitelru.Options{MaxSize: 3})
		sqlitelru.SetClock(b, time.Now().Add(1000*time.Hour).UnixMicro())
		for _, key := range []string{"a", "b", "c"} {
			set(t, b, key, "1")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := openFile(t, path, &sqlitelru.Options{MaxSize: 3})
		requireHit(t, b, "a", "1")
		set(t, b, "d", "1")
		set(t, b, "e", "1")
		require.Equal(t, []string{"a", "d", "e"}, stored(t, b))
		require.NoError(t, sqlitelru.Check(b))
	})
}

// A process that runs on when the clock was put back is ahead of another, which keeps up with what it finds.
func TestClockOfAnotherProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	ahead, b := openFile(t, path, &sqlitelru.Options{MaxSize: 2}), openFile(t, path, &sqlitelru.Options{MaxSize: 2})
	sqlitelru.SetClock(ahead, time.Now().Add(1000*time.Hour).UnixMicro())
	set(t, ahead, "a", "1")
	set(t, ahead, "b", "1")
	set(t, b, "c", "1")
	set(t, ahead, "d", "1")
	require.Equal(t, []string{"c", "d"}, stored(t, b))
	require.NoError(t, sqlitelru.Check(b))
}

// When the clock was wrong stamps may be ahead of it for good, and recency lags no more than else.
func TestRecencyWithAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cache.db")
		opts := &sqlitelru.Options{MaxSize: 100}
		writer := openFile(t, path, opts)
		sqlitelru.SetClock(writer, time.Now().Add(time.Hour).UnixMicro())
		set(t, writer, "a", "1")
		reader := openFile(t, path, opts)
		for n := range 500 { // in which all other entries are new five times
			set(t, writer, strconv.Itoa(n), "1")
			if n%10 == 0 {
				requireHit(t, reader, "a", "1")
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// A clock that was put back stays so, when everything is cleared in between, too.
func TestClearKeepsTheClock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	later := time.Now().Add(1000 * time.Hour).UnixMicro()
	b := openFile(t, path, nil)
	sqlitelru.SetClock(b, later)
	set(t, b, "key", "value")
	require.NoError(t, b.Clear(t.Context()))
	other := openFile(t, path, nil)
	set(t, other, "key", "value")
	clock, err := sqlitelru.Query(other, "SELECT clock FROM appcache_meta")
	require.NoError(t, err)
	require.Greater(t, clock, later)
}
