// Package appcache puts Go values of any type into Redis, memcached or SQLite through one typed interface.
//
//	backend := redis.New(nil) // or memcache.New(nil, nil); sqlitelru.New(nil, nil) also returns an error
//	users := appcache.New[User](backend, nil)
//	user, err := users.GetVia(ctx, appcache.StringKey[User]("users/54"), time.Hour, loadAda)
//
// A program makes one backend, and over it one [Cache] for each type that it keeps. [Cache.Get] and [Cache.Set]
// read and write, [Cache.GetVia] loads what isn't there, [Cache.SetVia] writes the origin and the cache, and
// [Cache.Invalidate] removes. What can be set is in [Options]; its zero value works.
//
// # Keys
//
// A [Key] carries the type of its value, so looking it up in a cache of another type doesn't compile. It is
// a [StringKey], or a type of your own that embeds [BaseKey] and says its segments. In the store it is a path
// below a prefix that can be guessed, such as appcache/users/54/likes. Different segments always make
// different paths. [Cache.GetByStr] and its kin take the path itself.
//
// # Namespaces
//
// A key may live in a namespace, whose entries are dropped together by [Cache.InvalidateNamespace], in
// one operation however many they are. [Generation] is ready-made; [NamespaceOf] makes one of a value
// that is cached.
//
// # What is stored
//
// The bytes of the [Serialiser]: [CBOR] by default, and the bytes themselves where V is []byte or string.
// [JSON], [Gob] and [Raw] are here too, and [SerialiserOf] makes one of two functions. They are
// compressed where the key or [Options.CompressOver] asks for it, by [Gzip] or another [Compressor].
// No header is put before them, unless a policy of read-through has something to keep there or they
// would be misread; every Cache understands it. A change of the serialiser or the compressor calls for
// another [Options.Prefix].
//
// # Errors
//
// A miss is a bool and never an error; an error says that the store couldn't answer, or that an argument
// is wrong. It has the operation and the key in it, never the value, and [errors.Is] and [errors.As] see the
// client's own. [ErrNegativeTTL], [ErrEmptyKey], [ErrNoNamespace] and [ErrTooLarge] are those to compare
// with; [ErrNotFound] is for getters to return. An entry that can't be decoded is a miss. GetVia
// never fails because of the store.
//
// # Concurrency
//
// A Cache never changes after [New] and is safe for concurrent use, and so must be what it is given: backends,
// serialisers, compressors, and [Options.Observe]. GetVia runs one getter for a key at a time in the process.
// What holds when loads, writes and invalidations meet is said at [Cache.GetVia]. The values that
// are returned share no memory with each other or with the cache.
//
// # Backends
//
// The packages redis, memcache and sqlitelru beside this one are stores, each with what it destroys in Clear,
// how late an entry may go, and the most it takes. A store of your own implements the four methods of
// [RawBackend], and package cachetest tests whether it does what they must. It also has a store in
// memory, for unit tests.
//
// # Observing
//
// The library doesn't log. [Options.Observe] is given an [Event] for each call and for each load in the
// background: its [Outcome], the key, the size, the time it took, and what went wrong, also where the
// call got over it.
package appcache
