package migrate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/eko/gocache/lib/v4/cache"
	"github.com/eko/gocache/lib/v4/marshaler"
	"github.com/eko/gocache/lib/v4/store"
	gocacheredis "github.com/eko/gocache/store/redis/v4"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/redis"
)

func withGocache(ctx context.Context, client *goredis.Client) error {
	manager := cache.New[any](gocacheredis.NewRedis(client, store.WithExpiration(time.Hour)))
	users := marshaler.New(manager)

	value, err := users.Get(ctx, "users/54", new(User))
	if err != nil { // a miss, or anything else
		user, err := loadUser(ctx, 54)
		if err != nil {
			return err
		}
		err = users.Set(ctx, "users/54", user, store.WithTags([]string{"user-54"}))
		if err != nil {
			return err
		}
		value = &user
	}
	user := value.(*User)
	_ = user.Name

	_, err = users.Get(ctx, "users/54", new(User))
	if errors.Is(err, store.NotFound{}) {
		return errNotThere
	}
	if err != nil {
		return err
	}

	err = users.Invalidate(ctx, store.WithInvalidateTags([]string{"user-54"}))
	return err
}

// A UserKey is for what belongs to a user, and goes with him.
type UserKey struct {
	appcache.BaseKey[User]
	ID string
}

func (k UserKey) CacheKeySegments() []string          { return []string{"users", k.ID} }
func (k UserKey) NamespaceKey() appcache.NamespaceKey { return appcache.Generation("user-" + k.ID) }

func insteadOfGocache(ctx context.Context, client *goredis.Client) error {
	users := appcache.New[User](redis.New(client), nil)
	key := UserKey{ID: "54"}

	user, err := users.GetVia(ctx, key, time.Hour, func(ctx context.Context) (User, error) {
		return loadUser(ctx, 54)
	})
	if err != nil {
		return err
	}
	_ = user.Name

	_, found, err := users.Get(ctx, key)
	if err != nil {
		return err
	}
	if !found {
		return errNotThere
	}

	err = users.InvalidateNamespace(ctx, appcache.Generation("user-54"))
	return err
}

func TestFromGocache(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	for _, program := range []func(context.Context, *goredis.Client) error{withGocache, insteadOfGocache} {
		require.NoError(t, program(t.Context(), client))
	}
}

// What is stored as text is no number, and so what is got is nought.
func TestGocacheWrongType(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	numbers := cache.New[int](gocacheredis.NewRedis(client))
	require.NoError(t, numbers.Set(t.Context(), "answer", 42))
	got, err := numbers.Get(t.Context(), "answer")
	require.NoError(t, err)
	require.Zero(t, got)

	ours := appcache.New[int](redis.New(client), nil)
	require.NoError(t, ours.SetByStr(t.Context(), "answer", 42, 0, false))
	got, found, err := ours.GetByStr(t.Context(), "answer")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, 42, got)
}

// The msgpack of one struct reads as another, and fields that don't match are left out.
func TestGocacheOtherType(t *testing.T) {
	t.Parallel()
	type Order struct{ Amount int }
	client := connect(t, false)
	theirs := marshaler.New(cache.New[any](gocacheredis.NewRedis(client)))
	require.NoError(t, theirs.Set(t.Context(), "users/54", ada))
	got, err := theirs.Get(t.Context(), "users/54", new(Order))
	require.NoError(t, err)
	require.Equal(t, &Order{}, got)

	users := appcache.New[User](redis.New(client), nil)
	require.NoError(t, users.Set(t.Context(), users54, ada, 0))
	_, found, err := appcache.New[Order](redis.New(client), nil).GetByStr(t.Context(), "users/54")
	require.NoError(t, err)
	require.False(t, found)
}

// A key that isn't a string becomes the MD5 of how it prints.
func TestGocacheKeysMeet(t *testing.T) {
	t.Parallel()
	type names struct{ First, Last string }
	texts := cache.New[string](gocacheredis.NewRedis(connect(t, false)))
	require.NoError(t, texts.Set(t.Context(), names{"Anne Marie", "Curie"}, "text"))
	text, err := texts.Get(t.Context(), names{"Anne", "Marie Curie"})
	require.NoError(t, err)
	require.Equal(t, "text", text)
}

func TestGocacheUnreadable(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	require.NoError(t, client.Set(t.Context(), "users/54", "\xc1", 0).Err())
	_, err := marshaler.New(cache.New[any](gocacheredis.NewRedis(client))).Get(t.Context(), "users/54", new(User))
	require.Error(t, err)
	require.NotErrorIs(t, err, store.NotFound{})
}

func TestGocacheTTL(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	texts := cache.New[string](gocacheredis.NewRedis(client, store.WithExpiration(time.Hour)))
	require.NoError(t, texts.Set(t.Context(), "of the store", "text"))
	require.Greater(t, ttlOf(t, client, "of the store"), 59*time.Minute)
	require.NoError(t, texts.Set(t.Context(), "0", "text", store.WithExpiration(0)))
	require.Equal(t, time.Duration(-1), ttlOf(t, client, "0"), "for ever")
	require.NoError(t, texts.Set(t.Context(), "short", "text", store.WithExpiration(300*time.Millisecond)))
	require.LessOrEqual(t, ttlOf(t, client, "short"), 300*time.Millisecond)
	require.NoError(t, texts.Set(t.Context(), "negative", "text", store.WithExpiration(-2)))
	require.Equal(t, time.Duration(-1), ttlOf(t, client, "negative"), "for ever, too")
}

func TestGocacheOutage(t *testing.T) {
	t.Parallel()
	texts := cache.New[string](gocacheredis.NewRedis(connect(t, true)))
	_, err := texts.Get(t.Context(), "text")
	require.Error(t, err)
	require.NotErrorIs(t, err, store.NotFound{})
	stats := texts.GetCodec().GetStats()
	require.Equal(t, 1, stats.Miss, "which is how it is counted")

	loadable := cache.NewLoadable(func(context.Context, any) (string, []store.Option, error) {
		return "loaded", nil, nil
	}, texts)
	t.Cleanup(func() { _ = loadable.Close() })
	text, err := loadable.Get(t.Context(), "text")
	require.NoError(t, err, "and to a loadable cache it is a miss")
	require.Equal(t, "loaded", text)
}

// Its Clear removes what is in the other databases of the server as well.
func TestGocacheClear(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	other := goredis.NewClient(&goredis.Options{Addr: client.Options().Addr, DB: 1})
	t.Cleanup(func() { _ = other.Close() })

	require.NoError(t, other.Set(t.Context(), "of somebody else", 1, 0).Err())
	require.NoError(t, appcache.New[User](redis.New(client), nil).Clear(t.Context()))
	require.Equal(t, int64(1), other.DBSize(t.Context()).Val())

	require.NoError(t, cache.New[any](gocacheredis.NewRedis(client)).Clear(t.Context()))
	require.Zero(t, other.DBSize(t.Context()).Val())
}

// A tag is a set of the keys that were stored with it. What can't be read or removed is passed over.
func TestGocacheTags(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	texts := cache.New[string](gocacheredis.NewRedis(client))
	require.NoError(t, texts.Set(t.Context(), "a", "text", store.WithTags([]string{"tag"})))
	require.NoError(t, texts.Set(t.Context(), "b", "text", store.WithTags([]string{"tag"})))
	require.Equal(t, int64(2), client.SCard(t.Context(), "gocache_tag_tag").Val())

	down := cache.New[string](gocacheredis.NewRedis(connect(t, true)))
	require.NoError(t, down.Invalidate(t.Context(), store.WithInvalidateTags([]string{"tag"})), "nothing was invalidated")
	require.Error(t, appcache.New[User](redis.New(connect(t, true)), nil).InvalidateNamespace(t.Context(), appcache.Generation("tag")))
}

func TestEntriesOfGocacheAreKept(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	old := marshaler.New(cache.New[any](gocacheredis.NewRedis(client)))
	users := appcache.New[User](oldKeys{redis.New(client)}, &appcache.Options{Serialiser: appcache.SerialiserOf(
		func(user User) ([]byte, error) { return msgpack.Marshal(user) },
		func(data []byte) (user User, err error) { return user, msgpack.Unmarshal(data, &user) },
	)})
	require.NoError(t, old.Set(t.Context(), "users/54", ada))
	user, found, err := users.Get(t.Context(), users54)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, ada, user)

	user.Name += " Lovelace"
	require.NoError(t, users.Set(t.Context(), users54, user, time.Hour))
	read, err := old.Get(t.Context(), "users/54", new(User))
	require.NoError(t, err, "the old program goes on reading")
	require.Equal(t, &user, read)
}
