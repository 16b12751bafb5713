package appcache

import (
	"math"
	"math/rand/v2"
	"time"
)

// policy is what Options says of read-through.
type policy struct {
	staleFor     time.Duration
	earlyRefresh float64
	notFoundTTL  time.Duration
	jitter       float64
}

// apply notes in an entry what is to be known of it later, and returns for how long to store it.
func (p *policy) apply(e *entry, ttl, cost time.Duration) time.Duration {
	if ttl == 0 {
		return 0
	}
	ttl = p.jittered(ttl)
	if p.staleFor == 0 && p.earlyRefresh == 0 {
		return ttl
	}
	e.fresh = true
	e.freshUntil = time.Now().Add(ttl).Add(time.Millisecond - 1).UnixMilli() // rounded up: never early
	if p.earlyRefresh > 0 && cost > 0 {
		e.cost = uint32(min(cost.Milliseconds()+1, math.MaxUint32))
	}
	return saturated(ttl, p.staleFor)
}

// saturated returns a + b, or the most there is. b isn't negative.
func saturated(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func (p *policy) jittered(ttl time.Duration) time.Duration {
	if p.jitter == 0 {
		return ttl
	}
	return max(1, ttl-time.Duration(rand.Float64()*p.jitter*float64(ttl)))
}

// early decides by lot whether a fresh entry is to be refreshed: XFetch.
func (p *policy) early(e *entry) bool {
	if p.earlyRefresh == 0 || !e.fresh || e.cost == 0 {
		return false
	}
	ahead := -math.Log(1-rand.Float64()) * p.earlyRefresh * float64(e.cost) // ms
	return ahead >= float64(e.left().Milliseconds())
}
