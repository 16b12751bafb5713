// Package sqlitelru keeps cache entries in SQLite: in a file that several processes may share, in a
// database of the caller's, or in memory. It is a strict LRU cache.
//
// [Open] makes a [Backend] over a file, [New] one over a [sql.DB] or over the in-memory database of
// the process. Give it to appcache.New. The driver is modernc.org/sqlite, which needs no cgo; a sql.DB must
// be of that driver too.
//
// # LRU
//
// When there is no room for a new entry, an entry whose TTL is over goes first, and else the one that
// was least recently read or written. Within a process that is exact, for all backends over one
// *sql.DB or over the in-memory database together: an entry is never evicted while one that was used
// longer ago stays. There are two exceptions. Where more than 1000 entries were overwritten to live longer,
// and would be over by now if they hadn't been, it may take some evictions more until one whose TTL is over
// is found. And where another process holds the lock while more than 131,072 entries are read, the reads
// beyond those are forgotten.
//
// A read that had to write would be slow, so what was used when is noted in memory, and written
// together for many reads: before the eviction that needs it, when some thousands of entries are
// noted, and by the operations that find a note of half a second ago, until one of them gets the lock.
// So between processes that share a file, and between two calls of [Open] for one file, recency lags by
// at most a second of use, unless none of their tries in that second gets the lock. No goroutine in the background
// does that: an idle process keeps its notes until its next operation or [Backend.Close]. A process
// that dies loses notes, and never an entry.
//
// # Limits
//
// [Options].MaxSize bounds the entries and [Options].MaxBytes the bytes of all keys and values. No Set
// of a new entry, or of another length, leaves more than that behind, unless there was more to begin with.
// That is brought down in steps, 1000 entries with [New] or [Open] and 64 with each such Set, so that none
// takes long. Where backends with different limits share a database each does so for its own, and the
// smallest wins as long as its backend is used. A value that can't fit even alone, or is longer than the
// 1,000,000,000 bytes that SQLite takes for one row, is an error that wraps appcache.ErrTooLarge, and
// what was stored stays.
//
// The cost of an operation doesn't grow with the number of entries, with two exceptions. An eviction now and
// then looks through the use of all entries, 8 bytes for each of the most that there were since the last Clear:
// once for every n evictions or uses of the oldest entries, where n is a sixteenth of the entries, but at
// least 64 and at most 65,536. And [Backend.Clear] looks at every page.
//
// SQLite keeps the pages that were read last in memory: up to 16 MiB for each call of [Open], and as
// much for the database in memory beside the entries. In a caller's database it is 2 MiB for each
// connection, unless a PRAGMA cache_size of the caller's says something else. That bounds the sum of
// them all. The driver takes twice that, as it rounds sizes up to powers of two, and takes it outside of
// Go's heap.
//
// The memory that is held beside that is bounded too: the notes of at most 131,072 reads, a queue of
// 65,536 entries that go next, as many slots that are free, some copies while notes are written, and up
// to 8 MiB, 16 to 32 bytes an entry, that say where keys are. All that is less than 24 MiB for a
// database of any size, and about 1 MiB with the default MaxSize.
//
// The driver has all databases of a process share their page caches. One that reads more than its own
// takes the place of what others read longer ago, and those may not get it back. A cache whose file, or
// what it has in memory, is less than 15 MiB never does that, nor one of less than 2 MiB in a caller's
// database. A larger one can make each read of a small database of the process go to its file again, and
// it can happen to a cache likewise, which a benchmark measures: BenchmarkNeighbours.
//
// # Files and processes
//
// A file is in WAL mode with synchronous=NORMAL: whatever kills a process, the file stays whole and
// every Set that returned is in it; when the machine itself dies the last ones may be missing. Two
// more files, with -wal and -shm at the end of their names, belong to it while it is open. The WAL grows to
// 32 MiB, or to 64 with several processes that write all the time. It grows beyond that while somebody reads
// an old state, or with a very large value; a later write cuts it again. Open touches nothing but an empty file and one that it has made: for
// any other it returns an error. A file that is deleted stays that of the processes that have it open; delete
// all three, when no process has. Don't rename a file that is open, or give it a second name by a hard link:
// SQLite takes it for another one.
//
// When a quarter of a file and more than 1 MiB are free, as after Clear or under a lower limit, it gets
// smaller by up to 64 pages of 4 KiB with each of the next Sets, and the WAL with the last of them. That
// takes some milliseconds, and now and then the time to copy the WAL into the file. Less than that it keeps for entries to come, and so do a caller's database and the
// one in memory always.
//
// [New] puts three tables with their indexes, named appcache_…, beside what is in the caller's database.
// It changes no setting of it, borrows one connection for each operation, and never closes it. So it
// must not be used by a goroutine that holds the only connection of the pool, as an open transaction or
// open rows do with SetMaxOpenConns(1); until its context ends it would wait for itself. The database
// ":memory:" is private to its connection and works with SetMaxOpenConns(1) only.
//
// # In memory
//
// All backends that New(nil, …) makes share one in-memory database, [InMemoryDB], and their entries.
// SQLite lets it grow to 1 GiB; where that could be too little, set MaxBytes well below. First use it
// outside of testing/synctest: a *sql.DB has a goroutine of its own, and a bubble can't end before that.
//
// # Concurrency
//
// Everything here is safe for concurrent use. The operations on a file, and those in memory, follow
// one another on one connection; in a caller's database reads run side by side. When another process
// or transaction holds a lock an operation tries again until its context ends, and for ten seconds at
// most. It can watch the context only between its tries, so leave the busy_timeout of a caller's
// database at 0 or short: SQLite itself waits that long, and can't be interrupted in it. And have a caller's
// database in WAL mode: without it a write waits until nobody reads, and so, when a read is in its way, the
// reads follow one another as well.
//
// # Errors
//
// Errors of SQLite come back as they are, so errors.As finds the *sqlite.Error. A locked, full,
// read-only or damaged database is an error and never a miss. An error about a damaged file says that
// it may be deleted; the next operation then makes it anew.
package sqlitelru
