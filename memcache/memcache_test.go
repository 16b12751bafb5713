package memcache_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

const day = 24 * time.Hour

func TestExpiration(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 999_999_999, time.UTC)
	unix := now.Unix()
	for _, test := range []struct {
		ttl  time.Duration
		want int64
	}{
		{0, 0},
		{1, 2},
		{999 * time.Millisecond, 2},
		{time.Second - 1, 2},
		{time.Second, 2},
		{time.Second + 1, 3},
		{1500 * time.Millisecond, 3},
		{2 * time.Second, 3},
		{30*day - 2*time.Second, 2_592_000 - 1},
		{30*day - time.Second, 2_592_000},
		{30*day - time.Second + 1, unix + 2_592_001},
		{30 * day, unix + 2_592_001},
		{30*day + 1, unix + 2_592_002},
		{31 * day, unix + 31*86_400 + 1},
		{time.Duration(math.MaxInt32-unix-1) * time.Second, math.MaxInt32},
		{time.Duration(math.MaxInt32-unix) * time.Second, math.MaxInt32},
		{100 * 365 * day, math.MaxInt32},
		{math.MaxInt64 - 1, math.MaxInt32},
		{math.MaxInt64, math.MaxInt32},
	} {
		t.Run(test.ttl.String(), func(t *testing.T) {
			t.Parallel()
			require.EqualValues(t, test.want, memcache.Expiration(test.ttl, func() time.Time { return now }))
		})
	}
}

// TestServersView asks memcached itself how long an entry has still to live.
func TestServersView(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	b := open(t, server.Addr)
	left := func(key string) int64 {
		answer := ask(t, server.Addr, "mg "+key+" t\r\n", "\r\n") // "HD t59", and "HD t-1" for ever
		seconds, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(answer, "HD t")), 10, 64)
		require.NoError(t, err, answer)
		return seconds
	}
	require.NoError(t, b.SetRaw(t.Context(), "forever", nil, 0))
	require.EqualValues(t, -1, left("forever"))
	for _, ttl := range []time.Duration{1, 999 * time.Millisecond, time.Minute, 30*day - time.Second, 30 * day, 31 * day, 365 * day} {
		begin := time.Now()
		require.NoError(t, b.SetRaw(t.Context(), "k", nil, ttl))
		seconds := left("k")
		late := int64(time.Since(begin)/time.Second) + 1 // a tick may have come between
		whole := int64((ttl + time.Second - 1) / time.Second)
		require.LessOrEqual(t, seconds, whole+2, ttl)
		require.GreaterOrEqual(t, seconds, whole+1-late, ttl)
	}
	for _, ttl := range []time.Duration{100 * 365 * day, math.MaxInt64} {
		require.NoError(t, b.SetRaw(t.Context(), "k", nil, ttl))
		require.InDelta(t, math.MaxInt32-time.Now().Unix(), left("k"), patience.Seconds(), ttl)
	}
}

func TestShortTTLs(t *testing.T) {
	t.Parallel()
	b := open(t, testserver.Memcached(t).Addr)
	var wg sync.WaitGroup
	for range 5 { // phases of the server's clock
		for _, ttl := range []time.Duration{1, 300 * time.Millisecond, 999 * time.Millisecond, time.Second, 1001 * time.Millisecond, 2 * time.Second} {
			wg.Go(func() {
				key := rand.Text()
				begin := time.Now()
				err := b.SetRaw(t.Context(), key, []byte("v"), ttl)
				for found := true; err == nil && found; {
					time.Sleep(10 * time.Millisecond)
					_, found, err = b.GetRaw(t.Context(), key)
					age := time.Since(begin)
					if err == nil && !found && age < ttl {
						t.Errorf("an entry with a TTL of %v is a miss after %v", ttl, age)
					}
					if found && age > ttl+4*time.Second {
						t.Errorf("an entry with a TTL of %v is a hit after %v", ttl, age)
						return
					}
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(210 * time.Millisecond)
	}
	wg.Wait()
}

func TestEmptyValueIsAHit(t *testing.T) {
	t.Parallel()
	for kind, b := range both(t, testserver.Memcached(t).Addr) {
		for _, value := range [][]byte{{}, nil} {
			require.NoError(t, b.SetRaw(t.Context(), "k", value, 0), kind)
			got, found, err := b.GetRaw(t.Context(), "k")
			require.NoError(t, err, kind)
			require.True(t, found, kind)
			require.Empty(t, got, kind)
		}
	}
}

func TestAbsentKeyIsInvalidated(t *testing.T) {
	t.Parallel()
	for kind, b := range both(t, testserver.Memcached(t).Addr) {
		require.NoError(t, b.InvalidateRaw(t.Context(), "k"), kind)
	}
}

// TestTooLarge stores the largest value that is allowed, and sees that one byte more is refused
// before the server gets to see it, which would delete the old value.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		args        []string
		opts        *memcache.Options
		maxItem     int
		realHeading int // what this version of memcached counts besides key and value
	}{
		{"default", nil, nil, 1 << 20, 59},
		{"without CAS", []string{"-C"}, &memcache.Options{}, 1 << 20, 51},
		{"2 MiB", []string{"-I", "2m"}, &memcache.Options{MaxItemSize: 2 << 20}, 2 << 20, 59},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := testserver.Memcached(t, test.args...)
			b, err := memcache.Open(test.opts, server.Addr)
			require.NoError(t, err)
			defer func() { require.NoError(t, b.Close()) }()
			for kind, b := range map[string]*memcache.Backend{
				"New":  memcache.New(client(t, server.Addr), test.opts),
				"Open": memcache.SetTimeout(b, patience),
			} {
				for _, key := range []string{"k", strings.Repeat("k", 100), strings.Repeat("k", 250), strings.Repeat("k", 1000)} {
					stored, err := memcache.StoreKey(key)
					require.NoError(t, err)
					most := test.maxItem - memcache.ItemOverhead - len(stored)
					value := bytes.Repeat([]byte("v"), most)
					require.NoError(t, b.SetRaw(t.Context(), key, value, 0), "%s, %d bytes of key", kind, len(key))
					got, found, err := b.GetRaw(t.Context(), key)
					require.NoError(t, err)
					require.True(t, found)
					require.True(t, bytes.Equal(value, got))

					sets := stat(t, server.Addr, "cmd_set")
					err = b.SetRaw(t.Context(), key, append(value, 'v'), 0)
					require.ErrorIs(t, err, appcache.ErrTooLarge)
					require.NotContains(t, err.Error(), "vvv")
					require.Equal(t, sets, stat(t, server.Addr, "cmd_set"), "nothing was sent")
					_, found, err = b.GetRaw(t.Context(), key)
					require.NoError(t, err)
					require.True(t, found, "the old value stays")
				}
			}

			// The server's own limit, to see that ours isn't far below, and what would happen at it.
			c := client(t, server.Addr)
			largest := bytes.Repeat([]byte("v"), test.maxItem-test.realHeading-1)
			require.NoError(t, c.Set(&gomemcache.Item{Key: "k", Value: largest}))
			require.ErrorContains(t, c.Set(&gomemcache.Item{Key: "k", Value: append(largest, 'v')}), "too large")
			_, err = c.Get("k")
			require.ErrorIs(t, err, gomemcache.ErrCacheMiss, "the server deletes the old value")
		})
	}
}

// TestServersLimitIsLower is what happens when Options.MaxItemSize isn't the server's: an error, and
// the old entry is gone.
func TestServersLimitIsLower(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	opts := &memcache.Options{MaxItemSize: 2 << 20}
	own, err := memcache.Open(opts, server.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, own.Close()) }()
	for kind, b := range map[string]*memcache.Backend{
		"New":  memcache.New(client(t, server.Addr), opts),
		"Open": memcache.SetTimeout(own, patience),
	} {
		require.NoError(t, b.SetRaw(t.Context(), "k", []byte("old"), 0), kind)
		require.ErrorContains(t, b.SetRaw(t.Context(), "k", make([]byte, 1<<20), 0), "too large", kind)
		if kind == "Open" {
			require.Zero(t, memcache.Idle(own), "a connection with the rest of a value on its way isn't used again")
		}
		_, found, err := b.GetRaw(t.Context(), "k")
		require.NoError(t, err, kind)
		require.False(t, found, kind)
	}
}

func TestImpossibleOptions(t *testing.T) {
	t.Parallel()
	for _, size := range []int{-1, 1, 1023, 1<<30 + 1} {
		want := fmt.Sprintf("memcache: Options.MaxItemSize is %d: give the bytes that the server has with -I, 1024 to 1073741824, or 0 for 1 MiB", size)
		opts := &memcache.Options{MaxItemSize: size}
		require.PanicsWithValue(t, want, func() { memcache.New(nil, opts) })
		require.PanicsWithValue(t, want, func() { _, _ = memcache.Open(opts, "127.0.0.1:11211") })
	}
	for _, opts := range []*memcache.Options{nil, {}, {MaxItemSize: 1024}, {MaxItemSize: 1 << 30}} {
		require.NotNil(t, memcache.New(nil, opts))
	}
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	opts := &memcache.Options{MaxItemSize: 2048}
	b := memcache.New(client(t, testserver.Memcached(t).Addr), opts)
	opts.MaxItemSize = 1 << 30
	require.ErrorIs(t, b.SetRaw(t.Context(), "k", make([]byte, 2048), 0), appcache.ErrTooLarge)
}

func TestOpenRefusesBadAddresses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		servers []string
		want    string
	}{
		{"none", nil, `memcache: no servers: give Open at least one, like "localhost:11211"`},
		{"empty", []string{""}, `memcache: a server's address in [""] is empty: give "host:port"`},
		{"one of them empty", []string{"127.0.0.1:11211", ""}, `memcache: a server's address in ["127.0.0.1:11211" ""] is empty: give "host:port"`},
		{"no port", []string{"127.0.0.1"}, "memcache: address 127.0.0.1: missing port in address"},
		{"port too high", []string{"127.0.0.1:65536"}, "memcache: address 65536: invalid port"},
		{"one of them bad", []string{"127.0.0.1:11211", "127.0.0.1"}, "memcache: address 127.0.0.1: missing port in address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, err := memcache.Open(nil, test.servers...)
			require.EqualError(t, err, test.want)
			require.Nil(t, b)
		})
	}
}

// TestUnixSocket reaches a memcached through a socket in the file system.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	path := t.TempDir() + "/s"
	relay(t, path, server.Addr)
	b := open(t, path)
	require.NoError(t, b.SetRaw(t.Context(), "k", []byte("v"), 0))
	value, found, err := b.GetRaw(t.Context(), "k")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "v", string(value))
}

// TestNilClient sends nothing, for there may be a server on the default port.
func TestNilClient(t *testing.T) {
	t.Parallel()
	b := memcache.New(nil, nil)
	require.Equal(t, []string{"127.0.0.1:11211"}, memcache.Servers(b))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := b.GetRaw(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, b.Close())
	_, _, err = b.GetRaw(t.Context(), "k")
	require.ErrorIs(t, err, net.ErrClosed, "it has connections of its own, which Close closes")
}

func TestClientWithoutServers(t *testing.T) {
	t.Parallel()
	b := memcache.New(gomemcache.New("no port"), nil)
	for _, op := range operations {
		require.ErrorIs(t, op.run(t.Context(), b), gomemcache.ErrNoServers, op.name)
	}
}

// TestSeveralServers: keys live where any gomemcache client with the same list looks for them.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	servers, addrs := three(t)
	c := client(t, addrs...)
	for kind, b := range map[string]*memcache.Backend{"New": memcache.New(c, nil), "Open": open(t, addrs...)} {
		for i := range 100 {
			key := fmt.Sprint(kind, " ", i)
			require.NoError(t, b.SetRaw(t.Context(), key, []byte(key), 0))
			stored, err := memcache.StoreKey(key)
			require.NoError(t, err)
			item, err := c.Get(stored)
			require.NoError(t, err)
			require.Equal(t, key, string(item.Value))
		}
		for _, server := range servers {
			require.NotEqual(t, "0", stat(t, server.Addr, "curr_items"))
		}
		require.NoError(t, b.Clear(t.Context()))
		for i := range 100 {
			_, found, err := b.GetRaw(t.Context(), fmt.Sprint(kind, " ", i))
			require.NoError(t, err)
			require.False(t, found)
		}
	}
}

func TestServerListedTwice(t *testing.T) {
	t.Parallel()
	_, addrs := three(t)
	addrs = append(addrs, addrs[0])
	b, c := open(t, addrs...), client(t, addrs...)
	for i := range 100 {
		key := fmt.Sprint(i)
		require.NoError(t, b.SetRaw(t.Context(), key, nil, 0))
		_, err := c.Get(key)
		require.NoError(t, err)
	}
	require.NoError(t, b.Clear(t.Context()))
}

// TestClearWithOneServerDown has each of the three down in turn: the others are flushed, those
// after it too.
func TestClearWithOneServerDown(t *testing.T) {
	t.Parallel()
	servers, addrs := three(t)
	b := open(t, addrs...)
	for down := range servers {
		fill(t, b)
		servers[down].Kill(t)
		err := b.Clear(t.Context())
		require.ErrorContains(t, err, "clearing "+addrs[down])
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		for i, server := range servers {
			if i != down {
				require.NotContains(t, err.Error(), addrs[i]+":")
				require.True(t, isFlushed(t, server.Addr), "server %d with %d down", i, down)
			}
		}
		servers[down].Start(t)
		fill(t, b)
		require.NoError(t, b.Clear(t.Context()))
		for _, server := range servers {
			require.True(t, isFlushed(t, server.Addr))
		}
	}
}

// TestClearWithOneServerThatHangs: it is given up on, and those after it are flushed.
func TestClearWithOneServerThatHangs(t *testing.T) {
	t.Parallel()
	servers, addrs := three(t)
	fill(t, open(t, addrs...))
	b := memcache.SetTimeout(open(t, addrs...), 2*time.Second)
	servers[0].Pause(t)
	err := b.Clear(t.Context())
	require.ErrorContains(t, err, "clearing "+addrs[0])
	for _, server := range servers[1:] {
		require.True(t, isFlushed(t, server.Addr))
	}
}

// TestClearOfACallersClientWithOneServerDown: gomemcache stops at the first that fails. That must
// never look like a success.
func TestClearOfACallersClientWithOneServerDown(t *testing.T) {
	t.Parallel()
	servers, addrs := three(t)
	b := memcache.New(client(t, addrs...), nil)
	for down := range servers {
		fill(t, b)
		servers[down].Kill(t)
		require.Error(t, b.Clear(t.Context()))
		for _, server := range servers[:down] {
			require.True(t, isFlushed(t, server.Addr))
		}
		servers[down].Start(t)
		require.NoError(t, b.Clear(t.Context()))
		for _, server := range servers {
			require.True(t, isFlushed(t, server.Addr))
		}
	}
}

// TestClear: all that was written before is gone, and all that is written after it stays. A server
// without CAS remembers only the second of its last flush.
func TestClear(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
	}{
		{"with CAS", nil},
		{"without CAS", []string{"-C"}},
	} {
		for _, kind := range []string{"New", "Open"} {
			t.Run(test.name+" "+kind, func(t *testing.T) {
				t.Parallel()
				_, addrs := three(t, test.args...)
				b := both(t, addrs...)[kind]
				for range 2 {
					fill(t, b)
					require.NoError(t, b.Clear(t.Context()))
					for _, addr := range addrs {
						require.True(t, isFlushed(t, addr))
					}
					fill(t, b)
					checkFilled(t, b)
				}
			})
		}
	}
}

func TestClearWithoutCASEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for kind, b := range both(t, testserver.Memcached(t, "-C").Addr) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, b.Clear(ctx), context.DeadlineExceeded, kind)
		require.NoError(t, b.Clear(t.Context()), kind)
	}
}

// TestClearsAtOnceWithoutCAS: each destroys what the others look for, and none fails for that.
func TestClearsAtOnceWithoutCAS(t *testing.T) {
	t.Parallel()
	b := open(t, testserver.Memcached(t, "-C").Addr)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 600 * time.Millisecond)
			if err := b.Clear(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestClearLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-C"}} {
		server := testserver.Memcached(t, args...)
		for kind, b := range both(t, server.Addr) {
			require.NoError(t, b.Clear(t.Context()), kind)
			require.Equal(t, "0", stat(t, server.Addr, "curr_items"), "%s %v", kind, args)
		}
	}
}

func TestClearIsForbidden(t *testing.T) {
	t.Parallel()
	for kind, b := range both(t, testserver.Memcached(t, "-F").Addr) {
		require.NoError(t, b.SetRaw(t.Context(), "k", nil, 0), kind)
		require.ErrorContains(t, b.Clear(t.Context()), "not allowed", kind)
		_, found, err := b.GetRaw(t.Context(), "k")
		require.NoError(t, err, kind)
		require.True(t, found, kind)
	}
}

// TestFullServer: a server that doesn't evict refuses an entry that has no room, and deletes the one that was there.
func TestFullServer(t *testing.T) {
	t.Parallel()
	b := open(t, testserver.Memcached(t, "-M", "-m", "2").Addr)
	large := make([]byte, 200_000)
	require.NoError(t, b.SetRaw(t.Context(), "k", []byte("old"), 0))
	for i := 0; b.SetRaw(t.Context(), fmt.Sprint(i), large, 0) == nil; i++ {
		require.Less(t, i, 20, "it is never full")
	}
	_, found, err := b.GetRaw(t.Context(), "k")
	require.NoError(t, err)
	require.True(t, found)
	require.ErrorContains(t, b.SetRaw(t.Context(), "k", large, 0), "out of memory")
	_, found, err = b.GetRaw(t.Context(), "k")
	require.NoError(t, err)
	require.False(t, found, "the old entry goes on being served")
	require.NoError(t, b.InvalidateRaw(t.Context(), "0"))
	require.NoError(t, b.SetRaw(t.Context(), "k", large, 0), "there is room")
}

func TestClearOfAFullServer(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t, "-M", "-m", "2", "-I", "512k")
	b := open(t, server.Addr)
	var err error
	for i := 0; err == nil; i++ {
		err = b.SetRaw(t.Context(), fmt.Sprint(i), make([]byte, i%2*2000), 0)
	}
	require.ErrorContains(t, err, "out of memory")
	require.NoError(t, b.Clear(t.Context()))
	require.NoError(t, b.SetRaw(t.Context(), "k", make([]byte, 2000), 0))
}

// TestAllocations: the backend allocates nothing that the client alone doesn't, when the context can't
// end. It counts a thousand operations, as the race detector makes a sync.Pool forget things at random.
func TestAllocations(t *testing.T) {
	const n = 1000
	allocations := func(f func()) float64 {
		return testing.AllocsPerRun(1, func() {
			for range n {
				f()
			}
		}) / n
	}
	server := testserver.Memcached(t)
	c := client(t, server.Addr)
	value := make([]byte, 1024)
	ctx := context.Background()
	bareSet := allocations(func() { _ = c.Set(&gomemcache.Item{Key: "k", Value: value, Expiration: 60}) })
	bareGet := allocations(func() { _, _ = c.Get("k") })
	bareDelete := allocations(func() { _ = c.Delete("absent") })
	for kind, b := range map[string]*memcache.Backend{"New": memcache.New(c, nil), "Open": open(t, server.Addr)} {
		get := allocations(func() { _, _, _ = b.GetRaw(ctx, "k") })
		set := allocations(func() { _ = b.SetRaw(ctx, "k", value, time.Minute) })
		remove := allocations(func() { _ = b.InvalidateRaw(ctx, "absent") })
		t.Logf("%s: get %v of %v, set %v of %v, delete %v of %v", kind, get, bareGet, set, bareSet, remove, bareDelete)
		require.Less(t, get, bareGet+0.5, "%s", kind)
		require.Less(t, set, bareSet+0.5, "%s", kind)
		require.Less(t, remove, bareDelete+0.5, "%s", kind)
	}
}

// three starts three servers.
func three(t *testing.T, args ...string) (servers []*testserver.Server, addrs []string) {
	t.Helper()
	servers = make([]*testserver.Server, 3)
	for i := range servers {
		servers[i] = testserver.Memcached(t, args...)
		addrs = append(addrs, servers[i].Addr)
	}
	return servers, addrs
}

// fill stores entries, some on each of three servers.
func fill(t *testing.T, b *memcache.Backend) {
	t.Helper()
	for i := range 30 {
		require.NoError(t, b.SetRaw(t.Context(), fmt.Sprint("fill", i), []byte("v"), 0))
	}
}

func checkFilled(t *testing.T, b *memcache.Backend) {
	t.Helper()
	for i := range 30 {
		_, found, err := b.GetRaw(t.Context(), fmt.Sprint("fill", i))
		require.NoError(t, err)
		require.True(t, found, i)
	}
}

// isFlushed asks the server itself for what fill stored.
func isFlushed(t *testing.T, addr string) bool {
	t.Helper()
	request := "get"
	for i := range 30 {
		request += fmt.Sprint(" fill", i)
	}
	return ask(t, addr, request+"\r\n", "END\r\n") == "END\r\n"
}

// relay passes what comes in at a Unix socket on to addr.
func relay(t *testing.T, path, addr string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { copyAndClose(in, out) })
			wg.Go(func() { copyAndClose(out, in) })
		}
	})
}
