package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gorediscache "github.com/go-redis/cache/v9"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/redis"
)

func withGoRedisCache(ctx context.Context, client *goredis.Client) error {
	users := gorediscache.New(&gorediscache.Options{Redis: client})
	var user User

	err := users.Once(&gorediscache.Item{
		Ctx: ctx, Key: "users/54", Value: &user, TTL: time.Hour,
		Do: func(*gorediscache.Item) (any, error) { return loadUser(ctx, 54) },
	})
	if err != nil {
		return err
	}

	err = users.Get(ctx, "users/54", &user)
	if errors.Is(err, gorediscache.ErrCacheMiss) {
		return errNotThere
	}
	if err != nil {
		return err
	}

	err = users.Set(&gorediscache.Item{Ctx: ctx, Key: "users/54", Value: user, TTL: time.Hour})
	if err != nil {
		return err
	}

	err = users.Delete(ctx, "users/54")
	return err
}

func insteadOfGoRedisCache(ctx context.Context, client *goredis.Client) error {
	users := appcache.New[User](redis.New(client), nil)
	key := appcache.StringKey[User]("users/54")

	user, err := users.GetVia(ctx, key, time.Hour, func(ctx context.Context) (User, error) {
		return loadUser(ctx, 54)
	})
	if err != nil {
		return err
	}

	_, found, err := users.Get(ctx, key)
	if err != nil {
		return err
	}
	if !found {
		return errNotThere
	}

	err = users.Set(ctx, key, user, time.Hour)
	if err != nil {
		return err
	}

	err = users.Invalidate(ctx, key)
	return err
}

func TestFromGoRedisCache(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	for _, program := range []func(context.Context, *goredis.Client) error{withGoRedisCache, insteadOfGoRedisCache} {
		require.NoError(t, program(t.Context(), client))
	}
	require.Zero(t, client.DBSize(t.Context()).Val(), "both have removed what they stored")
}

func TestGoRedisCacheTTL(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	cache := gorediscache.New(&gorediscache.Options{Redis: client})
	for name, ttl := range map[string]time.Duration{"none": 0, "short": 300 * time.Millisecond} {
		require.NoError(t, cache.Set(&gorediscache.Item{Ctx: t.Context(), Key: name, Value: ada, TTL: ttl}))
		require.Greater(t, ttlOf(t, client, name), 59*time.Minute, name)
	}
	require.NoError(t, cache.Set(&gorediscache.Item{Ctx: t.Context(), Key: "negative", Value: ada, TTL: -1}))
	require.Equal(t, time.Duration(-2), ttlOf(t, client, "negative"), "it isn't stored, and that is no error")
}

func TestGoRedisCacheOutage(t *testing.T) {
	t.Parallel()
	cache := gorediscache.New(&gorediscache.Options{Redis: connect(t, true), StatsEnabled: true})

	var user User
	err := cache.Get(t.Context(), "users/54", &user)
	require.Error(t, err)
	require.NotErrorIs(t, err, gorediscache.ErrCacheMiss)
	require.Equal(t, uint64(1), cache.Stats().Misses, "which is how it is counted")
	require.Error(t, cache.Set(&gorediscache.Item{Ctx: t.Context(), Key: "users/54", Value: ada, TTL: time.Hour}))

	require.NoError(t, cache.Once(&gorediscache.Item{
		Ctx: t.Context(), Key: "users/54", Value: &user, TTL: time.Hour,
		Do: func(*gorediscache.Item) (any, error) { return ada, nil },
	}), "neither the read nor the write that failed is told")
	require.Equal(t, ada, user)
}

// Both programs run while the new one is rolled out, and see the same keys.
func TestGoRedisCacheEntriesUnderTheSameKeys(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	old := gorediscache.New(&gorediscache.Options{Redis: client})
	users, event := watched(client, appcache.Options{Prefix: "users"})
	key := appcache.StringKey[User]("54")

	require.NoError(t, old.Set(&gorediscache.Item{Ctx: t.Context(), Key: "users/54", Value: ada, TTL: time.Hour}))
	_, found, err := users.Get(t.Context(), key)
	require.NoError(t, err)
	require.False(t, found)
	require.Equal(t, appcache.Unreadable, event.Outcome)

	require.NoError(t, users.Set(t.Context(), key, ada, time.Hour))
	var user User
	err = old.Get(t.Context(), "users/54", &user)
	require.Error(t, err)
	require.NotErrorIs(t, err, gorediscache.ErrCacheMiss)

	loads := 0
	require.NoError(t, old.Once(&gorediscache.Item{
		Ctx: t.Context(), Key: "users/54", Value: &user, TTL: time.Hour,
		Do: func(*gorediscache.Item) (any, error) { loads++; return ada, nil },
	}))
	require.Equal(t, 1, loads, "Once removes what it can't read, and loads")
	_, found, err = users.Get(t.Context(), key)
	require.NoError(t, err)
	require.False(t, found)
}

// The msgpack of one struct reads as another, and fields that don't match are left out.
func TestGoRedisCacheOtherType(t *testing.T) {
	t.Parallel()
	type Order struct{ Amount int }
	cache := gorediscache.New(&gorediscache.Options{Redis: connect(t, false)})
	require.NoError(t, cache.Set(&gorediscache.Item{Ctx: t.Context(), Key: "users/54", Value: ada, TTL: time.Hour}))
	var order Order
	require.NoError(t, cache.Get(t.Context(), "users/54", &order))
	require.Zero(t, order)
}

// It stores text as it is, and so do we: the one kind of entry that passes from one to the other.
func TestGoRedisCacheText(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	old := gorediscache.New(&gorediscache.Options{Redis: client})
	require.NoError(t, old.Set(&gorediscache.Item{Ctx: t.Context(), Key: "pages/start", Value: "<p>", TTL: time.Hour}))
	pages := appcache.New[string](redis.New(client), &appcache.Options{Prefix: "pages"})
	page, found, err := pages.GetByStr(t.Context(), "start")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "<p>", page)
}

// A nil is stored as no bytes, which leave the value that they are read into as it is.
func TestGoRedisCacheNil(t *testing.T) {
	t.Parallel()
	cache := gorediscache.New(&gorediscache.Options{Redis: connect(t, false)})
	require.NoError(t, cache.Set(&gorediscache.Item{Ctx: t.Context(), Key: "users/54", TTL: time.Hour}))
	user := ada
	require.NoError(t, cache.Get(t.Context(), "users/54", &user))
	require.Equal(t, ada, user)
}

// oldEntries reads and writes the values that go-redis/cache stored: msgpack, compressed with s2.
func oldEntries() appcache.Serialiser {
	old := gorediscache.New(&gorediscache.Options{}) // only for its Marshal and Unmarshal
	return appcache.SerialiserOf(
		func(user User) ([]byte, error) { return old.Marshal(user) },
		func(data []byte) (user User, err error) { return user, old.Unmarshal(data, &user) },
	)
}

// oldKeys is a store in which the keys have no prefix.
type oldKeys struct{ appcache.RawBackend }

func (o oldKeys) GetRaw(ctx context.Context, key string) ([]byte, bool, error) {
	return o.RawBackend.GetRaw(ctx, strings.TrimPrefix(key, "appcache/"))
}

func (o oldKeys) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return o.RawBackend.SetRaw(ctx, strings.TrimPrefix(key, "appcache/"), value, ttl)
}

func (o oldKeys) InvalidateRaw(ctx context.Context, key string) error {
	return o.RawBackend.InvalidateRaw(ctx, strings.TrimPrefix(key, "appcache/"))
}

func keepEntries(client *goredis.Client) *appcache.Cache[User] {
	users := appcache.New[User](oldKeys{redis.New(client)}, &appcache.Options{Serialiser: oldEntries()})
	return users
}

func TestEntriesOfGoRedisCacheAreKept(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	old, users := gorediscache.New(&gorediscache.Options{Redis: client}), keepEntries(client)
	long := User{strings.Repeat("Ada", 1000), nil} // which s2 makes shorter
	for i, user := range []User{ada, long} {
		theirs, ours := fmt.Sprintf("users:%d", i), appcache.StringKey[User](fmt.Sprintf("users:%d", i))
		require.NoError(t, old.Set(&gorediscache.Item{Ctx: t.Context(), Key: theirs, Value: user, TTL: time.Hour}))
		require.Less(t, client.StrLen(t.Context(), theirs).Val(), int64(1000))
		got, found, err := users.Get(t.Context(), ours)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, user, got)

		got.Name += " Lovelace"
		require.NoError(t, users.Set(t.Context(), ours, got, time.Hour))
		var read User
		require.NoError(t, old.Get(t.Context(), theirs, &read), "the old program goes on reading")
		require.Equal(t, got, read)
		require.NoError(t, users.Invalidate(t.Context(), ours))
		require.ErrorIs(t, old.Get(t.Context(), theirs, &read), gorediscache.ErrCacheMiss)
	}
}
