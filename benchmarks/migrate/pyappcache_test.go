package migrate_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/redis"
)

// ProfileKey is for the profile of a user.
type ProfileKey struct {
	appcache.BaseKey[User]
	User int
}

func (k ProfileKey) CacheKeySegments() []string {
	return []string{"users", strconv.Itoa(k.User), "profile"}
}

func insteadOfPyappcache(ctx context.Context, client *goredis.Client) error {
	profiles := appcache.New[User](redis.New(client), nil)

	err := profiles.Set(ctx, ProfileKey{User: 54}, User{Name: "Ada"}, time.Hour)
	if err != nil {
		return err
	}

	profile, found, err := profiles.Get(ctx, ProfileKey{User: 54})
	if err != nil {
		return err
	}
	if !found {
		profile, err = loadUser(ctx, 54)
	}
	if profile.Name != "Ada" {
		return errNotThere
	}
	return err
}

func TestFromPyappcache(t *testing.T) {
	t.Parallel()
	require.NoError(t, insteadOfPyappcache(t.Context(), connect(t, false)))
}

// An entry that Python pickled, under the key at which it put it: protocol 4, as pyappcache writes.
func TestPickle(t *testing.T) {
	t.Parallel()
	client := connect(t, false)
	pickled := "\x80\x04\x95\x07\x00\x00\x00\x00\x00\x00\x00\x8c\x03Ada\x94."
	require.NoError(t, client.Set(t.Context(), "pyappcache/users/54", pickled, 0).Err())
	users, event := watched(client, appcache.Options{Prefix: "pyappcache"})
	_, found, err := users.Get(t.Context(), users54)
	require.NoError(t, err)
	require.False(t, found)
	require.Equal(t, appcache.Unreadable, event.Outcome)
}

// A nil is a value, and no miss.
func TestNilIsAHit(t *testing.T) {
	t.Parallel()
	users := appcache.New[*User](redis.New(connect(t, false)), nil)
	require.NoError(t, users.SetByStr(t.Context(), "users/54", nil, 0, false))
	user, found, err := users.GetByStr(t.Context(), "users/54")
	require.NoError(t, err)
	require.True(t, found)
	require.Nil(t, user)
}
