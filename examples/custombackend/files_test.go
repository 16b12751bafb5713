package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
)

// TestBackend is all of the contract. What follows it is about files.
func TestBackend(t *testing.T) {
	t.Parallel()
	cachetest.TestBackend(t, cachetest.Harness{
		New: func(t testing.TB) appcache.RawBackend { return NewFiles(t.TempDir()) },
		Outage: func(t testing.TB) (b appcache.RawBackend, down, up func()) {
			// What isn't a folder can't answer, whoever runs the test: root may read all files.
			dir := filepath.Join(t.TempDir(), "cache")
			must := func(err error) {
				if err != nil {
					t.Fatal(err)
				}
			}
			must(os.Mkdir(dir, 0o700))
			down = func() { must(os.Rename(dir, dir+".away")); must(os.WriteFile(dir, nil, 0o600)) }
			up = func() { must(os.Remove(dir)); must(os.Rename(dir+".away", dir)) }
			return NewFiles(dir), down, up
		},
	})
}

// newFiles returns a store and the names of the files in its folder.
func newFiles(t *testing.T) (f *Files, names func() []string) {
	dir := t.TempDir()
	return NewFiles(dir), func() (names []string) {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, file := range files {
			names = append(names, file.Name())
		}
		return names
	}
}

// waitExpired waits until the entry is over, without removing it as GetRaw does.
func waitExpired(t *testing.T, f *Files, key string) {
	t.Helper()
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(f.path(key))
		return err == nil && expired(data)
	}, 10*time.Second, time.Millisecond)
}

func TestExpiredEntryGivesItsRoomBack(t *testing.T) {
	t.Parallel()
	f, names := newFiles(t)
	require.NoError(t, f.SetRaw(t.Context(), "key", []byte("value"), time.Millisecond))
	waitExpired(t, f, "key")
	_, found, err := f.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.False(t, found)
	require.Empty(t, names())
}

// Of an entry that has just expired one goroutine's GetRaw removes the file, while another stores a new
// one. The new one must stay.
func TestRemovalSparesNewerEntry(t *testing.T) {
	t.Parallel()
	f, _ := newFiles(t)
	for n := range 300 {
		key := fmt.Sprint("key ", n)
		require.NoError(t, f.SetRaw(t.Context(), key, []byte("old value"), time.Nanosecond))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _, _ = f.GetRaw(t.Context(), key) })
		}
		require.NoError(t, f.SetRaw(t.Context(), key, []byte("new value"), 0))
		wg.Wait()
		value, found, err := f.GetRaw(t.Context(), key)
		require.NoError(t, err)
		require.True(t, found, "round %d", n)
		require.Equal(t, "new value", string(value))
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	f, names := newFiles(t)
	require.NoError(t, f.SetRaw(t.Context(), "over", []byte("value"), time.Millisecond))
	require.NoError(t, f.SetRaw(t.Context(), "hour", []byte("value"), time.Hour))
	require.NoError(t, f.SetRaw(t.Context(), "for ever", []byte("value"), 0))
	waitExpired(t, f, "over")
	require.NoError(t, f.Sweep(t.Context()))
	require.ElementsMatch(t, []string{filepath.Base(f.path("hour")), filepath.Base(f.path("for ever"))}, names())
}

func TestClearSparesOtherFiles(t *testing.T) {
	t.Parallel()
	f, names := newFiles(t)
	for _, name := range []string{"notes.txt", "my.entry", ".entry"} {
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, name), []byte("mine"), 0o600))
	}
	require.NoError(t, f.SetRaw(t.Context(), "key", []byte("value"), 0))
	require.NoError(t, f.Clear(t.Context()))
	require.ElementsMatch(t, []string{"notes.txt", "my.entry", ".entry"}, names())
}

func TestSetLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	f, names := newFiles(t)
	require.NoError(t, f.SetRaw(t.Context(), "key", []byte("value"), 0))
	require.NoError(t, f.SetRaw(t.Context(), "key", []byte("new value"), 0))
	require.Len(t, names(), 1)

	// A folder in the place of the file: the rename fails.
	require.NoError(t, os.MkdirAll(filepath.Join(f.path("other"), "sub"), 0o700))
	require.Error(t, f.SetRaw(t.Context(), "other", []byte("value"), 0))
	require.ElementsMatch(t, []string{filepath.Base(f.path("key")), filepath.Base(f.path("other"))}, names())
}

func TestDamagedFileIsMiss(t *testing.T) {
	t.Parallel()
	f, _ := newFiles(t)
	require.NoError(t, f.SetRaw(t.Context(), "key", []byte("value"), 0))
	require.NoError(t, f.SetRaw(t.Context(), "other", []byte("other value"), 0))
	whole, err := os.ReadFile(f.path("key"))
	require.NoError(t, err)
	others, err := os.ReadFile(f.path("other"))
	require.NoError(t, err)
	for name, data := range map[string][]byte{
		"empty":                 {},
		"ends in the expiry":    whole[:headerSize-1],
		"ends after the expiry": whole[:headerSize],
		"ends in the key":       whole[:headerSize+2],
		"of another key":        others,
	} {
		require.NoError(t, os.WriteFile(f.path("key"), data, 0o600))
		value, found, err := f.GetRaw(t.Context(), "key")
		require.NoError(t, err, name)
		require.False(t, found, name)
		require.Nil(t, value, name)
	}
}

func TestFolderRemoved(t *testing.T) {
	t.Parallel()
	f, _ := newFiles(t)
	require.NoError(t, f.SetRaw(t.Context(), "key", []byte("value"), 0))
	require.NoError(t, os.RemoveAll(f.dir))
	_, found, err := f.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, f.InvalidateRaw(t.Context(), "key"))
	require.NoError(t, f.Clear(t.Context()))
	require.NoError(t, f.SetRaw(t.Context(), "key", []byte("value"), 0))
	_, found, err = f.GetRaw(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, found)
}
