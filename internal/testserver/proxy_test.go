package testserver_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
)

func TestProxy(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	proxy := testserver.NewProxy(t, s.Addr)
	get := func(timeout time.Duration) (string, error) {
		return testserver.Exchange(proxy.Addr, "PING\r\n", timeout)
	}
	for _, n := range []testserver.Network{testserver.Sound, testserver.Delayed, testserver.Trickling} {
		proxy.Be(n)
		answer, err := get(time.Minute)
		require.NoError(t, err)
		require.Equal(t, "+PONG\r\n", answer)
	}
	proxy.Be(testserver.Cut)
	answer, _ := get(time.Minute)
	require.Empty(t, answer)
	proxy.Be(testserver.HalfOpen)
	_, err := get(50 * time.Millisecond)
	require.ErrorContains(t, err, "i/o timeout")
	proxy.Be(testserver.Sound)
	_, err = get(time.Minute)
	require.NoError(t, err)
}
