package testserver_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
)

var mainAddr string

func TestMain(m *testing.M) {
	if os.Getenv("TESTSERVER_ORPHAN") != "" {
		// Stands for a test process that ends without cleaning up: see TestDiesWithParent.
		os.Exit(testserver.Main(m, func(tb testing.TB) {
			fmt.Println(testserver.Redis(tb).Addr)
			os.Exit(3)
		}))
	}
	if leak, ok := leaks[os.Getenv("TESTSERVER_LEAK")]; ok {
		testserver.LeakTimeout(time.Second) // see TestMainFindsLeaks
		os.Exit(testserver.Main(leak, nil))
	}
	os.Exit(testserver.Main(m, func(tb testing.TB) { mainAddr = testserver.Redis(tb).Addr }))
}

func TestMainStartsServers(t *testing.T) {
	t.Parallel()
	require.Equal(t, "+PONG\r\n", ask(t, mainAddr, "PING\r\n"))
}

var servers = []struct {
	name            string
	start           func(tb testing.TB, args ...string) *testserver.Server
	startOn         func(tb testing.TB, next func() string) *testserver.Server
	request, answer string
}{
	{"redis", testserver.Redis, testserver.RedisOn, "PING\r\n", "+PONG\r\n"},
	{"memcached", testserver.Memcached, testserver.MemcachedOn, "mn\r\n", "MN\r\n"},
}

func TestServer(t *testing.T) {
	t.Parallel()
	for _, tt := range servers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := tt.start(t)
			addr := s.Addr
			require.Equal(t, tt.answer, ask(t, addr, tt.request))

			s.Kill(t)
			_, err := net.Dial("tcp", addr)
			require.Error(t, err, "a killed server doesn't listen")

			s.Start(t)
			require.Equal(t, addr, s.Addr)
			require.Equal(t, tt.answer, ask(t, addr, tt.request))

			s.Pause(t)
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err, "a paused server accepts connections")
			defer func() { _ = conn.Close() }()
			_, err = conn.Write([]byte(tt.request))
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
			_, err = conn.Read(make([]byte, 100))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a paused server doesn't answer")

			s.Resume(t)
			require.Equal(t, tt.answer, ask(t, addr, tt.request))
			s.Pause(t) // and the end of the test ends a paused server too
		})
	}
}

func TestServerEndsWithTheTest(t *testing.T) {
	t.Parallel()
	for _, tt := range servers {
		var addr string
		t.Run(tt.name, func(t *testing.T) { addr = tt.start(t).Addr })
		_, err := net.Dial("tcp", addr)
		require.Error(t, err)
	}
}

// Whoever else got the port may speak the same protocol, as another test's server does.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	for _, tt := range servers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			other := tt.start(t)
			offers := []string{other.Addr, other.Addr, testserver.FreeAddr(t)}
			s := tt.startOn(t, func() (addr string) { addr, offers = offers[0], offers[1:]; return addr })
			require.NotEqual(t, other.Addr, s.Addr)
			require.Empty(t, offers)
			require.Equal(t, tt.answer, ask(t, s.Addr, tt.request))

			// On a restart there is no choice of address, so it waits.
			s.Kill(t)
			l, err := net.Listen("tcp", s.Addr)
			require.NoError(t, err)
			time.AfterFunc(100*time.Millisecond, func() { _ = l.Close() })
			s.Start(t)
			require.Equal(t, tt.answer, ask(t, s.Addr, tt.request))
		})
	}
}

func TestFails(t *testing.T) {
	for _, tt := range servers {
		t.Run(tt.name+" with bad arguments", func(t *testing.T) {
			require.Contains(t, failure(t, func(tb testing.TB) { tt.start(tb, "--no-such-option") }), "ended while starting")
		})
		t.Run(tt.name+" started twice", func(t *testing.T) {
			s := tt.start(t)
			require.Contains(t, failure(t, func(tb testing.TB) { s.Start(tb) }), "runs already")
		})
		t.Run(tt.name+" not running", func(t *testing.T) {
			s := tt.start(t)
			s.Kill(t)
			require.Contains(t, failure(t, func(tb testing.TB) { s.Kill(tb) }), "doesn't run")
			require.Contains(t, failure(t, func(tb testing.TB) { s.Pause(tb) }), "doesn't run")
			require.Contains(t, failure(t, func(tb testing.TB) { s.Resume(tb) }), "doesn't run")
		})
		t.Run(tt.name+" not installed", func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			require.Contains(t, failure(t, func(tb testing.TB) { tt.start(tb) }), "apt-get install "+strings.Split(tt.name, "-")[0])
		})
	}
}

// failure returns what f fails the test that it is given with.
func failure(t *testing.T, f func(tb testing.TB)) string {
	t.Helper()
	tb := &fatalTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(tb)
	}()
	<-done
	require.NotEmpty(t, tb.message, "it didn't fail the test")
	return tb.message
}

type fatalTB struct {
	testing.TB
	message string
}

func (tb *fatalTB) Fatalf(format string, args ...any) {
	tb.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// ask sends a request and returns the answer, which is one line.
func ask(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Write([]byte(request))
	require.NoError(t, err)
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	require.NoError(t, err)
	return string(answer[:n])
}
