// Package memcache keeps appcache's entries in memcached, through the client
// github.com/bradfitz/gomemcache.
//
// [New] takes a client that a program has already, [Open] a list of servers. Open is the better
// choice where there is one: its operations end when their context does, it keeps more connections,
// and its Clear reaches the other servers when one is down. New is for what only a client of one's
// own can have: TLS, a selector, another Timeout.
//
// # Commands
//
// gets, set, delete and flush_all; Clear also writes, reads and deletes a probe of its own. An
// operation whose connection is broken is sent once more, on another: after a restart of the server
// none fails. One that timed out isn't, since a server that hangs would then hang for twice as long.
//
// # Keys
//
// memcached takes keys of up to 250 bytes without spaces and control characters. Such a key is
// stored as it is:
//
//	$ telnet localhost 11211
//	get appcache/users/54
//
// Any other becomes the first 178 bytes of it, with "_" for each byte that isn't allowed, then
// "~sha256:" and the SHA-256 of the whole key in hexadecimal, which a shell can work out:
//
//	$ printf %s 'appcache/first names/Ada' | sha256sum
//	get appcache/first_names/Ada~sha256:dee5c74283f4…
//
// A key that ends in "~sha256:" and 64 hexadecimal digits itself is treated like that too, so that
// two different keys never meet.
//
// # TTLs
//
// memcached's clock ticks in seconds. A TTL is rounded up and a second is added, so an entry doesn't
// go early and lives less than two seconds too long. But that clock skips a second now and then, each
// twenty minutes or so on an idle machine, and what was stored in the second before goes up to a second
// early. Over 30 days memcached wants the time of day, and the difference between its clock and ours
// counts too. Its time of day ends on 19 January 2038: an entry with a TTL beyond that goes then. It may
// evict any entry at any time before.
//
// # Contexts and timeouts
//
// A call whose context is done returns its error and sends nothing. After Open, a call that has begun
// ends as soon as its context does. After New it ends when the client's Timeout is over, and only
// then returns the context's error: set Timeout to what a request can wait for. In both a step of
// the protocol that takes longer than the timeout (500 ms, unless the client says something else)
// is an error, however long the context has.
//
// # Several servers
//
// Each key lives on one server, chosen by a hash of the key and the number of servers. Servers know
// nothing of each other: while one is down its keys are errors and those of the others aren't. A
// change of the list moves most keys to another server, where they are missing or, coming back from
// an earlier change, out of date: growing from three servers to four moves 75 % of them. So Clear
// when a server rejoins after a change, or give entries a TTL.
//
// # Sizes
//
// A value, its key and a header have to fit into the server's item size, 1 MiB unless memcached was
// started with -I. Tell [Options] when it was. What doesn't fit is an error that wraps
// [appcache.ErrTooLarge], and the entry that was there stays. When the server's limit is lower than
// the Options say, its refusal is another error, and the entry that was there is gone.
//
// # What Clear destroys
//
// Everything in every server, also what other programs keep there: memcached has one key space and
// no way to remove a part of it. To drop some keys only, use a namespace.
//
// # What isn't promised
//
// memcached forgets: under memory pressure, and all of it when it restarts. A write that returned an
// error may have happened, or happen later. The protocol has no authentication here and no
// encryption; whoever reaches the port reads and writes everything.
package memcache
