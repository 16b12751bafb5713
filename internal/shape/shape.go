// Package shape knows of each type what decides how its values are encoded, and what a codec would lose of
// them: a hash of the type, why its values wouldn't come back whole, and what of a value has to be looked at
// before it is encoded.
//
// All of it is worked out once a type, from the type alone, and kept for the process, as encoding/json keeps
// the fields of types. It is safe for concurrent use. The tests are those of appcache.CBOR and appcache.Gob.
package shape

import (
	"cmp"
	"crypto/sha256"
	"encoding"
	"encoding/gob"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Codec is who encodes a value, and so decides what of it is encoded.
type Codec byte

// The codecs. One more than these is CBOR for a value in an any: it is decoded without knowing its type.
const (
	CBOR Codec = iota
	inAny
	Gob
	codecs
)

// Shape is what is known of a type, for a codec.
type Shape struct {
	// Sum is a hash of all that decides how values of the type are encoded: names of types and fields, tags
	// and kinds, all the way down.
	Sum [4]byte

	// Err says why values wouldn't come back whole. It is nil for Gob, which says so itself.
	Err error

	plan *plan // how values are checked
}

// shapes holds for each codec the shape of each type that was asked for.
var shapes [codecs]sync.Map // reflect.Type → *Shape

// Of returns the shape of t for the codec.
func Of(c Codec, t reflect.Type) *Shape {
	if s, ok := shapes[c].Load(t); ok {
		return s.(*Shape)
	}
	d := describer{codec: c, seen: map[reflect.Type]*seenType{}}
	s := &Shape{plan: d.describe(t, t.String())}
	sum := sha256.Sum256([]byte(d.text.String()))
	s.Sum = [4]byte(sum[:])
	if c != Gob {
		s.Err = d.err
	}
	shapes[c].Store(t, s)
	return s
}

// Check returns an error if what v points to couldn't be encoded, or would be decoded as another value.
func (s *Shape) Check(v any) error {
	if s.Err != nil {
		return s.Err
	}
	return s.plan.check(reflect.ValueOf(v).Elem(), place{})
}

// describer walks a type and writes down all that decides how its values are encoded.
type describer struct {
	codec Codec
	text  strings.Builder
	seen  map[reflect.Type]*seenType
	err   error // the first
}

type seenType struct {
	number int
	plan   *plan
}

func (d *describer) fail(where, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%s %s", where, fmt.Sprintf(format, args...))
	}
}

// describe writes down t and returns the plan of its values. Where is the way to it, for messages.
func (d *describer) describe(t reflect.Type, where string) *plan {
	s, ok := d.seen[t]
	if ok {
		fmt.Fprintf(&d.text, "#%d ", s.number)
		return s.plan // of a type that holds itself not complete yet, but not nil either: it is walked
	}
	s = &seenType{len(d.seen), &plan{codec: d.codec}}
	d.seen[t] = s
	if !d.fill(s.plan, t, where) {
		s.plan = nil
	}
	return s.plan
}

// fill writes down t and makes its plan, and reports whether there is anything to walk.
func (d *describer) fill(p *plan, t reflect.Type, where string) bool {
	by := d.codec.marshalsBy(t)
	fmt.Fprintf(&d.text, "%v %s.%s %v ", t.Kind(), t.PkgPath(), t.Name(), by)
	d.checkMethods(t, by, where)
	if by != nil {
		return t == timeType && d.codec != Gob
	}
	switch t.Kind() {
	case reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.Uintptr, reflect.UnsafePointer:
		d.fail(where, "is a %v, which can't be kept; use another type, a serialiser of your own, or %s", t, leaveOut)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			d.fail(where, "is the interface %v, which can't be decoded; make it a concrete type or any, or %s", t, leaveOut)
		}
		return true
	case reflect.Pointer:
		p.elem = d.describe(t.Elem(), where)
		return p.elem != nil || d.codec != Gob && canBeNil(t.Elem())
	case reflect.Slice:
		p.elem = d.describe(t.Elem(), where)
	case reflect.Array:
		fmt.Fprintf(&d.text, "%d ", t.Len())
		p.elem = d.describe(t.Elem(), where)
	case reflect.Map:
		if d.codec == inAny && t.Key().Kind() != reflect.String && CBOR.marshalsBy(t.Key()) != textMarshaler {
			d.fail(where, "is a %v in an any, where the keys of maps must be strings", t)
		}
		p.key = d.describe(t.Key(), where)
		p.elem = d.describe(t.Elem(), where)
	case reflect.Struct:
		p.fields = d.describeFields(t, where, map[any]string{t: where})
	}
	return p.key != nil || p.elem != nil || p.fields != nil
}

const leaveOut = "tag the field cbor:\"-\" to leave it out"

// describeFields writes down the fields of t and returns their plans. Taken holds what is encoded by each
// name already, for t may be embedded in a struct that is encoded with its fields.
func (d *describer) describeFields(t reflect.Type, where string, taken map[any]string) (plans []fieldPlan) {
	d.text.WriteString("{")
	kept := t.NumField() == 0
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			fmt.Fprintf(&d.text, "%q ", f.Tag.Get("cbor")) // toarray
		}
		if !f.IsExported() && (d.codec == Gob || embeddedStruct(f) == nil) {
			continue
		}
		kept = true
		if p := d.describeField(f, where+"."+f.Name, taken); p != nil {
			plans = append(plans, fieldPlan{i, p})
		}
	}
	d.text.WriteString("} ")
	if !kept {
		d.fail(where, "is a %v, of which no field is exported: it would come back empty; give it MarshalBinary and UnmarshalBinary, or %s", t, leaveOut)
	}
	return plans
}

func (d *describer) describeField(f reflect.StructField, where string, taken map[any]string) *plan {
	if d.codec == Gob {
		return d.describe(f.Type, where)
	}
	tag, own := f.Tag.Lookup("cbor")
	if tag == "" {
		tag, own = f.Tag.Get("json"), false
	}
	if tag == "-" {
		if !own {
			d.fail(where, "is tagged json:\"-\" and would be lost; tag it cbor:%q as well to keep it, or cbor:\"-\" to leave it out", f.Name)
		}
		return nil
	}
	fmt.Fprintf(&d.text, "%s %q %v ", f.Name, tag, f.Type.Kind())
	name, options, _ := strings.Cut(tag, ",")
	var key any = cmp.Or(name, f.Name)
	inner := embeddedStruct(f)
	inPlace := inner != nil && name == "" // its fields are encoded in its place
	if inPlace {
		key = inner
	} else if slices.Contains(strings.Split(options, ","), "keyasint") {
		key, _ = strconv.Atoi(name)
		if d.codec == inAny {
			d.fail(where, "is tagged keyasint in an any, where names must be strings")
		}
	}
	if other, ok := taken[key]; ok {
		d.fail(where, "is encoded as %v, as %s is, and one or both would be lost; tag it with another name, or %s", key, other, leaveOut)
		return nil
	}
	taken[key] = where
	switch {
	case !f.IsExported() && (inner != f.Type || CBOR.marshalsBy(inner) != nil):
		d.fail(where, "embeds the unexported %v, which can't be decoded; export it, or %s", f.Type, leaveOut)
		return nil
	case !inPlace:
		return d.describe(f.Type, where)
	case CBOR.marshalsBy(inner) != nil:
		d.fail(where, "embeds a %v, which would be taken apart; give the field a name", inner)
		return nil
	}
	fields := d.describeFields(inner, where, taken)
	if fields == nil {
		return nil
	}
	p := &plan{codec: d.codec, fields: fields}
	if inner != f.Type {
		p = &plan{codec: d.codec, elem: p}
	}
	return p
}

// embeddedStruct returns the struct that the field embeds, itself or by a pointer, or nil.
func embeddedStruct(f reflect.StructField) reflect.Type {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !f.Anonymous || t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

var (
	timeType          = reflect.TypeFor[time.Time]()
	binaryMarshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	binaryUnmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
	textMarshaler     = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler   = reflect.TypeFor[encoding.TextUnmarshaler]()
	cborUnmarshaler   = reflect.TypeFor[cbor.Unmarshaler]()
)

// marshalling is the interfaces by which types encode themselves, in the order in which codecs look for
// them, each with the one that undoes it, and who heeds it.
var marshalling = []struct {
	marshal, unmarshal reflect.Type
	cbor, gob          bool
}{
	{reflect.TypeFor[gob.GobEncoder](), reflect.TypeFor[gob.GobDecoder](), false, true},
	{reflect.TypeFor[cbor.Marshaler](), cborUnmarshaler, true, false},
	{binaryMarshaler, binaryUnmarshaler, true, true},
	{textMarshaler, textUnmarshaler, true, false},
}

// marshalsBy returns the interface by which the codec lets t encode itself, or nil.
func (c Codec) marshalsBy(t reflect.Type) reflect.Type {
	for _, m := range marshalling {
		heeded := m.cbor
		if c == Gob {
			heeded = m.gob
		}
		if heeded && reflect.PointerTo(t).Implements(m.marshal) {
			return m.marshal
		}
	}
	return nil
}

// checkMethods checks that what t's methods marshal, its methods unmarshal, and the reverse.
func (d *describer) checkMethods(t, by reflect.Type, where string) {
	has := reflect.PointerTo(t).Implements
	for _, m := range marshalling {
		if by != nil && by == m.marshal && !has(m.unmarshal) && d.codec == CBOR {
			d.fail(where, "is a %v, which is a %v and not a %v; add the method", t, m.marshal, m.unmarshal)
		}
	}
	if by == nil {
		if k := t.Kind(); has(cborUnmarshaler) || k == reflect.String && has(textUnmarshaler) || (k == reflect.Slice || k == reflect.Array) && has(binaryUnmarshaler) {
			d.fail(where, "is a %v, which unmarshals itself and doesn't marshal itself; add the method", t)
		}
		return
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
