package memcache_test

import (
	"fmt"
	"strings"
	"testing"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

const adaHash = "dee5c74283f489c60abce235ce7fd45a1879c11bce051cc58a805b8da4f4936c"

func TestKeyIsMappedOnlyWhereItMustBe(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 250)
	for _, test := range []struct {
		name, key, want string
	}{
		{"one byte", "k", "k"},
		{"path", "appcache/users/54", "appcache/users/54"},
		{"another script", "appcache/Jürgen/é", "appcache/Jürgen/é"},
		{"every allowed byte below 0x80", allowedASCII(), allowedASCII()},
		{"byte from 0x80 on", "a\x80\xff", "a\x80\xff"},
		{"250 bytes", long, long},
		{"251 bytes", long + "k", strings.Repeat("k", 178) + "~sha256:3b8059c637939a483bdc7beef09f11b566581be6d14e25083b3041b77717de02"},
		{"space", "appcache/first names/Ada", "appcache/first_names/Ada~sha256:" + adaHash},
		{"mark without a hash", "a~sha256:", "a~sha256:"},
		{"mark and 63 digits", "a~sha256:" + adaHash[1:], "a~sha256:" + adaHash[1:]},
		{"mark and 65 digits", "a~sha256:0" + adaHash, "a~sha256:0" + adaHash},
		{"mark and a hash in capitals", "a~sha256:" + strings.ToUpper(adaHash), "a~sha256:" + strings.ToUpper(adaHash)},
		{"mark and no digits", "a~sha256:" + strings.Repeat("g", 64), "a~sha256:" + strings.Repeat("g", 64)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := memcache.StoreKey(test.key)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestKeyThatLooksMappedIsMapped(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	key := "appcache/first names/Ada"
	for range 5 {
		mapped, err := memcache.StoreKey(key)
		require.NoError(t, err)
		require.LessOrEqual(t, len(mapped), 250)
		require.NotContains(t, seen, mapped)
		seen[mapped] = key
		key = mapped // what somebody finds in the store and uses as a key
	}
}

func TestEmptyKeySendsNothing(t *testing.T) {
	t.Parallel()
	server := listen(t, hangUp)
	for name, b := range map[string]*memcache.Backend{
		"New":  memcache.New(gomemcache.New(server.addr), nil),
		"Open": open(t, server.addr),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := b.GetRaw(t.Context(), "")
			require.ErrorIs(t, err, appcache.ErrEmptyKey)
			require.ErrorIs(t, b.SetRaw(t.Context(), "", []byte("v"), 0), appcache.ErrEmptyKey)
			require.ErrorIs(t, b.InvalidateRaw(t.Context(), ""), appcache.ErrEmptyKey)
			require.Zero(t, server.connections(t))
		})
	}
}

// TestEveryByteInAKey shows that memcached itself takes what storeKey leaves as it is.
func TestEveryByteInAKey(t *testing.T) {
	t.Parallel()
	b := open(t, testserver.Memcached(t).Addr)
	keys := []string{strings.Repeat("k", 249), strings.Repeat("k", 250), strings.Repeat("k", 251), strings.Repeat("k", 252), strings.Repeat("\xff", 250), strings.Repeat(" ", 10_000)}
	for c := range 256 {
		keys = append(keys, string([]byte{byte(c)}), string([]byte{'a', byte(c), 'b'}))
	}
	for i, key := range keys {
		require.NoError(t, b.SetRaw(t.Context(), key, fmt.Append(nil, i), 0), "%q", key)
	}
	for i, key := range keys {
		value, found, err := b.GetRaw(t.Context(), key)
		require.NoError(t, err, "%q", key)
		require.True(t, found, "%q", key)
		require.Equal(t, fmt.Sprint(i), string(value), "%q", key)
	}
}

// TestKeysAreFoundByHand follows what the package comment tells whoever debugs.
func TestKeysAreFoundByHand(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	b := open(t, server.Addr)
	require.NoError(t, b.SetRaw(t.Context(), "appcache/users/54", []byte("u"), 0))
	require.NoError(t, b.SetRaw(t.Context(), "appcache/first names/Ada", []byte("a"), 0))
	require.Equal(t, "VALUE appcache/users/54 0 1\r\nu\r\nEND\r\n", ask(t, server.Addr, "get appcache/users/54\r\n", "END\r\n"))
	mapped := "appcache/first_names/Ada~sha256:" + adaHash
	require.Equal(t, "VALUE "+mapped+" 0 1\r\na\r\nEND\r\n", ask(t, server.Addr, "get "+mapped+"\r\n", "END\r\n"))
}

func FuzzKey(f *testing.F) {
	f.Fuzz(func(t *testing.T, a, b string) {
		mappedA, errA := memcache.StoreKey(a)
		mappedB, errB := memcache.StoreKey(b)
		require.Equal(t, a == "", errA != nil)
		require.Equal(t, b == "", errB != nil)
		if a == "" || b == "" {
			return
		}
		for _, key := range []string{mappedA, mappedB} {
			require.NotEmpty(t, key)
			require.LessOrEqual(t, len(key), 250)
			require.Equal(t, -1, strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f }), "%q", key)
		}
		require.Equal(t, a == b, mappedA == mappedB, "%q and %q", a, b)
		again, err := memcache.StoreKey(mappedA)
		require.NoError(t, err)
		require.Equal(t, a == mappedA, again == mappedA, "the mapped form of %q is somebody else's key", a)
	})
}

func allowedASCII() string {
	var b strings.Builder
	for c := byte('!'); c < 0x7f; c++ {
		b.WriteByte(c)
	}
	return b.String()
}
