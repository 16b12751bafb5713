package appcache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// CBOR stores values in the Concise Binary Object Representation (RFC 8949), for values that come back
// whole or not at all. It is the default. Its zero value is ready.
//
// An entry is the array [shape, value], where shape is a hash of the value's type: names of types and
// fields, tags and kinds, all the way down. An entry that was written when V was another type, or had
// other fields, is a miss. So after a deploy nobody gets a struct with a field silently zero.
//
// Struct fields are named by their cbor tag, or else their json tag, or else their Go name. What would be
// lost silently is refused: [New] panics, and Marshal returns an error, for a field that is tagged
// json:"-" and has no cbor tag, a func, a chan, an interface with methods, two fields of one name, a type that marshals itself
// and doesn't unmarshal, and a struct of which no field is exported and that doesn't marshal itself
// (encoding.BinaryMarshaler, encoding.TextMarshaler or cbor.Marshaler).
//
// What is lost: unexported fields beside exported ones, the name of a time's zone (its offset stays), its
// monotonic clock, and in an any the type: a struct comes back as a map[string]any, an integer as int64.
//
// A cyclic value is an error, and so is one nested more than 65,535 deep. Unmarshal allocates no more
// than the bytes at hand can fill, but a struct that is mostly empty takes more room than its bytes.
type CBOR struct {
	// Portable stores the bare value without its shape, to share entries with other programs. An
	// entry of other fields is then a hit, with what is missing left zero.
	Portable bool
}

// The first six bytes of an entry: an array of two, and the first of them in four bytes. The value
// follows.
const (
	cborHead     = "\x82\x1a"
	cborHeadSize = len(cborHead) + 4
)

// Marshal returns the entry for the value that v points to.
func (c CBOR) Marshal(v any) ([]byte, error) {
	shape := shapeOf(reflect.TypeOf(v).Elem())
	if shape.err != nil {
		return nil, shape.err
	}
	if shape.recurses {
		if err := checkAcyclic(cborView{}, reflect.ValueOf(v).Elem()); err != nil {
			return nil, err
		}
	}
	b := cborBuffers.Get().(*bytes.Buffer)
	defer putCBORBuffer(b)
	if !c.Portable {
		var head [cborHeadSize]byte
		b.Write(shape.appendHead(head[:0]))
	}
	if err := cborModes().enc.MarshalToBuffer(v, b); err != nil {
		return nil, err
	}
	return bytes.Clone(b.Bytes()), nil
}

// Unmarshal sets what v points to from an entry.
func (c CBOR) Unmarshal(data []byte, v any) error {
	if !c.Portable {
		shape := shapeOf(reflect.TypeOf(v).Elem())
		var head [cborHeadSize]byte
		if !bytes.HasPrefix(data, shape.appendHead(head[:0])) {
			return fmt.Errorf("the entry is not of the type %v as this program knows it", reflect.TypeOf(v).Elem())
		}
		data = data[cborHeadSize:]
	}
	return cborModes().dec.Unmarshal(data, v)
}

func (CBOR) checkType(t reflect.Type) error { return shapeOf(t).err }

func (s *shape) appendHead(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, cborHead...), s.hash)
}

const maxPooledBuffer = 64 << 10 // bytes; larger ones are left to the garbage collector

var cborBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putCBORBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooledBuffer {
		b.Reset()
		cborBuffers.Put(b)
	}
}

type codec struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// cborModes returns the settings with which what is encoded can be decoded, and comes back as it was.
var cborModes = sync.OnceValue(func() codec {
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
		MaxNestedLevels:   maxNesting,
		UTF8:              cbor.UTF8DecodeInvalid, // Go's strings may hold any bytes
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		DefaultMapType:    reflect.TypeFor[map[string]any](),
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc, dec}
})
