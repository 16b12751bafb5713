package appcache_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

const magic = "\x00ac\x01"

// xor is a compressor that changes bytes and makes nothing smaller. It takes what looks says for compressed.
type xor struct{ looks func([]byte) bool }

func (x xor) IsCompressed(data []byte) bool { return x.looks(data) }

func (xor) Compress(data []byte) ([]byte, error) {
	out := []byte("xor")
	for _, b := range data {
		out = append(out, b^0x55)
	}
	return out, nil
}

func (xor) Decompress(data []byte) ([]byte, error) {
	data, found := bytes.CutPrefix(data, []byte("xor"))
	if !found {
		return nil, errors.New("not xored")
	}
	out := []byte{}
	for _, b := range data {
		out = append(out, b^0x55)
	}
	return out, nil
}

// magical is a compressor of which the output begins as an envelope does.
type magical struct{ xor }

func (m magical) IsCompressed(data []byte) bool { return bytes.HasPrefix(data, []byte(magic)) }

func (m magical) Compress(data []byte) ([]byte, error) {
	out, err := m.xor.Compress(data)
	return append([]byte(magic), out...), err
}

func (m magical) Decompress(data []byte) ([]byte, error) { return m.xor.Decompress(data[len(magic):]) }

var compressors = map[string]appcache.Compressor{
	"gzip":             appcache.Gzip{},
	"takes xor":        xor{func(data []byte) bool { return bytes.HasPrefix(data, []byte("xor")) }},
	"takes everything": xor{func([]byte) bool { return true }},
	"magical":          magical{},
}

// What comes out is what went in, whatever it looks like.
func FuzzRoundTrip(f *testing.F) {
	f.Fuzz(func(t *testing.T, value []byte) {
		for name, compressor := range compressors {
			for _, serialiser := range []appcache.Serialiser{appcache.Raw{}, appcache.CBOR{}, appcache.CBOR{Portable: true}, appcache.JSON{}, appcache.Gob{}} {
				for _, policies := range []appcache.Options{{}, {StaleFor: time.Hour, EarlyRefresh: 1}} {
					opts := policies
					opts.Serialiser, opts.Compressor = serialiser, compressor
					cache := appcache.New[[]byte](cachetest.NewMemory(), &opts)
					for _, compress := range []bool{false, true} {
						require.NoError(t, cache.SetByStr(t.Context(), "k", value, time.Hour, compress))
						got, found, err := cache.GetByStr(t.Context(), "k")
						require.NoError(t, err)
						require.True(t, found, "%s, %T, compressed: %v", name, serialiser, compress)
						require.Equal(t, string(value), string(got), "%s, %T, compressed: %v", name, serialiser, compress)
					}
				}
			}
		}
	})
}

// No bytes that stand in a store make Get panic or fail, and what it takes for a value is one that Set
// could have stored.
func FuzzStoredBytes(f *testing.F) {
	type node struct {
		Next *node
		Any  any
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := cachetest.NewMemory()
		put(t, b, "appcache/k", string(data))
		for _, serialiser := range []appcache.Serialiser{appcache.CBOR{}, appcache.CBOR{Portable: true}, appcache.JSON{}, appcache.Gob{}} {
			opts := &appcache.Options{Serialiser: serialiser, Compressor: appcache.Gzip{MaxSize: 1 << 20}}
			_, _, err := appcache.New[user](b, opts).GetByStr(t.Context(), "k")
			require.NoError(t, err)
			if _, gob := serialiser.(appcache.Gob); !gob {
				_, _, err = appcache.New[node](b, opts).GetByStr(t.Context(), "k")
				require.NoError(t, err)
				_, _, err = appcache.New[map[string]any](b, opts).GetByStr(t.Context(), "k")
				require.NoError(t, err)
			}
		}
		_, _, err := appcache.New[string](b, nil).GetByStr(t.Context(), "k")
		require.NoError(t, err)
	})
}

// What is stored is the serialiser's bytes, and an envelope only where they would be misread.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	zip := func(s string) string {
		data, err := appcache.Gzip{}.Compress([]byte(s))
		require.NoError(t, err)
		return string(data)
	}
	for _, c := range []struct {
		name, value string
		compress    bool
		want        string
	}{
		{"plain", "text", false, "text"},
		{"empty", "", false, ""},
		{"compressed", "text", true, zip("text")},
		{"looks compressed", zip("text"), false, magic + "\x00" + zip("text")},
		{"begins with half a gzip header", "\x1f\x8b", false, "\x1f\x8b"},
		{"compressed twice", zip("text"), true, zip(zip("text"))},
		{"looks like an envelope", magic + "rest", false, magic + "\x00" + magic + "rest"},
		{"looks like one, compressed", magic + "rest", true, zip(magic + "rest")},
		{"half an envelope", "\x00ac", false, "\x00ac"},
		{"an envelope of another version", "\x00ac\x02", false, "\x00ac\x02"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := cachetest.NewMemory()
			cache := appcache.New[string](b, nil)
			require.NoError(t, cache.SetByStr(t.Context(), "k", c.value, 0, c.compress))
			require.Equal(t, c.want, stored(t, b, "appcache/k"))
			got, found, err := cache.GetByStr(t.Context(), "k")
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, c.value, got)
		})
	}
	b := cachetest.NewMemory()
	require.NoError(t, appcache.New[string](b, &appcache.Options{Compressor: magical{}}).SetByStr(t.Context(), "k", "text", 0, true))
	require.Equal(t, magic+"\x01"+magic+"xor!0-!", stored(t, b, "appcache/k"))
	require.NoError(t, appcache.New[user](b, &appcache.Options{Serialiser: appcache.JSON{}}).SetByStr(t.Context(), "k", user{ID: 1}, 0, false))
	require.JSONEq(t, `{"ID":1,"Name":"","Tags":null}`, stored(t, b, "appcache/k"))
}

// Entries as DESIGN's layout has them are read by every cache, with policies or without.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	ms := func(d time.Duration) string {
		return string(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(d).UnixMilli())))
	}
	zipped, err := appcache.Gzip{}.Compress([]byte("v"))
	require.NoError(t, err)
	for _, c := range []struct {
		name, stored string
		want         appcache.Outcome
	}{
		{"no flags", magic + "\x00v", appcache.Hit},
		{"compressed", magic + "\x01" + string(zipped), appcache.Hit},
		{"fresh", magic + "\x02" + ms(time.Hour) + "v", appcache.Hit},
		{"stale", magic + "\x02" + ms(-time.Hour) + "v", appcache.Miss},
		{"for ever fresh", magic + "\x02\x7f\xff\xff\xff\xff\xff\xff\xffv", appcache.Hit},
		{"never fresh", magic + "\x02\x80\x00\x00\x00\x00\x00\x00\x00v", appcache.Miss},
		{"cost", magic + "\x04\x00\x00\x00\x07v", appcache.Hit},
		{"all of them", magic + "\x07" + ms(time.Hour) + "\x00\x00\x00\x07" + string(zipped), appcache.Hit},
		{"absence", magic + "\x08", appcache.Miss},
		{"absence that is over", magic + "\x0a" + ms(-time.Hour), appcache.Miss},

		{"cut after the magic", magic, appcache.Unreadable},
		{"cut in fresh-until", magic + "\x02\x00\x00", appcache.Unreadable},
		{"cut in the cost", magic + "\x04\x00\x00", appcache.Unreadable},
		{"absence with a body", magic + "\x08v", appcache.Unreadable},
		{"absence, compressed", magic + "\x09", appcache.Unreadable},
		{"an unknown flag", magic + "\x10v", appcache.Unreadable},
		{"another", magic + "\x80v", appcache.Unreadable},
		{"not compressed", magic + "\x01v", appcache.Unreadable},
		{"cut gzip", string(zipped[:len(zipped)-1]), appcache.Unreadable},
		{"gzip and more", string(zipped) + "x", appcache.Unreadable},
		{"gzip with a wrong sum", string(zipped[:len(zipped)-8]) + "\x00\x00\x00\x00" + string(zipped[len(zipped)-4:]), appcache.Unreadable},
	} {
		for name, policies := range map[string]appcache.Options{"plain": {}, "policies": {StaleFor: time.Minute, EarlyRefresh: 1, NotFoundTTL: time.Minute}} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				var r recorder
				b := cachetest.NewMemory()
				put(t, b, "appcache/k", c.stored)
				opts := policies
				opts.Observe = r.observe
				got, found, err := appcache.New[string](b, &opts).GetByStr(t.Context(), "k")
				require.NoError(t, err)
				require.Equal(t, c.want == appcache.Hit, found)
				if found {
					require.Equal(t, "v", got)
				} else {
					require.Empty(t, got)
				}
				e := r.one(t)
				require.Equal(t, c.want, e.Outcome)
				require.Equal(t, c.want == appcache.Unreadable, e.Err != nil)
			})
		}
	}
}

// Every part of an entry that was cut off makes it a miss, and so does what is no entry at all.
func TestTruncatedEntries(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]appcache.Options{
		"CBOR": {}, "Gob": {Serialiser: appcache.Gob{}}, "JSON": {Serialiser: appcache.JSON{}}, "compressed": {CompressOver: 1}, "enveloped": {StaleFor: time.Hour},
	} {
		var r recorder
		opts.Observe = r.observe
		b := cachetest.NewMemory()
		cache := appcache.New[user](b, &opts)
		require.NoError(t, cache.SetByStr(t.Context(), "k", user{ID: 54, Name: "Ann", Tags: []string{"a", "b"}}, time.Hour, false))
		r.one(t)
		whole := stored(t, b, "appcache/k")
		for n := range len(whole) {
			put(t, b, "appcache/k", whole[:n])
			got, found, err := cache.GetByStr(t.Context(), "k")
			require.NoError(t, err)
			require.False(t, found, "%s, %d of %d bytes", name, n, len(whole))
			require.Zero(t, got, "a part of the value came back")
			require.Equal(t, appcache.Unreadable, r.one(t).Outcome)
		}
	}
}

// An entry that is small and says that it is large costs no more than the limit.
func TestBombs(t *testing.T) {
	t.Parallel()
	zipBomb, err := appcache.Gzip{MaxSize: math.MaxInt32}.Compress(make([]byte, 65<<20))
	require.NoError(t, err)
	for name, bomb := range map[string]string{
		"gzip":                string(zipBomb),
		"gzip in an envelope": magic + "\x01" + string(zipBomb),
		"an array":            "\x9b\x00\x00\x00\x7f\xff\xff\xff\xff",
		"a map":               "\xbb\x00\x00\x00\x7f\xff\xff\xff\xff",
		"a string":            "\x7b\x00\x00\x00\x7f\xff\xff\xff\xff",
		"bytes":               "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
		"nested arrays":       strings.Repeat("\x81", 1_000_000),
		"nested tags":         strings.Repeat("\xc1", 1_000_000),
	} {
		var r recorder
		b := cachetest.NewMemory()
		put(t, b, "appcache/k", bomb)
		cache := appcache.New[any](b, &appcache.Options{Serialiser: appcache.CBOR{Portable: true}, Observe: r.observe})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, found, err := cache.GetByStr(t.Context(), "k")
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		require.False(t, found, name)
		require.Equal(t, appcache.Unreadable, r.one(t).Outcome)
		if !strings.HasPrefix(name, "gzip") {
			continue // other tests of the package run beside this one: only what is much is told
		}
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<30), name)
	}
}

// A codec that panics over what it finds doesn't end the program.
func TestUnmarshalPanics(t *testing.T) {
	t.Parallel()
	var r recorder
	boom := appcache.SerialiserOf(
		func(s string) ([]byte, error) { return []byte(s), nil },
		func([]byte) (string, error) { panic("boom") },
	)
	cache := appcache.New[string](cachetest.NewMemory(), &appcache.Options{Serialiser: boom, Observe: r.observe})
	require.NoError(t, cache.SetByStr(t.Context(), "k", "v", 0, false))
	r.one(t)
	_, found, err := cache.GetByStr(t.Context(), "k")
	require.NoError(t, err)
	require.False(t, found)
	require.ErrorContains(t, r.one(t).Err, "boom")
	_, err = cache.GetVia(t.Context(), appcache.StringKey[string]("k"), 0, func(context.Context) (string, error) { return "v", nil })
	require.ErrorContains(t, err, "deserialising the value just loaded: panic: boom")
	require.Equal(t, appcache.Failed, r.one(t).Outcome)
}

// failingCompressor fails, or makes what it doesn't know again.
type failingCompressor struct{ fails error }

func (failingCompressor) IsCompressed([]byte) bool                 { return false }
func (f failingCompressor) Compress([]byte) ([]byte, error)        { return []byte("x"), f.fails }
func (f failingCompressor) Decompress(data []byte) ([]byte, error) { return data, nil }

func TestCompressorThatFails(t *testing.T) {
	t.Parallel()
	for _, c := range []failingCompressor{{errOrigin}, {nil}} {
		b := newSpy()
		cache := appcache.New[string](b, &appcache.Options{Compressor: c})
		err := cache.SetByStr(t.Context(), "k", "v", 0, true)
		if c.fails != nil {
			require.ErrorIs(t, err, c.fails)
		} else {
			require.ErrorContains(t, err, "appcache_test.failingCompressor.IsCompressed does not know what its Compress returns")
		}
		require.Empty(t, b.seen())
		// A reader-through gets its value all the same.
		opts := &appcache.Options{Compressor: c, CompressOver: 1}
		got, err := appcache.New[string](b, opts).GetVia(t.Context(), appcache.StringKey[string]("k"), 0, func(context.Context) (string, error) { return "value", nil })
		require.NoError(t, err)
		require.Equal(t, "value", got)
	}
}

// compressKey asks for compression, and is told what it is about.
type compressKey struct {
	appcache.BaseKey[string]
	seen *[]string
}

func (compressKey) CacheKeySegments() []string { return []string{"k"} }
func (k compressKey) ShouldCompress(value string, serialised []byte) bool {
	*k.seen = append(*k.seen, fmt.Sprintf("%s %s", value, serialised))
	return len(value) > 3
}

func TestWhatIsCompressed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := cachetest.NewMemory()
	compressed := func() bool { return appcache.Gzip{}.IsCompressed([]byte(stored(t, b, "appcache/k"))) }
	var seen []string
	key := compressKey{seen: &seen}
	json := appcache.New[string](b, &appcache.Options{Serialiser: appcache.JSON{}})
	require.NoError(t, json.Set(ctx, key, "abc", 0))
	require.False(t, compressed())
	require.NoError(t, json.Set(ctx, key, "abcd", 0))
	require.True(t, compressed())
	require.Equal(t, []string{`abc "abc"`, `abcd "abcd"`}, seen)

	over := appcache.New[string](b, &appcache.Options{CompressOver: 10})
	for n, want := range map[int]bool{0: false, 10: false, 11: true} {
		require.NoError(t, over.SetByStr(ctx, "k", strings.Repeat("x", n), 0, false))
		require.Equal(t, want, compressed(), "%d bytes", n)
	}
}
