package appcache

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/goappcache/appcache/internal/flight"
)

// Cache keeps values of type V in a [RawBackend]. It is made by [New], never changes after that, and is
// safe for concurrent use. The zero value is of no use.
//
// A program makes one backend value, a pointer usually, and over it one Cache for each type that it
// keeps. Caches over two backend values don't know of each other's loads and writes, even if the store
// is the same: see [Cache.GetVia].
//
// A miss is found == false and never an error; an error means that the store couldn't answer, or that
// the arguments are wrong. A value that comes with an error, or that wasn't found, is zero.
//
// TTLs are how long an entry lives, in whatever units the store knows; see the backends for how late it
// may go. 0 is for ever, and a negative TTL is [ErrNegativeTTL]. A key whose segments are all empty, and
// a nil interface in place of one, is [ErrEmptyKey]. Errors are wrapped with the operation and the path
// of the key, and never hold the value.
type Cache[V any] struct{ core }

// core is what of a Cache doesn't depend on V.
type core struct {
	backend      RawBackend
	identity     any    // the backend as New got it, nil where that can't be compared
	prefix       string // escaped, with the slash after it
	serialiser   Serialiser
	compressor   Compressor
	plain        bool // Raw and Gzip: what stands in the store is mostly the value
	compressOver int
	observe      func(context.Context, Event)
	policy       policy
}

// New makes a cache over backend. The options are copied.
//
// It panics, and says what to write instead, where backend is nil, an option is impossible, or V is a
// type whose values the serialiser couldn't bring back whole: see [CBOR] and [Raw].
func New[V any](backend RawBackend, opts *Options) *Cache[V] {
	var o Options
	if opts != nil {
		o = *opts
	}
	t := reflect.TypeFor[V]()
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Compressor == nil {
		o.Compressor = Gzip{}
	}
	if o.Serialiser == nil {
		o.Serialiser = CBOR{}
		if isRaw(t) {
			o.Serialiser = Raw{}
		}
	}
	if err := check(backend, &o, t); err != nil {
		panic(fmt.Sprintf("appcache.New[%v]: %v", t, err))
	}
	var identity any
	if reflect.ValueOf(backend).Comparable() && backend == backend { //nolint:gocritic // it may hold a NaN
		identity = backend
	}
	if flight.Off == flight.OneTable {
		identity = new(byte)
	}
	if o.Timeout > 0 {
		backend = timed{backend, o.Timeout}
	}
	_, raw := o.Serialiser.(Raw)
	_, gzip := o.Compressor.(Gzip)
	return &Cache[V]{core{
		backend:      backend,
		identity:     identity,
		prefix:       string(append(appendPath(nil, o.Prefix), '/')),
		serialiser:   o.Serialiser,
		compressor:   o.Compressor,
		plain:        raw && gzip,
		compressOver: o.CompressOver,
		observe:      o.Observe,
		policy:       policy{o.StaleFor, o.EarlyRefresh, o.NotFoundTTL, o.Jitter},
	}}
}

// Get returns the value stored under key.
//
// An entry that can't be decompressed or decoded is a miss, with an [Unreadable] event: a deploy that
// changed the type, or an entry of another program, makes the program load again, and not fail.
func (c *Cache[V]) Get(ctx context.Context, key Key[V]) (value V, found bool, err error) {
	a, err := addressOf(key)
	return c.get(ctx, &a, err)
}

// GetByStr is Get for a path: GetByStr(ctx, "users/54") finds what was stored under
// StringKey("users/54"), or under a key with the segments {"users", "54"}.
func (c *Cache[V]) GetByStr(ctx context.Context, path string) (value V, found bool, err error) {
	a, err := pathAddress(path)
	return c.get(ctx, &a, err)
}

// Set stores value under key for ttl, in place of what was there.
//
// A value that can't be serialised, or is [ErrTooLarge], is not stored, and the entry that was there
// stays.
func (c *Cache[V]) Set(ctx context.Context, key Key[V], value V, ttl time.Duration) error {
	a, err := addressOf(key)
	return c.set(ctx, &a, err, key, value, ttl, false)
}

// SetByStr is Set for a path, like that of [Cache.GetByStr]. The value is compressed if compress is
// true, or as [Options.CompressOver] says.
func (c *Cache[V]) SetByStr(ctx context.Context, path string, value V, ttl time.Duration, compress bool) error {
	a, err := pathAddress(path)
	return c.set(ctx, &a, err, nil, value, ttl, compress)
}

// Invalidate removes the entry under key. That there is none is no error.
func (c *Cache[V]) Invalidate(ctx context.Context, key Key[V]) error {
	a, err := addressOf(key)
	return c.invalidate(ctx, &a, err)
}

// InvalidateByStr is Invalidate for a path, like that of [Cache.GetByStr].
func (c *Cache[V]) InvalidateByStr(ctx context.Context, path string) error {
	a, err := pathAddress(path)
	return c.invalidate(ctx, &a, err)
}

// InvalidateNamespace drops every entry in the namespace, of whatever type, by removing the value from
// which their paths have the token. That there is none is no error.
func (c *Cache[V]) InvalidateNamespace(ctx context.Context, namespace NamespaceKey) error {
	call := c.begin(OpInvalidateNamespace)
	if namespace == nil {
		return c.end(ctx, &call, Failed, errNilNamespace)
	}
	a, err := namespaceAddress(namespace, 0)
	if err == nil {
		err = c.remove(ctx, &call, &a, a.tokenPath)
	}
	return c.end(ctx, &call, Done, err)
}

// Clear removes every entry from the store, on every node, whatever its prefix: those of this cache, of
// every other cache over the store, and what else the backend's own comment says.
func (c *Cache[V]) Clear(ctx context.Context) error {
	call := c.begin(OpClear)
	err := ctx.Err()
	if err == nil {
		err = c.clear(ctx)
	}
	return c.end(ctx, &call, Done, err)
}

// Path returns the path at which the backend keeps key now, for whoever debugs with the store's own
// tools. A backend may map it further. Where a namespace of the key has no token that is
// [ErrNoNamespace].
func (c *Cache[V]) Path(ctx context.Context, key Key[V]) (string, error) {
	call := call{op: "path of"}
	a, err := addressOf(key)
	if err == nil {
		_, err = c.find(ctx, &call, &a, false)
	}
	if err != nil {
		return "", call.wrap(err)
	}
	return call.key, nil
}

func (c *Cache[V]) get(ctx context.Context, a *address, err error) (value V, found bool, _ error) {
	call := c.begin(OpGet)
	if err == nil {
		_, err = c.find(ctx, &call, a, false)
	} else {
		call.key = c.join(a)
	}
	outcome := Miss
	if err == nil {
		var e entry
		value, outcome, err = c.lookUp(ctx, &call, 0, &e)
	}
	if outcome == absent {
		outcome = Miss
	}
	if err != nil && errors.Is(err, errNoToken) {
		err = nil
	}
	return value, outcome == Hit, c.end(ctx, &call, outcome, err)
}

func (c *Cache[V]) set(ctx context.Context, a *address, err error, key Key[V], value V, ttl time.Duration, compress bool) error {
	call := c.begin(OpSet)
	defer c.unwound(ctx, &call)
	if err == nil && ttl < 0 {
		err = ErrNegativeTTL
	}
	var data []byte
	if err == nil { // before a namespace's token is made for it
		data, err = c.marshal(&value)
	}
	if err == nil {
		data, ttl, err = c.pack(key, value, data, compress, ttl, 0)
	}
	if err != nil {
		call.key = c.join(a)
		return c.end(ctx, &call, Failed, err)
	}
	path, err := c.find(ctx, &call, a, true)
	if err == nil {
		call.size = len(data)
		err = c.write(ctx, a, path, data, ttl)
	}
	return c.end(ctx, &call, Done, err)
}

func (c *Cache[V]) invalidate(ctx context.Context, a *address, err error) error {
	call := c.begin(OpInvalidate)
	if err == nil {
		err = c.remove(ctx, &call, a, nil)
	} else {
		call.key = c.join(a)
	}
	return c.end(ctx, &call, Done, err)
}

// find returns the path of the key at a, and makes it the call's key, unless the context is done.
func (c *core) find(ctx context.Context, call *call, a *address, create bool) (path string, err error) {
	err = ctx.Err()
	if err == nil {
		path, err = c.locate(ctx, a, create)
	}
	if err == nil {
		call.key = path
	} else {
		call.key = c.join(a)
	}
	return path, err
}

// The three that change the store do it as writers: loads that are under way don't store what they have.

func (c *core) write(ctx context.Context, a *address, path string, data []byte, ttl time.Duration) error {
	defer c.markUnplaced(a)
	w, err := flight.Write(ctx, c.flightKey(path))
	if err != nil {
		return err
	}
	defer w.End()
	return c.backend.SetRaw(ctx, path, data, ttl)
}

func (c *core) remove(ctx context.Context, call *call, a *address, in func(path string) string) error {
	defer c.markUnplaced(a)
	path, err := c.find(ctx, call, a, false)
	if errors.Is(err, errNoToken) {
		return nil // nothing is stored, and what is loaded now gets a token that is made after this began
	}
	if err != nil {
		return err
	}
	if in != nil {
		path = in(path)
		call.key = path
	}
	w, err := flight.Write(ctx, c.flightKey(path))
	if err != nil {
		return err
	}
	defer w.End()
	return c.backend.InvalidateRaw(ctx, path)
}

func (c *core) clear(ctx context.Context) error {
	w, err := flight.WriteAll(ctx, c.identity)
	if err != nil {
		return err
	}
	defer w.End()
	return c.backend.Clear(ctx)
}

// markUnplaced keeps callers from joining loads that began before a change of the key at a, and that are
// of keys whose namespace's token couldn't be had. They aren't stored, so it is enough after the change.
func (c *core) markUnplaced(a *address) {
	if a.namespace != nil || a.generated {
		flight.Mark(c.flightKey(c.unplaced(a)))
	}
}

// unplaced returns where loads of keys without a path are in the table: at the outermost of their
// namespaces, whose path is always known. Who changes that, as a key, is a writer of it anyway.
func (c *core) unplaced(a *address) string {
	for a.namespace != nil {
		a = a.namespace
	}
	return c.join(a)
}

func (c *core) flightKey(path string) flight.Key { return flight.Key{Backend: c.identity, Path: path} }

// lookUp returns what the store holds at the call's key, and sets e to what is to be known of it. There
// is a value where the outcome is Hit, or Stale for less than staleFor.
func (c *Cache[V]) lookUp(ctx context.Context, call *call, staleFor time.Duration, e *entry) (value V, outcome Outcome, err error) {
	data, found, err := c.backend.GetRaw(ctx, call.key)
	if err != nil || !found {
		return value, Miss, err
	}
	call.size = len(data)
	if c.plain && !hasMagic(data) && !(Gzip{}).IsCompressed(data) {
		return value, Hit, Raw{}.Unmarshal(data, &value)
	}
	v := new(V)
	if outcome, call.err = c.decode(data, v, staleFor, e); outcome == Hit || outcome == Stale {
		value = *v
	}
	return value, outcome, nil
}
