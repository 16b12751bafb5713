package appcache

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/goappcache/appcache/internal/shape"
)

// Serialiser turns values into bytes and back. It has the shape of every Go codec, so that most are
// one in a few lines. It must be safe for concurrent use.
type Serialiser interface {
	// Marshal returns the bytes of the value that v points to; v is guaranteed to be a *V. The
	// bytes may be part of the value: they are only read.
	Marshal(v any) ([]byte, error)

	// Unmarshal sets what v points to, which is guaranteed to be a *V and zero. Data is Unmarshal's
	// to keep. An error, or a panic, makes the entry a miss.
	Unmarshal(data []byte, v any) error
}

// typeChecker is what a Serialiser of this package may have besides, for New to ask whether values of
// a type will come back whole.
type typeChecker interface{ checkType(t reflect.Type) error }

// SerialiserOf makes a Serialiser for one type from a pair of functions, such as those of a generated
// codec. The functions must be safe for concurrent use; unmarshal may keep its data.
func SerialiserOf[V any](marshal func(V) ([]byte, error), unmarshal func([]byte) (V, error)) Serialiser {
	if marshal == nil || unmarshal == nil {
		panic("appcache.SerialiserOf: a function is nil; pass both")
	}
	return functions[V]{marshal, unmarshal}
}

type functions[V any] struct {
	marshal   func(V) ([]byte, error)
	unmarshal func([]byte) (V, error)
}

func (f functions[V]) Marshal(v any) ([]byte, error) {
	p, ok := v.(*V)
	if !ok {
		return nil, f.checkType(reflect.TypeOf(v).Elem())
	}
	return f.marshal(*p)
}

func (f functions[V]) Unmarshal(data []byte, v any) (err error) {
	p, ok := v.(*V)
	if !ok {
		return f.checkType(reflect.TypeOf(v).Elem())
	}
	*p, err = f.unmarshal(data)
	return err
}

func (functions[V]) checkType(t reflect.Type) error {
	if own := reflect.TypeFor[V](); t != own {
		return fmt.Errorf("a serialiser of %v can't keep a %v", own, t)
	}
	return nil
}

// Raw stores []byte and string (these types exactly) as their bytes. It is the default for them, and
// an error for all others. A nil slice comes back empty and not nil.
//
// The slice that Get returns is the backend's, without another copy, and the caller's own. Whatever is
// stored under a path is a []byte and a string, also an entry of another type: nothing tells them apart.
type Raw struct{}

// Marshal returns the bytes of a *[]byte, not copied, or of a *string.
func (r Raw) Marshal(v any) ([]byte, error) {
	switch p := v.(type) {
	case *[]byte:
		return *p, nil
	case *string:
		return []byte(*p), nil
	}
	return nil, r.checkType(reflect.TypeOf(v).Elem())
}

// Unmarshal sets a *[]byte, which keeps data, or a *string.
func (r Raw) Unmarshal(data []byte, v any) error {
	switch p := v.(type) {
	case *[]byte:
		if data == nil {
			data = []byte{}
		}
		*p = data
		return nil
	case *string:
		*p = string(data)
		return nil
	}
	return r.checkType(reflect.TypeOf(v).Elem())
}

func (Raw) checkType(t reflect.Type) error {
	if !isRaw(t) {
		return fmt.Errorf("Raw keeps []byte and string, not %v; leave the Serialiser nil, or convert", t)
	}
	return nil
}

func isRaw(t reflect.Type) bool {
	return t == reflect.TypeFor[[]byte]() || t == reflect.TypeFor[string]()
}

// JSON stores values as encoding/json does, for reading with other tools and languages. What that
// package can't keep it doesn't keep either: fields tagged json:"-", integers over 2^53 in an any,
// invalid UTF-8; NaN and infinities are errors. An entry that was written when the type had other
// fields is a hit, with what is missing left zero.
type JSON struct{}

// Marshal returns json.Marshal(v).
func (JSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal returns json.Unmarshal(data, v).
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// Gob stores values as encoding/gob does, a self-contained stream for each: about ten times the time of
// the others. A pointer to a zero value comes back nil, a nil in a slice of pointers is an error, and
// types in an interface must be registered. It isn't made for bytes that an enemy wrote.
type Gob struct{}

// Marshal encodes v. A nil pointer or a cyclic value is an error.
func (Gob) Marshal(v any) (data []byte, err error) {
	if err := shape.Of(shape.Gob, reflect.TypeOf(v).Elem()).Check(v); err != nil {
		return nil, err
	}
	if p := reflect.ValueOf(v).Elem(); p.Kind() == reflect.Pointer {
		if p.IsNil() {
			return nil, errGobNil // which gob would send as a zero value
		}
		v = p.Interface() // gob panics where it is given a pointer to a pointer to what marshals itself
	}
	defer func() {
		// gob panics where there is a nil pointer that it would have to send.
		if p := recover(); p != nil {
			data, err = nil, fmt.Errorf("%v", p)
		}
	}()
	var b bytes.Buffer
	err = gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

var (
	errGobNil  = errors.New("gob: the value is a nil pointer")
	errGobRest = errors.New("gob: there is more than one value")
)

// Unmarshal decodes data, which must be one value and nothing else.
func (Gob) Unmarshal(data []byte, v any) error {
	r := bytes.NewReader(data)
	if err := gob.NewDecoder(r).Decode(v); err != nil {
		return err
	}
	if r.Len() > 0 {
		return errGobRest
	}
	return nil
}
