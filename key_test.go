package appcache_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/stretchr/testify/require"
)

func TestKeyPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		segments []string
		want     string
	}{
		{"reads like a path", []string{"users", "54", "likes"}, "appcache/users/54/likes"},
		{"spaces and letters stay", []string{"mifid start date", "Zoë"}, "appcache/mifid start date/Zoë"},
		{"slash", []string{"a/b"}, "appcache/a%2Fb"},
		{"percent", []string{"100%", "%2F"}, "appcache/100%25/%252F"},
		{"leading at", []string{"@", "@a", "a@b.c"}, "appcache/%40/%40a/a@b.c"},
		{"empty segments", []string{"", "a", ""}, "appcache//a/"},
		{"dots mean nothing", []string{"..", "."}, "appcache/../."},
		{"control bytes and invalid UTF-8", []string{"\x00\n\xff"}, "appcache/\x00\n\xff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cache := appcache.New[[]byte](cachetest.NewMemory(), nil)
			got, err := cache.Path(t.Context(), bytesKey{segments: c.segments})
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestStringKeyIsAPath(t *testing.T) {
	t.Parallel()
	cache := appcache.New[[]byte](cachetest.NewMemory(), nil)
	for _, c := range []struct{ text, want string }{
		{"mifid start date", "appcache/mifid start date"},
		{"users/54", "appcache/users/54"},
		{"a%2Fb", "appcache/a%252Fb"}, // nothing is decoded
		{"@x/y@z/@", "appcache/%40x/y@z/%40"},
		{"/a//b/", "appcache//a//b/"},
	} {
		byString, err := cache.Path(t.Context(), appcache.StringKey[[]byte](c.text))
		require.NoError(t, err)
		require.Equal(t, c.want, byString)
		bySegments, err := cache.Path(t.Context(), bytesKey{segments: strings.Split(c.text, "/")})
		require.NoError(t, err)
		require.Equal(t, c.want, bySegments)
		require.Equal(t, strings.Split(c.text, "/"), appcache.StringKey[[]byte](c.text).CacheKeySegments())
	}
}

// The three ways to name an entry find the same one.
func TestByStrIsTheSameEntry(t *testing.T) {
	t.Parallel()
	cache := appcache.New[user](cachetest.NewMemory(), nil)
	ann := user{ID: 54, Name: "Ann", Tags: []string{"x"}}
	keys := []appcache.Key[user]{userKey{id: "54"}, appcache.StringKey[user]("users/54")}

	require.NoError(t, cache.Set(t.Context(), userKey{id: "54"}, ann, 0))
	for _, k := range keys {
		got, found, err := cache.Get(t.Context(), k)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, ann, got)
	}
	got, found, err := cache.GetByStr(t.Context(), "users/54")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, ann, got)

	bob := user{ID: 54, Name: "Bob"}
	require.NoError(t, cache.SetByStr(t.Context(), "users/54", bob, 0, true))
	got, found, err = cache.Get(t.Context(), keys[0])
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, bob, got)

	require.NoError(t, cache.InvalidateByStr(t.Context(), "users/54"))
	_, found, err = cache.Get(t.Context(), keys[1])
	require.NoError(t, err)
	require.False(t, found)
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	b := cachetest.NewMemory()
	for _, c := range []struct{ prefix, want string }{
		{"", "appcache/k"},
		{"shop", "shop/k"},
		{"shop/v2", "shop/v2/k"},
		{"100%/@a", "100%25/%40a/k"},
	} {
		cache := appcache.New[[]byte](b, &appcache.Options{Prefix: c.prefix})
		require.NoError(t, cache.SetByStr(t.Context(), "k", []byte(c.prefix), 0, false))
		require.Equal(t, c.prefix, stored(t, b, c.want))
	}
	require.Equal(t, "appcache", appcache.DefaultPrefix)
}

func TestEmptyKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := newSpy()
	cache := appcache.New[[]byte](b, nil)
	for name, key := range map[string]appcache.Key[[]byte]{
		"nil":              nil,
		"no segments":      bytesKey{},
		"none, not nil":    bytesKey{segments: []string{}},
		"an empty segment": bytesKey{segments: []string{""}},
		"empty segments":   bytesKey{segments: []string{"", "", ""}},
		"empty string":     appcache.StringKey[[]byte](""),
		"slashes":          appcache.StringKey[[]byte]("//"),
		"in a namespace":   bytesKey{namespace: appcache.Generation("g")},
		"empty generation": bytesKey{segments: []string{"a"}, namespace: appcache.Generation("/")},
		"empty namespace":  bytesKey{segments: []string{"a"}, namespace: appcache.NamespaceOf[[]byte](bytesKey{})},
		"nil namespace of": bytesKey{segments: []string{"a"}, namespace: appcache.NamespaceOf[[]byte](nil)},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := cache.Get(ctx, key)
			require.ErrorIs(t, err, appcache.ErrEmptyKey)
			require.ErrorIs(t, cache.Set(ctx, key, nil, 0), appcache.ErrEmptyKey)
			require.ErrorIs(t, cache.Invalidate(ctx, key), appcache.ErrEmptyKey)
			_, err = cache.Path(ctx, key)
			require.ErrorIs(t, err, appcache.ErrEmptyKey)
			_, err = cache.GetVia(ctx, key, 0, neverGet(t))
			require.ErrorIs(t, err, appcache.ErrEmptyKey)
			require.ErrorIs(t, cache.SetVia(ctx, key, nil, 0, neverSet(t)), appcache.ErrEmptyKey)
		})
	}
	_, _, err := cache.GetByStr(ctx, "/")
	require.ErrorIs(t, err, appcache.ErrEmptyKey)
	require.ErrorIs(t, cache.SetByStr(ctx, "", nil, 0, false), appcache.ErrEmptyKey)
	require.ErrorIs(t, cache.InvalidateByStr(ctx, "//"), appcache.ErrEmptyKey)
	require.ErrorIs(t, cache.InvalidateNamespace(ctx, appcache.Generation("")), appcache.ErrEmptyKey)
	require.Empty(t, b.seen(), "something was sent to the store")
}

// A key of the wrong value type is the compiler's to refuse.
func TestWrongValueTypeDoesNotCompile(t *testing.T) {
	t.Parallel()
	const program = `package main

import (
	"context"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
)

type userKey struct{ appcache.BaseKey[string] }

func (userKey) CacheKeySegments() []string { return []string{"users"} }

func main() {
	cache := appcache.New[%V](cachetest.NewMemory(), nil)
	_, _, _ = cache.Get(context.Background(), userKey{})
	_, _, _ = cache.Get(context.Background(), appcache.StringKey[string]("x"))
}
`
	root, err := os.Getwd()
	require.NoError(t, err)
	compile := func(valueType string) (string, error) {
		file := filepath.Join(t.TempDir(), "main.go")
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(program, "%V", valueType, 1)), 0o600))
		cmd := exec.CommandContext(t.Context(), "go", "vet", file)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := compile("string")
	require.NoError(t, err, "the program is wrong in itself: %s", out)
	out, err = compile("int")
	require.Error(t, err)
	require.Contains(t, out, "userKey does not implement appcache.Key[int]")
	require.Contains(t, out, "cannot use")
}

// Different segments make different paths, and so do different tokens and places of a namespace.
func FuzzKeyPathIsInjective(f *testing.F) {
	f.Fuzz(func(t *testing.T, a1, a2, b1, b2 string) {
		cache := appcache.New[[]byte](cachetest.NewMemory(), nil)
		path := func(segments ...string) string {
			p, err := cache.Path(t.Context(), bytesKey{segments: segments})
			if err != nil {
				require.ErrorIs(t, err, appcache.ErrEmptyKey)
				return ""
			}
			return p
		}
		lists := [][]string{{a1}, {a1, a2}, {b1}, {b1, b2}, {a1, b1}, {a1 + b1}, {a1, "", b1}, {a1 + "/" + a2}, {b1 + "/" + b2}, {"@" + a1, b2}}
		for i, one := range lists {
			p := path(one...)
			if p == "" {
				continue
			}
			for _, other := range lists[i+1:] {
				require.Equal(t, slices.Equal(one, other), p == path(other...), "%q and %q", one, other)
			}
			for _, part := range strings.Split(p, "/") {
				require.False(t, strings.HasPrefix(part, "@"), "%q makes a path with a token: %q", one, p)
			}
		}
	})
}
