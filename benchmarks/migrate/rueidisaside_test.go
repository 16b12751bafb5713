package migrate_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
)

func cacheAside(t *testing.T, addr string) rueidisaside.CacheAsideClient {
	t.Helper()
	client, err := rueidisaside.NewClient(rueidisaside.ClientOption{
		ClientOption: rueidis.ClientOption{InitAddress: []string{addr}},
	})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func loadText(context.Context, string) (string, error) { return "text", nil }

// The TTL bounds the call as well, so that one of 0 is over before it begins.
func TestRueidisasideTTL(t *testing.T) {
	t.Parallel()
	client := cacheAside(t, testserver.Redis(t).Addr)
	_, err := client.Get(t.Context(), 0, "text", loadText)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	text, err := client.Get(t.Context(), 900*time.Millisecond, "text", loadText)
	require.NoError(t, err)
	require.Equal(t, "text", text)
	redis := client.Client()
	ttl, err := redis.Do(t.Context(), redis.B().Pttl().Key("text").Build()).AsInt64()
	require.NoError(t, err)
	require.LessOrEqual(t, ttl, int64(900))
	require.NotEqual(t, int64(-1), ttl)
}

func TestRueidisasideOutage(t *testing.T) {
	t.Parallel()
	proxy := testserver.NewProxy(t, testserver.Redis(t).Addr)
	client := cacheAside(t, proxy.Addr)
	_, err := client.Get(t.Context(), time.Minute, "before", loadText)
	require.NoError(t, err)

	proxy.Be(testserver.HalfOpen)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = client.Get(ctx, time.Minute, "text", loadText)
	require.ErrorIs(t, err, context.DeadlineExceeded, "it ends with its context")

	proxy.Be(testserver.Cut)
	_, err = client.Get(t.Context(), time.Second, "text", loadText)
	require.Error(t, err, "what can be loaded isn't returned")
}

func TestRueidisasideUnreadable(t *testing.T) {
	t.Parallel()
	client := cacheAside(t, testserver.Redis(t).Addr)
	redis := client.Client()
	require.NoError(t, redis.Do(t.Context(), redis.B().Set().Key("users/54").Value("no JSON").Build()).Error())
	users := rueidisaside.NewTypedCacheAsideClient(client,
		func(user *User) (string, error) {
			data, err := json.Marshal(user)
			return string(data), err
		},
		func(data string) (user *User, err error) { return user, json.Unmarshal([]byte(data), &user) })
	_, err := users.Get(t.Context(), time.Minute, "users/54", func(context.Context, string) (*User, error) { return &ada, nil })
	require.Error(t, err)
}
