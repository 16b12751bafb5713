package sqlitelru_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/sqlitelru"
)

func TestProcessesShareAFile(t *testing.T) {
	t.Parallel()
	const processes = 4
	ops := "1500"
	if raceEnabled || testing.Short() {
		ops = "150"
	}
	path := filepath.Join(t.TempDir(), "cache.db") // they make it at the same time, too
	done := make(chan error, processes)
	for range processes {
		cmd := child(t, "share", path, ops)
		require.NoError(t, cmd.Start())
		go func() { done <- cmd.Wait() }()
	}
	b := openFile(t, path, &sqlitelru.Options{MaxSize: sharedLimit})
	for ended := 0; ended < processes; {
		require.NoError(t, sqlitelru.Check(b)) // the limit among others
		select {
		case err := <-done:
			require.NoError(t, err)
			ended++
		case <-time.After(20 * time.Millisecond):
		}
	}
	require.NoError(t, sqlitelru.Check(b))
	require.Len(t, stored(t, b), 2*sharedLimit, "two words each")
}

// Two processes write to a file until they are killed. After that it is whole, what they said they had
// stored is there or evicted, and what was evicted is what was oldest.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	rounds := 100
	if raceEnabled || testing.Short() {
		rounds = 10
	}
	names, last := []string{"a", "b"}, []int{0, 0} // said to be stored
	var beside *sqlitelru.Backend
	for round := range rounds {
		var cmds []*exec.Cmd
		var outs []*bufio.Scanner
		for i, name := range names {
			cmd := child(t, "store", path, name, strconv.Itoa(last[i]+1))
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			cmds, outs = append(cmds, cmd), append(outs, bufio.NewScanner(out))
		}
		ended := make(chan error, len(names))
		for i := range names {
			go func() {
				var err error
				for kill := last[i] + 20 + (7*round+13*i)%37; err == nil && outs[i].Scan(); {
					if last[i], err = strconv.Atoi(outs[i].Text()); last[i] == kill {
						time.Sleep(time.Duration(round%7) * time.Millisecond / 3) // to get into the next ones
						for _, cmd := range cmds {
							_ = cmd.Process.Kill() // the other one may have ended
						}
					}
				}
				ended <- err
			}()
		}
		for range names {
			require.NoError(t, <-ended)
		}
		for _, cmd := range cmds {
			require.ErrorContains(t, cmd.Wait(), "killed")
		}

		b, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: killedLimit})
		require.NoError(t, err)
		verdict, err := sqlitelru.Query(b, "PRAGMA integrity_check")
		require.NoError(t, err)
		require.Equal(t, "ok", verdict)
		require.NoError(t, sqlitelru.Check(b))
		keys := stored(t, b)
		evicted := false
		for i, name := range names {
			there := false
			for n := 1; n <= last[i]+1; n++ {
				key := name + strconv.Itoa(n)
				value, found, err := b.GetRaw(t.Context(), key)
				require.NoError(t, err)
				require.False(t, there && !found && n <= last[i], "%s is gone, and what is older isn't", key)
				there = found
				evicted = evicted || !found && n <= last[i]
				if found {
					require.Equal(t, killedValue(name, n), string(value))
				}
			}
			value, found, err := b.GetRaw(t.Context(), name)
			require.NoError(t, err)
			if found {
				n, err := strconv.Atoi(string(value))
				require.NoError(t, err)
				require.GreaterOrEqual(t, n, last[i], "an old value is back")
			}
			evicted = evicted || !found && last[i] > 0
		}
		require.True(t, len(keys) == killedLimit || !evicted, "%d entries, and some were evicted", len(keys))
		// Else the uses of the last second may be missing in the file, and those before them not.
		require.NoError(t, sqlitelru.Flush(b))
		if round%2 == 0 {
			b, beside = beside, b // it stays open beside the next two
		}
		if b != nil {
			require.NoError(t, b.Close())
		}
	}
	require.NoError(t, beside.Close())
	require.Greater(t, last[0]+last[1], 20*rounds)
}

// A process that is killed in a transaction leaves nothing of it, and no lock.
func TestProcessKilledInATransaction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b := openFile(t, path, nil)
	fill(t, b, 500)
	cmd := child(t, "lock", path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)

	requireHit(t, b, "7", "value")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.SetRaw(ctx, "8", []byte("new"), 0), context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() { done <- b.SetRaw(t.Context(), "8", []byte("new"), 0) }()
	select {
	case err := <-done:
		require.FailNow(t, "it didn't wait", "%v", err)
	case <-time.After(2 * time.Second):
	}
	require.NoError(t, cmd.Process.Kill())
	require.NoError(t, <-done)
	require.ErrorContains(t, cmd.Wait(), "killed")
	requireHit(t, b, "7", "value")
	requireHit(t, b, "8", "new")
	require.NoError(t, sqlitelru.Check(b))
	verdict, err := sqlitelru.Query(b, "PRAGMA integrity_check")
	require.NoError(t, err)
	require.Equal(t, "ok", verdict)
}

func TestLoweredLimit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: 1500})
	require.NoError(t, err)
	fill(t, b, 1500)
	require.NoError(t, b.Close())

	b = openFile(t, path, &sqlitelru.Options{MaxSize: 10})
	require.Len(t, stored(t, b), 500, "Open evicts 1000 and not more")
	for n := range 8 {
		set(t, b, "new "+strconv.Itoa(n/2), "value") // to overwrite one goes on with it, too
	}
	require.NoError(t, sqlitelru.Check(b))
	require.Len(t, stored(t, b), 4*2+6, "4 keys of two words and 6 of one")
	requireHit(t, b, "1500", "value")
	requireHit(t, b, "1495", "value")
	requireMiss(t, b, "1494")
}

func TestLoweredLimitOfBytes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, err := sqlitelru.Open(path, nil)
	require.NoError(t, err)
	fill(t, b, 2300) // those that will be left have 9 bytes each
	require.NoError(t, b.Close())

	b = openFile(t, path, &sqlitelru.Options{MaxBytes: 4000})
	require.Len(t, stored(t, b), 1300)
	// It takes the room of 300 others, and so these have to go, whatever the step is.
	set(t, b, "big", strings.Repeat("x", 300*9-3))
	require.Len(t, stored(t, b), 1000+1)
	for n := range 14 {
		set(t, b, "big", strings.Repeat("x", 300*9-4-n)) // 64 of the others go each time
	}
	require.NoError(t, sqlitelru.Check(b))
	requireMiss(t, b, "2100")
	requireHit(t, b, "2200", "value")
}

func TestWALStaysBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b := openFile(t, path, &sqlitelru.Options{MaxSize: 20})
	value := strings.Repeat("x", 256<<10)
	for n := range 250 { // 62 MiB
		set(t, b, strconv.Itoa(n%30), value)
		requireHit(t, b, strconv.Itoa(n%30), value)
	}
	info, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(44<<20))
	require.Greater(t, info.Size(), int64(30<<20), "it is copied into the file too often")
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(12<<20))

	// While somebody reads an old state the WAL can't be begun again. Later it is, and doesn't stay as large as it was.
	conn := beginOn(t, openPool(t, path), "DEFERRED")
	_, err = conn.ExecContext(t.Context(), "SELECT count(*) FROM appcache_meta")
	require.NoError(t, err)
	for n := range 300 {
		set(t, b, strconv.Itoa(n%30), value)
	}
	walSize := func() int64 {
		info, err := os.Stat(path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	require.Greater(t, walSize(), int64(70<<20))
	synctest.Test(t, func(t *testing.T) {
		other := openFile(t, path, &sqlitelru.Options{MaxSize: 20})
		requireHit(t, other, "29", value)
		time.Sleep(time.Second)
		begin := time.Now()
		requireMiss(t, other, "x")
		require.Zero(t, sqlitelru.Touches(other))
		require.Equal(t, begin, time.Now(), "a read slept to cut it")
	})
	rollback(t, conn)
	sqlitelru.CutAgain(b)
	for n := 0; walSize() > 1<<20; n++ {
		require.Less(t, n, 300)
		set(t, b, strconv.Itoa(n%30), value)
	}
	vacuum, err := sqlitelru.Query(b, "PRAGMA auto_vacuum")
	require.NoError(t, err)
	require.EqualValues(t, 2, vacuum, "it can't be chosen later")
	synchronous, err := sqlitelru.Query(b, "PRAGMA synchronous")
	require.NoError(t, err)
	require.EqualValues(t, 1, synchronous, "with 0 a machine that dies damages the file, and with 2 each Set waits for the disk")
}

// TestSeveralStoresInOneProcess uses one file through several connections that know nothing of each other.
func TestSeveralStoresInOneProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	var all []*sqlitelru.Backend
	for range 3 {
		all = append(all, openFile(t, path, &sqlitelru.Options{MaxSize: 30}))
	}
	hammer(t, all...)
}

// hammer uses backends from many goroutines and then checks what is stored.
func hammer(t *testing.T, all ...*sqlitelru.Backend) {
	t.Helper()
	ops := 400
	if raceEnabled {
		ops = 60
	}
	const goroutines = 12
	errs := make(chan error, goroutines)
	for g := range goroutines {
		go func() { errs <- hammerOne(t.Context(), all[g%len(all)], g, ops) }()
	}
	for range goroutines {
		require.NoError(t, <-errs)
	}
	for _, b := range all {
		require.NoError(t, sqlitelru.Check(b))
	}
}

// All databases of a process share one page cache. Up to 15 MiB a cache keeps its pages in it, and doesn't take those
// of the caller's database. In processes of their own, for that of the tests has many databases.
func TestPageCache(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"", filepath.Join(t.TempDir(), "cache.db")} {
		out, err := child(t, "pages", t.TempDir(), file).Output()
		require.NoError(t, err)
		var own, callers int
		_, err = fmt.Sscan(string(out), &own, &callers)
		require.NoError(t, err)
		require.Less(t, own, 20, "of 1700 pages of the cache")
		require.Less(t, callers, 20, "of 250 pages of the caller's")
	}
}

// What doesn't fit the page cache is in the WAL before it is committed.
func TestTransactionLargerThanPageCache(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), &sqlitelru.Options{MaxBytes: 3 << 20})
	_, err := sqlitelru.Query(b, "PRAGMA cache_size = 10")
	require.NoError(t, err)
	value := func(c string, n int) string { return strings.Repeat(c, n) }
	for _, c := range []string{"a", "b", "c"} {
		set(t, b, c, value(c, 2<<20)) // which the one before has to go for
	}
	set(t, b, "c", value("C", 1<<20))
	spilled, err := sqlitelru.Status(b, sqlite.DBStatusCacheSpill)
	require.NoError(t, err)
	require.Positive(t, spilled, "it was only in memory") // 1777 where the process has no other database
	require.ErrorIs(t, b.SetRaw(t.Context(), "d", make([]byte, 3<<20), 0), appcache.ErrTooLarge)
	requireMiss(t, b, "b")
	requireMiss(t, b, "d")
	requireHit(t, b, "c", value("C", 1<<20))
	require.NoError(t, sqlitelru.Check(b))
}

// A limit that is exceeded later, by others whose limit is higher, is reached again by whatever is set.
func TestLimitIsReachedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	narrow, wide := openFile(t, path, &sqlitelru.Options{MaxSize: 10}), openFile(t, path, nil)
	set(t, narrow, "a", "value")
	require.True(t, sqlitelru.IsWithin(narrow))
	fill(t, wide, 500)
	for range 10 {
		set(t, narrow, "a", "value")
	}
	require.NoError(t, sqlitelru.Check(narrow))
}
