package sqlitelru_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

// Where a key was is no proof of where it is.
func TestWrongHints(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	b, other := openFile(t, path, nil), openFile(t, path, nil)
	set(t, b, "a", "1")
	require.NoError(t, other.InvalidateRaw(t.Context(), "a"))
	requireMiss(t, b, "a")
	require.Zero(t, sqlitelru.Hint(b, "a"), "it would be tried again and again")

	set(t, b, "a", "2")
	require.NoError(t, other.InvalidateRaw(t.Context(), "a"))
	set(t, other, "b", "3") // in the slot that a had
	require.Equal(t, sqlitelru.Hint(b, "a"), sqlitelru.Hint(other, "b"))
	set(t, b, "a", "4")
	requireHit(t, b, "b", "3")
	requireHit(t, b, "a", "4")

	sqlitelru.Learn(b, "a", sqlitelru.Hint(other, "b"))
	requireHit(t, b, "a", "4")
	sqlitelru.Learn(b, "a", sqlitelru.Hint(other, "b"))
	set(t, b, "a", "5")
	requireHit(t, other, "a", "5")
	requireHit(t, other, "b", "3")

	set(t, other, "a", "longer")
	set(t, b, "a", "6")
	set(t, other, "a", "7")
	requireHit(t, b, "a", "7")
	require.NoError(t, sqlitelru.Check(b))
}

// Nearly all keys have a hint, and the room for them is bounded.
func TestHints(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	known := func(n int) (known int) {
		wrong := 0
		for id := range n {
			switch sqlitelru.Hint(b, strconv.Itoa(id+1)) {
			case int64(id + 1):
				known++
			case 0:
			default:
				wrong++
			}
		}
		require.Less(t, wrong, 10, "only keys with the same half of a hash share a hint")
		return known
	}
	for id := range 10_000 {
		sqlitelru.Learn(b, strconv.Itoa(id+1), int64(id+1))
	}
	require.Greater(t, known(10_000), 9_800)
	for id := range 10_000 {
		sqlitelru.Learn(b, strconv.Itoa(id+1), 0)
	}
	require.Zero(t, known(10_000))
	sqlitelru.Learn(b, "1", 1<<31)
	require.Equal(t, int64(1<<31), sqlitelru.Hint(b, "1"))
	sqlitelru.Learn(b, "1", 1<<32)
	require.Equal(t, int64(1<<31), sqlitelru.Hint(b, "1"), "there is no room for such a number")
	require.Equal(t, 8<<20, sqlitelru.HintBytes(b))
}

// Numbers that don't fit a hint aren't learnt.
func TestImpossibleHints(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	for n := range 20 {
		key := fmt.Sprint(n)
		sqlitelru.Learn(b, key, 7)
		sqlitelru.Learn(b, key, 1<<32)
		sqlitelru.Learn(b, key, -1)
		require.EqualValues(t, 7, sqlitelru.Hint(b, key))
	}
}

// What is stored has a hint.
func TestHintsOfWhatIsStored(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	for n, value := range []string{"1", "longer"} {
		sqlitelru.Learn(b, "a", 0)
		set(t, b, "a", value)
		require.EqualValues(t, 1, sqlitelru.Hint(b, "a"), n)
	}
}

// A key that moves from slot to slot has one hint, and doesn't take the room of others.
func TestHintsAreReplaced(t *testing.T) {
	t.Parallel()
	b := openFile(t, filepath.Join(t.TempDir(), "cache.db"), nil)
	sqlitelru.Learn(b, "other", 1) // there is one bucket
	for id := range int64(4) {
		for range 8 {
			sqlitelru.Learn(b, "key", 1+id)
		}
		require.EqualValues(t, 1, sqlitelru.Hint(b, "other"))
		require.Equal(t, 1+id, sqlitelru.Hint(b, "key"))
	}
}
