package appcache_test

import (
	"encoding/xml"
	"errors"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// Each serialiser brings back a value of many kinds of fields.
func TestSerialisers(t *testing.T) {
	t.Parallel()
	type inner struct{ A, B int }
	type value struct {
		ID     int64
		Big    uint64
		Name   string
		Ratio  float64
		Ok     bool
		At     time.Time
		For    time.Duration
		Bytes  []byte
		List   []string
		Map    map[string]int
		Inner  inner
		Ptr    *inner
		Inners []inner
	}
	want := value{
		ID: math.MinInt64, Big: math.MaxUint64, Name: "Zoë", Ratio: math.Pi, Ok: true,
		At: time.Date(2026, 11, 22, 10, 11, 12, 131415161, time.FixedZone("", 3600)), For: time.Hour,
		Bytes: []byte{0, 255}, List: []string{"a", ""}, Map: map[string]int{"a": 1}, Inner: inner{1, 2}, Ptr: &inner{3, 4}, Inners: []inner{{5, 6}},
	}
	for name, serialiser := range map[string]appcache.Serialiser{
		"CBOR": appcache.CBOR{}, "portable": appcache.CBOR{Portable: true}, "JSON": appcache.JSON{}, "Gob": appcache.Gob{},
	} {
		cache := appcache.New[value](cachetest.NewMemory(), &appcache.Options{Serialiser: serialiser})
		require.NoError(t, cache.SetByStr(t.Context(), "k", want, 0, false))
		got, found, err := cache.GetByStr(t.Context(), "k")
		require.NoError(t, err)
		require.True(t, found, name)
		require.True(t, want.At.Equal(got.At), name)
		_, wantOffset := want.At.Zone()
		_, offset := got.At.Zone()
		require.Equal(t, wantOffset, offset, name)
		got.At = want.At
		require.Equal(t, want, got, name)
	}
}

func TestRaw(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := cachetest.NewMemory()
	texts := appcache.New[string](b, nil)
	raw := appcache.New[[]byte](b, nil)
	for _, value := range []string{"", "text", "\x00\xff", "\x82\x1a\x00\x00\x00\x00"} {
		require.NoError(t, texts.SetByStr(ctx, "k", value, 0, false))
		require.Equal(t, value, stored(t, b, "appcache/k"))
		got, found, err := raw.GetByStr(ctx, "k")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, value, string(got))
		require.NotNil(t, got)
	}
	require.NoError(t, raw.SetByStr(ctx, "k", nil, 0, false))
	got, found, err := raw.GetByStr(ctx, "k")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, []byte{}, got)

	_, err = appcache.Raw{}.Marshal(new(int))
	require.ErrorContains(t, err, "not int")
	require.ErrorContains(t, appcache.Raw{}.Unmarshal(nil, new(float64)), "not float64")
	// Named types of that kind are not these types.
	type text string
	require.Panics(t, func() { appcache.New[text](b, &appcache.Options{Serialiser: appcache.Raw{}}) })
}

func TestGob(t *testing.T) {
	t.Parallel()
	var none *user
	_, err := appcache.Gob{}.Marshal(&none)
	require.Error(t, err, "a nil pointer")
	data, err := appcache.Gob{}.Marshal(&user{ID: 1})
	require.NoError(t, err)
	require.Error(t, appcache.Gob{}.Unmarshal(append(data, data...), new(user)), "two values")
	require.NoError(t, appcache.Gob{}.Unmarshal(data, new(user)))

	got, err := throughCache(t, appcache.Gob{}, big.NewInt(5))
	require.NoError(t, err, "what marshals itself, behind a pointer")
	require.Zero(t, got.Cmp(big.NewInt(5)))
	at, err := throughCache(t, appcache.Gob{}, &anHour)
	require.NoError(t, err)
	require.Equal(t, anHour, *at)
}

var anHour = time.Hour

func TestSerialiserOf(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := appcache.SerialiserOf(
		func(n int) ([]byte, error) {
			if n < 0 {
				return nil, errOrigin
			}
			return make([]byte, n), nil
		},
		func(data []byte) (int, error) {
			if len(data) > 5 {
				return 3, errors.New("too much")
			}
			return len(data), nil
		},
	)
	cache := appcache.New[int](cachetest.NewMemory(), &appcache.Options{Serialiser: s})
	require.NoError(t, cache.SetByStr(ctx, "k", 4, 0, false))
	got, found, err := cache.GetByStr(ctx, "k")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, 4, got)
	require.ErrorIs(t, cache.SetByStr(ctx, "k", -1, 0, false), errOrigin)
	require.NoError(t, cache.SetByStr(ctx, "k", 6, 0, false))
	got, found, err = cache.GetByStr(ctx, "k")
	require.NoError(t, err)
	require.False(t, found)
	require.Zero(t, got, "what a failed decode left came back")

	require.Panics(t, func() { appcache.SerialiserOf[int](nil, nil) })
	require.PanicsWithValue(t, "appcache.New[string]: a serialiser of int can't keep a string", func() {
		appcache.New[string](cachetest.NewMemory(), &appcache.Options{Serialiser: s})
	})
	_, err = s.Marshal(new(string))
	require.ErrorContains(t, err, "can't keep a string")
	require.ErrorContains(t, s.Unmarshal(nil, new(string)), "can't keep a string")
}

// A codec that has the usual two functions is a serialiser in two lines.
type xmlSerialiser struct{}

func (xmlSerialiser) Marshal(v any) ([]byte, error)      { return xml.Marshal(v) }
func (xmlSerialiser) Unmarshal(data []byte, v any) error { return xml.Unmarshal(data, v) }

func TestSerialiserOfOnesOwn(t *testing.T) {
	t.Parallel()
	b := cachetest.NewMemory()
	cache := appcache.New[user](b, &appcache.Options{Serialiser: xmlSerialiser{}})
	want := user{ID: 1, Name: "Ann", Tags: []string{"a"}}
	require.NoError(t, cache.SetByStr(t.Context(), "k", want, 0, false))
	require.Equal(t, "<user><ID>1</ID><Name>Ann</Name><Tags>a</Tags></user>", stored(t, b, "appcache/k"))
	got, found, err := cache.GetByStr(t.Context(), "k")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, want, got)
}
