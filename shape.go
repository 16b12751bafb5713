package appcache

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// shape is what CBOR knows of a type.
type shape struct {
	hash     uint32 // of the type as the program knows it
	recurses bool   // a value of it could be cyclic
	err      error  // why values of it wouldn't come back whole
}

// shapes holds the shape of each type that was asked for, as encoding/json holds its fields. It depends
// on the program's types alone, so it doesn't matter who filled it.
var shapes sync.Map // reflect.Type → *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	d := describer{seen: map[reflect.Type]int{}}
	d.describe(t, t.String())
	sum := sha256.Sum256([]byte(d.text.String()))
	s := &shape{hash: binary.BigEndian.Uint32(sum[:]), recurses: planOf(cborView{}, t).walk, err: d.err}
	shapes.Store(t, s)
	return s
}

// describer walks a type and writes down all that decides how its values are encoded.
type describer struct {
	text strings.Builder
	seen map[reflect.Type]int // the number of each type that is written down already
	err  error                // the first
}

func (d *describer) fail(where, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%s %s", where, fmt.Sprintf(format, args...))
	}
}

// describe writes down t. Where is the way to it, for messages.
func (d *describer) describe(t reflect.Type, where string) {
	if n, ok := d.seen[t]; ok {
		fmt.Fprintf(&d.text, "#%d ", n)
		return
	}
	d.seen[t] = len(d.seen)
	fmt.Fprintf(&d.text, "%v %s.%s ", t.Kind(), t.PkgPath(), t.Name())
	if knownToCBOR(t) {
		return
	}
	if by := marshalsBy(t); by != nil {
		d.checkMarshaller(t, by, where)
		return
	}
	switch t.Kind() {
	case reflect.Func, reflect.Chan:
		d.fail(where, "is a %v, which can't be kept; %s", t, leaveOut)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			d.fail(where, "is the interface %v, which can't be decoded; make it a concrete type or any, or %s", t, leaveOut)
		}
	case reflect.Pointer, reflect.Slice:
		d.describe(t.Elem(), where)
	case reflect.Array:
		fmt.Fprintf(&d.text, "%d ", t.Len())
		d.describe(t.Elem(), where)
	case reflect.Map:
		d.describe(t.Key(), where)
		d.describe(t.Elem(), where)
	case reflect.Struct:
		d.describeFields(t, where)
	}
}

const leaveOut = "tag the field cbor:\"-\" to leave it out"

func (d *describer) describeFields(t reflect.Type, where string) {
	exported := 0
	named := map[string]string{} // the Go name of the field that is encoded by each name
	d.text.WriteString("{")
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			fmt.Fprintf(&d.text, "%q ", f.Tag.Get("cbor")) // toarray
		}
		embedded := embedsStruct(f)
		if !f.IsExported() && !embedded {
			continue
		}
		exported++
		at := where + "." + f.Name
		tag, own := cborTag(f)
		if tag == "-" {
			if !own {
				d.fail(at, "is tagged json:\"-\" and would be lost; tag it cbor:%q as well to keep it, or cbor:\"-\" to leave it out", f.Name)
			}
			continue
		}
		if embedded && !f.IsExported() && f.Type.Kind() == reflect.Pointer {
			d.fail(at, "embeds a pointer to an unexported struct, which can't be decoded; embed the struct, or %s", leaveOut)
		}
		name, _, _ := strings.Cut(tag, ",")
		if name == "" && !embedded {
			name = f.Name
		}
		if other, taken := named[name]; taken && name != "" {
			d.fail(at, "is encoded as %q, as %s is, and both would be lost; tag one of them otherwise", name, other)
		}
		named[name] = f.Name
		fmt.Fprintf(&d.text, "%s %q %t ", f.Name, tag, embedded)
		d.describe(f.Type, at)
	}
	d.text.WriteString("} ")
	if exported == 0 && t.NumField() > 0 {
		d.fail(where, "is a %v, of which no field is exported: it would come back empty; give it MarshalBinary and UnmarshalBinary, or %s", t, leaveOut)
	}
}

// cborTag returns the tag by which cbor encodes the field, and whether it is of cbor's own name.
func cborTag(f reflect.StructField) (tag string, own bool) {
	if tag = f.Tag.Get("cbor"); tag != "" {
		return tag, true
	}
	return f.Tag.Get("json"), false
}

// embedsStruct reports whether the field's own fields are encoded in its place.
func embedsStruct(f reflect.StructField) bool {
	t := f.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return f.Anonymous && t.Kind() == reflect.Struct
}

// marshalling is the interfaces by which a type encodes itself, in the order in which cbor looks for
// them, each with the one that undoes it.
var marshalling = []struct{ marshal, unmarshal reflect.Type }{
	{reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[cbor.Unmarshaler]()},
	{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()},
	{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
}

// marshalsBy returns the interface by which cbor lets t encode itself, or nil.
func marshalsBy(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return nil // what is behind it decides
	}
	for _, m := range marshalling {
		if reflect.PointerTo(t).Implements(m.marshal) {
			return m.marshal
		}
	}
	return nil
}

func (d *describer) checkMarshaller(t, by reflect.Type, where string) {
	for _, m := range marshalling {
		if m.marshal == by && !reflect.PointerTo(t).Implements(m.unmarshal) {
			d.fail(where, "is a %v, which is a %v and not a %v; add the method", t, m.marshal, m.unmarshal)
		}
	}
	if t.Kind() != reflect.Struct || t.NumField() == 1 {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && (f.Type.Implements(by) || reflect.PointerTo(f.Type).Implements(by)) {
			d.fail(where, "embeds %v and may have got from it that it is a %v, by which its other fields would be lost; "+
				"give the field a name, or write MarshalCBOR and UnmarshalCBOR", f.Type, by)
		}
	}
}

// knownToCBOR reports whether cbor encodes the type in a way of its own.
func knownToCBOR(t reflect.Type) bool {
	return t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[big.Int]() || t == reflect.TypeFor[cbor.Tag]()
}
