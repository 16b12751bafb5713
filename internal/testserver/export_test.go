package testserver

import "testing"

// RedisOn is Redis with the addresses to try given.
func RedisOn(tb testing.TB, next func() string) *Server { return launchOn(tb, redis(tb), next) }

// MemcachedOn is Memcached with the addresses to try given.
func MemcachedOn(tb testing.TB, next func() string) *Server { return launchOn(tb, memcached(), next) }

// Exchange is for tests.
var Exchange = exchange
