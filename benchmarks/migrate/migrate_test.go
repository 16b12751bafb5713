// Package migrate_test has the code of docs/comparison.md, on moving from other caches, and looks at what these do
// with TTLs, outages and entries that they can't read. Its tests fail when what the document says is so no more.
package migrate_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m, nil)) }

type User struct {
	Name  string
	Likes []string
}

var ada = User{"Ada", []string{"engines"}}

func loadUser(context.Context, int) (User, error) { return ada, nil }

// errNotThere is what the programs here return for a miss, as they needn't.
var errNotThere = errors.New("not there")

// connect returns a client of a server of the test's own, or of one that is down.
func connect(t *testing.T, down bool) *goredis.Client {
	t.Helper()
	addr := testserver.FreeAddr(t)
	if !down {
		addr = testserver.Redis(t).Addr
	}
	client := goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// ttlOf returns what Redis says of a key: -1 is for ever, -2 is absent.
func ttlOf(t *testing.T, client *goredis.Client, key string) time.Duration {
	t.Helper()
	ttl, err := client.PTTL(t.Context(), key).Result()
	require.NoError(t, err)
	return ttl
}

// watched returns a cache of users, and the event of its last call.
func watched(client *goredis.Client, opts appcache.Options) (*appcache.Cache[User], *appcache.Event) {
	last := new(appcache.Event)
	opts.Observe = func(_ context.Context, e appcache.Event) { *last = e }
	return appcache.New[User](redis.New(client), &opts), last
}

const users54 = appcache.StringKey[User]("users/54")

// What the others' tests are compared with.
func TestTTLHere(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	users := appcache.New[User](redis.New(client), nil)

	require.NoError(t, users.Set(t.Context(), users54, ada, 0))
	require.Equal(t, time.Duration(-1), ttlOf(t, client, "appcache/users/54"), "for ever")

	require.NoError(t, users.Set(t.Context(), users54, ada, 300*time.Millisecond))
	require.LessOrEqual(t, ttlOf(t, client, "appcache/users/54"), 300*time.Millisecond)

	require.ErrorIs(t, users.Set(t.Context(), users54, ada, -1), appcache.ErrNegativeTTL)
}

func TestOutageHere(t *testing.T) {
	t.Parallel()
	users, event := watched(connect(t, true), appcache.Options{})

	_, found, err := users.Get(t.Context(), users54)
	require.Error(t, err)
	require.False(t, found)
	require.Equal(t, appcache.Failed, event.Outcome)

	user, err := users.GetVia(t.Context(), users54, time.Hour, func(context.Context) (User, error) { return ada, nil })
	require.NoError(t, err)
	require.Equal(t, ada, user)
	require.Error(t, event.Err, "whoever observes is told")
}
