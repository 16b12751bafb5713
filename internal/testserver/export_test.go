package testserver

import (
	"testing"
	"time"
)

// RedisOn is Redis with the addresses to try given.
func RedisOn(tb testing.TB, next func() string) *Server { return launchOn(tb, redis(tb), next) }

// MemcachedOn is Memcached with the addresses to try given.
func MemcachedOn(tb testing.TB, next func() string) *Server { return launchOn(tb, memcached(), next) }

// Exchange is for tests.
var Exchange = exchange

// LeakTimeout makes Main wait less for what may end yet.
func LeakTimeout(d time.Duration) { leakTimeout = d }
