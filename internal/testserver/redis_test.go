package testserver_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/internal/testserver"
)

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	c := testserver.RedisCluster(t)
	require.Len(t, c.Addrs(), 6)
	slots := c.Masters[0].Do(t, "CLUSTER SLOTS")
	for i := range c.Masters {
		// Each range of slots names its master, and then its replica.
		master := strings.Index(slots, ":"+c.Masters[i].Addr[len("127.0.0.1:"):])
		replica := strings.Index(slots, ":"+c.Replicas[i].Addr[len("127.0.0.1:"):])
		require.Positive(t, master)
		require.Greater(t, replica, master)
	}

	c.Masters[0].Kill(t)
	c.Takeover(t, 0)
	require.Contains(t, c.Replicas[0].Do(t, "INFO replication"), "role:master")
	require.Contains(t, c.Replicas[0].Do(t, "CLUSTER INFO"), "cluster_state:ok")
}
