package appcache

import (
	"context"
	"errors"
	"time"
)

// RawBackend is a store of bytes under string keys. Its comments are the contract: "must" binds
// whoever implements it, "is guaranteed" is what [Cache] promises to whoever implements it.
//
// These four methods are all there is. No type assertion anywhere in this module looks for a fifth:
// whoever implements them gets everything that Cache does. The package cachetest checks a backend
// against each line below.
//
// All methods must be safe for concurrent use. Once the context is done they must return its error,
// at once where the client lets them, and a call whose context is already done must send nothing.
// Errors must come back as the client gave them, or wrapped so that [errors.Is] and [errors.As] see
// through, and after an error the backend must go on working as soon as the store does.
//
// Any non-empty key of any bytes and any length must work, and two different keys must never meet
// (short of a SHA-256 collision). A store with narrower keys must map them itself, and must also map
// a key that looks mapped already. It is guaranteed that no key is empty.
type RawBackend interface {
	// GetRaw returns the value stored under key. A hit must be (value, true, nil), also when the
	// value is empty, and a miss (nil, false, nil). An expired entry must be a miss. An error means
	// that the store couldn't answer, never that there is no entry. The caller owns the returned
	// slice: the backend must not keep it.
	GetRaw(ctx context.Context, key string) (value []byte, found bool, err error)

	// SetRaw stores value under key for ttl, and must replace both the value and the TTL of what
	// was there. A ttl of 0 never expires. With a positive ttl the entry must be a hit until that
	// is over, unless the store evicts it, and a miss soon after; no positive ttl, however small or
	// large, may become "for ever" or "at once". It is guaranteed that ttl is not negative.
	//
	// The value must not be changed, nor kept after the return; it may be nil, which is the empty
	// value. One that is larger than the store takes, as far as the backend knows the limit, must
	// be an error that wraps [ErrTooLarge] before anything is sent. After any failed SetRaw the
	// entry must be the old one, the new one, or gone.
	//
	// When SetRaw has returned nil, every GetRaw that begins later must see the new value.
	SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// InvalidateRaw removes the entry under key. An absent key must be a success. When
	// InvalidateRaw has returned nil, no GetRaw that begins later may see the entry.
	InvalidateRaw(ctx context.Context, key string) error

	// Clear removes every entry, on every node: when it returns nil they must all be gone. It may
	// take entries of others with it; the first sentence of its comment must say what it destroys.
	Clear(ctx context.Context) error
}

// The errors that callers branch on. They come back wrapped: compare with [errors.Is].
var (
	// ErrNegativeTTL says that a negative TTL was given. Nothing was sent to the store, unless it is
	// the getter of GetViaTTL that gave it: then the value wasn't.
	ErrNegativeTTL = errors.New("the TTL is negative")

	// ErrEmptyKey says that a key has no segment that isn't empty. Nothing was sent to the store.
	ErrEmptyKey = errors.New("the key is empty")

	// ErrNoNamespace says that nothing is stored under the key that a [NamespaceOf] names, so that
	// the keys below it have no place.
	ErrNoNamespace = errors.New("nothing is stored under the namespace's key")

	// ErrTooLarge says that a value is larger than the store or the compressor takes. It wasn't sent,
	// and the entry that was there stays.
	ErrTooLarge = errors.New("the value is too large")

	// ErrNotFound is for getters to return, wrapped or not, when the origin has no such value.
	ErrNotFound = errors.New("not found")
)
