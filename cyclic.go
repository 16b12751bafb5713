package appcache

import (
	"encoding"
	"encoding/gob"
	"errors"
	"reflect"
	"slices"
	"sync"
)

// A value that holds itself overflows the stack of a codec that follows pointers, and that ends the
// process: nothing recovers from it. So values of the types that could do so are walked first, as deep
// as they could be decoded and no deeper.

const (
	maxNesting  = 65535 // levels: as deep as cbor decodes at the most
	maxPointers = 1000  // pointers to pointers, with no level between them
)

var errCyclic = errors.New("the value is cyclic, or nested more than 65,535 deep")

// view is how a codec sees values.
type view interface {
	// opaque reports whether values of t encode themselves.
	opaque(t reflect.Type) bool
	// follows reports whether the field is encoded.
	follows(f reflect.StructField) bool
}

type cborView struct{}

func (cborView) opaque(t reflect.Type) bool { return marshalsBy(t) != nil }

func (cborView) follows(f reflect.StructField) bool {
	tag, _ := cborTag(f)
	return tag != "-" && (f.IsExported() || embedsStruct(f))
}

type gobView struct{}

func (gobView) opaque(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[gob.GobEncoder]()) || p.Implements(reflect.TypeFor[encoding.BinaryMarshaler]())
}

func (gobView) follows(f reflect.StructField) bool { return f.IsExported() }

// checkAcyclic returns an error if v couldn't be decoded for its depth, as a cyclic value couldn't.
func checkAcyclic(view view, v reflect.Value) error {
	return walk(view, v, 0, 0)
}

func walk(view view, v reflect.Value, level, pointers int) error {
	if level > maxNesting || pointers > maxPointers {
		return errCyclic
	}
	switch v.Kind() {
	case reflect.Interface:
		return walk(view, v.Elem(), level, pointers+1)
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
	default: // holds no other value
		return nil
	}
	plan := planOf(view, v.Type())
	if !plan.walk {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		return walk(view, v.Elem(), level, pointers+1)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := walk(view, v.Index(i), level+1, 0); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if err := walk(view, entries.Key(), level+1, 0); err != nil {
				return err
			}
			if err := walk(view, entries.Value(), level+1, 0); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for _, i := range plan.fields {
			if err := walk(view, v.Field(i), level+1, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// plan is what there is to walk in values of a type.
type plan struct {
	walk   bool  // they could be cyclic
	fields []int // those of a struct through which they could
}

type planKey struct {
	view view
	t    reflect.Type
}

var plans sync.Map // planKey → *plan

func planOf(view view, t reflect.Type) *plan {
	key := planKey{view, t}
	if p, ok := plans.Load(key); ok {
		return p.(*plan)
	}
	p := &plan{walk: mayRecurse(view, t, nil)}
	if p.walk && t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if f := t.Field(i); view.follows(f) && mayRecurse(view, f.Type, []reflect.Type{t}) {
				p.fields = append(p.fields, i)
			}
		}
	}
	plans.Store(key, p)
	return p
}

// mayRecurse reports whether a value of t, found within values of the types under it, could be cyclic: whether t
// leads to an interface, which could hold anything, or back to a type that it is within.
func mayRecurse(view view, t reflect.Type, under []reflect.Type) bool {
	if slices.Contains(under, t) || t.Kind() == reflect.Interface {
		return true
	}
	if view.opaque(t) {
		return false
	}
	under = append(slices.Clip(under), t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return mayRecurse(view, t.Elem(), under)
	case reflect.Map:
		return mayRecurse(view, t.Key(), under) || mayRecurse(view, t.Elem(), under)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); view.follows(f) && mayRecurse(view, f.Type, under) {
				return true
			}
		}
	}
	return false
}
