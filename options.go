package appcache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// DefaultPrefix is put before every key where [Options.Prefix] is "".
const DefaultPrefix = "appcache"

// Options are what a [Cache] may be given. The zero value, and a nil *Options, are the defaults. Caches
// of several types can share one Options.
type Options struct {
	// Prefix is a path, like the text of a [StringKey], that is put before every key, so that
	// several programs can share a store. "": DefaultPrefix.
	Prefix string

	// Serialiser turns values into bytes. nil: [CBOR], or [Raw] where V is []byte or string.
	// Changing it, with data already stored, calls for a new Prefix.
	Serialiser Serialiser

	// Compressor compresses what the key, SetByStr or CompressOver asks for. nil: [Gzip]. Changing
	// it, with data already stored, calls for a new Prefix.
	Compressor Compressor

	// CompressOver is the number of bytes over which a serialised value is compressed even if its
	// key doesn't ask for it. 0: none is.
	CompressOver int

	// Observe is told how each call went, once per call, after it and in its goroutine. It must be
	// safe for concurrent use, and quick. nil: nothing is told, nor measured.
	Observe func(context.Context, Event)

	// Timeout bounds each operation of the backend, through its context: a call may make several.
	// 0: no bound but the caller's context.
	Timeout time.Duration

	// StaleFor is for how long after its TTL an entry is kept, for GetVia to serve it at once while it
	// is loaded again in the background. To Get it is a miss. 0: an entry that is over is gone.
	StaleFor time.Duration

	// EarlyRefresh makes a GetVia that finds an entry near its end load it again in the background, with a
	// probability that grows with its age and with the time that its load took, so that it doesn't end
	// for many callers at once. It is the factor beta of XFetch (Vattani, Chierichetti, Lowenstein:
	// Optimal Probabilistic Cache Stampede Prevention, VLDB 2015): 1 is a good value, and more is
	// earlier. 0: off.
	EarlyRefresh float64

	// NotFoundTTL is for how long it is remembered that the origin has no such value, which a getter
	// says by an error that wraps [ErrNotFound]. Only that is remembered, and not the getter's own error.
	// 0: it isn't, and what was stored is removed.
	NotFoundTTL time.Duration

	// Jitter shortens each TTL by a random part of up to this fraction, so that entries that were stored
	// together don't end together. From 0, for none, to under 1.
	Jitter float64
}

// check returns what is wrong with the arguments of New.
func check(backend RawBackend, o *Options, t reflect.Type) error {
	if backend == nil || isNil(backend) {
		return errors.New("the backend is nil; pass one, such as redis.New(client)")
	}
	if _, err := pathAddress(o.Prefix); err != nil {
		return fmt.Errorf("Options.Prefix is %q; write a name, or \"\" for %q", o.Prefix, DefaultPrefix)
	}
	if o.CompressOver < 0 {
		return fmt.Errorf("Options.CompressOver is %d; write a number of bytes, or 0 to compress only what asks for it", o.CompressOver)
	}
	if o.Timeout < 0 || o.StaleFor < 0 || o.NotFoundTTL < 0 {
		return errors.New("Options.Timeout, StaleFor or NotFoundTTL is negative; write a duration, or 0 for none")
	}
	if !(o.EarlyRefresh >= 0) || math.IsInf(o.EarlyRefresh, 1) {
		return fmt.Errorf("Options.EarlyRefresh is %v; write 1, say, or 0 for none", o.EarlyRefresh)
	}
	if !(o.Jitter >= 0 && o.Jitter < 1) {
		return fmt.Errorf("Options.Jitter is %v; write a fraction under 1, or 0 for none", o.Jitter)
	}
	if isNil(o.Serialiser) || isNil(o.Compressor) {
		return errors.New("Options.Serialiser or Compressor is a nil pointer; pass a value, or leave it nil")
	}
	if g, ok := o.Compressor.(interface{ check() error }); ok { // a Gzip, or a pointer to one
		if err := g.check(); err != nil {
			return err
		}
	}
	if s, ok := o.Serialiser.(typeChecker); ok {
		return s.checkType(t)
	}
	return nil
}

func isNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan:
		return r.IsNil()
	}
	return false
}
