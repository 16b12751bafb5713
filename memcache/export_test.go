package memcache

import (
	"context"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
)

const (
	MaxIdle      = maxIdle
	ItemOverhead = itemOverhead
)

var (
	StoreKey   = storeKey
	Expiration = expiration
	Broken     = broken
)

// SetTimeout sets how long a step of I/O may take on a backend that Open made. To be called first.
func SetTimeout(b *Backend, timeout time.Duration) *Backend {
	for _, p := range b.pools {
		p.timeout = timeout
	}
	return b
}

// Idle returns how many idle connections a backend that Open made has.
func Idle(b *Backend) int {
	n := 0
	for _, p := range b.pools {
		p.mu.Lock()
		n += len(p.idle)
		p.mu.Unlock()
	}
	return n
}

// Servers returns the addresses of a backend with connections of its own.
func Servers(b *Backend) (addrs []string) {
	for _, p := range b.pools {
		addrs = append(addrs, p.addr.String())
	}
	return addrs
}

// Do runs op as an operation on the first server.
func Do(ctx context.Context, b *Backend, op func(*gomemcache.Client) error) error {
	return b.pools[0].do(ctx, op)
}
