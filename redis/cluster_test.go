package redis_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

func newClusterClient(tb testing.TB, c *testserver.Cluster, change ...func(*goredis.ClusterOptions)) *goredis.ClusterClient {
	tb.Helper()
	opts := &goredis.ClusterOptions{Addrs: c.Addrs(), ContextTimeoutEnabled: true}
	for _, f := range change {
		f(opts)
	}
	client := goredis.NewClusterClient(opts)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// fill sets keys until there are some on every master or shard.
func fill(t *testing.T, b *redis.Backend, servers ...*testserver.Server) {
	t.Helper()
	for n := range 200 {
		key := fmt.Sprintf("key %d", n)
		require.NoError(t, b.SetRaw(t.Context(), key, []byte(key), 0))
	}
	for _, s := range servers {
		require.NotEqual(t, "0", size(t, s), "no key went to %s", s.Addr)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := testserver.RedisCluster(t)
	masters := c.Masters[:]

	t.Run("every master is cleared, with one command", func(t *testing.T) {
		client := newClusterClient(t, c)
		b := redis.New(client)
		fill(t, b, masters...)
		for n := range 200 {
			key := fmt.Sprintf("key %d", n)
			value, found, err := b.GetRaw(t.Context(), key)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, key, string(value))
		}
		// The trap: one master is flushed, and all is said to be well.
		require.NoError(t, client.FlushDB(t.Context()).Err())
		var left int
		for _, m := range masters {
			if size(t, m) != "0" {
				left++
			}
		}
		require.Equal(t, 2, left, "FlushDB of a ClusterClient has become better: is all of this needed still?")

		fill(t, b, masters...)
		for _, m := range masters {
			m.Do(t, "CONFIG RESETSTAT")
		}
		require.NoError(t, b.Clear(t.Context()))
		requireSize(t, "0", masters...)
		for _, n := range c.Nodes() {
			stats := n.Do(t, "INFO commandstats")
			_, flushes, _ := strings.Cut(stats, "cmdstat_flushdb:")
			if strings.Contains(n.Do(t, "INFO replication"), "role:master") {
				require.True(t, strings.HasPrefix(flushes, "calls=1,"), "%s: %s", n.Addr, stats)
			}
			require.NotContains(t, stats, "rejected_calls=1", "no replica is asked")
		}
	})

	t.Run("get, set and invalidate are one command", func(t *testing.T) {
		client, sent := newClusterClient(t, c), &commands{}
		client.AddHook(sent)
		b := redis.New(client)
		require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), 0))
		_, _, err := b.GetRaw(t.Context(), "key")
		require.NoError(t, err)
		require.NoError(t, b.InvalidateRaw(t.Context(), "key"))
		require.Equal(t, [][]any{{"set", "key", []byte("value")}, {"get", "key"}, {"del", "key"}}, sent.take())
	})

	t.Run("the errors of all masters come back", func(t *testing.T) {
		b := redis.New(newClusterClient(t, c, func(o *goredis.ClusterOptions) { o.Username, o.Password = "app", "secret" }))
		for _, n := range c.Nodes() {
			n.Do(t, "ACL SETUSER app on >secret ~* +get +set +del +cluster|slots")
		}
		masters[2].Do(t, "ACL SETUSER app +flushdb")
		fill(t, b, masters...)
		err := b.Clear(t.Context())
		require.True(t, goredis.IsPermissionError(err), "got %v", err)
		require.ErrorContains(t, err, masters[0].Addr)
		require.ErrorContains(t, err, masters[1].Addr)
		require.NotContains(t, err.Error(), masters[2].Addr)
		requireSize(t, "0", masters[2])
	})

	t.Run("a wrapper with a pointer in it", func(t *testing.T) {
		b := redis.New(struct{ *goredis.ClusterClient }{newClusterClient(t, c)})
		fill(t, b, masters...)
		require.NoError(t, b.Clear(t.Context()))
		requireSize(t, "0", masters...)
	})

	// What hides the cluster must not make a Clear of one master look like one of all.
	for _, tt := range []struct {
		name string
		hide func(t *testing.T, client *goredis.ClusterClient) goredis.UniversalClient
	}{
		{"a wrapper with an interface in it", func(_ *testing.T, client *goredis.ClusterClient) goredis.UniversalClient {
			return struct{ goredis.UniversalClient }{client}
		}},
		{"an AutoPipeliner", func(t *testing.T, client *goredis.ClusterClient) goredis.UniversalClient {
			ap, err := client.AutoPipeline()
			require.NoError(t, err)
			return ap
		}},
		{"an asynchronous AutoPipeliner", func(t *testing.T, client *goredis.ClusterClient) goredis.UniversalClient {
			ap, err := client.AsyncAutoPipeline()
			require.NoError(t, err)
			return ap
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := redis.New(tt.hide(t, newClusterClient(t, c)))
			fill(t, b, masters...)
			require.ErrorContains(t, b.Clear(t.Context()), "give New the ClusterClient itself")
		})
	}

	// Last, because it changes the cluster.
	t.Run("a master that is down is an error", func(t *testing.T) {
		b := redis.New(newClusterClient(t, c))
		fill(t, b, masters...)
		masters[0].Kill(t)
		require.ErrorContains(t, b.Clear(t.Context()), masters[0].Addr)
		requireSize(t, "0", masters[1], masters[2])

		c.Takeover(t, 0)
		require.NotEqual(t, "0", size(t, c.Replicas[0]))
		require.NoError(t, b.Clear(t.Context()), "Clear looks up the masters itself")
		requireSize(t, "0", c.Replicas[0], masters[1], masters[2])
	})
}

// A ClusterClient doesn't look up the masters when a node doesn't answer. Here it never does so by
// itself, so that without our telling it none of these would end.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	c := testserver.RedisCluster(t)
	for i, tt := range []struct {
		name string
		end  func(t *testing.T, s *testserver.Server)
		ctx  func(t *testing.T) (context.Context, context.CancelFunc)
	}{
		{
			"killed, calls without a deadline",
			func(t *testing.T, s *testserver.Server) { s.Kill(t) },
			func(t *testing.T) (context.Context, context.CancelFunc) { return t.Context(), func() {} },
		},
		{
			// The deadline is over before the client is done with dialling.
			"killed, calls with a deadline",
			func(t *testing.T, s *testserver.Server) { s.Kill(t) },
			func(t *testing.T) (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 200*time.Millisecond)
			},
		},
		{
			"hanging, calls that are cancelled",
			func(t *testing.T, s *testserver.Server) { s.Pause(t) },
			func(t *testing.T) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(200*time.Millisecond, cancel)
				return ctx, cancel
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := newClusterClient(t, c, func(o *goredis.ClusterOptions) {
				o.ClusterStateReloadInterval = 24 * time.Hour
				o.ReadTimeout = 300 * time.Millisecond
				// Else the state is looked up, by a reload as well, at the node that hangs.
				o.Addrs = []string{c.Masters[(i+1)%3].Addr, c.Replicas[(i+1)%3].Addr}
			})
			b := redis.New(client)
			key := keyOf(t, client, c.Masters[i])
			require.NoError(t, b.SetRaw(t.Context(), key, []byte("old"), 0))

			tt.end(t, c.Masters[i])
			c.Takeover(t, i)
			var failed int
			require.Eventually(t, func() bool {
				ctx, cancel := tt.ctx(t)
				defer cancel()
				err := b.SetRaw(ctx, key, []byte("new"), 0)
				if err != nil {
					failed++
				}
				return err == nil
			}, 60*time.Second, 10*time.Millisecond)
			require.Positive(t, failed, "nothing failed over")
			value, found, err := b.GetRaw(t.Context(), key)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, "new", string(value))
		})
	}
}

// keyOf returns a key that a master has.
func keyOf(t *testing.T, client *goredis.ClusterClient, master *testserver.Server) string {
	t.Helper()
	for n := range 1000 {
		key := fmt.Sprintf("appcache/%d", n)
		node, err := client.MasterForKey(t.Context(), key)
		require.NoError(t, err)
		if node.Options().Addr == master.Addr {
			return key
		}
	}
	t.Fatalf("no key of %s", master.Addr)
	return ""
}

// The replicas elect a new master. Here too the client looks up the masters only when it is told to.
func TestClusterElection(t *testing.T) {
	t.Parallel()
	c := testserver.RedisCluster(t)
	c.Vote(t)
	client := newClusterClient(t, c, func(o *goredis.ClusterOptions) {
		o.ClusterStateReloadInterval = 24 * time.Hour
		o.DialerRetries = 1
	})
	underLoad(t, redis.New(client), keyOf(t, client, c.Masters[0]), func() { c.Masters[0].Kill(t) })
	require.Contains(t, c.Replicas[0].Do(t, "INFO replication"), "role:master")
	requireSize(t, "0", c.Replicas[0])
}
