package sqlitelru_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

func TestProcessesShareAFile(t *testing.T) {
	t.Parallel()
	const processes = 3
	ops := "1500"
	if raceEnabled {
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

func TestKilledProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	rounds, last := 10, 0
	if raceEnabled {
		rounds = 3
	}
	for range rounds {
		cmd := child(t, "store", path, strconv.Itoa(last+1))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for kill := last + 20 + last%37; lines.Scan(); {
			n, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)
			if last = n; last == kill {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.ErrorContains(t, cmd.Wait(), "killed")

		b, err := sqlitelru.Open(path, nil)
		require.NoError(t, err)
		verdict, err := sqlitelru.Query(b, "PRAGMA integrity_check")
		require.NoError(t, err)
		require.Equal(t, "ok", verdict)
		require.NoError(t, sqlitelru.Check(b))
		for n := 1; n <= last; n++ {
			requireHit(t, b, strconv.Itoa(n), strings.Repeat(strconv.Itoa(n)+" ", n%500))
		}
		require.NoError(t, b.Close())
	}
	require.Greater(t, last, 20*rounds)
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
		{"too soon", func(t *testing.T, r *sqlitelru.Backend) { time.Sleep(time.Second / 2); requireMiss(t, r, "x") }, "b"},
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
				requireHit(t, reader, "a", "1")
				tt.then(t, reader)
				set(t, writer, "c", "1")
				require.ElementsMatch(t, []string{tt.survivor, "c"}, stored(t, writer))
			})
		})
	}
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
		set(t, b, "new "+strconv.Itoa(n), "value")
	}
	require.NoError(t, sqlitelru.Check(b))
	require.Len(t, stored(t, b), 8*2+2, "8 keys of two words and 2 of one")
	requireHit(t, b, "1500", "value")
	requireHit(t, b, "1499", "value")
	requireMiss(t, b, "1498")
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
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(12<<20))
	vacuum, err := sqlitelru.Query(b, "PRAGMA auto_vacuum")
	require.NoError(t, err)
	require.EqualValues(t, 2, vacuum, "it can't be chosen later")
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
