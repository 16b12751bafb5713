package appcache_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

const (
	bytesAt  = "changed/54"
	changed  = appcache.StringKey[[]byte](bytesAt)
	likesOf  = appcache.Generation("users/54")
	tokenKey = "appcache/users/54/@"
)

func likes(ns appcache.NamespaceKey) bytesKey {
	return bytesKey{segments: []string{"likes"}, namespace: ns}
}

func TestNamespacePath(t *testing.T) {
	t.Parallel()
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	for _, c := range []struct{ name, token, want string }{
		{"printable ASCII", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"},
		{"all of it", "a b!~@", "a b!~@"},
		{"slash and percent", "a/b%c", "a%2Fb%25c"},
		{"other bytes", "\x00\n\x7f\xff\xc3\xa9", "%00%0A%7F%FF%C3%A9"},
		{"empty", "", ""},
		{"64 bytes", strings.Repeat("x", 64), strings.Repeat("x", 64)},
		{"over 64 bytes", strings.Repeat("x", 65), hash(strings.Repeat("x", 65))},
		{"64 bytes that grow when escaped", strings.Repeat("/", 64), strings.Repeat("%2F", 64)},
		{"looks hashed", hash("v"), hash(hash("v"))},
		{"an envelope without flags", "\x00ac\x01\x00\x00ac\x01tok", "%00ac%01tok"},
		{"gzip in an envelope, not decoded", "\x00ac\x01\x01\x1f\x8b", "%1F%8B"},
		{"an envelope that is fresh", "\x00ac\x01\x02\x7f\xff\xff\xff\xff\xff\xff\xfftok", "tok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := cachetest.NewMemory()
			cache := appcache.New[[]byte](b, nil)
			put(t, b, "appcache/"+bytesAt, c.token)
			path, err := cache.Path(t.Context(), likes(appcache.NamespaceOf(changed)))
			require.NoError(t, err)
			require.Equal(t, "appcache/changed/54/@"+c.want+"/likes", path)
		})
	}
}

// What stands in the store for a namespace, but can't be used, is as good as nothing.
func TestNamespaceTokenThatIsNone(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]string{
		"stale":           "\x00ac\x01\x02\x00\x00\x00\x00\x00\x00\x00\x01tok",
		"absence":         "\x00ac\x01\x08",
		"an unknown flag": "\x00ac\x01\x80tok",
		"damaged":         "\x00ac\x01",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := cachetest.NewMemory()
			cache := appcache.New[[]byte](b, nil)
			put(t, b, "appcache/"+bytesAt, token)
			_, err := cache.Path(t.Context(), likes(appcache.NamespaceOf(changed)))
			require.ErrorIs(t, err, appcache.ErrNoNamespace)

			put(t, b, tokenKey, token)
			require.NoError(t, cache.Set(t.Context(), likes(likesOf), []byte("v"), 0))
			require.NotEqual(t, token, stored(t, b, tokenKey), "no new token was made")
			_, found, err := cache.Get(t.Context(), likes(likesOf))
			require.NoError(t, err)
			require.True(t, found)
		})
	}
}

// A backend that is made over another cache may return what looks like this cache's own answer.
func TestBackendsErrNoNamespaceIsNoAnswer(t *testing.T) {
	t.Parallel()
	other := appcache.New[[]byte](cachetest.NewMemory(), nil)
	_, errOther := other.Path(t.Context(), likes(likesOf))
	require.ErrorIs(t, errOther, appcache.ErrNoNamespace)
	for _, err := range []error{appcache.ErrNoNamespace, errOther} {
		b := newSpy()
		b.fail(err, nil, nil)
		cache := appcache.New[[]byte](b, nil)
		for _, key := range []appcache.Key[[]byte]{viaKey, likes(likesOf)} {
			_, _, got := cache.Get(t.Context(), key)
			require.ErrorIs(t, got, err, "an error became a miss")
		}
		require.ErrorIs(t, cache.Invalidate(t.Context(), likes(likesOf)), err, "nothing was removed")
	}
}

func TestGeneration(t *testing.T) {
	// Not parallel: another test's write beside it makes a token be looked for again, which it counts.
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	key := likes(likesOf)

	// Nothing is made by a look.
	_, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, cache.Invalidate(ctx, key))
	require.NoError(t, cache.InvalidateNamespace(ctx, likesOf))
	_, err = cache.Path(ctx, key)
	require.ErrorIs(t, err, appcache.ErrNoNamespace)
	require.Equal(t, []string{"get " + tokenKey, "get " + tokenKey, "invalidate " + tokenKey, "get " + tokenKey}, b.seen())

	require.NoError(t, cache.Set(ctx, key, []byte("one"), time.Hour))
	token := stored(t, b.Memory, tokenKey)
	require.GreaterOrEqual(t, len(token), 26, "a token that may recur")
	path := "appcache/users/54/@" + token + "/likes"
	require.Equal(t, []string{"get " + tokenKey, "set " + tokenKey, "set " + path}, b.seen())
	require.Equal(t, "one", stored(t, b.Memory, path))
	got, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "one", string(got))
	require.Equal(t, []string{"get " + tokenKey, "get " + path}, b.seen(), "one round trip more than without")

	require.NoError(t, cache.InvalidateNamespace(ctx, likesOf))
	_, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)

	require.NoError(t, cache.Set(ctx, key, []byte("two"), time.Hour))
	require.NotEqual(t, token, stored(t, b.Memory, tokenKey), "the token came back")
	got, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "two", string(got))

	require.NoError(t, cache.Invalidate(ctx, key))
	_, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
}

// Where nothing is stored under its key, a namespace is no place to store.
func TestNamespaceOfNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	key := likes(appcache.NamespaceOf(changed))

	_, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
	require.ErrorIs(t, cache.Set(ctx, key, []byte("v"), 0), appcache.ErrNoNamespace)
	require.NoError(t, cache.Invalidate(ctx, key))
	calls := 0
	got, err := cache.GetVia(ctx, key, 0, get("loaded", &calls))
	require.NoError(t, err)
	require.Equal(t, "loaded", string(got))
	require.Equal(t, 1, calls)
	require.NoError(t, cache.SetVia(ctx, key, []byte("v"), 0, func(context.Context, []byte) error { calls++; return nil }))
	require.Equal(t, 2, calls)
	require.NoError(t, cache.InvalidateNamespace(ctx, key.namespace))
	for _, call := range b.seen() {
		require.NotContains(t, call, "set ", "something was stored")
	}
}

// Changing the value, by whatever cache, drops the namespace; going back brings it back.
func TestNamespaceOfAValue(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := cachetest.NewMemory()
	cache := appcache.New[[]byte](b, nil)
	times := appcache.New[time.Time](b, nil)
	at := appcache.StringKey[time.Time]("changed/54")
	key := likes(appcache.NamespaceOf(at))
	monday := time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC)

	require.NoError(t, times.Set(ctx, at, monday, 0))
	require.NoError(t, cache.Set(ctx, key, []byte("v"), 0))
	_, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)

	require.NoError(t, times.Set(ctx, at, monday.Add(time.Nanosecond), 0))
	_, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)

	require.NoError(t, times.Set(ctx, at, monday, 0))
	_, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.True(t, found)

	require.NoError(t, cache.InvalidateNamespace(ctx, key.namespace))
	_, found, err = times.Get(ctx, at)
	require.NoError(t, err)
	require.False(t, found, "the namespace's value is still there")
	_, found, err = cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
}

// Two namespaces that hold the same value stay apart. So do a key in no namespace and one in one.
func TestNamespacesOfEqualValuesDontMeet(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := cachetest.NewMemory()
	cache := appcache.New[[]byte](b, nil)
	var keys []bytesKey
	for i := range 3 {
		at := appcache.StringKey[[]byte](fmt.Sprintf("changed/%d", i))
		require.NoError(t, cache.Set(ctx, at, []byte("same"), 0))
		keys = append(keys, likes(appcache.NamespaceOf(at)))
	}
	keys = append(keys,
		bytesKey{segments: []string{"likes"}},
		bytesKey{segments: []string{"changed/0", "@same", "likes"}},
		bytesKey{segments: []string{"changed", "0", "@same", "likes"}})
	for i, k := range keys {
		require.NoError(t, cache.Set(ctx, k, []byte{byte(i)}, 0))
	}
	for i, k := range keys {
		got, found, err := cache.Get(ctx, k)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, []byte{byte(i)}, got)
	}
}

func TestNestedNamespaces(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	tenant := appcache.Generation("tenants/7")
	userChanged := bytesKey{segments: []string{"changed"}, namespace: tenant}
	key := likes(appcache.NamespaceOf[[]byte](userChanged))

	require.NoError(t, cache.Set(ctx, userChanged, []byte("t1"), 0))
	require.NoError(t, cache.Set(ctx, key, []byte("v"), 0))
	path, err := cache.Path(ctx, key)
	require.NoError(t, err)
	token := stored(t, b.Memory, "appcache/tenants/7/@")
	require.Equal(t, "appcache/tenants/7/@"+token+"/changed/@t1/likes", path)

	require.NoError(t, cache.InvalidateNamespace(ctx, tenant))
	_, found, err := cache.Get(ctx, key)
	require.NoError(t, err)
	require.False(t, found)
	// What is dropped already has nothing to drop.
	require.NoError(t, cache.InvalidateNamespace(ctx, key.namespace))
	require.ErrorIs(t, cache.Set(ctx, key, nil, 0), appcache.ErrNoNamespace)
}

func TestNamespacesAreEightDeepAtMost(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cache := appcache.New[[]byte](cachetest.NewMemory(), nil)
	key := bytesKey{segments: []string{"k0"}}
	require.NoError(t, cache.Set(ctx, key, []byte("v"), 0))
	for depth := 1; depth <= 9; depth++ {
		key = bytesKey{segments: []string{fmt.Sprintf("k%d", depth)}, namespace: appcache.NamespaceOf[[]byte](key)}
		err := cache.Set(ctx, key, []byte("v"), 0)
		if depth <= 8 {
			require.NoError(t, err, "%d deep", depth)
		} else {
			require.ErrorContains(t, err, "nested more than 8 deep")
		}
	}
	// A key that is in the namespace of itself is no end of them.
	_, _, err := cache.Get(ctx, ouroboros{})
	require.ErrorContains(t, err, "nested more than 8 deep")
}

type ouroboros struct{ appcache.BaseKey[[]byte] }

func (ouroboros) CacheKeySegments() []string { return []string{"o"} }
func (k ouroboros) NamespaceKey() appcache.NamespaceKey {
	return appcache.NamespaceOf[[]byte](k)
}

func TestNilNamespace(t *testing.T) {
	t.Parallel()
	cache := appcache.New[[]byte](cachetest.NewMemory(), nil)
	require.ErrorContains(t, cache.InvalidateNamespace(t.Context(), nil), "the namespace is nil")
}

// An error of the store is one also where it comes from reading the token.
func TestNamespaceOfADeadStore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	for _, key := range []bytesKey{likes(likesOf), likes(appcache.NamespaceOf(changed))} {
		b.fail(errDown, errDown, errDown)
		_, found, err := cache.Get(ctx, key)
		require.ErrorIs(t, err, errDown)
		require.False(t, found)
		require.ErrorContains(t, err, `/@…/likes": `)
		require.ErrorIs(t, cache.Set(ctx, key, nil, 0), errDown)
		require.ErrorIs(t, cache.Invalidate(ctx, key), errDown)
		require.ErrorIs(t, cache.InvalidateNamespace(ctx, key.namespace), errDown)
		b.fail(nil, errDown, nil)
		require.Error(t, cache.Set(ctx, key, nil, 0))
	}
}

// A namespace's value is there until its TTL ends, and not for its own TTL longer.
func TestNamespaceExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := appcache.New[[]byte](cachetest.NewMemory(), nil)
		key := likes(appcache.NamespaceOf(changed))
		require.NoError(t, cache.Set(t.Context(), changed, []byte("x"), time.Minute))
		require.NoError(t, cache.Set(t.Context(), key, []byte("v"), 0))
		time.Sleep(59 * time.Second)
		_, found, err := cache.Get(t.Context(), key)
		require.NoError(t, err)
		require.True(t, found)
		time.Sleep(time.Second)
		_, found, err = cache.Get(t.Context(), key)
		require.NoError(t, err)
		require.False(t, found)
	})
}

// Different tokens make different paths.
func FuzzTokensDontMeet(f *testing.F) {
	f.Fuzz(func(t *testing.T, one, two []byte) {
		// What comes out is what a cache stored: envelopes differ where their values do.
		cache := appcache.New[[]byte](cachetest.NewMemory(), nil)
		path := func(value []byte) string {
			require.NoError(t, cache.Set(t.Context(), changed, value, 0))
			p, err := cache.Path(t.Context(), likes(appcache.NamespaceOf(changed)))
			require.NoError(t, err)
			token := strings.TrimSuffix(strings.TrimPrefix(p, "appcache/changed/54/@"), "/likes")
			require.NotContains(t, token, "/")
			for _, c := range []byte(token) {
				require.True(t, ' ' <= c && c <= '~', "%q", token)
			}
			return p
		}
		require.Equal(t, string(one) == string(two), path(one) == path(two))
	})
}
