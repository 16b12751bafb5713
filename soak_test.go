package appcache_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	goredis "github.com/redis/go-redis/v9"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/flight"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
	"github.com/goappcache/appcache/redis"
	"github.com/goappcache/appcache/sqlitelru"
)

// soakTime is how long each store is used in TestSoak; "make soak" gives it a minute.
var soakTime = flag.Duration("soak", 3*time.Second, "how long TestSoak uses each store")

const (
	soakers  = 64 // goroutines
	soakKeys = 48
	soakLong = 2 * time.Second // the contexts of most calls
	soakOver = 8 * time.Second // longer than that after its context a call hangs
)

// soaked is what the caches of a soak keep.
type soaked struct {
	Key     int
	Version int64
	Pad     []byte // as padOf says
}

func padOf(key int, version int64) []byte {
	pad := binary.BigEndian.AppendUint64(nil, uint64(version)<<8|uint64(key))
	return slices.Repeat(pad, 1+int(version*7+int64(key))%200)
}

// soakKey is the key of that; each fourth is in one of three namespaces, and each third is compressed.
type soakKey int

func (k soakKey) CacheKeySegments() []string { return []string{"soak", strconv.Itoa(int(k))} }

func (k soakKey) NamespaceKey() appcache.NamespaceKey {
	if k%4 != 0 {
		return nil
	}
	return appcache.Generation("space/" + strconv.Itoa(int(k/4%3)))
}

func (k soakKey) ShouldCompress(soaked, []byte) bool { return k%3 == 0 }

// soakOrigin is where the values of one key come from. It is regular, which is what checker F asks for: no
// read returns a version that is older than one whose write had returned before it began.
type soakOrigin struct {
	mu      sync.Mutex   // held by whoever writes
	version atomic.Int64 // the newest
	floor   atomic.Int64 // the newest whose write has returned
	suspect atomic.Int64 // versions up to this one may be stored late, by a write that failed
}

// soak is what goes on with one store.
type soak struct {
	backend appcache.RawBackend
	caches  []*appcache.Cache[soaked]
	origins [soakKeys]soakOrigin

	mu      sync.Mutex
	counts  map[string]int // what was done, and with what outcome
	wrong   []string
	longest time.Duration
}

// suspicious notes writes whose effect is unknown.
type suspicious struct {
	appcache.RawBackend
	s *soak
}

func (b *suspicious) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	err := b.RawBackend.SetRaw(ctx, key, value, ttl)
	if err != nil {
		if k, convErr := strconv.Atoi(key[strings.LastIndexByte(key, '/')+1:]); convErr == nil {
			o := &b.s.origins[k]
			for newest := o.version.Load(); ; {
				if old := o.suspect.Load(); old >= newest || o.suspect.CompareAndSwap(old, newest) {
					break
				}
			}
		}
	}
	return err
}

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// missing returns what must be done and hasn't been yet.
func (s *soak) missing() (missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range []string{"Get, a hit", "GetVia", "Set", "SetVia", "Invalidate", "getter"} {
		if s.counts[what] == 0 {
			missing = append(missing, what)
		}
	}
	return missing
}

func (s *soak) complain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// check looks at what a read returned that began when the floor was so high.
func (s *soak) check(what string, k soakKey, v soaked, floor int64) {
	o := &s.origins[k]
	switch {
	case v.Key != int(k) || string(v.Pad) != string(padOf(v.Key, v.Version)):
		s.complain("%s of %d returned what is another's or damaged: %+v", what, k, v)
	case v.Version > o.version.Load():
		s.complain("%s of %d returned version %d, which nobody has written", what, k, v.Version)
	case v.Version < floor && v.Version > o.suspect.Load():
		s.complain("%s of %d returned version %d, and the write of %d had returned before it began", what, k, v.Version, floor)
	}
}

// one makes one call, at random.
func (s *soak) one(ctx context.Context) {
	timeout := soakLong
	if rand.IntN(10) == 0 {
		timeout = time.Duration(rand.IntN(20_000)) * time.Microsecond
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cache := s.caches[rand.IntN(len(s.caches))]
	k := soakKey(rand.IntN(soakKeys))
	o := &s.origins[k]
	begin := time.Now()
	var what string
	var err error
	switch n := rand.IntN(1000); {
	case n < 400:
		what = "Get"
		floor := o.floor.Load()
		var v soaked
		var found bool
		if v, found, err = cache.Get(ctx, k); found {
			what = "Get, a hit"
			s.check(what, k, v, floor)
		}
	case n < 850:
		what = "GetVia"
		floor := o.floor.Load()
		var v soaked
		v, err = cache.GetVia(ctx, k, ttl(), func(ctx context.Context) (soaked, error) {
			s.count("getter")
			version := o.version.Load()
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
			return soaked{int(k), version, padOf(int(k), version)}, ctx.Err()
		})
		if err == nil {
			s.check(what, k, v, floor)
		} else if ctx.Err() == nil {
			s.complain("GetVia of %d failed, although its getter works: %v", k, err)
		}
	case n < 998:
		if !o.mu.TryLock() {
			return
		}
		defer o.mu.Unlock()
		version := o.version.Load() + 1
		v := soaked{int(k), version, padOf(int(k), version)}
		switch n % 3 {
		case 0:
			what = "Set"
			o.version.Store(version)
			err = cache.Set(ctx, k, v, ttl())
		case 1:
			what = "SetVia"
			err = cache.SetVia(ctx, k, v, ttl(), func(context.Context, soaked) error {
				o.version.Store(version)
				return nil
			})
		default:
			what = "Invalidate"
			o.version.Store(version)
			err = cache.Invalidate(ctx, k)
		}
		if err == nil {
			o.floor.Store(version)
		}
	default:
		what, err = s.drop(ctx, cache, n == 999)
	}
	took := time.Since(begin)
	if took > timeout+soakOver {
		s.complain("%s of %d took %v with a context of %v", what, k, took, timeout)
	}
	s.mu.Lock()
	s.counts[what+outcomeOf(err)]++
	s.longest = max(s.longest, took)
	s.mu.Unlock()
}

func ttl() time.Duration {
	return 500*time.Millisecond + time.Duration(rand.IntN(3000))*time.Millisecond
}

// drop changes the origins of a namespace, or of all, and then drops that.
func (s *soak) drop(ctx context.Context, cache *appcache.Cache[soaked], all bool) (what string, err error) {
	space := rand.IntN(3)
	var versions [soakKeys]int64
	for k := range s.origins {
		if o := &s.origins[k]; all || k%4 == 0 && k/4%3 == space {
			o.mu.Lock() // always in this order
			defer o.mu.Unlock()
			versions[k] = o.version.Add(1)
		}
	}
	if all {
		what, err = "Clear", cache.Clear(ctx)
	} else {
		what, err = "InvalidateNamespace", cache.InvalidateNamespace(ctx, appcache.Generation("space/"+strconv.Itoa(space)))
	}
	for k, version := range versions {
		if version > 0 && err == nil {
			s.origins[k].floor.Store(version)
		}
	}
	return what, err
}

// outcomeOf returns of what kind an error is.
func outcomeOf(err error) string {
	var number syscall.Errno
	var network net.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return ": deadline exceeded"
	case errors.Is(err, cachetest.ErrFault):
		return ": injected fault"
	case errors.As(err, &number):
		return ": " + number.Error()
	case errors.As(err, &network) && network.Timeout():
		return ": i/o timeout"
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return fmt.Sprintf(": %T", err)
}

// soakStores makes the stores, each with the faults that it can have by itself.
var soakStores = []struct {
	name string
	make func(t *testing.T) (b appcache.RawBackend, faults map[string]func(t *testing.T), closed func())
}{
	{"Redis", func(t *testing.T) (appcache.RawBackend, map[string]func(*testing.T), func()) {
		server := testserver.Redis(t)
		client := goredis.NewClient(&goredis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, DialerRetries: 1})
		return redis.New(client), serverFaults(server), func() { require.NoError(t, client.Close()) }
	}},
	{"memcached", func(t *testing.T) (appcache.RawBackend, map[string]func(*testing.T), func()) {
		server := testserver.Memcached(t)
		b, err := memcache.Open(nil, server.Addr)
		require.NoError(t, err)
		return b, serverFaults(server), func() { require.NoError(t, b.Close()) }
	}},
	{"memcached, a client of the caller's", func(t *testing.T) (appcache.RawBackend, map[string]func(*testing.T), func()) {
		server := testserver.Memcached(t)
		client := gomemcache.New(server.Addr)
		client.MaxIdleConns, client.Timeout = soakers, 200*time.Millisecond
		return memcache.New(client, nil), serverFaults(server), func() { require.NoError(t, client.Close()) }
	}},
	{"SQLite", func(t *testing.T) (appcache.RawBackend, map[string]func(*testing.T), func()) {
		path := filepath.Join(t.TempDir(), "cache.db")
		b, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: soakKeys / 2})
		require.NoError(t, err)
		return b, map[string]func(*testing.T){"another process holds the lock": func(t *testing.T) { holdLock(t, path) }},
			func() { require.NoError(t, b.Close()) }
	}},
}

func serverFaults(server *testserver.Server) map[string]func(t *testing.T) {
	return map[string]func(*testing.T){
		"killed": func(t *testing.T) {
			server.Kill(t)
			shortly()
			server.Start(t)
		},
		"halted": func(t *testing.T) {
			server.Pause(t)
			shortly()
			server.Resume(t)
		},
	}
}

func shortly() { time.Sleep(time.Duration(rand.IntN(600)) * time.Millisecond) }

// holdLock does to a file of SQLite what another process may do.
func holdLock(t *testing.T, path string) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(1000)")
	require.NoError(t, err)
	defer db.Close()
	if tx, err := db.Begin(); err == nil { // else the lock couldn't be had
		shortly()
		_ = tx.Rollback()
	}
}

// TestSoak uses each store from many goroutines, while faults come and go, and looks at what comes of it:
// checker F, live. What it held is given back at its end.
func TestSoak(t *testing.T) {
	for _, store := range soakStores {
		t.Run(store.name, func(t *testing.T) {
			b, faults, closeStore := store.make(t)
			goroutines, files, memory := runtime.NumGoroutine(), openFiles(), heap()

			s := &soak{counts: map[string]int{}}
			var troubled atomic.Bool
			// troubling makes a backend that fails now and then, as long as there is trouble.
			troubling := func(b appcache.RawBackend, rates map[cachetest.Fault]float64) *cachetest.Faulty {
				dice := cachetest.AtRandom(rand.Uint64(), rates)
				return &cachetest.Faulty{Backend: b, Delay: 50 * time.Millisecond, Choose: func(method, key string) cachetest.Fault {
					if !troubled.Load() {
						return cachetest.None
					}
					return dice(method, key)
				}}
			}
			late := troubling(b, map[cachetest.Fault]float64{cachetest.LateWrite: 0.02})
			// With these it is known what is stored when the call returns.
			s.backend = troubling(&suspicious{late, s}, map[cachetest.Fault]float64{
				cachetest.Refuse: 0.1, cachetest.DropReply: 0.05, cachetest.Slow: 0.05, cachetest.Hang: 0.01,
			})
			faults["of the network"] = func(*testing.T) {
				troubled.Store(true)
				shortly()
				troubled.Store(false)
			}
			for _, opts := range []appcache.Options{
				{Timeout: 250 * time.Millisecond},
				{Timeout: 250 * time.Millisecond, StaleFor: time.Second, EarlyRefresh: 1, Jitter: 0.3, NotFoundTTL: time.Second},
			} {
				s.caches = append(s.caches, appcache.New[soaked](s.backend, &opts))
			}

			// Some faults, and none at other times.
			stop := make(chan struct{})
			var injector, users sync.WaitGroup
			names := slices.Sorted(maps.Keys(faults))
			injector.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(200+rand.IntN(500)) * time.Millisecond):
					}
					name := names[rand.IntN(len(names))]
					s.count("fault: " + name)
					faults[name](t)
				}
			})
			begin := time.Now()
			for range soakers {
				users.Go(func() {
					// On a slow machine faults may take up the whole of a short time.
					for time.Since(begin) < *soakTime || len(s.missing()) > 0 && time.Since(begin) < *soakTime+time.Minute {
						s.one(t.Context())
						time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
					}
				})
			}
			users.Wait()
			close(stop)
			injector.Wait()
			recovery := s.recover(t)
			late.Wait()
			require.Eventually(t, func() bool { return flight.Count(s.backend) == 0 }, 10*time.Second, time.Millisecond)
			closeStore()

			t.Logf("%v; the longest call took %v; well again %v after the last fault", time.Since(begin).Round(time.Second), s.longest, recovery)
			for _, what := range slices.Sorted(maps.Keys(s.counts)) {
				t.Logf("%8d  %s", s.counts[what], what)
			}
			require.Empty(t, s.wrong)
			require.Empty(t, s.missing())

			for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines || openFiles() > files; time.Sleep(10 * time.Millisecond) {
				require.True(t, time.Now().Before(deadline), "%d goroutines and %d files are there yet, and at the beginning %d and %d",
					runtime.NumGoroutine(), openFiles(), goroutines, files)
			}
			s.caches, s.backend = nil, nil
			require.Less(t, heap(), memory+16<<20, "bytes, and at the beginning there were %d", memory)
		})
	}
}

// recover returns how long it took until every method worked again.
func (s *soak) recover(t *testing.T) time.Duration {
	begin := time.Now()
	require.Eventually(t, func() bool {
		for k := range soakKey(soakKeys) {
			v := soaked{Key: int(k), Version: s.origins[k].version.Load()}
			v.Pad = padOf(v.Key, v.Version)
			if s.caches[0].Set(t.Context(), k, v, 0) != nil {
				return false
			}
			if _, _, err := s.caches[0].Get(t.Context(), k); err != nil {
				return false
			}
			if s.caches[0].Invalidate(t.Context(), k) != nil {
				return false
			}
		}
		return true
	}, time.Minute, time.Millisecond)
	return time.Since(begin)
}

// openFiles returns how many files and sockets the process has open.
func openFiles() int {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return 0 // there is no such folder on this system
	}
	return len(entries)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
