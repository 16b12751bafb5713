package testserver

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const redisInstall = "make setup (or: apt-get install redis-server, brew install redis)"

// Redis starts a redis-server of the test's own, which keeps nothing on disk. Further arguments go
// to the program as they are.
func Redis(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return launch(tb, redis(tb, args...))
}

func redis(tb testing.TB, args ...string) program {
	return program{
		name:    "redis-server",
		install: redisInstall,
		args: func(addr string) []string {
			return append([]string{"--port", port(addr), "--bind", "127.0.0.1", "--dir", tb.TempDir(),
				"--save", "", "--appendonly", "no"}, args...)
		},
		pid:   "INFO server\r\nQUIT\r\n",
		pidAt: "process_id:",
	}
}

// Cluster is a Redis Cluster of three masters with one replica each.
type Cluster struct {
	Masters  [3]*Server
	Replicas [3]*Server // Replicas[i] follows Masters[i]
}

// clusterTimeout bounds how long the nodes may take until they agree.
const clusterTimeout = 60 * time.Second

// RedisCluster starts a Redis Cluster of the test's own, and returns when all nodes agree on it and
// the replicas follow. It takes about two seconds. It doesn't fail over by itself while the test
// runs, however slow the machine: see [Cluster.Takeover].
func RedisCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{}
	for i := range c.Masters {
		c.Masters[i], c.Replicas[i] = clusterNode(tb), clusterNode(tb)
	}
	nodes := c.Nodes()
	for i, n := range nodes {
		n.Do(tb, fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
		for _, other := range nodes[:i] {
			n.Do(tb, "CLUSTER MEET 127.0.0.1 "+port(other.Addr))
		}
	}
	for i, m := range c.Masters {
		m.Do(tb, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", 16384*i/3, 16384*(i+1)/3-1))
	}
	c.wait(tb, "all nodes to know each other", func() bool {
		for _, n := range nodes {
			known := n.Do(tb, "CLUSTER NODES")
			if strings.Count(known, " connected") != len(nodes) || strings.Contains(known, "handshake") {
				return false
			}
		}
		return true
	})
	for i, r := range c.Replicas {
		r.Do(tb, "CLUSTER REPLICATE "+c.Masters[i].Do(tb, "CLUSTER MYID"))
	}
	c.wait(tb, "the replicas to follow", func() bool {
		for _, r := range c.Replicas {
			if !strings.Contains(r.Do(tb, "INFO replication"), "master_link_status:up") {
				return false
			}
		}
		return true
	})
	for _, m := range c.Masters {
		m.Do(tb, "FLUSHALL") // CLUSTER SLOTS leaves out replicas that were never sent anything
	}
	c.wait(tb, "all nodes to agree", func() bool {
		for _, n := range nodes {
			if !strings.Contains(n.Do(tb, "CLUSTER INFO"), "cluster_state:ok") ||
				strings.Count(n.Do(tb, "CLUSTER SLOTS"), "127.0.0.1") != len(nodes) {
				return false
			}
		}
		return true
	})
	for _, n := range nodes {
		n.Do(tb, "CONFIG SET cluster-node-timeout 60000") // only forming the cluster is faster with a short one
	}
	return c
}

func clusterNode(tb testing.TB) *Server {
	tb.Helper()
	return Redis(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
		"--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
}

// Nodes returns all nodes, the masters first.
func (c *Cluster) Nodes() []*Server { return append(c.Masters[:], c.Replicas[:]...) }

// Addrs returns the addresses of all nodes, those of the masters first.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, n := range c.Nodes() {
		addrs = append(addrs, n.Addr)
	}
	return addrs
}

// Takeover makes Replicas[i] the master in the place of Masters[i], dead, hanging or alive, and
// returns when the other nodes that run know. A failover by vote ends the same way, some seconds later.
func (c *Cluster) Takeover(tb testing.TB, i int) {
	tb.Helper()
	id := c.Replicas[i].Do(tb, "CLUSTER MYID")
	c.Replicas[i].Do(tb, "CLUSTER FAILOVER TAKEOVER")
	c.wait(tb, "all nodes to know the new master", func() bool {
		for _, n := range c.Nodes() {
			if n == c.Masters[i] || n.process == nil {
				continue // the old master may hang
			}
			for line := range strings.Lines(n.Do(tb, "CLUSTER NODES")) {
				if strings.HasPrefix(line, id) && !strings.Contains(line, "master") {
					return false
				}
			}
		}
		return true
	})
}

func (c *Cluster) wait(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for end := time.Now().Add(clusterTimeout); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("waited %v for %s:\n%s", clusterTimeout, what, c.Masters[1].Do(tb, "CLUSTER NODES"))
		}
	}
}

// Do sends a Redis server one command, its words separated by spaces, and returns the answer: a bulk
// string as its bytes, anything else as it is on the wire. An error fails the test.
func (s *Server) Do(tb testing.TB, command string) string {
	tb.Helper()
	answer, err := exchange(s.Addr, command+"\r\nQUIT\r\n", startTimeout)
	if err != nil || strings.HasPrefix(answer, "-") {
		tb.Fatalf("%s of %s: %q, %v", command, s.Addr, answer, err)
	}
	answer = strings.TrimSuffix(answer, "+OK\r\n")
	if strings.HasPrefix(answer, "$") {
		_, answer, _ = strings.Cut(answer, "\r\n")
	}
	return strings.TrimSuffix(answer, "\r\n")
}
