package appcache_test

import (
	"encoding"
	"encoding/hex"
	"math/big"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

// Types that can't be kept, for TestNewRefusesWhatWouldBeLost.
type (
	hidden  struct{ n int }
	dropped struct {
		Secret string `json:"-"`
	}
	inner     struct{ Dropped dropped }
	withFunc  struct{ Hooks []func() }
	withChan  struct{ Done chan int }
	withError struct{ Err error }
	withDup   struct {
		A int `json:"x"`
		B int `cbor:"x"`
	}
	withKeyDup struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"01,keyasint"`
	}
	base     struct{ ID, Version int }
	Other    struct{ ID int }
	shadowed struct {
		base
		ID string
	}
	ambiguous struct {
		base
		Other
	}
	tagWins struct {
		base
		Identity int `cbor:"ID"`
	}
	deepShadow struct {
		Mid
		ID int
	}
	Mid      struct{ *Base2 }
	Base2    struct{ ID int }
	selfLink struct {
		Name string
		*Link
	}
	Link struct {
		Next string
		*Link
	}
	bareLink  struct{ *bareLink2 }
	bareLink2 struct{ *bareLink }
	twoTimes  struct {
		time.Time
		netip.Addr
	}
	stampedEvent struct {
		time.Time
		Name string
	}
	embedsHiddenPointer struct{ *base }
	namedHiddenPointer  struct {
		*base `cbor:"base"`
	}
	hiddenTime     struct{ textAndBinary }
	twoHiddenTimes struct {
		textAndBinary     `cbor:"a"`
		alsoTextAndBinary `cbor:"b"`
	}
	embedsMutex struct {
		sync.Mutex
		N int
	}
	exportedMutex struct {
		Mutex sync.Mutex
		N     int
	}
)

// textAndBinary marshals itself in two ways, which a struct that embeds it gets from it.
type textAndBinary struct{ n byte }

func (v textAndBinary) MarshalText() ([]byte, error)    { return []byte{v.n}, nil }
func (v textAndBinary) MarshalBinary() ([]byte, error)  { return []byte{v.n}, nil }
func (v *textAndBinary) UnmarshalText(b []byte) error   { v.n = b[0]; return nil }
func (v *textAndBinary) UnmarshalBinary(b []byte) error { v.n = b[0]; return nil }

// alsoTextAndBinary is another such: a struct that embeds both gets the methods of neither.
type alsoTextAndBinary struct{ n byte }

func (v alsoTextAndBinary) MarshalText() ([]byte, error)    { return []byte{v.n}, nil }
func (v alsoTextAndBinary) MarshalBinary() ([]byte, error)  { return []byte{v.n}, nil }
func (v *alsoTextAndBinary) UnmarshalText(b []byte) error   { v.n = b[0]; return nil }
func (v *alsoTextAndBinary) UnmarshalBinary(b []byte) error { v.n = b[0]; return nil }

type onlyMarshalsText struct{ N int }

func (onlyMarshalsText) MarshalText() ([]byte, error) { return nil, nil }

type onlyMarshalsBinary struct{ N int }

func (*onlyMarshalsBinary) MarshalBinary() ([]byte, error) { return nil, nil }

type onlyMarshalsCBOR struct{ N int }

func (onlyMarshalsCBOR) MarshalCBOR() ([]byte, error) { return nil, nil }

type onlyUnmarshalsText string

func (v *onlyUnmarshalsText) UnmarshalText(b []byte) error {
	*v = onlyUnmarshalsText("read: " + string(b))
	return nil
}

type onlyUnmarshalsBinary []byte

func (*onlyUnmarshalsBinary) UnmarshalBinary([]byte) error { return nil }

type onlyUnmarshalsCBOR struct{ N int }

func (*onlyUnmarshalsCBOR) UnmarshalCBOR([]byte) error { return nil }

// Types that can be kept although they look like those that can't.
type (
	keptOtherwise struct {
		Password string         `json:"-" cbor:"password"`
		Left     func()         `cbor:"-"`
		Parent   *keptOtherwise `cbor:"-"`
		Dash     int            `json:"-,"`
	}
	hiddenBeside struct {
		mu    sync.Mutex
		cache map[string]func()
		err   error
		N     int
	}
	embedsBase struct {
		base
		Name string
	}
	embedsPointer struct {
		*Other
		Name string
	}
	embedsUnderName struct {
		base `cbor:"base"`
		ID   string
	}
	embedsNamesake struct {
		Other
		O int `cbor:"Other"`
	}
	onlyStamp struct{ time.Time }
	keyedBoth struct {
		A int `cbor:"1,keyasint"`
		B int `cbor:"1"`
	}
	configLevel int
)

// configLevel is read from texts, but an int isn't encoded as one.
func (*configLevel) UnmarshalText([]byte) error { return nil }

// ownEvent embeds a time, and says itself how it is encoded.
type ownEvent struct {
	time.Time
	Name string
}

type plainEvent struct {
	At   time.Time
	Name string
}

func (e ownEvent) MarshalCBOR() ([]byte, error) { return cbor.Marshal(plainEvent{e.Time, e.Name}) }

func (e *ownEvent) UnmarshalCBOR(data []byte) error {
	var p plainEvent
	err := cbor.Unmarshal(data, &p)
	*e = ownEvent{p.At, p.Name}
	return err
}

func TestNewRefusesWhatWouldBeLost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		make func(appcache.RawBackend, *appcache.Options)
		want []string // in the message: where, and what to write
	}{
		"tagged json":            {newFor[dropped], []string{`dropped.Secret is tagged json:"-"`, `cbor:"Secret"`, `cbor:"-"`}},
		"in a field":             {newFor[inner], []string{"inner.Dropped.Secret"}},
		"in a slice":             {newFor[[]dropped], []string{"dropped.Secret"}},
		"in a map":               {newFor[map[string]map[int][2]dropped], []string{"dropped.Secret"}},
		"in a key":               {newFor[map[dropped]int], []string{"int.Secret is tagged"}},
		"behind pointers":        {newFor[**inner], []string{"inner.Dropped.Secret"}},
		"in an embedded one":     {newFor[struct{ inner }], []string{"inner.Dropped.Secret"}},
		"nothing exported":       {newFor[hidden], []string{"hidden", "no field is exported", "MarshalBinary"}},
		"nothing exported, deep": {newFor[struct{ A []hidden }], []string{".A is a appcache_test.hidden"}},
		"func":                   {newFor[func()], []string{"func()"}},
		"funcs":                  {newFor[withFunc], []string{"withFunc.Hooks is a func()", `cbor:"-"`}},
		"chan":                   {newFor[withChan], []string{"withChan.Done is a chan int", `cbor:"-"`}},
		"complex":                {newFor[struct{ C []complex128 }], []string{".C is a complex128"}},
		"uintptr":                {newFor[uintptr], []string{"uintptr"}},
		"unsafe pointer":         {newFor[unsafe.Pointer], []string{"unsafe.Pointer"}},
		"error":                  {newFor[withError], []string{"withError.Err is the interface error", "any"}},
		"interface":              {newFor[encoding.TextMarshaler], []string{"the interface encoding.TextMarshaler"}},
		"two of a name":          {newFor[withDup], []string{"withDup.B is encoded as x, as appcache_test.withDup.A is"}},
		"two of a number":        {newFor[withKeyDup], []string{"withKeyDup.B is encoded as 1"}},
		"hidden by embedding":    {newFor[shadowed], []string{"shadowed.ID is encoded as ID, as appcache_test.shadowed.base.ID is"}},
		"embedded twice":         {newFor[ambiguous], []string{"ambiguous.Other.ID is encoded as ID"}},
		"hidden by a tag":        {newFor[tagWins], []string{"tagWins.Identity is encoded as ID"}},
		"hidden two deep":        {newFor[deepShadow], []string{"deepShadow.ID is encoded as ID, as appcache_test.deepShadow.Mid.Base2.ID is"}},
		"embeds itself":          {newFor[selfLink], []string{"selfLink.Link.Link is encoded as"}},
		"embeds only itself":     {newFor[bareLink], []string{"bareLink.bareLink2"}},
		"only marshals text":     {newFor[onlyMarshalsText], []string{"encoding.TextMarshaler and not a encoding.TextUnmarshaler"}},
		"only marshals binary":   {newFor[[]onlyMarshalsBinary], []string{"encoding.BinaryMarshaler and not a encoding.BinaryUnmarshaler"}},
		"only marshals cbor":     {newFor[*onlyMarshalsCBOR], []string{"cbor.Marshaler and not a cbor.Unmarshaler"}},
		"only unmarshals text":   {newFor[onlyUnmarshalsText], []string{"unmarshals itself and doesn't marshal itself"}},
		"only unmarshals binary": {newFor[onlyUnmarshalsBinary], []string{"unmarshals itself and doesn't marshal itself"}},
		"only unmarshals cbor":   {newFor[onlyUnmarshalsCBOR], []string{"unmarshals itself and doesn't marshal itself"}},
		"embedded marshaller":    {newFor[stampedEvent], []string{"embeds time.Time", "give the field a name", "MarshalCBOR"}},
		"two of them":            {newFor[twoTimes], []string{"twoTimes.Time embeds a time.Time", "give the field a name"}},
		"embedded pointer":       {newFor[embedsHiddenPointer], []string{"embedsHiddenPointer.base embeds the unexported"}},
		"the same with a name":   {newFor[namedHiddenPointer], []string{"namedHiddenPointer.base embeds the unexported"}},
		"unexported marshaller":  {newFor[twoHiddenTimes], []string{"twoHiddenTimes.textAndBinary embeds the unexported"}},
		"embedded mutex":         {newFor[embedsMutex], []string{"embedsMutex.Mutex is a sync.Mutex", `cbor:"-"`}},
		"exported mutex":         {newFor[exportedMutex], []string{"exportedMutex.Mutex is a sync.Mutex", `cbor:"-"`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, serialiser := range []appcache.Serialiser{nil, appcache.CBOR{}, appcache.CBOR{Portable: true}} {
				message := panicOf(func() { test.make(cachetest.NewMemory(), &appcache.Options{Serialiser: serialiser}) })
				require.Contains(t, message, "appcache.New[")
				for _, want := range test.want {
					require.Contains(t, message, want)
				}
			}
			// Other serialisers keep what they keep.
			require.Empty(t, panicOf(func() { test.make(cachetest.NewMemory(), &appcache.Options{Serialiser: appcache.JSON{}}) }))
		})
	}
}

func newFor[V any](b appcache.RawBackend, o *appcache.Options) { appcache.New[V](b, o) }

func panicOf(f func()) (message string) {
	defer func() {
		if p := recover(); p != nil {
			message = p.(string)
		}
	}()
	f()
	return ""
}

func TestNewAllowsWhatComesBack(t *testing.T) {
	t.Parallel()
	b := cachetest.NewMemory()
	newFor[struct{}](b, nil)
	newFor[map[string]struct{}](b, nil)
	newFor[any](b, nil)
	newFor[[]map[string]any](b, nil)
	newFor[time.Time](b, nil)
	newFor[*big.Int](b, nil)
	newFor[cbor.Tag](b, nil)
	newFor[cbor.RawMessage](b, nil)
	newFor[hiddenBeside](b, nil)
	newFor[configLevel](b, nil)
	requireSame(t, keptOtherwise{Password: "p", Dash: 1})
	requireSame(t, hiddenBeside{N: 1})
	requireSame(t, embedsBase{base{1, 2}, "n"})
	requireSame(t, embedsPointer{nil, "n"})
	requireSame(t, embedsPointer{&Other{1}, "n"})
	requireSame(t, embedsUnderName{base{1, 2}, "n"})
	requireSame(t, embedsNamesake{Other{1}, 2})
	requireSame(t, onlyStamp{time.Unix(1, 2).UTC()})
	requireSame(t, ownEvent{time.Unix(1, 0), "n"})
	requireSame(t, keyedBoth{1, 2})
	requireSame(t, hiddenTime{textAndBinary{7}})
}

// requireSame stores v and gets it back.
func requireSame[V any](t *testing.T, v V) {
	t.Helper()
	got, err := throughCache(t, appcache.CBOR{}, v)
	require.NoError(t, err)
	require.Equal(t, v, got)
}

// throughCache returns what Get returns when Set was given v, and the error of Set. That what could be set
// can't be got again fails the test.
func throughCache[V any](t *testing.T, s appcache.Serialiser, v V) (got V, err error) {
	t.Helper()
	var events recorder
	cache := appcache.New[V](cachetest.NewMemory(), &appcache.Options{Serialiser: s, Observe: events.observe})
	if err := cache.SetByStr(t.Context(), "k", v, 0, false); err != nil {
		return got, err
	}
	events.one(t)
	got, found, err := cache.GetByStr(t.Context(), "k")
	require.NoError(t, err)
	event := events.one(t)
	require.True(t, found, "set, but %s: %v", event.Outcome, event.Err)
	require.Equal(t, appcache.Hit, event.Outcome)
	return got, nil
}

// The types named User here are those of several versions of a program. Local types of one name are the same
// to a shape, if all in them is.
func TestEntryOfAnotherShapeIsAMiss(t *testing.T) {
	t.Parallel()
	type Leaf struct{ N int }
	type User struct {
		ID     int
		Name   string `json:"name"`
		Leaves map[string][]*Leaf
	}
	user := User{ID: 1, Name: "Ann", Leaves: map[string][]*Leaf{"a": {{2}}}}
	data := entryOf(t, user)
	require.Equal(t, user, *readAs[User](t, data))
	t.Run("same again", func(t *testing.T) {
		type Leaf struct{ N int }
		type User struct {
			ID     int
			Name   string `json:"name"`
			Leaves map[string][]*Leaf
		}
		require.Equal(t, &User{ID: 1, Name: "Ann", Leaves: map[string][]*Leaf{"a": {{2}}}}, readAs[User](t, data))
	})
	t.Run("unexported field gained", func(t *testing.T) {
		type User struct {
			ID     int
			Name   string `json:"name"`
			Leaves map[string][]*Leaf
			hidden func()
		}
		require.Equal(t, &User{ID: 1, Name: "Ann", Leaves: user.Leaves}, readAs[User](t, data))
		_ = User{}.hidden
	})
	t.Run("gained", func(t *testing.T) {
		type User struct {
			ID     int
			Name   string `json:"name"`
			Leaves map[string][]*Leaf
			Email  string
		}
		requireMiss[User](t, data)
	})
	t.Run("lost", func(t *testing.T) {
		type User struct {
			ID     int
			Leaves map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("renamed", func(t *testing.T) {
		type User struct {
			ID       int
			FullName string `json:"name"`
			Leaves   map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("retyped", func(t *testing.T) {
		type User struct {
			ID     int64
			Name   string `json:"name"`
			Leaves map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("retagged", func(t *testing.T) {
		type User struct {
			ID     int
			Name   string `json:"full_name"`
			Leaves map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("tag gained", func(t *testing.T) {
		type User struct {
			ID     int    `cbor:",omitempty"`
			Name   string `json:"name"`
			Leaves map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("made an array", func(t *testing.T) {
		type User struct {
			_      struct{} `cbor:",toarray"`
			ID     int
			Name   string `json:"name"`
			Leaves map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("embedded", func(t *testing.T) {
		type Named struct {
			Name string `json:"name"`
		}
		type User struct {
			ID int
			Named
			Leaves map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("deep down", func(t *testing.T) {
		type Leaf struct{ N uint }
		type User struct {
			ID     int
			Name   string `json:"name"`
			Leaves map[string][]*Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("other leaf", func(t *testing.T) {
		type Leaf2 struct{ N int }
		type User struct {
			ID     int
			Name   string `json:"name"`
			Leaves map[string][]*Leaf2
		}
		requireMiss[User](t, data)
	})
	t.Run("other container", func(t *testing.T) {
		type User struct {
			ID     int
			Name   string `json:"name"`
			Leaves map[string][]Leaf
		}
		requireMiss[User](t, data)
	})
	t.Run("another type", func(t *testing.T) {
		type Order User
		requireMiss[Order](t, data)
		requireMiss[*User](t, data)
		requireMiss[map[string]any](t, data)
		requireMiss[any](t, data)
	})
	t.Run("of another program", func(t *testing.T) {
		bare, err := cbor.Marshal(user)
		require.NoError(t, err)
		requireMiss[User](t, bare)
	})
}

// How a type encodes itself is a part of its shape.
func TestShapeOfTypesThatMarshalThemselves(t *testing.T) {
	t.Parallel()
	data := entryOf(t, struct{ A textAndBinary }{textAndBinary{1}})
	require.NotNil(t, readAs[struct{ A textAndBinary }](t, data))
	requireMiss[struct{ A time.Time }](t, data)
	requireMiss[struct{ A ownEvent }](t, data)
	requireMiss[[3]int](t, entryOf(t, [4]int{}))
	requireMiss[page[int]](t, entryOf(t, page[uint8]{}))
	require.NotNil(t, readAs[page[int]](t, entryOf(t, page[int]{})))
}

type page[T any] struct {
	Items []T
	Next  *page[T]
}

func TestPortableIsTheBareValue(t *testing.T) {
	t.Parallel()
	portable := appcache.CBOR{Portable: true}
	data, err := portable.Marshal(&Other{1})
	require.NoError(t, err)
	require.Equal(t, "a1624944"+"01", hex.EncodeToString(data)) // {"ID": 1}
	var b base
	require.NoError(t, portable.Unmarshal(data, &b))
	require.Equal(t, base{ID: 1}, b)
	var m map[string]any
	require.NoError(t, portable.Unmarshal(data, &m))
	require.Equal(t, map[string]any{"ID": int64(1)}, m)
	require.Error(t, portable.Unmarshal(entryOf(t, Other{1}), &b), "an entry with a shape is an array")
}

// The types of TestShapeIsStable. They lead to each other and themselves.
type (
	stable struct {
		base
		Name  string `json:"name,omitempty"`
		Money cents  `cbor:"1,keyasint"`
		At    *time.Time
		Tree  map[string][]stableNode
		Any   any
		Big   big.Int
		Page  page[stableNode]
		Left  chan int `cbor:"-"`
	}
	stableNode struct {
		Up   *stable `cbor:"-"`
		Down []*stableNode
		Pair [2]cents
	}
	cents int64
)

// A shape that changes without the type having changed would empty the caches of everybody who upgrades.
func TestShapeIsStable(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"int":            "821a9fccd80a",
		"string":         "821a546fd947",
		"map[string]any": "821a4f1f62da",
		"time.Time":      "821a324f18b1",
		"stable":         "821a23078d17",
		"[]*stable":      "821a3e227957",
		"page[base]":     "821a6fad7db8",
	}
	got := map[string]string{
		"int":            headOf[int](t),
		"string":         headOf[string](t),
		"map[string]any": headOf[map[string]any](t),
		"time.Time":      headOf[time.Time](t),
		"stable":         headOf[stable](t),
		"[]*stable":      headOf[[]*stable](t),
		"page[base]":     headOf[page[base]](t),
	}
	require.Equal(t, want, got)
}

// headOf returns how an entry for a zero V begins.
func headOf[V any](t *testing.T) string {
	return hex.EncodeToString(entryOf(t, *new(V))[:6])
}

func TestShapesAreMadeConcurrently(t *testing.T) {
	t.Parallel()
	type fresh struct{ A, B *page[[]map[string]any] }
	var wg sync.WaitGroup
	entries := make([][]byte, 8)
	for i := range entries {
		wg.Go(func() { entries[i] = entryOf(t, fresh{A: &page[[]map[string]any]{}}) })
	}
	wg.Wait()
	for _, e := range entries {
		require.Equal(t, entries[0], e)
	}
}

func entryOf[V any](t *testing.T, v V) []byte {
	t.Helper()
	data, err := appcache.CBOR{}.Marshal(&v)
	require.NoError(t, err)
	return data
}

// readAs returns what a cache of V reads from data, nil for a miss, which must have its event.
func readAs[V any](t *testing.T, data []byte) *V {
	t.Helper()
	return readWith[V](t, data, appcache.CBOR{}, nil)
}

func readWith[V any](t *testing.T, data []byte, s appcache.Serialiser, c appcache.Compressor) *V {
	t.Helper()
	var events recorder
	b := cachetest.NewMemory()
	put(t, b, "appcache/k", string(data))
	cache := appcache.New[V](b, &appcache.Options{Serialiser: s, Compressor: c, Observe: events.observe})
	v, found, err := cache.GetByStr(t.Context(), "k")
	require.NoError(t, err)
	event := events.one(t)
	if found {
		require.Equal(t, appcache.Hit, event.Outcome)
		require.NoError(t, event.Err)
		return &v
	}
	require.Equal(t, appcache.Unreadable, event.Outcome)
	require.Error(t, event.Err)
	require.Zero(t, v, "a miss has no value")
	return nil
}

func requireMiss[V any](t *testing.T, data []byte) {
	t.Helper()
	require.Nil(t, readAs[V](t, data))
}
