package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/testserver"
)

// server is the service over a database and a backend, and a client of it.
type server struct {
	t   *testing.T
	url string
	db  *database
}

func serve(t *testing.T, backend appcache.RawBackend) *server {
	t.Helper()
	db, err := openDatabase(t.Context(), filepath.Join(t.TempDir(), "users.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return serveOver(t, db, backend)
}

func serveOver(t *testing.T, db *database, backend appcache.RawBackend) *server {
	t.Helper()
	h := httptest.NewServer(newService(db, backend).handler())
	t.Cleanup(h.Close)
	return &server{t: t, url: h.URL, db: db}
}

// open returns a backend as the program's command line makes it.
func open(t *testing.T, name, addr string) appcache.RawBackend {
	t.Helper()
	backend, closeBackend, err := openBackend(name, addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeBackend()) })
	return backend
}

// backends are those of the command line, each over a store of its own. There is one SQLite in memory in
// the process: only one test may use it.
var backends = map[string]func(t *testing.T) appcache.RawBackend{
	"redis":    func(t *testing.T) appcache.RawBackend { return open(t, "redis", testserver.Redis(t).Addr) },
	"memcache": func(t *testing.T) appcache.RawBackend { return open(t, "memcache", testserver.Memcached(t).Addr) },
	"sqlite": func(t *testing.T) appcache.RawBackend {
		b := open(t, "sqlite", "")
		require.NoError(t, b.Clear(t.Context())) // it may not be the test's first time
		return b
	},
}

func (s *server) do(method, path, body string) (status int, answer string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, strings.TrimSpace(string(data))
}

// get wants an answer with the status 200.
func (s *server) get(path, want string) {
	s.t.Helper()
	status, answer := s.do(http.MethodGet, path, "")
	require.Equal(s.t, http.StatusOK, status, answer)
	require.Equal(s.t, want, answer)
}

func (s *server) put(path, body string) {
	s.t.Helper()
	status, answer := s.do(http.MethodPut, path, body)
	require.Equal(s.t, http.StatusOK, status, answer)
}

// behindItsBack changes a user without the service's knowledge: a hit still has the old name.
func (s *server) behindItsBack(id int64, name string) {
	s.t.Helper()
	require.NoError(s.t, s.db.change(s.t.Context(), user{ID: id, Name: name}))
}

// metric returns what /metrics says of a name, "" where that isn't there.
func (s *server) metric(name string) string {
	s.t.Helper()
	status, answer := s.do(http.MethodGet, "/metrics", "")
	require.Equal(s.t, http.StatusOK, status)
	for line := range strings.Lines(answer) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// count returns a whole number of /metrics, 0 where it isn't there.
func (s *server) count(name string) int {
	s.t.Helper()
	value := s.metric(name)
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	require.NoError(s.t, err)
	return n
}

func (s *server) calls(operation, outcome string) int {
	s.t.Helper()
	return s.count(`appcache_calls_total{operation="` + operation + `",outcome="` + outcome + `"}`)
}

func (s *server) errors(operation string) int {
	s.t.Helper()
	return s.count(`appcache_errors_total{operation="` + operation + `"}`)
}

const (
	ada      = `{"id":54,"name":"Ada Lovelace"}`
	adaKing  = `{"id":54,"name":"Ada King"}`
	adaLikes = `{"name":"Ada Lovelace","likes":["engines","poetry"]}`
	kingLike = `{"name":"Ada King","likes":["engines","poetry"]}`
	user7    = `{"id":7,"name":"User 7"}`
)

func TestHitAfterMiss(t *testing.T) {
	t.Parallel()
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, backend(t))
			require.Equal(t, "0", s.metric(`appcache_calls_total{operation="get_via",outcome="unreadable"}`), "there from the start")
			require.Equal(t, "0", s.metric(`appcache_errors_total{operation="get_via"}`))
			for range 3 {
				s.get("/users/54", ada)
				s.get("/users/54/likes", adaLikes)
				s.get("/users/7", user7)
			}
			require.Equal(t, 3, s.calls("get_via", "miss"))
			require.Equal(t, 6, s.calls("get_via", "hit"))
			s.behindItsBack(54, "Ada King")
			s.get("/users/54", ada) // so it does come from the cache

			// A change is seen at once, in all that is kept of the user, and only of this one.
			s.behindItsBack(7, "somebody")
			s.put("/users/54", `{"name": "Ada King"}`)
			s.get("/users/54", adaKing)
			s.get("/users/54/likes", kingLike)
			s.get("/users/7", user7)
			require.Equal(t, 1, s.calls("invalidate_namespace", "done"))
			require.Equal(t, 5, s.calls("get_via", "miss"))
			require.Equal(t, 8, s.calls("get_via", "hit"))

			require.Equal(t, 8, s.count(`appcache_call_seconds_count{operation="get_via",outcome="hit"}`))
			require.Equal(t, 8, s.count(`appcache_call_seconds_bucket{operation="get_via",outcome="hit",le="+Inf"}`))
			require.NotEmpty(t, s.metric(`appcache_call_seconds_sum{operation="get_via",outcome="hit"}`))
			require.Zero(t, s.errors("get_via"))
		})
	}
}

// Two processes of the service share the cache: a change by one is seen by the other.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	addr := testserver.Redis(t).Addr
	one := serve(t, open(t, "redis", addr))
	other := serveOver(t, one.db, open(t, "redis", addr))
	one.get("/users/54", ada)
	other.get("/users/54", ada)
	require.Equal(t, 1, other.calls("get_via", "hit"))
	one.put("/users/54", `{"name": "Ada King"}`)
	other.get("/users/54", adaKing)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := serve(t, cachetest.NewMemory())
	tests := []struct {
		name, method, path, body string
		status                   int
	}{
		{"no such user", "GET", "/users/1000", "", 404},
		{"the likes of no such user", "GET", "/users/1000/likes", "", 404},
		{"changing no such user", "PUT", "/users/1000", `{"name": "A"}`, 404},
		{"an id that is no number", "GET", "/users/ada", "", 400},
		{"its likes", "GET", "/users/ada/likes", "", 400},
		{"changing it", "PUT", "/users/ada", `{"name": "A"}`, 400},
		{"not JSON", "PUT", "/users/54", `Ada`, 400},
		{"no name", "PUT", "/users/54", `{}`, 400},
		{"a name without end", "PUT", "/users/54", `{"name": "` + strings.Repeat("A", 1<<17) + `"}`, 400},
		{"no such path", "GET", "/", "", 404},
		{"no such method", "DELETE", "/users/54", "", 405},
	}
	for _, tt := range tests {
		status, answer := s.do(tt.method, tt.path, tt.body)
		require.Equal(t, tt.status, status, "%s: %s", tt.name, answer)
	}
	require.Equal(t, 2, s.calls("get_via", "not_found"))
	require.Zero(t, s.errors("get_via"), "that there is no such user is no error of the cache")
	s.get("/users/54", ada)
}

// Whoever asks again for a user who isn't there is told so by the cache, for a while.
func TestNotFoundIsRemembered(t *testing.T) {
	t.Parallel()
	store := testserver.Redis(t)
	s := serve(t, open(t, "redis", store.Addr))
	for range 3 {
		status, _ := s.do("GET", "/users/1000", "")
		require.Equal(t, http.StatusNotFound, status)
	}
	require.Equal(t, ":2", store.Do(t, "DBSIZE"), "that there is none, and the namespace's token")
	_, err := s.db.db.ExecContext(t.Context(), "INSERT INTO users VALUES (1000, 'Charles')")
	require.NoError(t, err)
	status, _ := s.do("GET", "/users/1000", "")
	require.Equal(t, http.StatusNotFound, status, "it doesn't come from the cache")
	require.Equal(t, 4, s.calls("get_via", "not_found"))
	s.put("/users/1000", `{"name": "Charles"}`)
	s.get("/users/1000", `{"id":1000,"name":"Charles"}`)
}

func TestDatabaseFails(t *testing.T) {
	t.Parallel()
	s := serve(t, cachetest.NewMemory())
	s.get("/users/54", ada)
	_, err := s.db.db.ExecContext(t.Context(), "DROP TABLE likes; DROP TABLE users")
	require.NoError(t, err)

	s.get("/users/54", ada) // from the cache
	status, answer := s.do("GET", "/users/7", "")
	require.Equal(t, http.StatusInternalServerError, status)
	require.Equal(t, "something went wrong", answer)
	status, _ = s.do("PUT", "/users/7", `{"name": "A"}`)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Equal(t, 1, s.calls("get_via", "load_failed"))
	require.Zero(t, s.errors("get_via"))
}

func TestUnreadableEntry(t *testing.T) {
	t.Parallel()
	backend := cachetest.NewMemory()
	s := serve(t, backend)
	s.get("/users/54", ada)
	path, err := newService(s.db, backend).users.Path(t.Context(), userKey{id: 54})
	require.NoError(t, err)
	require.NoError(t, backend.SetRaw(t.Context(), path, []byte("garbage"), 0))
	s.get("/users/54", ada)
	s.get("/users/54", ada)
	require.Equal(t, 1, s.calls("get_via", "unreadable"))
	require.Equal(t, 1, s.calls("get_via", "hit"))
}

// The service goes on while its cache is down, and caches again when that is back.
func TestCacheDown(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, ...string) *testserver.Server{
		"redis": testserver.Redis, "memcache": testserver.Memcached,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := start(t)
			s := serve(t, open(t, name, store.Addr))
			s.get("/users/54", ada)
			s.get("/users/54", ada)
			require.Equal(t, 1, s.calls("get_via", "hit"))

			store.Kill(t)
			var answers [8]string
			var clients sync.WaitGroup
			for i := range answers {
				clients.Go(func() { _, answers[i] = s.do("GET", "/users/54", "") })
			}
			clients.Wait()
			require.Equal(t, [8]string{ada, ada, ada, ada, ada, ada, ada, ada}, answers)
			s.put("/users/54", `{"name": "Ada King"}`)
			s.get("/users/54", adaKing)
			s.get("/users/54/likes", kingLike)
			status, _ := s.do("GET", "/users/1000", "")
			require.Equal(t, http.StatusNotFound, status)
			require.Equal(t, 1, s.calls("get_via", "hit"))
			require.Positive(t, s.errors("get_via"))
			require.Equal(t, 1, s.errors("invalidate_namespace"))

			store.Start(t)
			// A client may take a second to notice. It is an answer in any case.
			for end := time.Now().Add(20 * time.Second); s.calls("get_via", "hit") == 1 && time.Now().Before(end); {
				s.get("/users/54", adaKing)
			}
			failed := s.errors("get_via")
			s.get("/users/54", adaKing)
			require.Equal(t, 3, s.calls("get_via", "hit"))
			require.Equal(t, failed, s.errors("get_via"))
		})
	}
}
