// Webservice serves users from a SQLite table, through a cache: it reads through by GetVia, drops
// a user's namespace when the user changes, and counts for Prometheus what the cache does. When the
// cache is down, or hangs, it goes on without.
//
//	cd examples/webservice
//	go run .                                           caching in memory
//	go run . -backend redis -addr localhost:6379
//	go run . -backend memcache -addr localhost:11211
//	go run . -db users.db                              users that stay
//
//	curl localhost:8080/users/54
//	curl localhost:8080/users/54/likes
//	curl -X PUT -d '{"name": "Ada King"}' localhost:8080/users/54
//	curl localhost:8080/metrics
//
// The handlers are in service.go, the metrics in metrics.go, the table in database.go.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/memcache"
	"github.com/goappcache/appcache/redis"
	"github.com/goappcache/appcache/sqlitelru"
)

// config is what the command line says.
type config struct {
	listen, db    string
	backend, addr string
}

func main() {
	var c config
	flag.StringVar(&c.listen, "listen", "localhost:8080", "the `host:port` to serve on")
	flag.StringVar(&c.db, "db", "", "the SQLite `file` of the users (default a temporary one)")
	flag.StringVar(&c.backend, "backend", "sqlite", "the `store` to cache in: sqlite (in memory), redis or memcache")
	flag.StringVar(&c.addr, "addr", "", "the `host:port` of redis or memcache (default localhost and the usual port)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second ctrl-C doesn't wait
	err := run(ctx, c)
	if errors.Is(err, errUsage) {
		fmt.Fprintln(os.Stderr, "webservice:", err)
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "webservice:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done, and then until the requests that have begun are answered.
func run(ctx context.Context, c config) (err error) {
	backend, closeBackend, err := openBackend(c.backend, c.addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBackend()) }()

	if c.db == "" {
		dir, err := os.MkdirTemp("", "webservice-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		c.db = filepath.Join(dir, "users.db")
	}
	db, err := openDatabase(ctx, c.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.listen)
	if err != nil {
		return err
	}
	slog.Info("serving", "url", "http://"+listener.Addr().String(), "users", c.db, "backend", c.backend)
	server := &http.Server{Handler: newService(db, backend).handler(), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		slog.Info("shutting down")
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

var errUsage = errors.New("wrong usage")

// openBackend returns the backend that the command line names, and what closes it.
func openBackend(name, addr string) (appcache.RawBackend, func() error, error) {
	switch name {
	case "sqlite":
		if addr != "" {
			return nil, nil, fmt.Errorf("%w: -addr is for -backend redis and memcache", errUsage)
		}
		backend, err := sqlitelru.New(nil, nil)
		if err != nil {
			return nil, nil, err
		}
		return backend, backend.Close, nil
	case "redis":
		// No second attempts where Redis is down, for the database answers sooner; and the cache's own
		// Timeout for one that hangs.
		client := goredis.NewClient(&goredis.Options{
			Addr:                  cmp.Or(addr, "localhost:6379"),
			MaxRetries:            -1,
			DialerRetries:         1,
			ContextTimeoutEnabled: true,
		})
		return redis.New(client), client.Close, nil
	case "memcache":
		backend, err := memcache.Open(nil, cmp.Or(addr, "localhost:11211"))
		if err != nil {
			return nil, nil, err
		}
		return backend, backend.Close, nil
	}
	return nil, nil, fmt.Errorf("%w: -backend is %q; write sqlite, redis or memcache", errUsage, name)
}
