package main

import (
	"flag"
	"fmt"
	"os"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/memcache"
	"github.com/goappcache/appcache/redis"
	"github.com/goappcache/appcache/sqlitelru"
)

// store is where to cache, as the command line says.
type store struct {
	backend string
	addr    string // of redis and memcache
	file    string // of sqlite; "" is in memory
}

func (s store) String() string {
	switch s.backend {
	case "redis":
		return "Redis on " + s.addr
	case "memcache":
		return "memcached on " + s.addr
	}
	if s.file != "" {
		return "SQLite, in the file " + s.file
	}
	return "SQLite, in memory"
}

// open returns the backend, and what closes it.
func (s store) open() (appcache.RawBackend, func() error, error) {
	switch s.backend {
	case "redis":
		client := goredis.NewClient(&goredis.Options{Addr: s.addr, ContextTimeoutEnabled: true, DialerRetries: 1})
		return redis.New(client), client.Close, nil
	case "memcache":
		backend, err := memcache.Open(nil, s.addr)
		if err != nil {
			return nil, nil, err
		}
		return backend, backend.Close, nil
	}
	var backend *sqlitelru.Backend
	var err error
	if s.file != "" {
		backend, err = sqlitelru.Open(s.file, nil)
	} else {
		backend, err = sqlitelru.New(nil, nil) // a database in memory
	}
	if err != nil {
		return nil, nil, err
	}
	return backend, backend.Close, nil
}

// storeFromFlags reads the command line. What is wrong with it ends the program.
func storeFromFlags() store {
	var s store
	flag.StringVar(&s.backend, "backend", "sqlite", "the `store` to cache in: sqlite, redis or memcache")
	flag.StringVar(&s.addr, "addr", "", "the `host:port` of redis or memcache (default localhost and the usual port)")
	flag.StringVar(&s.file, "file", "", "the `file` of sqlite (default in memory)")
	flag.Parse()

	usualAddr := map[string]string{"redis": "localhost:6379", "memcache": "localhost:11211"}
	addr, isServer := usualAddr[s.backend]
	switch {
	case flag.NArg() > 0:
		refuse("there is no argument %q, only flags", flag.Arg(0))
	case !isServer && s.backend != "sqlite":
		refuse("-backend is %q; write sqlite, redis or memcache", s.backend)
	case isServer && s.file != "":
		refuse("-file is for -backend sqlite, not %s", s.backend)
	case !isServer && s.addr != "":
		refuse("-addr is for -backend redis and memcache, not %s", s.backend)
	case isServer && s.addr == "":
		s.addr = addr
	}
	return s
}

func refuse(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "quickstart: "+format+"\n", args...)
	flag.Usage()
	os.Exit(2)
}
