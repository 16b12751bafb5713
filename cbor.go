package appcache

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/goappcache/appcache/internal/shape"
)

// CBOR stores values in the Concise Binary Object Representation (RFC 8949), for values that come back
// whole or not at all. It is the default. Its zero value is ready.
//
// An entry is the array [shape, value], where shape is a hash of the value's type: names of types and
// fields, tags and kinds, all the way down. An entry that was written when V was another type, or had
// other fields, is a miss. So after a deploy nobody gets a struct with a field silently zero.
//
// Struct fields are named by their cbor tag, or else their json tag, or else their Go name. What would
// be lost silently is refused. [New] panics for a field that is tagged json:"-" and has no cbor tag, a
// func, a chan, a complex number, an interface with methods, a struct of which no field is exported and
// that doesn't marshal itself ([encoding.BinaryMarshaler], [encoding.TextMarshaler] or
// [cbor.Marshaler]), a type that marshals itself and doesn't unmarshal or the reverse, and fields of
// one name, those of embedded structs among them, of which Go's rules would hide one. Marshal returns
// an error for these in an any, and there also for maps whose keys aren't strings; for a cyclic value,
// and one nested more than 65,000 deep; for a pointer to a nil or to the zero time; and for a time
// whose year is beyond 9999 or whose offset has seconds.
//
// What is lost: unexported fields beside exported ones; the name of a time's zone (its offset stays,
// but that of the zero time), and its monotonic clock; that an embedded pointer is nil, in a struct
// tagged toarray; what omitempty, omitzero and a type's own methods lose, such as the precision of a
// [math/big.Float]. In an any the type is lost: a struct comes back as a map[string]any, an integer as
// int64 or, where that is too small, as a big.Int, a nil of any type as nil, and of map keys that are then equal one
// remains.
//
// Unmarshal allocates no more than the bytes at hand can fill, but a struct that is mostly empty takes
// more room than its bytes. Bytes that an enemy wrote may also take long: 65,000 nested tags a minute.
type CBOR struct {
	// Portable stores the bare value without its shape, to share entries with other programs. An
	// entry of other fields is then a hit, with what is missing left zero.
	Portable bool
}

// cborHead begins an entry: an array of two, the first of them the four bytes of the shape, which follow.
const cborHead = "\x82\x1a"

func cborShape(t reflect.Type) *shape.Shape { return shape.Of(shape.CBOR, t) }

// Marshal returns the entry for the value that v points to.
func (c CBOR) Marshal(v any) ([]byte, error) {
	s := cborShape(reflect.TypeOf(v).Elem())
	if err := s.Check(v); err != nil {
		return nil, err
	}
	b := cborBuffers.Get().(*bytes.Buffer)
	defer putCBORBuffer(b)
	if !c.Portable {
		b.WriteString(cborHead)
		b.Write(s.Sum[:])
	}
	if err := cborModes().enc.MarshalToBuffer(v, b); err != nil {
		return nil, err
	}
	return bytes.Clone(b.Bytes()), nil
}

// Unmarshal sets what v points to from an entry.
func (c CBOR) Unmarshal(data []byte, v any) error {
	if !c.Portable {
		t := reflect.TypeOf(v).Elem()
		rest, ok := bytes.CutPrefix(data, []byte(cborHead))
		if ok {
			rest, ok = bytes.CutPrefix(rest, cborShape(t).Sum[:])
		}
		if !ok {
			return fmt.Errorf("the entry is not of the type %v as this program knows it", t)
		}
		data = rest
	}
	return cborModes().dec.Unmarshal(data, v)
}

func (CBOR) checkType(t reflect.Type) error { return cborShape(t).Err }

const maxPooledBuffer = 64 << 10 // bytes; larger ones are left to the garbage collector

var cborBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putCBORBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooledBuffer {
		b.Reset()
		cborBuffers.Put(b)
	}
}

type modes struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// cborModes returns the settings with which what is encoded can be decoded, and comes back as it was.
var cborModes = sync.OnceValue(func() modes {
	enc, err := cbor.EncOptions{
		Time:          cbor.TimeRFC3339Nano, // the default loses what is below a second, and the offset
		TimeTag:       cbor.EncTagRequired,  // so that a time in an any comes back as one
		TextMarshaler: cbor.TextMarshalerTextString,
	}.UserBufferEncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{
		TimeTag:           cbor.DecTagRequired,
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		MaxArrayElements:  math.MaxInt32, // the default of 131,072 is less than the encoder writes
		MaxMapPairs:       math.MaxInt32,
		MaxNestedLevels:   65535,                  // the most there is
		UTF8:              cbor.UTF8DecodeInvalid, // Go's strings may hold any bytes
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		DefaultMapType:    reflect.TypeFor[map[string]any](),
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return modes{enc, dec}
})
