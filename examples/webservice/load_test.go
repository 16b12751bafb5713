package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

// load is requests from many goroutines, of which none may fail.
type load struct {
	t        *testing.T
	answered atomic.Int64
	stop     chan struct{}
	clients  sync.WaitGroup
}

// startLoad starts clients of the service.
func startLoad(t *testing.T, s *server, clients int) *load {
	t.Helper()
	l := &load{t: t, stop: make(chan struct{})}
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for i := range clients {
		l.clients.Go(func() {
			for n := i; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				if err := request(client, s.url, n); err != nil {
					t.Error(err)
					return
				}
				l.answered.Add(1)
			}
		})
	}
	t.Cleanup(func() {
		l.end()
		transport.CloseIdleConnections()
	})
	return l
}

// request makes one request of a kind that the number says, and returns what is wrong with the answer.
func request(client *http.Client, url string, n int) error {
	id := 1 + rand.IntN(50) //nolint:gosec // any number will do
	method, path, body := http.MethodGet, fmt.Sprint("/users/", id), ""
	want := fmt.Sprintf(`^\{"id":%d,"name":"(User \d+|Ada \w+|changed)"\}`, id)
	switch n % 10 {
	case 0:
		method, body = http.MethodPut, `{"name": "changed"}`
	case 1, 2, 3:
		path, want = path+"/likes", `^\{"name":"[\w ]+","likes":\["engines","poetry"\]\}`
	}
	r, err := http.NewRequest(method, url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !regexp.MustCompile(want).Match(answer) {
		return fmt.Errorf("%s %s: %s: %q, %w", method, path, response.Status, answer, err)
	}
	return nil
}

// more waits until so many more requests have been answered.
func (l *load) more(n int64) {
	l.t.Helper()
	from, end := l.answered.Load(), time.Now().Add(time.Minute)
	for l.answered.Load() < from+n {
		require.False(l.t, l.t.Failed(), "a request failed")
		require.True(l.t, time.Now().Before(end), "%d of %d requests were answered", l.answered.Load()-from, n)
		time.Sleep(time.Millisecond)
	}
}

// end ends the load.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.clients.Wait()
}

// hitsAgain waits until the cache is in use.
func (s *server) hitsAgain(l *load) {
	s.t.Helper()
	for hits, end := s.calls("get_via", "hit"), time.Now().Add(time.Minute); s.calls("get_via", "hit") < hits+100; {
		require.True(s.t, time.Now().Before(end), "the cache isn't used again")
		l.more(1)
	}
}

// While Redis is killed and started again, again and again, no request fails.
func TestLoadWhileRedisIsKilled(t *testing.T) {
	t.Parallel()
	store := testserver.Redis(t)
	s := serve(t, open(t, "redis", store.Addr))
	l := startLoad(t, s, 16)
	for range 3 {
		s.hitsAgain(l)
		store.Kill(t)
		l.more(100)
		store.Start(t)
	}
	s.hitsAgain(l)
	l.end()
	require.Positive(t, s.errors("get_via"))
	require.Positive(t, s.errors("invalidate_namespace"))
	require.Zero(t, s.calls("get_via", "load_failed"))
}

// A Redis that hangs holds nobody up for longer than Timeout. The client would wait for a minute.
func TestLoadWhileRedisHangs(t *testing.T) {
	t.Parallel()
	store := testserver.Redis(t)
	client := goredis.NewClient(&goredis.Options{
		Addr: store.Addr, ReadTimeout: time.Minute, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := serve(t, redis.New(client))
	l := startLoad(t, s, 16)
	s.hitsAgain(l)
	store.Pause(t)
	l.more(200)
	store.Resume(t)
	s.hitsAgain(l)
	l.end()
	require.Positive(t, s.errors("get_via"))
	require.Zero(t, s.calls("get_via", "load_failed"))
}
