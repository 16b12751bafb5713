// Package sqlite has what the SQLite backend is compared with: the SQL of the Python original, a plain
// SELECT, another driver, and another store in a file.
//
// All do the same work: entries under text keys, and where they evict, a limit on their number. A place of ""
// is memory, any other the file to make.
package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/goappcache/appcache/sqlitelru"
)

// Store is what is measured. Its methods, but Fill and Close, are safe for concurrent use.
type Store interface {
	// Get returns the value stored under key.
	Get(ctx context.Context, key string) (value []byte, found bool, err error)

	// Set stores value under key for ttl, where the store knows such a thing.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Fill stores value under Key(0) to Key(n-1), the last one last.
	Fill(ctx context.Context, n int, value []byte, ttl time.Duration) error

	// Close frees what the store holds.
	Close() error
}

// Key is the i-th of the keys.
func Key(i int) string { return fmt.Sprintf("appcache/users/%d/likes", i) }

// address is what the modernc driver opens for a place.
func address(place string) string {
	if place == "" {
		return fmt.Sprintf("file:/bench%d?vfs=memdb", rand.Int64()) // gone with its last connection
	}
	return "file:" + place + "?_pragma=journal_mode(wal)&_pragma=synchronous(normal)"
}

// ours is the library's backend.
type ours struct{ *sqlitelru.Backend }

// NewOurs makes the library's backend as Open makes it, or New(nil, …), whose database all share: it is
// cleared.
func NewOurs(ctx context.Context, place string, maxSize int) (Store, error) {
	opts := &sqlitelru.Options{MaxSize: maxSize}
	if place != "" {
		b, err := sqlitelru.Open(place, opts)
		return ours{b}, err
	}
	b, err := sqlitelru.New(nil, opts)
	if err != nil {
		return nil, err
	}
	return ours{b}, b.Clear(ctx)
}

func (o ours) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	return o.GetRaw(ctx, key)
}

func (o ours) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return o.SetRaw(ctx, key, value, ttl)
}

func (o ours) Fill(ctx context.Context, n int, value []byte, ttl time.Duration) error {
	return fill(ctx, o, n, value, ttl)
}

// fill fills a store one by one.
func fill(ctx context.Context, s Store, n int, value []byte, ttl time.Duration) error {
	for i := range n {
		if err := s.Set(ctx, Key(i), value, ttl); err != nil {
			return err
		}
	}
	return nil
}
