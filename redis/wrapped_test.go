package redis_test

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

// Clients that don't say what is beneath them, over a single server.
func TestWrappedClients(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		wrap func(t *testing.T, client *goredis.Client) goredis.UniversalClient
		asks bool // Clear asks the server whether it belongs to a cluster
	}{
		{"an interface in a struct", func(_ *testing.T, client *goredis.Client) goredis.UniversalClient {
			return struct{ goredis.UniversalClient }{client}
		}, true},
		{"a pointer in a struct", func(_ *testing.T, client *goredis.Client) goredis.UniversalClient {
			return struct{ *goredis.Client }{client}
		}, false},
		{"an AutoPipeliner", func(t *testing.T, client *goredis.Client) goredis.UniversalClient {
			ap, err := client.AutoPipeline()
			require.NoError(t, err)
			return ap
		}, true},
		{"an asynchronous AutoPipeliner", func(t *testing.T, client *goredis.Client) goredis.UniversalClient {
			ap, err := client.AsyncAutoPipeline()
			require.NoError(t, err)
			return ap
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := testserver.Redis(t)
			client, sent := newClient(t, s.Addr), &commands{}
			b := redis.New(tt.wrap(t, client))
			_, found, err := b.GetRaw(t.Context(), "key")
			require.NoError(t, err)
			require.False(t, found)
			require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), time.Minute))
			value, found, err := b.GetRaw(t.Context(), "key")
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, "value", string(value))
			require.NoError(t, b.InvalidateRaw(t.Context(), "key"))
			requireSize(t, "0", s)
			require.NoError(t, b.SetRaw(t.Context(), "key", []byte("value"), time.Minute))
			client.AddHook(sent)
			require.NoError(t, b.Clear(t.Context()))
			requireSize(t, "0", s)
			if tt.asks {
				require.Equal(t, [][]any{{"info", "cluster"}, {"flushdb"}}, sent.take())
			} else {
				require.Equal(t, [][]any{{"flushdb"}}, sent.take())
			}
		})
	}
}
