package redis_test

import (
	"context"
	"maps"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

// newRing returns a ring of three shards, which looks every few milliseconds whether they are up.
func newRing(tb testing.TB, change ...func(*goredis.RingOptions)) (*goredis.Ring, []*testserver.Server) {
	tb.Helper()
	shards := []*testserver.Server{testserver.Redis(tb), testserver.Redis(tb), testserver.Redis(tb)}
	opts := &goredis.RingOptions{
		Addrs:                 map[string]string{"first": shards[0].Addr, "second": shards[1].Addr, "third": shards[2].Addr},
		HeartbeatFrequency:    10 * time.Millisecond,
		DialerRetries:         1,
		ContextTimeoutEnabled: true,
	}
	for _, f := range change {
		f(opts)
	}
	ring := goredis.NewRing(opts)
	tb.Cleanup(func() { _ = ring.Close() })
	return ring, shards
}

func requireShardsUp(t *testing.T, ring *goredis.Ring, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(ring.GetShardClients()) == want }, 60*time.Second, 5*time.Millisecond)
}

func TestRing(t *testing.T) {
	t.Parallel()
	ring, shards := newRing(t)
	b := redis.New(ring)
	fill(t, b, shards...)
	require.NoError(t, b.Clear(t.Context()))
	requireSize(t, "0", shards...)

	// A shard that the ring takes for down is left out, without a word.
	fill(t, b, shards...)
	shards[1].Kill(t)
	requireShardsUp(t, ring, 2)
	require.NoError(t, ring.ForEachShard(t.Context(), func(context.Context, *goredis.Client) error { return nil }))
	require.EqualError(t, b.Clear(t.Context()), "redis: the shard second at "+shards[1].Addr+" is down and was not flushed")
	requireSize(t, "0", shards[0], shards[2])

	shards[1].Start(t)
	requireShardsUp(t, ring, 3)
	fill(t, b, shards...)
	require.NoError(t, b.Clear(t.Context()))
	requireSize(t, "0", shards...)
}

func TestRingShardDownUnnoticed(t *testing.T) {
	t.Parallel()
	ring, shards := newRing(t, func(o *goredis.RingOptions) { o.HeartbeatFrequency = 24 * time.Hour })
	b := redis.New(ring)
	fill(t, b, shards...)
	shards[1].Kill(t)
	require.ErrorContains(t, b.Clear(t.Context()), shards[1].Addr)
	requireSize(t, "0", shards[0], shards[2])
}

func TestRingSetAddrs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(addrs map[string]string, more string)
		want   string
	}{
		{"one less", func(addrs map[string]string, _ string) { delete(addrs, "third") }, "the shard third at "},
		{"one more", func(addrs map[string]string, more string) { addrs["fourth"] = more }, "is not in the ring's options"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ring, shards := newRing(t)
			addrs := maps.Clone(ring.Options().Addrs)
			more := testserver.Redis(t)
			tt.change(addrs, more.Addr)
			ring.SetAddrs(addrs)
			b := redis.New(ring)
			fill(t, b, shards[0])
			require.ErrorContains(t, b.Clear(t.Context()), tt.want)
			requireSize(t, "0", append(shards, more)...)
		})
	}
}

func TestRingWrapped(t *testing.T) {
	t.Parallel()
	ring, shards := newRing(t)
	b := redis.New(struct{ *goredis.Ring }{ring})
	fill(t, b, shards...)
	require.NoError(t, b.Clear(t.Context()))
	requireSize(t, "0", shards...)
	shards[1].Kill(t)
	requireShardsUp(t, ring, 2)
	require.ErrorContains(t, b.Clear(t.Context()), "is down and was not flushed")
}
