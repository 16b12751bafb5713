package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
	"github.com/goappcache/appcache/redis"
	"github.com/goappcache/appcache/sqlitelru"
)

// TestMain lets the test's own executable be the program: see output.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(testserver.Main(m, nil))
}

// output runs the program and returns what it prints and the code that it exits with.
func output(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_PROGRAM=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

const want = `
A value under a key: a hit, and a miss.
  Set user 54, for a minute.
  Get user 54: found true, {Name:Ada Born:1815}.
  Invalidate user 54.
  Get user 54: found false, {Name: Born:0}.

Reading through the cache: what isn't there is loaded, and kept.
    (The getter runs: it loads user 54.)
  GetVia user 54: {Name:Ada Born:1815}.
  GetVia user 54: {Name:Ada Born:1815}.

A TTL: the entry goes away by itself.
  Set the login code, for a second.
  Get the login code: found true, "4711".
  Get the login code, N s later: found false.

A namespace: what belongs together is dropped at once.
  Set two pages of what user 54 likes.
  Get page 1: found true, [engines poetry].
  Get page 2: found true, [numbers].
  InvalidateNamespace of user 54.
  Get page 1: found false, [].
  Get page 2: found false, [].
`

var seconds = regexp.MustCompile(`code, [1-9]\d*\.\d s later`) // never early

// requireStory runs the program and wants it to say what it always says.
func requireStory(t *testing.T, store string, args ...string) {
	t.Helper()
	stdout, stderr, code := output(t, args...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	require.Equal(t, "This caches in "+store+"\n"+want, seconds.ReplaceAllString(stdout, "code, N s later"))
}

// requireGuest runs the program twice, for what the first run leaves mustn't change the second, on
// a store that holds an entry of somebody else, which must stay.
func requireGuest(t *testing.T, backend appcache.RawBackend, store string, args ...string) {
	t.Helper()
	others := appcache.New[string](backend, nil)
	const key = appcache.StringKey[string]("mine")
	require.NoError(t, others.Set(t.Context(), key, "value", 0))
	for range 2 {
		requireStory(t, store, args...)
		value, found, err := others.Get(t.Context(), key)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "value", value)
	}
}

func TestInMemory(t *testing.T) {
	t.Parallel()
	requireStory(t, "SQLite, in memory")
}

func TestFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cache.db")
	backend, err := sqlitelru.Open(file, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	requireGuest(t, backend, "SQLite, in the file "+file, "-backend", "sqlite", "-file", file)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	requireGuest(t, redis.New(client), "Redis on "+server.Addr, "-backend", "redis", "-addr", server.Addr)

	keys, err := client.Keys(t.Context(), "appcache-quickstart*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		require.Positive(t, client.TTL(t.Context(), key).Val(), "%q is left for ever", key)
	}
}

func TestMemcache(t *testing.T) {
	t.Parallel()
	server := testserver.Memcached(t)
	backend, err := memcache.Open(nil, server.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	requireGuest(t, backend, "memcached on "+server.Addr, "-backend", "memcache", "-addr", server.Addr)
}

func TestErrors(t *testing.T) {
	t.Parallel()
	nobody := testserver.FreeAddr(t)
	dir := t.TempDir()
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"no such flag", []string{"-store", "redis"}, 2, "flag provided but not defined: -store"},
		{"no such backend", []string{"-backend", "dbm"}, 2, `quickstart: -backend is "dbm"; write sqlite, redis or memcache`},
		{"an argument", []string{"redis"}, 2, `quickstart: there is no argument "redis", only flags`},
		{"a file for Redis", []string{"-backend", "redis", "-file", "f"}, 2, "quickstart: -file is for -backend sqlite, not redis"},
		{"an address for SQLite", []string{"-addr", "localhost:1"}, 2, "quickstart: -addr is for -backend redis and memcache, not sqlite"},
		{"no Redis there", []string{"-backend", "redis", "-addr", nobody}, 1, "connection refused"},
		{"no memcached there", []string{"-backend", "memcache", "-addr", nobody}, 1, "connection refused"},
		{"not an address", []string{"-backend", "memcache", "-addr", "localhost"}, 1, "quickstart: memcache: "},
		{"not a file", []string{"-file", dir}, 1, "quickstart: sqlitelru: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, stderr, code := output(t, tt.args...)
			require.Equal(t, tt.code, code, stderr)
			require.Contains(t, stderr, tt.stderr)
		})
	}
}
