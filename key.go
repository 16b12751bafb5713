package appcache

import (
	"slices"
	"strings"
)

// Key names an entry whose value is of type V. A key is a small struct, say, that embeds [BaseKey]
// and says its segments; for a fixed name there is [StringKey]. Because the key carries the type,
// looking it up in a cache of another type doesn't compile.
//
// The methods must be pure: the same key gives the same answers. They run in the goroutine that uses
// the key, so a key that several goroutines share must be safe for that.
type Key[V any] interface {
	// CacheKeySegments returns the parts of the key's path: {"users", "54", "likes"} becomes
	// users/54/likes, below the cache's prefix. Segments may be of any bytes, and some may be
	// empty, but not all. Different segments always make different paths: within a segment "/" and
	// "%" are percent-escaped, and so is a leading "@". The slice is only read.
	CacheKeySegments() []string

	// NamespaceKey returns the namespace that the key lives in, nil for none: see [Generation] and
	// [NamespaceOf].
	NamespaceKey() NamespaceKey

	// ShouldCompress reports whether value, which serialised to the bytes given, is to be
	// compressed. It must change neither of them, and must not keep the bytes.
	ShouldCompress(value V, serialised []byte) bool
}

// BaseKey is for embedding in key types: no namespace and no compression. What remains to be
// written is CacheKeySegments.
type BaseKey[V any] struct{}

// NamespaceKey returns nil: the key lives in no namespace.
func (BaseKey[V]) NamespaceKey() NamespaceKey { return nil }

// ShouldCompress returns false.
func (BaseKey[V]) ShouldCompress(V, []byte) bool { return false }

// StringKey is a key with a fixed name:
//
//	const mifidStart = appcache.StringKey[time.Time]("mifid start date")
//
// Its text is a path: it is split at "/", and each part is a segment as it stands, nothing decoded.
// So StringKey("users/54") and a key with the segments {"users", "54"} are the same entry. It has no
// namespace and asks for no compression.
type StringKey[V any] string

// CacheKeySegments returns the parts of the key's text between its slashes.
func (k StringKey[V]) CacheKeySegments() []string { return strings.Split(string(k), "/") }

// NamespaceKey returns nil: the key lives in no namespace.
func (k StringKey[V]) NamespaceKey() NamespaceKey { return nil }

// ShouldCompress returns false.
func (k StringKey[V]) ShouldCompress(V, []byte) bool { return false }

// address is where a key is to be found: what its methods answered, each asked once.
type address struct {
	segments  []string
	path      string   // in place of segments where they are nil: parts that stand between slashes
	namespace *address // of the key that holds the token
	generated bool     // the token of what is in this namespace is at path/@, and ours to make
}

// addressOf returns the address of key, or what is wrong with it.
func addressOf[V any](key Key[V]) (address, error) { return addressAt(key, 0) }

// addressAt is addressOf for a key that is so many namespaces deep.
func addressAt[V any](key Key[V], depth int) (address, error) {
	switch k := key.(type) {
	case nil:
		return address{}, ErrEmptyKey
	case StringKey[V]: // needn't be split only to be joined again
		return pathAddress(string(k))
	}
	a := address{segments: key.CacheKeySegments()}
	if !slices.ContainsFunc(a.segments, func(s string) bool { return s != "" }) {
		return address{}, ErrEmptyKey
	}
	if n := key.NamespaceKey(); n != nil {
		namespace, err := namespaceAddress(n, depth)
		if err != nil {
			return a, err // with the segments, for the error's text
		}
		a.namespace = &namespace
	}
	return a, nil
}

// pathAddress returns the address of a path, or ErrEmptyKey.
func pathAddress(path string) (address, error) {
	if strings.Trim(path, "/") == "" {
		return address{}, ErrEmptyKey
	}
	return address{path: path}, nil
}

// join returns the path of the key at a, in one allocation for most keys. In place of the tokens, which
// it doesn't know, there is what no token can be.
func (c *core) join(a *address) string {
	var room [128]byte
	if a.namespace == nil {
		return string(a.appendTo(append(room[:0], c.prefix...)))
	}
	return c.join(a.namespace) + "/@…/" + string(a.appendTo(room[:0]))
}

// appendTo appends the key's own part of the path, without its namespace.
func (a *address) appendTo(dst []byte) []byte {
	if a.segments == nil {
		return appendPath(dst, a.path)
	}
	for i, s := range a.segments {
		if i > 0 {
			dst = append(dst, '/')
		}
		dst = appendSegment(dst, s)
	}
	return dst
}

// appendPath appends a path of which each part is a segment as it stands.
func appendPath(dst []byte, path string) []byte {
	if !needsEscape(path) {
		return append(dst, path...)
	}
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			dst = append(dst, '/')
		}
		dst = appendSegment(dst, segment)
	}
	return dst
}

// needsEscape reports whether a path may hold what must be escaped.
func needsEscape(path string) bool {
	return strings.IndexByte(path, '%') >= 0 || strings.IndexByte(path, '@') >= 0
}

// appendSegment escapes what would make two keys one: "/", which parts segments, "%", which marks an
// escape, and a leading "@", which marks a namespace's token.
func appendSegment(dst []byte, segment string) []byte {
	for i := range len(segment) {
		c := segment[i]
		if c == '/' || c == '%' || c == '@' && i == 0 {
			dst = appendEscaped(dst, c)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendEscaped appends a percent-encoded octet (RFC 3986, section 2.1).
func appendEscaped(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}
