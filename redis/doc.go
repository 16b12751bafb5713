// Package redis keeps the entries of an appcache in Redis, or in whatever speaks its protocol,
// such as Valkey, through [github.com/redis/go-redis/v9].
//
//	backend := redis.New(nil) // the server at localhost:6379
//	defer backend.Close()
//	users := appcache.New[User](backend, nil)
//
// A program that has a client already passes it; it stays the program's own:
//
//	client := goredis.NewClient(&goredis.Options{Addr: "cache.internal:6379", ContextTimeoutEnabled: true})
//	backend := redis.New(client)
//
// # What is sent
//
// GET, SET, DEL and FLUSHDB, one command for each call, or one for each server in Clear. So an ACL
// user needs no more than
//
//	ACL SETUSER app on >secret ~appcache/* +get +set +del
//
// and without +flushdb only Clear fails, with an error for which [goredis.IsPermissionError]
// holds. Keys and values are stored as they are, of any bytes. A ClusterClient itself also needs
// +cluster|slots. A value's limit is 512 MiB, the server's own default.
//
// # What Clear destroys
//
// Every key of the client's database, whoever wrote it: the sessions and queues of others too.
// Give the cache a database of its own (goredis.Options.DB), or a server. In Redis Cluster there
// is only database 0. The server answers nobody while it flushes, which takes long with millions
// of keys, unless its lazyfree-lazy-user-flush is yes.
//
// # Cluster, Sentinel, Ring
//
// These are the client's. A [goredis.ClusterClient] reaches every master in Clear, and when a call
// gets no answer it is told to look up the masters anew, so that after a failover it finds the new
// one at once instead of a minute later. While slots are being moved from one master to another,
// an entry that moves at that moment may survive a Clear.
//
// A [goredis.Ring] that takes a shard for down sends its keys to the others, and returns to it
// when it is back, with the entries that it had before. Clear is an error while a shard is down.
//
// A [goredis.AutoPipeliner] works. It doesn't look at contexts while a command is under way. One
// over a ClusterClient can't do Clear, and doesn't find new masters any sooner than the client by
// itself does.
//
// # Timeouts
//
// Once a context is done, every call returns an error for which errors.Is of the context's error
// holds. When it does depends on the client:
//
//   - Its option ContextTimeoutEnabled must be true, or a deadline isn't looked at while the
//     server owes an answer, and a call lasts for up to ReadTimeout, 5 s by default.
//   - A context that is cancelled with no deadline doesn't interrupt a read with any setting. It
//     ends the wait for a free connection and for a new one, and prevents the next attempt. So
//     such a call to a server that hangs lasts for up to ReadTimeout more.
//   - With neither deadline nor cancel a call to a server that hangs lasts for up to ReadTimeout
//     times MaxRetries + 1, which is four attempts by default.
//   - To a server that is down each attempt dials DialerRetries times, 5 by default, 100 ms
//     apart, so that a call takes 1.7 s. DialerRetries: 1 makes that a tenth of a second, and
//     DialTimeout bounds a dial to a machine that doesn't answer.
//
// appcache.Options.Timeout gives each call of a cache a deadline.
//
// After an outage calls work again as soon as the server does, and a restart between two calls
// fails neither. Only a client whose dials have failed PoolSize times in a row looks for the
// server no more than once a second.
//
// # What isn't promised
//
// Redis evicts entries when it reaches its maxmemory, by its maxmemory-policy. The default policy,
// noeviction, refuses every SetRaw instead, with an error for which [goredis.IsOOMError] holds:
// for a cache set allkeys-lru or another of the allkeys policies.
//
// Nothing is stronger than the store. A client that reads from replicas (ReadOnly, RouteByLatency,
// RouteRandomly, a Sentinel's replica) sees a write, and a Clear, only when the replica does. A
// replica that is promoted may lack the last writes, so that an entry that was replaced or removed
// is back. A call that ended with an error may still take effect. And a client with client-side
// caching (ClientSideCacheConfig) goes on answering from its memory for some milliseconds after a
// write: leave that off.
package redis
