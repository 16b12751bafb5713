package testserver

import (
	"fmt"
	"os"
	"path/filepath"
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
		pid:   "INFO server\r\n",
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
	wait(tb, "all nodes to know each other", func() bool {
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
	wait(tb, "the replicas to follow", func() bool {
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
	wait(tb, "all nodes to agree", func() bool {
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

// Vote makes the replicas replace a master that doesn't answer for a second. On a slow machine they may do that
// to one that is only late.
func (c *Cluster) Vote(tb testing.TB) {
	tb.Helper()
	for _, n := range c.Nodes() {
		n.Do(tb, "CONFIG SET cluster-node-timeout 1000")
	}
}

func clusterNode(tb testing.TB) *Server {
	tb.Helper()
	return Redis(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
		"--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
}

// Nodes returns all nodes, the masters first.
func (c *Cluster) Nodes() []*Server { return append(c.Masters[:], c.Replicas[:]...) }

// Addrs returns the addresses of all nodes, those of the masters first.
func (c *Cluster) Addrs() []string { return addrsOf(c.Nodes()) }

// Takeover makes Replicas[i] the master in the place of Masters[i], dead, hanging or alive, and
// returns when the other nodes that run know. A failover by vote ends the same way, some seconds later.
func (c *Cluster) Takeover(tb testing.TB, i int) {
	tb.Helper()
	id := c.Replicas[i].Do(tb, "CLUSTER MYID")
	c.Replicas[i].Do(tb, "CLUSTER FAILOVER TAKEOVER")
	wait(tb, "all nodes to know the new master", func() bool {
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

// Do sends a Redis server one command, its words separated by spaces, and returns the answer: a bulk
// string as its bytes, anything else as it is on the wire. An error fails the test.
func (s *Server) Do(tb testing.TB, command string) string {
	tb.Helper()
	answer, err := exchange(s.Addr, command+"\r\n", startTimeout)
	if err != nil || strings.HasPrefix(answer, "-") {
		tb.Fatalf("%s of %s: %q, %v", command, s.Addr, answer, err)
	}
	if strings.HasPrefix(answer, "$") {
		_, answer, _ = strings.Cut(answer, "\r\n")
	}
	return strings.TrimSuffix(answer, "\r\n")
}

// Sentinel is a master, its replica, and three sentinels that replace the one by the other.
type Sentinel struct {
	Name            string // of the master, for the sentinels
	Master, Replica *Server
	Sentinels       [3]*Server
}

// RedisSentinel starts a master with its replica and three sentinels of the test's own, and returns when these
// know of each other. When the master dies they vote after a second.
func RedisSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	c := &Sentinel{Name: "appcache", Master: Redis(tb), Replica: Redis(tb, "--repl-diskless-sync-delay", "0")}
	c.Replica.Do(tb, "REPLICAOF 127.0.0.1 "+port(c.Master.Addr))
	wait(tb, "the replica to follow", func() bool {
		return strings.Contains(c.Replica.Do(tb, "INFO replication"), "master_link_status:up")
	})
	for i := range c.Sentinels {
		c.Sentinels[i] = launch(tb, sentinel(tb, c))
	}
	wait(tb, "the sentinels to know each other", func() bool {
		for _, s := range c.Sentinels {
			if !strings.Contains(s.Do(tb, "SENTINEL MASTER "+c.Name), "num-other-sentinels\r\n$1\r\n2") ||
				!strings.Contains(s.Do(tb, "SENTINEL REPLICAS "+c.Name), port(c.Replica.Addr)) {
				return false
			}
		}
		return true
	})
	return c
}

func sentinel(tb testing.TB, c *Sentinel) program {
	p := redis(tb)
	p.args = func(addr string) []string {
		dir := tb.TempDir()
		config := filepath.Join(dir, "sentinel.conf") // it must be a file, in which a sentinel keeps its state
		text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %q\nsentinel monitor %s 127.0.0.1 %s 2\n"+
			"sentinel down-after-milliseconds %[3]s 1000\nsentinel failover-timeout %[3]s 5000\n", port(addr), dir, c.Name, port(c.Master.Addr))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			tb.Fatalf("%v", err)
		}
		return []string{config, "--sentinel"}
	}
	return p
}

// Addrs returns the addresses of the sentinels.
func (c *Sentinel) Addrs() []string { return addrsOf(c.Sentinels[:]) }

func addrsOf(servers []*Server) (addrs []string) {
	for _, s := range servers {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

func wait(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for end := time.Now().Add(clusterTimeout); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("waited %v for %s", clusterTimeout, what)
		}
	}
}
