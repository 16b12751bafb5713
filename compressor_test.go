package appcache_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/goappcache/appcache"
	"github.com/stretchr/testify/require"
)

func TestGzip(t *testing.T) {
	t.Parallel()
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for level := range 10 {
		g := appcache.Gzip{Level: level}
		for _, data := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("text "), 10_000), random} {
			before := bytes.Clone(data)
			compressed, err := g.Compress(data)
			require.NoError(t, err)
			require.True(t, g.IsCompressed(compressed))
			require.Equal(t, before, data)
			got, err := appcache.Gzip{}.Decompress(compressed)
			require.NoError(t, err)
			require.Equal(t, string(data), string(got))
		}
	}
}

func TestGzipLimits(t *testing.T) {
	t.Parallel()
	data := []byte(strings.Repeat("x", 1000))
	at, under := appcache.Gzip{MaxSize: 1000}, appcache.Gzip{MaxSize: 999}
	compressed, err := at.Compress(data)
	require.NoError(t, err)
	got, err := at.Decompress(compressed)
	require.NoError(t, err)
	require.Equal(t, data, got)
	_, err = under.Compress(data)
	require.ErrorIs(t, err, appcache.ErrTooLarge)
	_, err = under.Decompress(compressed)
	require.ErrorIs(t, err, appcache.ErrTooLarge)

	none := appcache.Gzip{MaxSize: math.MaxInt}
	got, err = none.Decompress(compressed)
	require.NoError(t, err)
	require.Equal(t, data, got)

	for _, wrong := range []appcache.Gzip{{Level: -1}, {Level: 10}, {MaxSize: -1}} {
		_, err = wrong.Compress(data)
		require.ErrorContains(t, err, "; write ")
		_, err = wrong.Decompress(compressed)
		require.ErrorContains(t, err, "; write ")
	}
}

// The size at the end of the data is only a guess at how much room to make.
func TestGzipSizeLies(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("text "), 1000)
	one, err := appcache.Gzip{}.Compress(data)
	require.NoError(t, err)
	// Several members are one stream: the last one's size is not that of all.
	two, err := appcache.Gzip{}.Decompress(append(bytes.Clone(one), one...))
	require.NoError(t, err)
	require.Equal(t, append(bytes.Clone(data), data...), two)
	for _, claimed := range []uint32{0, 1, 1 << 31} {
		lie := bytes.Clone(one)
		binary.LittleEndian.PutUint32(lie[len(lie)-4:], claimed)
		_, err = appcache.Gzip{}.Decompress(lie)
		require.Error(t, err)
	}
}

func TestGzipOfWhatIsNone(t *testing.T) {
	t.Parallel()
	whole, err := appcache.Gzip{}.Compress([]byte("some text"))
	require.NoError(t, err)
	for n := range whole {
		_, err := appcache.Gzip{}.Decompress(whole[:n])
		require.Error(t, err, "%d of %d bytes", n, len(whole))
	}
	for _, data := range []string{string(whole) + "x", "text", "\x1f\x8b\x08" + strings.Repeat("\xff", 100)} {
		_, err := appcache.Gzip{}.Decompress([]byte(data))
		require.Error(t, err)
	}
}

// Pooled readers and writers work for many at once, and after errors.
func TestGzipConcurrently(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				data := []byte(strings.Repeat(string(rune('a'+g)), 1+i*10))
				compressed, err := appcache.Gzip{Level: 1 + i%3}.Compress(data)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := (appcache.Gzip{}).Decompress(compressed[:len(compressed)/2]); err == nil {
					t.Error("half of it was enough")
				}
				if got, err := (appcache.Gzip{}).Decompress(compressed); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes came back as %d: %v", len(data), len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzGzip(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		g := appcache.Gzip{MaxSize: 1 << 20}
		if got, err := g.Decompress(data); err == nil {
			require.LessOrEqual(t, len(got), 1<<20)
			require.True(t, g.IsCompressed(data))
		}
		compressed, err := g.Compress(data)
		require.NoError(t, err)
		got, err := g.Decompress(compressed)
		require.NoError(t, err)
		require.Equal(t, string(data), string(got))
	})
}
