package appcache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/goappcache/appcache/internal/flight"
)

// NamespaceKey names a namespace: a set of keys that are dropped together, in one operation however
// many they are. [Generation] and [NamespaceOf] make one.
//
// A namespaced key lives at
//
//	prefix/<path of the namespace's key>/@<token>/<segments>
//
// where the token is what is stored for the namespace. Once that is removed or changed, every entry
// below it is unreachable; the store frees their room when their TTLs end or it evicts them, so give
// them one. Each operation on a namespaced key reads the token first: one more round trip.
type NamespaceKey interface {
	// address returns the address of the key that the namespace stands for, so many deep.
	address(depth int) (address, error)
}

// Generation is a ready-made namespace. Its text is a path, like that of [StringKey]:
// Generation("users/54") may be the namespace of all that is cached about user 54.
//
// Its token is random and never recurs. It is made when Set or one of the Via methods finds it
// missing. It lives at <path>/@, where no other key can be, as an entry that never expires: a store that
// evicts it drops the namespace, and one that evicts nothing keeps it until InvalidateNamespace.
type Generation string

func (g Generation) address(int) (address, error) {
	a, err := pathAddress(string(g))
	a.generated = true
	return a, err
}

// NamespaceOf makes a namespace of which the value stored under key is the token: the likes of a user
// as of their last change, say, where the value is the time of that change.
//
// The bytes stored are the token, whatever the value's type and serialiser: printable ASCII as it
// is, "/", "%" and other bytes percent-escaped, or the SHA-256 of them in hexadecimal where they are
// more than 64. While nothing is stored there, Get is a miss, Set stores nothing and returns
// [ErrNoNamespace], GetVia loads and doesn't store, and Invalidate has nothing to do. A value that
// recurs brings its entries back, which a [Generation] never does.
//
// The key may itself be in a namespace, eight deep at the most.
func NamespaceOf[N any](key Key[N]) NamespaceKey { return namespaceOf[N]{key} }

type namespaceOf[N any] struct{ key Key[N] }

func (n namespaceOf[N]) address(depth int) (address, error) { return addressAt(n.key, depth) }

const maxNamespaceDepth = 8

var (
	errNilNamespace   = errors.New("the namespace is nil")
	errNoToken        = fmt.Errorf("%w", ErrNoNamespace) // ours: a backend's ErrNoNamespace is no such answer
	errNamespaceDepth = fmt.Errorf("the namespaces are nested more than %d deep", maxNamespaceDepth)
)

// namespaceAddress returns the address of the key that the namespace of a key stands for.
func namespaceAddress(namespace NamespaceKey, depth int) (address, error) {
	if depth == maxNamespaceDepth {
		return address{}, errNamespaceDepth
	}
	a, err := namespace.address(depth + 1)
	if errors.Is(err, ErrEmptyKey) && depth == 0 {
		err = fmt.Errorf("the namespace: %w", err)
	}
	return a, err
}

// locate returns the path of the key at a. Where its namespace has no token it makes one, if create is
// true and the namespace is a Generation; otherwise that is ErrNoNamespace.
func (c *core) locate(ctx context.Context, a *address, create bool) (string, error) {
	if a.namespace == nil {
		return c.join(a), nil
	}
	namespace, err := c.locate(ctx, a.namespace, create)
	if err != nil {
		return "", err
	}
	tokenPath := a.namespace.tokenPath(namespace)
	token, err := c.token(ctx, tokenPath, create && a.namespace.generated)
	if err != nil {
		return "", err
	}
	dst := appendToken(append([]byte(namespace), "/@"...), token)
	return string(a.appendTo(append(dst, '/'))), nil
}

// tokenPath returns the path of the token of a namespace whose key is at path.
func (a *address) tokenPath(path string) string {
	if a.generated {
		return path + "/@"
	}
	return path
}

// token returns what is stored at path, as bytes, or makes it.
func (c *core) token(ctx context.Context, path string, create bool) ([]byte, error) {
	k := c.flightKey(path)
	seen := flight.Seen(k)
	token, err := c.readToken(ctx, path)
	if !create || !errors.Is(err, errNoToken) {
		return token, err
	}
	made, err := flight.Call(ctx, k, tokenKind{}, seen, func(ctx context.Context, l *flight.Load, again bool) any {
		if again {
			if token, err := c.readToken(ctx, path); !errors.Is(err, errNoToken) {
				return newToken{token, err}
			}
		}
		// A token that may not be stored, because the namespace is being dropped, is as good as one that
		// was dropped: what is stored under it is out of reach.
		made := newToken{token: []byte(rand.Text())}
		l.Store(func() {
			made.err = c.backend.SetRaw(context.WithoutCancel(ctx), path, made.token, 0)
		})
		return made
	}, func(error) {})
	if err != nil {
		return nil, err
	}
	return made.(newToken).token, made.(newToken).err
}

// tokenKind tells the load of a token from those of values.
type tokenKind struct{}

type newToken struct {
	token []byte
	err   error
}

func (c *core) readToken(ctx context.Context, path string) ([]byte, error) {
	data, found, err := c.backend.GetRaw(ctx, path)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNoToken
	}
	var e entry
	if err := e.open(data); err != nil || e.absent || e.stale() {
		return nil, errNoToken
	}
	return e.body, nil
}

// appendToken appends a token as a part of a path, in a form from which no other token comes (short of
// a SHA-256 collision), whence one that looks hashed is hashed too.
func appendToken(dst, token []byte) []byte {
	if len(token) > 2*sha256.Size || isHash(token) {
		sum := sha256.Sum256(token)
		return hex.AppendEncode(dst, sum[:])
	}
	for _, c := range token {
		if c < ' ' || c > '~' || c == '/' || c == '%' {
			dst = appendEscaped(dst, c)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

func isHash(token []byte) bool {
	if len(token) != 2*sha256.Size {
		return false
	}
	for _, c := range token {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
