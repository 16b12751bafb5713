package memcache_test

import (
	"testing"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

// late is what the contract allows a store that ticks in seconds, and some more for a busy machine.
const late = 2*time.Second + 500*time.Millisecond

// maxValue is the largest value under a key of one byte.
const maxValue = 1<<20 - memcache.ItemOverhead - 1

func TestBackend(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		servers int
		backend func(t testing.TB, addrs []string) appcache.RawBackend
	}{
		{name: "New", servers: 1, backend: onClient},
		{name: "Open", servers: 1, backend: opened},
		{name: "Open with three servers", servers: 3, backend: opened},
		{name: "a wrapper", servers: 1, backend: wrapped},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			start := func(t testing.TB) (appcache.RawBackend, []*testserver.Server) {
				servers := make([]*testserver.Server, test.servers)
				addrs := make([]string, test.servers)
				for i := range servers {
					servers[i] = testserver.Memcached(t)
					addrs[i] = servers[i].Addr
				}
				return test.backend(t, addrs), servers
			}
			each := func(t testing.TB, servers []*testserver.Server, do func(*testserver.Server, testing.TB)) func() {
				return func() {
					for _, s := range servers {
						do(s, t)
					}
				}
			}
			cachetest.TestBackend(t, cachetest.Harness{
				Late:     late,
				MaxValue: maxValue,
				New: func(t testing.TB) appcache.RawBackend {
					b, _ := start(t)
					return b
				},
				Outage: func(t testing.TB) (b appcache.RawBackend, down, up func()) {
					b, servers := start(t)
					return b, each(t, servers, (*testserver.Server).Kill), each(t, servers, (*testserver.Server).Start)
				},
				Hang: func(t testing.TB) (b appcache.RawBackend, hang, resume func()) {
					b, servers := start(t)
					return b, each(t, servers, (*testserver.Server).Pause), each(t, servers, (*testserver.Server).Resume)
				},
			})
		})
	}
}

func onClient(t testing.TB, addrs []string) appcache.RawBackend {
	c := client(t, addrs...)
	c.Timeout = time.Second // no context interrupts it, and the case of a hanging store waits for it
	return memcache.New(c, nil)
}

func opened(t testing.TB, addrs []string) appcache.RawBackend { return open(t, addrs...) }

// wrapped is what somebody may put around a backend of ours: four methods, and nothing else shows.
func wrapped(t testing.TB, addrs []string) appcache.RawBackend {
	return struct{ appcache.RawBackend }{opened(t, addrs)}
}
