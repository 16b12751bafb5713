package appcache_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/goappcache/appcache"
	"github.com/stretchr/testify/require"
)

// trip is a value to store and to get back.
type trip struct {
	name string
	run  func(t *testing.T, s appcache.Serialiser)
}

// keeps is a trip from which v comes back as it was, nil and empty told apart.
func keeps[V any](name string, v V) trip {
	return trip{name, func(t *testing.T, s appcache.Serialiser) {
		got, err := throughCache(t, s, v)
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(v, got), "set %#v, got %#v", v, got)
	}}
}

// alters is a trip from which v comes back as something else, as the documentation has it.
func alters[V any](name string, v, want V) trip {
	return trip{name, func(t *testing.T, s appcache.Serialiser) {
		got, err := throughCache(t, s, v)
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(want, got), "set %#v, got %#v", v, got)
	}}
}

// refuses is a trip that Set doesn't let v begin, without storing anything.
func refuses[V any](name string, v V, message string) trip {
	return trip{name, func(t *testing.T, s appcache.Serialiser) {
		_, err := throughCache(t, s, v)
		require.ErrorContains(t, err, message)
		require.ErrorContains(t, err, fmt.Sprintf("serialising a %v", reflect.TypeFor[V]()))
	}}
}

func to[V any](v V) *V { return &v }

type (
	userID         string
	colour         uint8
	celsius        float32
	blob           []byte
	labels         map[string]struct{}
	grid           [2][3]int
	point          struct{ X, Y int }
	generic[T any] struct{ V T }
	weekdays       map[time.Weekday]bool

	everything struct {
		Bool    bool
		Int8    int8
		Uint64  uint64
		Float32 float32
		String  string
		Bytes   []byte
		Array   [3]byte
		Point   point
		Pointer *point
		Nil     *point
		Map     map[string]int
		Points  map[point][]point
		Any     any
		At      time.Time
		For     time.Duration
		Colour  colour
		Generic generic[[]generic[string]]
		base
	}
	asArray struct {
		_ struct{} `cbor:",toarray"`
		A int
		B *string
		C []asArray
	}
	byNumber struct {
		A int    `cbor:"1,keyasint"`
		B string `cbor:"-2,keyasint,omitempty"`
	}
	omitting struct {
		A int        `cbor:",omitempty"`
		B []int      `json:"b,omitempty"`
		C *int       `cbor:"c,omitempty"`
		D time.Time  `cbor:"d,omitzero"`
		E point      `cbor:"e,omitzero"`
		F []int      `cbor:"f,omitzero"`
		G *time.Time `cbor:"g,omitempty"`
	}
	textValue   struct{ s string } // methods on values
	textPointer struct{ s string } // methods on pointers
	binaryValue int
	cborPointer struct{ n int }
	linked      struct {
		Left, Right *linked
		Values      map[string]linked
	}
)

func (v textValue) MarshalText() ([]byte, error)     { return []byte("t" + v.s), nil }
func (v *textValue) UnmarshalText(b []byte) error    { v.s = string(b[1:]); return nil }
func (v *textPointer) MarshalText() ([]byte, error)  { return []byte("t" + v.s), nil }
func (v *textPointer) UnmarshalText(b []byte) error  { v.s = string(b[1:]); return nil }
func (v binaryValue) MarshalBinary() ([]byte, error) { return binary.AppendVarint(nil, int64(v)), nil }
func (v *binaryValue) UnmarshalBinary(b []byte) error {
	n, _ := binary.Varint(b)
	*v = binaryValue(n)
	return nil
}
func (v *cborPointer) MarshalCBOR() ([]byte, error) { return cbor.Marshal(v.n) }
func (v *cborPointer) UnmarshalCBOR(b []byte) error { return cbor.Unmarshal(b, &v.n) }

func trips() []trip {
	utc := time.Date(2026, 2, 3, 4, 5, 6, 789_012_345, time.UTC)
	huge := new(big.Int).Lsh(big.NewInt(1), 200)
	every := everything{
		Bool: true, Int8: -128, Uint64: math.MaxUint64, Float32: math.MaxFloat32, String: "ü\x00\xff", Bytes: []byte{0},
		Array: [3]byte{1, 2, 3}, Point: point{1, 2}, Pointer: &point{}, Map: map[string]int{"": 0},
		Points: map[point][]point{{1, 2}: {{3, 4}}, {}: nil}, Any: []any{int64(1), "a", nil}, At: utc, For: -1, Colour: 255,
		Generic: generic[[]generic[string]]{[]generic[string]{{"g"}}}, base: base{1, 2},
	}
	many := make([]int, 131_073)
	manyKeys := make(map[int]bool, 131_073)
	for i := range many {
		many[i], manyKeys[i] = i, i%2 == 0
	}
	nested := any("bottom")
	for range 100 {
		nested = map[string]any{"n": []any{nested}}
	}
	list := listOf(60_000)
	return []trip{
		keeps("bool", true), keeps("int min", math.MinInt64), keeps("int max", math.MaxInt64), keeps("int8", int8(math.MinInt8)),
		keeps("int16", int16(math.MinInt16)), keeps("int32", int32(math.MinInt32)), keeps("int64", int64(math.MinInt64)),
		keeps("uint8", uint8(math.MaxUint8)), keeps("uint16", uint16(math.MaxUint16)), keeps("uint32", uint32(math.MaxUint32)),
		keeps("uint64", uint64(math.MaxUint64)), keeps("uint", uint(math.MaxUint)),
		keeps("float64", math.Pi), keeps("smallest float", math.SmallestNonzeroFloat64), keeps("largest float", math.MaxFloat64),
		keeps("float32", float32(0.1)), keeps("infinities", []float64{math.Inf(1), math.Inf(-1)}), keeps("infinity 32", float32(math.Inf(-1))),
		{"negative zero", func(t *testing.T, s appcache.Serialiser) {
			got, err := throughCache(t, s, math.Copysign(0, -1))
			require.NoError(t, err)
			require.True(t, math.Signbit(got))
		}},
		{"NaN", func(t *testing.T, s appcache.Serialiser) {
			got, err := throughCache(t, s, map[string]float32{"nan": float32(math.NaN())})
			require.NoError(t, err)
			require.True(t, math.IsNaN(float64(got["nan"])))
		}},
		keeps("named types", struct {
			A userID
			B colour
			C celsius
			D blob
			E labels
			F grid
			G weekdays
		}{"u", 1, 1.5, blob{1}, labels{"a": {}}, grid{{1, 2, 3}}, weekdays{time.Monday: true}}),
		keeps("string", "Grüße, 世界 \x00"), keeps("empty string", ""), keeps("invalid UTF-8", "a\xff\xfe\xed\xa0\x80"),
		keeps("invalid UTF-8 deep", map[string][]any{"\xff": {"\xfe", map[string]any{"\xfd": "\xfc"}}}),
		keeps("bytes", [][]byte{{0, 255}, {}, nil}), keeps("byte array", [3]byte{1, 2}), keeps("no array", [0]int{}),
		keeps("nil slice", []int(nil)), keeps("empty slice", []int{}), keeps("nil map", map[string]int(nil)), keeps("empty map", map[string]int{}),
		keeps("nil any", any(nil)), keeps("nil pointer", (*int)(nil)), keeps("pointer", to(7)), keeps("pointer to zero", to(0)),
		keeps("pointers", []*string{to("a"), nil, to("")}), keeps("pointer to pointer", to(to(to("a")))), keeps("nil of those", (***int)(nil)),
		keeps("pointer to slice", to([]int{})), keeps("pointer to map", to(map[string]int{})), keeps("pointer to any", to(any("a"))),
		keeps("everything", every), keeps("zero of everything", everything{}), keeps("pointers to everything", []*everything{&every, nil, {}}),
		keeps("empty struct", struct{}{}), keeps("set", map[string]struct{}{"a": {}, "b": {}}),
		keeps("embedded pointer", embedsPointer{&Other{1}, "n"}), keeps("nil embedded pointer", embedsPointer{nil, "n"}),
		keeps("time", utc), keeps("zero time", time.Time{}), keeps("first and last year", []time.Time{
			time.Date(0, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)}),
		keeps("time in any", any(utc)), keeps("pointer to time", &utc), keeps("times", map[time.Time][]*time.Time{utc: {&utc, nil}, {}: nil}),
		keeps("durations", []time.Duration{math.MinInt64, -1, 0, time.Hour}), keeps("month", time.March),
		keeps("big int", *huge), keeps("negative big int", new(big.Int).Neg(huge)), keeps("small big ints", []*big.Int{big.NewInt(0), big.NewInt(-1), nil}),
		keeps("big int in any", any(*huge)), keeps("rat", big.NewRat(1, 3)), keeps("float of 64 bits", new(big.Float).SetPrec(64).SetInt64(3)),
		keeps("addr", netip.MustParseAddr("fe80::1%eth0")), keeps("no addr", netip.Addr{}), keeps("prefix", netip.MustParsePrefix("10.0.0.0/8")),
		keeps("addr keys", map[netip.Addr]netip.AddrPort{netip.MustParseAddr("::1"): netip.MustParseAddrPort("1.2.3.4:80")}),
		keeps("ip", net.ParseIP("192.0.2.1")), keeps("hardware addr", net.HardwareAddr{1, 2, 3, 4, 5, 6}),
		keeps("url", url.URL{Scheme: "https", User: url.UserPassword("u", "p"), Host: "h:1", Path: "/a b", RawQuery: "q=1", Fragment: "f"}),
		keeps("json", json.RawMessage(`{"a":1}`)), keeps("json number", json.Number("12345678901234567890")),
		keeps("cbor", cbor.RawMessage{0x83, 1, 2, 3}), keeps("tag", cbor.Tag{Number: 99, Content: "a"}),
		keeps("struct keys", map[point]point{{1, 2}: {3, 4}}), keeps("int keys", map[int8]string{-1: "a", 1: "b"}), keeps("bool keys", map[bool]int{true: 1}),
		keeps("float keys", map[float64]int{0.5: 1, math.Inf(1): 2}), keeps("array keys", map[[2]int]int{{1, 2}: 3}), keeps("uint64 keys", map[uint64]int{math.MaxUint64: 1}),
		keeps("any keys", map[any]any{"a": int64(1), int64(2): "b", true: nil}),
		keeps("maps of slices", map[string][]map[int][]string{"a": {{1: {"x"}}, nil, {}}, "b": nil, "c": {}}),
		keeps("any", any(map[string]any{"a": []any{int64(-1), 1.5, "s", true, nil, []byte{1}, map[string]any{}}, "t": utc})),
		keeps("131,073 elements", many), keeps("131,073 keys", manyKeys), keeps("200 levels", nested),
		{"60,000 levels", func(t *testing.T, s appcache.Serialiser) {
			got, err := throughCache(t, s, list)
			require.NoError(t, err)
			require.Equal(t, 60_000, lengthOf(got))
		}},
		keeps("recursive", linked{&linked{}, nil, map[string]linked{"a": {Right: &linked{}}}}),
		keeps("generic", generic[map[string]generic[*int]]{map[string]generic[*int]{"a": {to(1)}, "b": {}}}),
		keeps("toarray", asArray{A: 1, B: to(""), C: []asArray{{A: 2}}}), keeps("keyasint", []byNumber{{1, "b"}, {}}),
		keeps("omitting", omitting{1, []int{1}, to(0), utc, point{0, 1}, []int{}, nil}), keeps("omitting all", omitting{}),
		keeps("text", map[textValue][]*textValue{{"a"}: {{"b"}, nil}}), keeps("text by pointer", map[textPointer][]*textPointer{{"a"}: {{"b"}, nil}}),
		keeps("binary", []binaryValue{-1, 300}), keeps("binary keys", map[binaryValue]binaryValue{-1: 300}), keeps("cbor by pointer", []cborPointer{{1}, {2}}),
		keeps("cbor by nil pointer", []*cborPointer{{1}, nil}), keeps("bytes that are text", []colour{1, 2}),
		keeps("decimal text in any", any("1.50")),
	}
}

// What the documentation says is lost, so that a change of it shows.
func lossyTrips() []trip {
	amsterdam := time.FixedZone("CEST", 2*60*60)
	local := time.Date(2026, 7, 1, 12, 0, 0, 5, amsterdam)
	third := new(big.Float).SetPrec(200).Quo(new(big.Float).SetPrec(200).SetInt64(1), big.NewFloat(3))
	return []trip{
		alters("unexported fields", struct {
			A int
			b int
		}{1, 2}, struct {
			A int
			b int
		}{1, 0}),
		{"zone", func(t *testing.T, s appcache.Serialiser) {
			got, err := throughCache(t, s, local)
			require.NoError(t, err)
			require.True(t, local.Equal(got))
			require.Equal(t, local.Format(time.RFC3339Nano), got.Format(time.RFC3339Nano))
		}},
		{"monotonic clock", func(t *testing.T, s appcache.Serialiser) {
			now := time.Now()
			got, err := throughCache(t, s, now)
			require.NoError(t, err)
			require.True(t, now.Equal(got))
		}},
		alters("zero time's zone", time.Time{}.In(amsterdam), time.Time{}),
		alters("omitempty", omitting{B: []int{}}, omitting{}),
		alters("array", struct {
			_ struct{} `cbor:",toarray"`
			*Other
		}{}, struct {
			_ struct{} `cbor:",toarray"`
			*Other
		}{Other: &Other{}}),
		{"big float", func(t *testing.T, s appcache.Serialiser) {
			got, err := throughCache(t, s, third)
			require.NoError(t, err)
			require.EqualValues(t, 64, got.Prec())
		}},
		alters[any]("int in any", 1, int64(1)), alters[any]("uint64 in any", uint64(math.MaxUint64), *new(big.Int).SetUint64(math.MaxUint64)),
		alters[any]("struct in any", point{1, 2}, map[string]any{"X": int64(1), "Y": int64(2)}),
		alters[any]("pointer in any", to("a"), "a"), alters[any]("nil in any", (*int)(nil), nil), alters[any]("text in any", textValue{"a"}, "ta"),
		alters[any]("toarray in any", asArray{A: 1}, []any{int64(1), nil, nil}), alters[any]("float32 in any", float32(0.5), 0.5),
		alters("equal keys", map[any]string{1: "a", int8(1): "a"}, map[any]string{int64(1): "a"}),
		alters[any]("text keys in any", map[textValue]int{{"a"}: 1}, map[string]any{"ta": int64(1)}),
	}
}

func refusedTrips() []trip {
	const day = 24 * 60 * 60
	zero := time.Time{}
	dated := func(year, offset int) time.Time { return time.Date(year, 6, 1, 0, 0, 0, 0, time.FixedZone("", offset)) }
	const badTime, null, lost = "a time whose year", "a pointer to a nil", "would be lost"
	return []trip{
		refuses("year 10000", dated(10_000, 0), badTime), refuses("year -1", dated(-1, 0), badTime),
		refuses("the last second", time.Unix(1<<63-62135596801, 999999999), badTime), refuses("seconds", dated(1900, 19*60+32), badTime),
		refuses("25 hours", dated(2000, 25*60*60), badTime), refuses("-25 hours", dated(2000, -25*60*60), badTime),
		keeps("24 hours", dated(2000, day).UTC()),
		refuses("in a field", struct{ A struct{ T time.Time } }{struct{ T time.Time }{dated(10_000, 0)}}, badTime),
		refuses("by name", struct{ A struct{ T *time.Time } }{struct{ T *time.Time }{&zero}}, "A: T: the value has"),
		refuses("in a slice", []time.Time{zero, dated(10_000, 0)}, badTime), refuses("behind a pointer", []*time.Time{nil, to(dated(10_000, 0))}, badTime),
		refuses("as a key", map[time.Time]int{dated(10_000, 0): 1}, badTime), refuses("in a map", map[int]time.Time{1: dated(10_000, 0)}, badTime),
		refuses("in an any", []any{map[string]any{"a": dated(10_000, 0)}}, badTime),
		refuses("embedded", struct{ Stamped }{Stamped{dated(10_000, 0)}}, badTime), refuses("embedded pointer", struct{ *Stamped }{&Stamped{dated(10_000, 0)}}, badTime),
		refuses("pointer to zero time", &zero, null), refuses("in a field", struct{ Deleted *time.Time }{&zero}, null),
		refuses("pointer to nil slice", to([]int(nil)), null), refuses("to a nil map", to(map[string]int(nil)), null),
		refuses("to a nil pointer", to((*int)(nil)), null), refuses("to a nil any", to(any(nil)), null),
		refuses("deep", map[string][]struct{ P *[]int }{"a": {{to([]int{})}, {to([]int(nil))}}}, null),
		keeps("to a nil that marshals itself", to(net.IP(nil))),
		refuses("dropped field in any", any(dropped{"s"}), lost), refuses("deeper", any([]any{map[string][]dropped{}}), lost),
		refuses("hidden in any", any(hidden{1}), "no field is exported"), refuses("int keys in any", any(map[int]string{}), "must be strings"),
		refuses("any keys in any", any(map[any]any{"a": 1}), "must be strings"), refuses("binary keys in any", any(map[netip.Addr]int{}), "must be strings"),
		refuses("keyasint in any", any(&byNumber{}), "must be strings"), refuses("func in any", any(func() {}), "can't be kept"),
		refuses("error in any", any(struct{ Err error }{}), "interface error"), refuses("as a key", map[any]int{dropped{}: 1}, lost),
	}
}

type Stamped struct{ At time.Time }

func TestCBORRoundTrips(t *testing.T) {
	t.Parallel()
	for _, cases := range [][]trip{trips(), lossyTrips(), refusedTrips()} {
		for _, trip := range cases {
			t.Run(trip.name, func(t *testing.T) {
				t.Parallel()
				trip.run(t, appcache.CBOR{})
				trip.run(t, appcache.CBOR{Portable: true})
			})
		}
	}
}

// Values of random types come back equal, and only those that hold a pointer to a nil are refused.
func TestCBORRandomTypes(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	const rounds = 1000
	r := randomiser{Rand: rand.New(rand.NewPCG(seed, 0))}
	refusals := 0
	for round := range rounds {
		typ := r.typ(4)
		for range 3 {
			r.null = false
			v := reflect.New(typ)
			v.Elem().Set(r.value(typ))
			for _, s := range []appcache.CBOR{{}, {Portable: true}} {
				data, err := s.Marshal(v.Interface())
				if r.null {
					require.ErrorContains(t, err, "a pointer to a nil", "seed %d, round %d: %#v", seed, round, v.Elem())
					refusals++
					continue
				}
				require.NoError(t, err, "seed %d, round %d: %#v", seed, round, v.Elem())
				got := reflect.New(typ)
				require.NoError(t, s.Unmarshal(data, got.Interface()), "seed %d, round %d: %#v", seed, round, v.Elem())
				require.True(t, reflect.DeepEqual(v.Interface(), got.Interface()), "seed %d, round %d: set %#v, got %#v", seed, round, v.Elem(), got.Elem())
			}
		}
	}
	require.Positive(t, refusals)
}

// Less than a whole entry is never taken for one.
func TestCBORTruncated(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 2).UTC()
	for name, entry := range map[string]func(*testing.T){
		"everything": truncated(everything{Bytes: []byte("bytes"), Points: map[point][]point{{1, 2}: {{3, 4}}}, Any: []any{at}, At: at}),
		"int":        truncated(1 << 40),
		"zero":       truncated(0),
		"string":     truncated("a long string with enough in it"),
		"empty":      truncated([]string{}),
		"nil":        truncated((*int)(nil)),
		"map":        truncated(map[string]any{"a": map[string]any{"b": []any{"c", 1.5, at}}}),
		"slice":      truncated([]float64{1, 2, 3}),
		"array":      truncated([3]uint16{1, 2, 3}),
		"toarray":    truncated(asArray{A: 1, B: to("b")}),
		"big":        truncated(new(big.Int).Lsh(big.NewInt(1), 100)),
		"own":        truncated([]cborPointer{{1}, {1000}}),
	} {
		t.Run(name, entry)
	}
}

func truncated[V any](v V) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		data := entryOf(t, v)
		require.Equal(t, v, *readAs[V](t, data))
		for i := range data {
			requireMiss[V](t, data[:i])
		}
		requireMiss[V](t, append(data, 0))
		requireMiss[V](t, append(data, data...))
		portable, err := appcache.CBOR{Portable: true}.Marshal(&v)
		require.NoError(t, err)
		for i := range portable {
			require.Nil(t, readWith[V](t, portable[:i], appcache.CBOR{Portable: true}, nil))
		}
	}
}

// Whatever bits are wrong, the worst is a miss.
func TestCBORDamaged(t *testing.T) {
	t.Parallel()
	v := everything{Points: map[point][]point{{1, 2}: {{3, 4}}}, Any: []any{time.Unix(1, 2), "a", 1.5, map[string]any{"b": big.NewInt(1)}}}
	data := entryOf(t, v)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			got := readAs[everything](t, data)
			require.False(t, got != nil && i < 6, "the shape was damaged")
			data[i] ^= 1 << bit
		}
	}
}

// Lengths are believed only as far as there are bytes, so that a few of these don't take all memory.
func TestCBORBombs(t *testing.T) {
	bombs := map[string]string{
		"array":            "\x9b\x00\x00\x00\x00\x7f\xff\xff\xff",
		"array of 2^63":    "\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
		"array of 2^64":    "\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
		"array of 2^32":    "\x9a\xff\xff\xff\xff",
		"map":              "\xbb\x00\x00\x00\x00\x7f\xff\xff\xff",
		"map of 2^63":      "\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
		"bytes":            "\x5b\x00\x00\x00\x00\x7f\xff\xff\xff",
		"bytes of 2^63":    "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
		"text":             "\x7a\xff\xff\xff\xff",
		"nested arrays":    strings.Repeat("\x9a\x7f\xff\xff\xff", 1000),
		"too deep":         strings.Repeat("\x81", 1_000_000),
		"deep and cut off": strings.Repeat("\x81", 60_000),
		"deep maps":        strings.Repeat("\xa1\x61a", 1_000_000),
		"deep tags":        strings.Repeat("\xc6", 1_000_000),
		"no end":           strings.Repeat("\x9f", 100_000),
		"endless bytes":    "\x5f" + strings.Repeat("\x41a", 1000),
		"break":            "\xff",
		"reserved":         "\x1c",
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			for _, v := range []any{new(any), new([]int), new(map[string]string), new([]byte), new(string), new(linked), new([]map[string][]linked), new(big.Int)} {
				for _, head := range []string{"", string(entryHead(t, v))} {
					s := appcache.CBOR{Portable: head == ""}
					data := []byte(head + bomb)
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					err := s.Unmarshal(data, v)
					runtime.ReadMemStats(&after)
					require.Error(t, err, "%T", v)
					require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "%T", v)
				}
			}
		})
	}
}

// entryHead returns how an entry for what v points to begins.
func entryHead(t *testing.T, v any) []byte {
	t.Helper()
	data, err := appcache.CBOR{}.Marshal(v)
	require.NoError(t, err)
	return data[:6]
}

// randomiser makes types, and values of them. Null is set once it has made a pointer to a nil.
type randomiser struct {
	*rand.Rand
	null bool
}

var scalars = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](),
	reflect.TypeFor[int64](), reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](),
	reflect.TypeFor[uint64](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](),
	reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[textValue](), reflect.TypeFor[binaryValue](),
}

// key returns a type for the keys of a map.
func (r *randomiser) key(depth int) reflect.Type {
	switch r.IntN(8) {
	case 0:
		if depth > 0 {
			return reflect.ArrayOf(r.IntN(3), r.key(depth-1))
		}
	case 1:
		if depth > 0 {
			return r.structOf(func() reflect.Type { return r.key(depth - 1) })
		}
	}
	return scalars[r.IntN(len(scalars))]
}

func (r *randomiser) typ(depth int) reflect.Type {
	if depth == 0 {
		return scalars[r.IntN(len(scalars))]
	}
	depth--
	switch r.IntN(8) {
	case 0:
		return reflect.PointerTo(r.typ(depth))
	case 1:
		return reflect.SliceOf(r.typ(depth))
	case 2:
		return reflect.ArrayOf(r.IntN(4), r.typ(depth))
	case 3:
		return reflect.MapOf(r.key(depth), r.typ(depth))
	case 4, 5:
		return r.structOf(func() reflect.Type { return r.typ(depth) })
	case 6:
		return reflect.TypeFor[any]()
	}
	return scalars[r.IntN(len(scalars))]
}

func (r *randomiser) structOf(field func() reflect.Type) reflect.Type {
	fields := make([]reflect.StructField, r.IntN(5))
	for i := range fields {
		f := reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: field()}
		switch r.IntN(8) {
		case 0:
			f.Tag = reflect.StructTag(fmt.Sprintf(`cbor:"%d,keyasint"`, i-2))
		case 1:
			f.Tag = reflect.StructTag(fmt.Sprintf(`json:"f %d"`, i))
		case 2:
			f.Tag = `cbor:",omitzero"`
			if f.Type.Implements(reflect.TypeFor[interface{ IsZero() bool }]()) || f.Type.Kind() == reflect.Float64 || f.Type.Kind() == reflect.Float32 {
				f.Tag = ""
			}
		}
		fields[i] = f
	}
	if r.IntN(4) == 0 && len(fields) > 0 {
		fields = append(fields, reflect.StructField{Name: "_", PkgPath: "p", Type: reflect.TypeFor[struct{}](), Tag: `cbor:",toarray"`}) //nolint:makezero // one more than the loop fills
	}
	return reflect.StructOf(fields)
}

func (r *randomiser) value(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t {
	case reflect.TypeFor[time.Time]():
		const last = 253402300799 // the end of 9999
		if r.IntN(4) > 0 {
			v.Set(reflect.ValueOf(time.Unix(r.Int64N(last), r.Int64N(1e9)).UTC()))
		}
		return v
	case reflect.TypeFor[textValue]():
		v.Set(reflect.ValueOf(textValue{r.text()}))
		return v
	}
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.Uint64()) >> (64 - t.Bits() + r.IntN(t.Bits())))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> (64 - t.Bits() + r.IntN(t.Bits())))
	case reflect.Float32:
		if f := math.Float32frombits(r.Uint32()); f == f {
			v.SetFloat(float64(f))
		}
	case reflect.Float64:
		if f := math.Float64frombits(r.Uint64()); f == f {
			v.SetFloat(f)
		}
	case reflect.String:
		v.SetString(r.text())
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(t.Elem()))
			v.Elem().Set(r.value(t.Elem()))
			switch e := v.Elem(); e.Kind() {
			case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
				r.null = r.null || e.IsNil()
			case reflect.Struct:
				r.null = r.null || t.Elem() == reflect.TypeFor[time.Time]() && e.IsZero()
			}
		}
	case reflect.Slice:
		if r.IntN(3) > 0 {
			v.Set(reflect.MakeSlice(t, r.IntN(4), 4))
			for i := range v.Len() {
				v.Index(i).Set(r.value(t.Elem()))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).Set(r.value(t.Elem()))
		}
	case reflect.Map:
		if r.IntN(3) > 0 {
			v.Set(reflect.MakeMap(t))
			for range r.IntN(4) {
				if k := r.value(t.Key()); !v.MapIndex(k).IsValid() {
					v.SetMapIndex(k, r.value(t.Elem()))
				}
			}
		}
	case reflect.Interface:
		if types := []reflect.Type{
			reflect.TypeFor[int64](), reflect.TypeFor[string](), reflect.TypeFor[float64](), reflect.TypeFor[bool](),
			reflect.TypeFor[time.Time](), reflect.TypeFor[[]byte](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](),
		}; r.IntN(3) > 0 {
			e := r.value(types[r.IntN(len(types))])
			if k := e.Kind(); (k != reflect.Slice && k != reflect.Map || !e.IsNil()) && !e.IsZero() {
				v.Set(e)
			}
		}
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(r.value(t.Field(i).Type))
			}
		}
	}
	return v
}

func (r *randomiser) text() string {
	b := make([]byte, r.IntN(30))
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return string(b)
}
