package shape

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// A value that holds itself overflows the stack of a codec that follows pointers, and that ends the
// process: nothing recovers from it. And a few values cbor would encode as other ones. So where values of
// a type could be such, they are walked before they are encoded.

const (
	maxNesting  = 65000 // levels: as deep as cbor decodes, less some for what is at the bottom and isn't walked
	maxPointers = 1000  // pointers to pointers, with no level between them
	namedLevels = 10    // from which errors name the fields
)

var (
	errCyclic = errors.New("the value is cyclic, or nested more than 65,000 deep")
	errNull   = errors.New("the value has a pointer to a nil, or to the zero time, which would come back as a nil pointer")
	errTime   = errors.New("the value has a time whose year is not in 0 to 9999, or whose zone's offset has seconds or is over a day")
)

// plan is what there is to walk in the values of a type. It is nil where there is nothing.
type plan struct {
	codec     Codec
	key, elem *plan       // of a map; of all else that has elements, and of a pointer
	fields    []fieldPlan // of a struct
}

type fieldPlan struct {
	index int
	*plan
}

// place is where a walk is: how many arrays and maps deep, how many pointers beyond the last of them, and
// what it marked further up. To come by that again is to go round in a cycle.
type place struct {
	level, pointers int
	marked          mark
}

type mark struct {
	at    uintptr
	len   int
	t     reflect.Type
	level int
}

// check returns an error if v, of the plan's type, couldn't be encoded, or would be decoded as another value.
func (p *plan) check(v reflect.Value, here place) error {
	if p == nil {
		return nil
	}
	if here.level > maxNesting || here.pointers > maxPointers || here.returns(v) {
		return errCyclic
	}
	below := place{level: here.level + 1, marked: here.marked}
	here.pointers++
	var err error
	switch v.Kind() {
	case reflect.Interface:
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
		shape := Of(max(p.codec, inAny), v.Type())
		if shape.Err != nil {
			return shape.Err
		}
		return shape.plan.check(v, here)
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if p.codec != Gob && isNull(v.Elem()) {
			return errNull
		}
		return p.elem.check(v.Elem(), here)
	case reflect.Map:
		for entries := v.MapRange(); err == nil && entries.Next(); {
			if err = p.key.check(entries.Key(), below); err == nil {
				err = p.elem.check(entries.Value(), below)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := 0; err == nil && i < v.Len(); i++ {
			err = p.elem.check(v.Index(i), below)
		}
	case reflect.Struct:
		if t, ok := reflect.TypeAssert[time.Time](v); ok {
			return checkTime(t)
		}
		for i := 0; err == nil && i < len(p.fields); i++ {
			err = p.fields[i].check(v.Field(p.fields[i].index), below)
			if err != nil && !errors.Is(err, errCyclic) && here.level < namedLevels {
				err = fmt.Errorf("%s: %w", v.Type().Field(p.fields[i].index).Name, err)
			}
		}
	}
	return err
}

// returns reports whether the walk comes back to what it has marked. If not it marks v in its stead, once
// that is twice as deep (Brent's algorithm): no cycle is gone round more than three times.
func (p *place) returns(v reflect.Value) bool {
	m := mark{t: v.Type(), level: p.marked.level}
	switch v.Kind() {
	case reflect.Slice:
		m.len = v.Len()
	case reflect.Pointer, reflect.Map:
	default:
		return false
	}
	if m.at = v.Pointer(); m == p.marked {
		return true
	}
	if p.level >= 2*p.marked.level {
		m.level = p.level
		p.marked = m
	}
	return false
}

// canBeNil reports whether a pointer to a t may point to a nil, which cbor encodes like a nil pointer.
func canBeNil(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return CBOR.marshalsBy(t) == nil
	}
	return false
}

// isNull reports whether cbor would encode v, that a pointer points to, like a nil pointer.
func isNull(v reflect.Value) bool {
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		return t.IsZero()
	}
	return canBeNil(v.Type()) && v.IsNil()
}

// checkTime returns an error for what RFC 3339 has no place for.
func checkTime(t time.Time) error {
	const day = 24 * 60 * 60
	year := t.Year()
	_, offset := t.Zone()
	if !t.IsZero() && (year < 0 || year > 9999 || offset%60 != 0 || offset < -day || offset > day) {
		return errTime
	}
	return nil
}
