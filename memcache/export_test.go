package memcache

import "time"

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
